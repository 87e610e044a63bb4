"""Folds: which cases train and which validate."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from liftnet.core.errors import PlanError
from liftnet.core.jsonable import from_json, read_json, write_json
from liftnet.pipeline.progress import say

__all__ = ["NUM_FOLDS", "load_splits", "make_splits", "pick_fold"]

NUM_FOLDS = 5  # nnU-Net
SPLIT_SEED = 12345  # nnU-Net


def make_splits(cases: Sequence[str]) -> list[dict[str, list[str]]]:
    """Five folds, or as many as there are cases; one case alone is trained and validated on."""
    shuffled = list(np.random.default_rng(SPLIT_SEED).permutation(sorted(cases)))
    count = min(NUM_FOLDS, len(shuffled))
    folds = []
    for i in range(count):
        validation = sorted(str(c) for c in shuffled[i::count])
        training = sorted(str(c) for c in shuffled if str(c) not in validation)
        folds.append({"train": training or validation, "validation": validation})
    return folds


def load_splits(path: Path, cases: Sequence[str]) -> list[dict[str, list[str]]]:
    """The folds in splits.json, written first if it is not there.

    Raises:
        PlanError: If it names cases that are not preprocessed.
    """
    if not path.is_file():
        write_json(path, make_splits(cases))
    splits = from_json(list[dict[str, list[str]]], read_json(path), where=path.name)
    if not splits:
        raise PlanError(
            "There is no fold",
            where=str(path),
            remedy="Delete splits.json to have it made again.",
        )
    for i, fold in enumerate(splits):
        if set(fold) != {"train", "validation"} or not fold["train"] or not fold["validation"]:
            raise PlanError(
                f"Fold {i} needs cases under 'train' and under 'validation'",
                where=str(path),
                remedy="Correct it, or delete splits.json to have it made again.",
            )
    left_out = set(cases) - {c for fold in splits for group in fold.values() for c in group}
    if left_out:
        say(
            f"warning: {len(left_out)} cases are in no fold, such as {min(left_out)}; "
            f"delete {path} to split anew"
        )
    unknown = {c for fold in splits for group in fold.values() for c in group} - set(cases)
    if unknown:
        raise PlanError(
            f"splits.json names cases that are not preprocessed: {', '.join(sorted(unknown)[:5])}",
            where=str(path),
            remedy="Run liftnet_preprocess, or delete splits.json to have it made again.",
        )
    return splits


def pick_fold(
    splits: list[dict[str, list[str]]], fold: str, cases: Sequence[str]
) -> tuple[list[str], list[str]]:
    """Training and validation cases of a fold.

    Raises:
        PlanError: If there is no such fold.
    """
    if fold == "all":
        return list(cases), list(cases)
    if fold not in map(str, range(len(splits))):
        raise PlanError(
            f"There is no fold '{fold}'",
            where="splits.json",
            remedy=f"Choose 0 to {len(splits) - 1}, or all.",
        )
    chosen = splits[int(fold)]
    return chosen["train"], chosen["validation"]
