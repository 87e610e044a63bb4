"""Step 2: let the task decide everything, and write plan.json."""

import json
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from liftnet.core.arguments import checked
from liftnet.core.dataset import load_dataset
from liftnet.core.errors import PlanError
from liftnet.core.files import remove_drafts
from liftnet.core.jsonable import from_json, read_versioned, replace_path, to_json, write_sealed
from liftnet.core.migration import PLAN_UPGRADES
from liftnet.core.plan import PLAN_VERSION, Plan
from liftnet.core.strict_json import parse_json
from liftnet.core.workspace import Workspace, find_workspace
from liftnet.host.lock import hold, refuse_busy
from liftnet.host.progress import mention, say
from liftnet.pipeline.fingerprint.extract_fingerprint import read_fingerprint
from liftnet.planning.feeding import BY_HAND, plan_feeding
from liftnet.planning.grid import GridChoice, refuse_other_foreground
from liftnet.tasks import load_task
from liftnet.tasks.base import Budget, SynthesisTask

__all__ = ["DEFAULT_PLAN", "decide", "explain", "load_plan", "plan", "read_plan"]

DEFAULT_PLAN = "default"
DEFAULT_GIB = 8.0  # nnU-Net's default target
FIXED = ("version", "task", "dataset", "name")


@checked
def plan(
    dataset: int | str | None = None,
    *,
    gpu_memory: float | None = None,
    steps: int | None = None,
    features: Path | str | None = None,
    plan_name: str = DEFAULT_PLAN,
    settings: list[str] | None = None,
    explain_plan: bool = False,
    workspace: Path | str | None = None,
) -> Plan:
    """Decide everything for a dataset from its fingerprint and write plan.json.

    Args:
        dataset: id or name; may be left out where the workspace holds one dataset.
        gpu_memory: GiB that training may use; by default that of the GPU present, else 8.
        steps: length of training; by default the task's own.
        features: a file of weights of a feature network trained elsewhere, for generation.
        plan_name: several plans of one dataset live side by side.
        settings: `key=value` pairs that override decisions, such as `losses.delta_z=1`.
        explain_plan: print each decision with its reason.
        workspace: the workspace folder.

    Returns:
        The plan.

    Raises:
        PlanError: If there is no fingerprint, or a setting does not fit.
        DatasetError: If there is no such dataset.
        LiftnetError: If a training that uses the plan is going on.
    """
    space = find_workspace(workspace)
    name = space.dataset_name(dataset)
    mention(f"{name}: {space.describe()}")
    run = space.run_folder(name, plan_name)
    refuse_busy(run)
    decided = decide(space, name, gpu_memory, steps, features, plan_name, settings or ())
    target = space.plan_file(name, plan_name)
    with hold(target.parent, "liftnet_plan"):
        refuse_busy(run)
        remove_drafts(target)
        write_sealed(target, decided)
    if explain_plan:
        say(explain(decided))
    memory = decided.memory
    if memory.training_gib > memory.budget_gib:
        say(
            f"warning: training needs about {memory.training_gib:.2g} GiB, "
            f"more than the budget of {memory.budget_gib:g} GiB"
        )
    say(
        f"Plan, whose training takes {memory.training_gib:.2g} of {memory.budget_gib:g} GiB of "
        f"memory: {target}"
    )
    return decided


def decide(
    space: Workspace,
    name: str,
    gpu_memory: float | None,
    steps: int | None,
    features: Path | str | None,
    plan_name: str,
    settings: Sequence[str],
) -> Plan:
    """The plan of a dataset; nothing is written.

    Raises:
        PlanError: If there is none of that length, in that memory, with those settings.
    """
    raw = load_dataset(space.raw / name)
    fingerprint = read_fingerprint(
        space.fingerprint_file(name),
        f"Run {space.command('liftnet_plan_and_preprocess', name, plan_name)}, with the same "
        "options: it measures the dataset first.",
    )
    task = load_task(raw.description.task)
    if features is not None and isinstance(task, SynthesisTask):
        raise PlanError(
            f"Task '{task.name}' has no use for --features: it compares images voxel by voxel",
            remedy="Leave --features out.",
        )
    budget = find_budget(gpu_memory, steps)
    if features is not None:
        budget = replace(budget, feature_weights=Path(features))
    decided = _with_settings(task.plan(raw, fingerprint, budget, plan_name), settings)
    for choice in _chosen_grids(decided):
        if choice.sized:
            task.refresh(decided)  # refuses a size that the networks so far could not take
        budget = replace(budget, grid=choice)
        decided = _with_settings(task.plan(raw, fingerprint, budget, plan_name), settings)
    if decided.reasons.get("grid.foreground") == BY_HAND:
        refuse_other_foreground(decided, fingerprint)
    decided = plan_feeding(task.refresh(decided), fingerprint)
    _refuse_without_effect(decided, settings)
    from_json(Plan, parse_json(json.dumps(to_json(decided))), where="the plan")  # readable
    return decided


