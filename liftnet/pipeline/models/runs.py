"""Where a run lives on disk, and whether it may be continued."""

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from liftnet.core.errors import CheckpointError, LiftnetError, PlanError
from liftnet.core.plan import Plan
from liftnet.core.recipe import Recipe, schedules, with_schedules
from liftnet.core.storage.jsonable import to_json, write_sealed
from liftnet.host.progress import say
from liftnet.methods import load_method, method_names
from liftnet.methods.base import Method
from liftnet.ops.compute.precision import pick_device
from liftnet.ops.compute.processes import local_rank, world_size
from liftnet.pipeline.plan import read_plan, read_recipe

__all__ = [
    "BEST",
    "IMPORTED",
    "LATEST",
    "LOG",
    "MANIFEST",
    "PLAN",
    "RECIPE",
    "Folds",
    "begun_otherwise",
    "digest",
    "find_device",
    "fold_folder",
    "fold_names",
    "plan_digest",
    "prepare_run",
    "read_log",
    "read_run",
    "refuse_imported",
    "run_digest",
]

LATEST = "checkpoint_latest.safetensors"
BEST = "checkpoint_best.safetensors"
LOG = "log.jsonl"
PLAN = "plan.json"
RECIPE = "recipe.json"
IMPORTED = "model_card"  # the folder of a run in which an imported model's papers lie
MANIFEST = "manifest.json"  # one of them
Folds = int | str | Sequence[int | str]  # 0 to 4, or "all"


def fold_names(folds: Folds) -> list[str]:
    """The names of one fold or of several, each once.

    >>> fold_names(0), fold_names("all"), fold_names([0, 1, "0"])
    (['0'], ['all'], ['0', '1'])
    """
    return list(dict.fromkeys(map(str, [folds] if isinstance(folds, int | str) else folds)))


def fold_folder(run: Path, method: str, fold: str) -> Path:
    """Where a method trains a fold of a plan."""
    return run / method / f"fold_{fold}"


def read_run(folder: Path) -> tuple[Plan, Method[Any], Recipe]:
    """Plan, method and recipe of the folder of a fold.

    Raises:
        PlanError: If they are not there, damaged, or of another version.
    """
    plan, name = read_plan(folder / PLAN), folder.absolute().parent.name
    if name not in method_names():
        raise PlanError(
            f"The folder of a fold lies in that of its method, and '{name}' is none",
            where=str(folder),
            remedy="Keep it as training left it: METHOD/fold_0.",
        )
    method = load_method(name)
    return plan, method, read_recipe(folder / RECIPE, plan, method)


def find_device(name: str | None) -> torch.device:
    """The device for a run.

    Raises:
        LiftnetError: If the named device is not there.
    """
    try:
        device = pick_device(name)
    except ValueError as error:
        raise LiftnetError(str(error), where=f"-device {name}", remedy="Leave it out.") from None
    if device.type == "cuda" and device.index is None and world_size() > 1:
        device = torch.device("cuda", local_rank())
        torch.cuda.set_device(device)
    return device


def plan_digest(plan: Plan) -> str:
    """A digest of every decision about the data."""
    facts = to_json(plan)
    return digest({key: facts[key] for key in facts if key not in ("reasons", "budget")})


def run_digest(plan: Plan, recipe: Recipe) -> str:
    """A digest of every decision that what is trained depends on.

    Left out is what changes nothing but the time: memory, how data is read, how often it is saved.
    """
    quick = {
        name: replace(schedule, loader_workers=0, checkpoint_minutes=0.0)
        for name, schedule in schedules(recipe).items()
    }
    memory = replace(
        recipe.memory, training_gib=0.0, prediction_gib=0.0, budget_gib=0.0, dataset_gib=0.0
    )
    same = replace(recipe, reasons={}, memory=memory, feeding="read", recompute=False)
    return digest([plan_digest(plan), to_json(with_schedules(same, quick))])


def digest(facts: Any) -> str:
    """Sixteen hexadecimal digits of what JSON can hold, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def refuse_imported(folder: Path) -> None:
    """Keep what was imported: training would replace it.

    Args:
        folder: `results/DATASET/PLAN`.

    Raises:
        CheckpointError: If its weights were imported.
    """
    if (folder / IMPORTED / MANIFEST).is_file():
        raise CheckpointError(
            "The weights of this plan were imported; training would replace them",
            where=str(folder),
            remedy="Train a dataset of your own (-d), or a plan of another name (liftnet_plan -p "
            "NAME); with --pretrained it begins with these weights.",
        )


def prepare_run(
    folder: Path,
    plan: Plan,
    recipe: Recipe,
    *,
    continue_training: bool,
    restart: bool,
) -> None:
    """Store plan and recipe beside the weights; refuse to go on with others.

    The run's folder is locked: what is half-written there is of no run that goes on.

    Raises:
        CheckpointError: If the run was begun under another plan, there is nothing to continue, or
            both options are given.
    """
    if continue_training and restart:
        raise CheckpointError(
            "--c and --restart contradict each other: to continue a run, and to throw it away",
            where=str(folder),
            remedy="Leave out one of them. Nothing was deleted.",
        )
    for pattern in (".*.tmp", ".tmp*"):  # the second are of safetensors
        for temporary in [*folder.glob(pattern), *folder.glob(f"*/{pattern}")]:
            temporary.unlink()  # half-written when an earlier run was killed; it alone works here
    begun = _has_begun(folder)
    if continue_training and not begun:
        raise CheckpointError(
            "There is no training run to continue", where=str(folder), remedy="Leave out --c."
        )
    if restart:
        for old in folder.glob("*/*"):
            if old.is_dir():
                shutil.rmtree(old)
            else:
                old.unlink()
        begun = False
    if begun and begun_otherwise(folder, plan, recipe):
        raise CheckpointError(
            "The plan or its recipe has changed since this run began",
            where=str(folder),
            remedy="Begin anew with --restart, or train the new plan under a name of its own "
            "(liftnet_plan -p NAME).",
        )
    write_sealed(folder / PLAN, plan)
    write_sealed(folder / RECIPE, recipe)


def begun_otherwise(folder: Path, plan: Plan, recipe: Recipe) -> bool:
    """Whether a fold was begun under another plan or recipe."""
    if not _has_begun(folder):
        return False
    own_plan, _, own_recipe = read_run(folder)
    return run_digest(own_plan, own_recipe) != run_digest(plan, recipe)


def _has_begun(folder: Path) -> bool:
    return any(folder.glob(f"*/{LATEST}*"))


def read_log(path: Path) -> list[dict[str, Any]]:
    """The rows of a log, which is a record: a damaged line is left out, and that is said."""
    if not path.is_file():
        return []
    lines = path.read_bytes().split(b"\n")
    rows = [row for line in lines if (row := _row(line)) is not None]
    damaged = sum(bool(line) for line in lines[:-1]) - len(rows)  # a kill may cut the last one off
    if damaged > 0:
        say(f"warning: {damaged} damaged line{'s' * (damaged > 1)} of {path.name} left out: {path}")
    return rows


def _row(line: bytes) -> dict[str, Any] | None:
    """A row as this run has written it, or None."""
    try:
        row = json.loads(line)  # a number may be NaN
    except (ValueError, RecursionError):
        return None
    if not isinstance(row, dict) or not isinstance(row.get("step"), int):
        return None
    named = (value for key, value in row.items() if key.startswith("validation_"))
    return row if all(map(_are_numbers, named)) else None


def _are_numbers(values: Any) -> bool:
    return isinstance(values, dict) and all(isinstance(v, int | float) for v in values.values())
