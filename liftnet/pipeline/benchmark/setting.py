"""What a benchmark is asked for, checked before anything is trained."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from liftnet.core.dataset import Case
from liftnet.core.errors import DatasetError, LiftnetError
from liftnet.core.plan import Plan
from liftnet.core.storage.jsonable import did_you_mean
from liftnet.core.workspace import Workspace
from liftnet.host.text_table import counted, first_names
from liftnet.methods import method_names
from liftnet.methods.base import Method
from liftnet.pipeline.benchmark.budget import Budget
from liftnet.pipeline.convert.folder_kinds import existing_folder
from liftnet.pipeline.convert.recognise import Inputs
from liftnet.pipeline.evaluate.evaluate import beside, refuse_unfit, refuse_unused
from liftnet.pipeline.evaluate.files import find_references
from liftnet.pipeline.evaluate.setting import find_setting
from liftnet.pipeline.plan import method_of
from liftnet.pipeline.predict.inputs import check_targets, find_inputs
from liftnet.tasks import load_synthesis, load_task

__all__ = ["Files", "Setting", "check_files", "find_methods", "pick", "pick_budget"]

SHOWN = 4  # ours: names of cases, enough to see which they are


@dataclass(frozen=True)
class Files:
    """What is predicted from what, and what it is scored with."""

    inputs: Inputs
    references: Path
    target: Sequence[str] | None
    masks: Path | None
    sources: Path | None
    score_masks: Path | None  # None: the protocol looks at none, or finds them itself
    protocol: str


@dataclass(frozen=True)
class Setting:
    """All that is the same for every method."""

    space: Workspace
    workspace: Path | str | None
    plan: Plan
    fold: str
    methods: tuple[Method[Any], ...]  # in the order asked for
    baseline: str
    budget: Budget
    samples: int
    files: Files
    output: Path
    device: torch.device
    num_processes: int | None


def find_methods(plan: Plan, names: Sequence[str]) -> tuple[Method[Any], ...]:
    """The methods to compare.

    Raises:
        LiftnetError: If one is unknown, named twice or cannot serve the plan, or there are not two.
    """
    twice = sorted({name for name in names if list(names).count(name) > 1})
    if twice or len(names) < 2:
        raise LiftnetError(
            f"{twice[0]} is named twice"
            if twice
            else f"A benchmark is of two or more methods, got {len(names)}",
            where=f"--methods {' '.join(names)}",
            remedy="Name each once." if twice else "Name others too; liftnet_methods lists them.",
        )
    for name in names:
        pick(name, method_names(), "--methods")
    return tuple(method_of(plan, name) for name in names)


def pick(name: str, known: Sequence[str], option: str) -> str:
    """A name that must be one of these methods.

    Raises:
        LiftnetError: If it is not.
    """
    if name not in known:
        raise LiftnetError(
            f"No method '{name}'" + ("" if option == "--methods" else " is compared"),
            where=f"{option} {name}",
            remedy=did_you_mean(name, known),
        )
    return name


def pick_budget(plan: Plan, like: str | None, minutes: float | None) -> str:
    """The method whose operations the others take; by default the task's own.

    Raises:
        LiftnetError: If a time is asked for as well.
    """
    if like is not None and minutes is not None:
        raise LiftnetError(
            "--like and --minutes are two budgets",
            where=f"--like {like} --minutes {minutes:g}",
            remedy="Leave out --minutes to make the operations of all trainings equal, --like to "
            "give all the same time.",
        )
    if like is None:
        return load_task(plan.task).default_method
    return method_of(plan, pick(like, method_names(), "--like")).name


def check_files(
    plan: Plan,
    inputs: Inputs,
    references: Path,
    *,
    protocol: str,
    target: Sequence[str] | None,
    masks: Path | None,
    sources: Path | None,
    workspace: Path | str | None,
) -> Files:
    """The files of a benchmark, of which each case has its references.

    Raises:
        LiftnetError: If a folder or a reference is missing, or the protocol has no use for one.
    """
    existing_folder(references, "folder of references", "-r")
    wanted = check_targets(target, plan)
    expected = _expected(plan, find_inputs(inputs, plan, masks), wanted)
    named = {
        case: {digits: Path(f"{case}_{digits}") for digits in made}
        for case, made in expected.items()
    }
    found = find_references(references, named, dataset=plan.dataset, workspace=workspace)
    alone = [case for case, made in expected.items() if not made <= found.get(case, {}).keys()]
    if alone:
        there = [path.name for images in found.values() for path in images.values()]
        raise DatasetError(
            f"{counted(len(alone), 'case')} of {len(expected)} have no reference",
            where=f"-r {references}: none for {first_names(alone, SHOWN)}"
            + (f"; there are {first_names(sorted(there), SHOWN)}" if there else ""),
            remedy="Add CASE_0003.nii.gz, numbered as the image that is predicted, or take these "
            "cases out of -i. Nothing was trained.",
        )
    digits = {number for made in expected.values() for number in made}
    facts: dict[str, list[Any]] = {number: [] for number in sorted(digits)}
    setting = find_setting(
        facts, protocol, reference=references, dataset=plan.dataset, workspace=workspace
    )
    mask = masks or beside(references, "masks")
    refuse_unfit(setting, facts, mask=mask, reference=references)
    refuse_unused(setting, facts, {"-s": sources})
    modalities = {setting.known.modalities.get(number) for number in facts}
    scored = masks if setting.protocol.stated.needs_mask and modalities != {"MR"} else None
    return Files(inputs, references, wanted, masks, sources, scored, protocol)


def _expected(
    plan: Plan, cases: Sequence[Case], target: Sequence[str] | None
) -> dict[str, set[str]]:
    """Case -> the digits of what is predicted of it.

    Raises:
        DatasetError: If nothing is.
    """
    task, found = load_synthesis(plan.task), {}
    for case in cases:
        present = [name for name in plan.channel_names if name in case.images]
        if target or not set(plan.targets) <= set(present):
            made = task.request(plan, present, target).made
            found[case.identifier] = {f"{plan.file_number(name):04d}" for name in made}
    if not found:
        names = ", ".join(plan.targets)
        raise DatasetError(
            f"There is nothing to predict: no case lacks one of {names}",
            where="-i",
            remedy="Name a contrast with --target to predict it from the others.",
        )
    return found
