"""Folds: which cases train and which validate."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from liftnet.core.errors import PlanError
from liftnet.core.names import one_form
from liftnet.core.storage.jsonable import from_json, read_json, write_json
from liftnet.host.progress import say

__all__ = ["NUM_FOLDS", "load_splits", "make_splits", "pick_fold"]

NUM_FOLDS = 5  # nnU-Net
SPLIT_SEED = 12345  # nnU-Net


def make_splits(cases: Sequence[str], patients: Mapping[str, str]) -> list[dict[str, list[str]]]:
    """Five folds, or as many as there are patients; one alone is trained and validated on.

    All cases of a patient are on one side of every fold, and folds validate on about as many
    cases each.

    Args:
        cases: their names.
        patients: case -> patient; a case that is not there is of a patient of its own.
    """
    groups: dict[str, list[str]] = {}
    for case in sorted(cases):
        groups.setdefault(patients.get(case, case), []).append(case)
    order = np.random.default_rng(SPLIT_SEED).permutation(len(groups))
    shuffled = [list(groups.values())[i] for i in order]
    held: list[list[str]] = [[] for _ in range(min(NUM_FOLDS, len(groups)))]
    for group in sorted(shuffled, key=len, reverse=True):
        min(held, key=len).extend(group)
    folds = []
    for group in held:
        training = sorted(set(cases) - set(group))
        folds.append({"train": training or sorted(group), "validation": sorted(group)})
    return folds


def load_splits(
    path: Path, cases: Sequence[str], patients: Mapping[str, str]
) -> list[dict[str, list[str]]]:
    """The folds in splits.json, written first if it is not there.

    Args:
        path: of splits.json.
        cases: that are preprocessed.
        patients: case -> patient, as `make_splits` takes them.

    Raises:
        PlanError: If it names cases that are not preprocessed.
    """
    if not path.is_file():
        write_json(path, make_splits(cases, patients))
    splits = from_json(list[dict[str, list[str]]], read_json(path), where=path)
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
    own = {one_form(case): case for case in cases}
    splits = [  # a case that is listed twice stays twice
        {part: [own.get(one_form(name), name) for name in names] for part, names in fold.items()}
        for fold in splits
    ]
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
    _warn_of_patients_on_both_sides(splits, patients, path)
    return splits


def _warn_of_patients_on_both_sides(
    splits: list[dict[str, list[str]]], patients: Mapping[str, str], path: Path
) -> None:
    """A fold validates flatteringly on a patient whom it has trained on."""
    for i, fold in enumerate(splits):
        training, validation = (
            {patients.get(case, case) for case in fold[part]} for part in ("train", "validation")
        )
        both = sorted(training & validation)
        if both and training != validation:  # a single patient has no other side
            say(
                f"warning: fold {i} trains and validates on the same patient, {both[0]}"
                + (f" and {len(both) - 1} more" if len(both) > 1 else "")
                + f": its validation flatters. Delete {path} to split by patient"
            )


def pick_fold(
    splits: list[dict[str, list[str]]], fold: str, cases: Sequence[str], path: Path
) -> tuple[list[str], list[str]]:
    """Training and validation cases of a fold; `path` is that of the splits, for the error.

    Raises:
        PlanError: If there is no such fold.
    """
    if fold == "all":
        return list(cases), list(cases)
    if fold not in map(str, range(len(splits))):
        raise PlanError(
            f"There is no fold '{fold}'",
            where=str(path),
            remedy=f"Choose 0 to {len(splits) - 1}, or all.",
        )
    chosen = splits[int(fold)]
    return chosen["train"], chosen["validation"]
