"""Processes that train together must have the same before them; else they train something else."""

import socket
from collections.abc import Mapping, Sequence
from pathlib import Path

from safetensors import safe_open
from torch import Tensor

from liftnet.core.errors import LiftnetError
from liftnet.core.plan import Plan
from liftnet.core.recipe import Recipe
from liftnet.data.store import Store
from liftnet.ops.compute.processes import from_all, world_size
from liftnet.pipeline.models.checkpoint import UNREADABLE, weights_digest
from liftnet.pipeline.models.runs import digest, run_digest
from liftnet.version import __version__

__all__ = ["refuse_other_checkpoint", "refuse_other_training", "refuse_other_weights"]

Folds = Mapping[str, tuple[Sequence[str], Sequence[str]]]  # fold -> training, validation cases


def refuse_other_training(
    plan: Plan, recipe: Recipe, store: Store, folds: Folds, options: Sequence[str]
) -> None:
    """Refuse processes whose plan, splits, cases, options or version of liftnet differ.

    Raises:
        LiftnetError: In every process, naming what differs.
    """
    if world_size() == 1:
        return
    named = sorted({case for fold in folds.values() for cases in fold for case in cases})
    described = [store.describe(case) for case in named]
    _refuse_unlike(
        {
            "liftnet's version": __version__,
            "the plan": run_digest(plan, recipe),
            "the seed": str(plan.seed),
            "the folds": ", ".join(folds),
            "the splits": digest({name: [list(c) for c in fold] for name, fold in folds.items()}),
            "the preprocessed cases": digest([[c.key, c.checksums] for c in described]),
            "the options": " ".join(options) or "none",
        },
        "Give every process the same workspace, the same command and the same liftnet.",
    )


def refuse_other_checkpoint(path: Path) -> None:
    """Refuse processes that would continue from different checkpoints.

    Raises:
        LiftnetError: In every process.
    """
    if world_size() > 1:
        _refuse_unlike(
            {"the checkpoint that they continue from": _stamp(path)},
            "Give every process the same workspace, on a disk that all of them share.",
        )


def refuse_other_weights(weights: Mapping[str, Tensor]) -> None:
    """Refuse processes that would begin with different pretrained weights.

    Raises:
        LiftnetError: In every process.
    """
    if world_size() > 1:
        _refuse_unlike(
            {"the weights that they begin with": weights_digest([weights])},
            "Give every process the same file with --pretrained.",
        )


def _refuse_unlike(facts: Mapping[str, str], remedy: str) -> None:
    """Refuse facts (what -> value, or a digest of it) that are not those of every process."""
    every = from_all((socket.gethostname(), facts))
    host, first = every[0]
    for number, (other_host, other) in enumerate(every):
        unlike = [name for name, value in first.items() if other.get(name) != value]
        if unlike:
            words = (f"{name} ({first[name]}, {other.get(name)})" for name in unlike)
            raise LiftnetError(
                f"The processes that train together differ in {', '.join(words)}",
                where=f"process 0 on {host}, process {number} on {other_host}",
                remedy=remedy,
            )


def _stamp(path: Path) -> str:
    """What a checkpoint says of itself: its step, the checksum of its tensors."""
    if not path.is_file():
        return "none"
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            return digest(file.metadata())
    except UNREADABLE:
        return "damaged"