def find_budget(gpu_memory: float | None, steps: int | None) -> Budget:
    """The memory to plan for, and whether the device there computes in bfloat16."""
    import torch

    from liftnet.ops.precision import supports_bfloat16

    has_gpu = torch.cuda.is_available()
    if gpu_memory is None:
        total = torch.cuda.get_device_properties(0).total_memory / 2**30 if has_gpu else DEFAULT_GIB
        gpu_memory = float(int(total))
    native = not has_gpu or supports_bfloat16(torch.device("cuda"))
    return Budget(gpu_memory, 2 if native else 4, steps)


def _with_settings(decided: Plan, settings: Sequence[str]) -> Plan:
    for setting in settings:
        decided = apply_setting(decided, setting)
    return decided


def _chosen_grids(decided: Plan) -> list[GridChoice]:
    """What was set by hand and moves the rest of the plan: without sizes, then with them.

    A size must fit the networks of the grid that it belongs to, so that grid is planned first. A
    box has its own size, in voxels of the spacing, whatever the spacing is.
    """
    by_hand = {
        field.name: getattr(decided.grid, field.name)
        for field in fields(GridChoice)
        if decided.reasons.get(f"grid.{field.name}") == BY_HAND
    }
    whole = GridChoice(**by_hand)
    spacing_mm = None if whole.box else whole.spacing_mm
    free = replace(whole, in_plane=None, num_slices=None, box=None, spacing_mm=spacing_mm)
    chosen = [free, whole] if whole.sized else [whole]
    return [choice for choice in chosen if choice != GridChoice()]


def _refuse_without_effect(decided: Plan, settings: Sequence[str]) -> None:
    """Refuse a setting that the rest of the plan has overruled.

    Raises:
        PlanError: Naming it, and the value that it has.
    """
    for setting in settings if _with_settings(decided, settings) != decided else ():
        if apply_setting(decided, setting) != decided:
            key = setting.partition("=")[0]
            raise PlanError(
                f"{key} follows from other settings of this plan, and cannot be set to that",
                where=f"--set {setting}",
                remedy="Leave it out. docs/reference/plan-json.md says what moves what.",
            )


def apply_setting(decided: Plan, setting: str) -> Plan:
    """The plan with one `key=value` applied; the value is JSON or a plain word."""
    key, separator, text = setting.partition("=")
    if not separator:
        raise PlanError(f"'{setting}' is not key=value", remedy="For example --set seed=1")
    try:
        value: Any = parse_json(text)
    except ValueError:
        value = text
    parts = key.split(".")
    if parts[0] in FIXED:
        raise PlanError(
            f"'{parts[0]}' says which plan this is, and cannot be set",
            where=f"--set {setting}",
            remedy="Use -p for the name of the plan, and -d for its dataset.",
        )
    if parts[0] == "channels" and parts[1:2] and parts[1] in decided.channel_names:
        parts[1] = str(decided.channel_names.index(parts[1]))
    changed = replace_path(decided, ".".join(parts), value)
    return replace(changed, reasons={**changed.reasons, key: BY_HAND})


def load_plan(space: Workspace, dataset_name: str, plan_name: str) -> Plan:
    """The plan of a dataset in a workspace."""
    path = space.plan_file(dataset_name, plan_name)
    if not path.is_file():
        known = sorted(p.parent.name for p in path.parent.parent.glob("*/plan.json"))
        raise PlanError(
            f"No plan '{plan_name}' for {dataset_name}",
            where=str(path),
            remedy=f"Plans there are: {', '.join(known)}."
            if known
            else f"Run {space.command('liftnet_plan_and_preprocess', dataset_name, plan_name)}",
        )
    return read_plan(path)


def read_plan(path: Path) -> Plan:
    """A plan file, checked; one of an earlier version as this version would have written it.

    Raises:
        PlanError: If it is damaged, newer, too old, or contradicts itself.
    """
    remedy = "Make the plan again with liftnet_plan."
    data = read_versioned(
        path, PLAN_VERSION, what="The plan has", remedy=remedy, upgrades=PLAN_UPGRADES
    )
    decided = from_json(Plan, data, where=path)
    try:
        return load_task(decided.task).refresh(decided, estimate=False)
    except PlanError as error:
        error.where = error.where or str(path)
        raise


def explain(decided: Plan) -> str:
    """One paragraph per decision: setting = value, because ..."""
    lines = []
    data = to_json(decided)
    channels = {str(i): c for i, c in enumerate(data["channels"])}
    channels |= {c["name"]: c for c in data["channels"]}
    for key, reason in decided.reasons.items():
        node: Any = {**data, "channels": channels}
        for part in key.split("."):
            if isinstance(node, list):
                node = dict(zip(map(str, range(len(node))), node, strict=True))
            node = node.get(part) if isinstance(node, dict) else None
        lines.append(f"{key} = {json.dumps(_without_kind(node))}\n    {reason}")
    return "\n".join(lines)


def _without_kind(node: Any) -> Any:
    if isinstance(node, dict):
        return {k: _without_kind(v) for k, v in node.items() if k != "kind"}
    return node
