"""The last step of an import: a checked model takes its place in a workspace."""

import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from liftnet.core.errors import LiftnetError, PlanError
from liftnet.core.plan import Plan
from liftnet.core.storage.files import remove_drafts, written_whole
from liftnet.core.storage.jsonable import read_json, to_json, write_sealed
from liftnet.core.workspace import Workspace
from liftnet.host.failures import explained
from liftnet.host.lock import hold, refuse_busy
from liftnet.host.progress import say

__all__ = ["place_model"]


def place_model(
    space: Workspace, plan: Plan, write: Callable[[Path], None], *, overwrite: bool
) -> Path:
    """The folder of a run in the workspace, into which a checked one was put as a whole.

    It is written beside its place first, and then renamed. An import that was killed in between
    left nothing that prediction would take for a model; the same import completes it. Recipes that
    were made for another plan of this name go with that plan.

    Args:
        space: the workspace.
        plan: of the model.
        write: writes the run into a folder.
        overwrite: replace a run and a plan.

    Raises:
        LiftnetError: If something is there that was not to be overwritten, or is in use.
    """
    target = space.run_folder(plan.dataset, plan.name)
    plan_file = space.plan_file(plan.dataset, plan.name)
    begun = target.parent, plan_file.parent
    _refuse_overwriting(target, plan_file, plan, overwrite=overwrite)
    made = [folder for folder in (*begun, begun[1].parent) if not folder.exists()]
    beside = space.results / f".import_{plan.dataset}_{plan.name}"
    old = space.results / f".replaced_{plan.dataset}_{plan.name}"
    with explained("model", str(target)), hold(space.results, "liftnet_import"):
        _refuse_overwriting(target, plan_file, plan, overwrite=overwrite)
        replaced = target.exists()
        outdated = (
            [] if _is_same(plan_file, plan) else sorted(plan_file.parent.glob("recipes/*.json"))
        )
        before = {file: file.read_bytes() for file in (plan_file, *outdated) if file.is_file()}
        complete = False
        try:
            shutil.rmtree(beside, ignore_errors=True)  # of an import that was killed
            write(beside)
            remove_drafts(plan_file)
            for recipe in outdated:
                recipe.unlink()
            write_sealed(plan_file, plan)
            target.parent.mkdir(parents=True, exist_ok=True)
            if replaced:
                shutil.rmtree(old, ignore_errors=True)
                target.rename(old)
            beside.rename(target)
            complete = True
        finally:
            shutil.rmtree(beside, ignore_errors=True)
            if not complete:
                _undo(target, old, plan_file, before, made)
        shutil.rmtree(old, ignore_errors=True)
    if replaced:
        say(f"Replaced what was in {target}")
    return target


def _undo(
    target: Path, old: Path, plan_file: Path, before: dict[Path, bytes], made: list[Path]
) -> None:
    """Leave the workspace as it was before an import that failed."""
    if old.exists() and not target.exists():
        old.rename(target)
    if plan_file not in before:
        plan_file.unlink(missing_ok=True)
    for file, content in before.items():
        with written_whole(file) as draft:
            draft.write_bytes(content)
    for folder in made:
        with suppress(OSError):  # not made yet, or not empty
            folder.rmdir()


def _is_same(plan_file: Path, plan: Plan) -> bool:
    """Whether a plan file is there and holds this plan."""
    with suppress(PlanError):
        return bool(read_json(plan_file) == to_json(plan))
    return False


def _refuse_overwriting(target: Path, plan_file: Path, plan: Plan, *, overwrite: bool) -> None:
    """Refuse to replace a plan or a model unless that is wanted, and one in use in any case.

    The plan alone, if it is the same, was left by an import that was killed.
    """
    refuse_busy(target)
    there = target if target.exists() else plan_file
    free = not plan_file.exists() or _is_same(plan_file, plan)
    if overwrite or (free and not target.exists()):
        return
    raise LiftnetError(
        f"{plan.dataset} has a plan '{plan.name}' already",
        where=str(there),
        remedy="Import it under another name (-p NAME) or dataset number (-d ID), or replace what "
        "is there with --overwrite.",
    )
