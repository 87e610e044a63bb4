"""What a cohort evaluation compares and how: task, protocol, plan, trained network, files."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from liftnet.core.errors import CheckpointError, DatasetError, PlanError
from liftnet.core.plan import Plan
from liftnet.core.workspace import Workspace, find_workspace
from liftnet.imageio.raw_dataset import load_description
from liftnet.methods import load_method
from liftnet.methods.base import Method
from liftnet.metrics.protocols.cohort_protocols import CohortProtocol
from liftnet.pipeline.evaluate.files import find_images
from liftnet.pipeline.evaluate.setting import Facts, find_protocol, read_facts, refuse_network_units
from liftnet.pipeline.models.model import Model, load_model, trained_folds
from liftnet.pipeline.models.runs import fold_folder
from liftnet.pipeline.plan import DEFAULT_PLAN, load_plan, read_plan
from liftnet.tasks import load_generation, load_task
from liftnet.tasks.base import GenerationTask

__all__ = ["CohortFiles", "CohortSetting", "find_cohort_setting", "find_cohorts", "find_generation"]

FEWEST = 2  # volumes that have a spread


@dataclass(frozen=True)
class CohortFiles:
    """The volumes of one cohort: name -> file."""

    what: str  # "generated", "real", "training"; of a probe "predicted", "held_out"
    folder: Path
    files: Mapping[str, Path]


@dataclass(frozen=True)
class CohortSetting:
    """What is the same for all volumes."""

    protocol: CohortProtocol
    task: str
    dataset: str
    plan_name: str
    plan: Plan | None  # None: the protocol needs none, and there is none
    model: Model | None  # None: nothing is trained, or the protocol needs nothing trained
    no_model: str  # why there is none
    target: str  # the channel's name, "" if only its number is known
    digits: str  # of the files, "" if any will do


def find_generation(
    generated: Path,
    *,
    dataset: int | str | None,
    plan_name: str | None,
    workspace: Path | str | None,
) -> str | None:
    """The task that made the volumes of a folder from nothing; None for any other folder.

    The JSON files beside them say so; where there are none, the dataset asked for.
    """
    named = [fact.task for fact in _facts(generated)]
    if not named and dataset is not None:
        space = find_workspace(workspace)
        named = [_task_of(space, space.dataset_name(dataset), plan_name or DEFAULT_PLAN)]
    return next((name for name in sorted(set(named)) if _generates(name)), None)


def find_cohort_setting(
    generated: Path,
    task: str,
    protocol: str,
    *,
    dataset: int | str | None,
    plan_name: str | None,
    fold: int | str | None,
    device: str | None,
    workspace: Path | str | None,
    network: bool = True,
) -> CohortSetting:
    """Protocol, dataset, plan and network: those asked for, else those that the JSON files name.

    Without `network` the network is not loaded, only its plan.

    Raises:
        PlanError: If there is no such protocol, or no plan that it needs.
        DatasetError: If the folder holds volumes of several models, or the modality does not fit.
        CheckpointError: If the fold asked for is not trained.
    """
    chosen = find_protocol(task, load_generation(task).protocols, protocol)
    made = _made(generated)
    space = find_workspace(workspace)
    name = made.dataset if dataset is None else space.dataset_name(dataset)
    asked = plan_name or made.plan or DEFAULT_PLAN
    model, reason, target, modality = None, "", made.target, made.modality
    if chosen.own_grid is not None:
        plan = _plan_there(space, name, asked)
    else:
        method = load_method(load_task(task).default_method)
        run = _run(space, name, asked, generated)
        folder, reason = _find_fold(run, method, fold)
        if folder is None:
            plan = load_plan(space, name, asked)
        elif network:
            # One network, not several: features of different encoders do not compare.
            number = folder.name.removeprefix("fold_")
            model = load_model(run, method, [number], checkpoint="best", device=device)
            plan = model.plan
        else:
            plan = read_plan(folder / "plan.json")
    if plan is not None:
        target = _target(plan, target, generated)
        modality = plan.channel(target).modality
    if chosen.own_grid is not None and modality == "CT":
        raise DatasetError(
            f"Protocol {protocol} sets negatives to 0, which CT has everywhere",
            where="--protocol",
            remedy="Use --protocol liftnet for CT.",
        )
    return CohortSetting(
        protocol=chosen,
        task=task,
        dataset=name,
        plan_name=asked if plan else "",
        plan=plan,
        model=model,
        no_model=reason,
        target=target,
        digits=f"{plan.file_number(target):04d}" if plan else "",
    )


class _Made(NamedTuple):
    """What the JSON files say of all volumes of a folder; "" and None for what they do not."""

    dataset: str = ""
    plan: str = ""
    target: str = ""
    modality: str | None = None


def _made(generated: Path) -> _Made:
    """Dataset, plan and channel of generated volumes.

    Raises:
        DatasetError: If several models made them, or they are not intensities.
    """
    facts = _facts(generated)
    refuse_network_units(facts, generated)
    made = {(fact.task, fact.dataset, fact.plan, fact.target) for fact in facts}
    if len(made) > 1:
        raise DatasetError(
            f"The volumes were made by {len(made)} different plans, datasets or tasks",
            where=str(generated),
            remedy="Keep each model's volumes in a folder of their own.",
        )
    first = next(iter(facts), None)
    return _Made(first.dataset, first.plan, first.target, first.modality) if first else _Made()


def _target(plan: Plan, target: str, generated: Path) -> str:
    """The channel that the volumes are of, by default the plan's.

    Raises:
        DatasetError: If the plan has no such channel.
    """
    target = target or plan.targets[0]
    if target not in plan.channel_names:
        raise DatasetError(
            f"The volumes are of {target}, plan {plan.name} of {plan.dataset} makes "
            f"{', '.join(plan.targets)}",
            where=str(generated),
            remedy="Name the dataset that they were made by with -d, and its plan with -p.",
        )
    return target


def _run(space: Workspace, name: str, plan_name: str, generated: Path) -> Path:
    """The folder of everything trained under the plan.

    Raises:
        DatasetError: If nothing says of which dataset the volumes are.
    """
    if not name:
        raise DatasetError(
            "Which dataset the volumes are of is not known",
            where=str(generated),
            remedy="Name it with -d.",
        )
    return space.run_folder(name, plan_name)


def _find_fold(run: Path, method: Method[Any], fold: int | str | None) -> tuple[Path | None, str]:
    """The folder of the fold asked for, else of the first that is trained, or why there is none."""
    if fold is not None:
        return fold_folder(run, method.name, str(fold)), ""
    try:
        return trained_folds(run, method, checkpoint="best")[0], ""
    except CheckpointError as error:
        return None, f"{error.problem}: {error.where}"


def find_cohorts(
    folders: Mapping[str, Path], digits: str, *, fewest: int = FEWEST
) -> tuple[list[CohortFiles], str]:
    """The files of each cohort in one channel, and the channel's digits.

    Args:
        folders: "generated", "real" and perhaps "training" -> folder.
        digits: of the channel; "" takes the only one that all cohorts have.
        fewest: volumes that each cohort must have.

    Raises:
        DatasetError: If there is no such channel, or a cohort has too few volumes.
    """
    found = {what: find_images(folder, what)[0] for what, folder in folders.items()}
    channels = {what: {d for case in cases.values() for d in case} for what, cases in found.items()}
    shared = set.intersection(*channels.values())
    if digits:
        shared &= {digits}
    if len(shared) != 1:
        wanted = f"channel {digits}" if digits else "one channel that all share"
        raise DatasetError(
            f"The folders have no common channel: expected {wanted}, got "
            + "; ".join(f"{what} {_listed(have)}" for what, have in channels.items()),
            where=", ".join(str(folder) for folder in folders.values()),
            remedy="Name all files CASE_0000.nii.gz with the number of the same channel.",
        )
    (channel,) = shared
    cohorts = [
        CohortFiles(
            what,
            folders[what],
            {name: images[channel] for name, images in sorted(cases.items()) if channel in images},
        )
        for what, cases in found.items()
    ]
    for cohort in cohorts:
        if len(cohort.files) < fewest:
            raise DatasetError(
                f"A cohort needs at least {fewest} volumes, the {cohort.what} one has "
                f"{len(cohort.files)} in channel {channel}",
                where=str(cohort.folder),
                remedy="Add volumes; a hundred or more give steady numbers.",
            )
    return cohorts, channel


def _facts(folder: Path) -> list[Facts]:
    """What the JSON files beside the images of a folder say; damaged ones say nothing."""
    if not folder.is_dir():
        return []
    found = []
    for images in find_images(folder, "generated")[0].values():
        for path in images.values():
            try:
                found.append(read_facts(path))
            except PlanError:
                continue
    return [fact for fact in found if fact is not None]


def _task_of(space: Workspace, name: str, plan_name: str) -> str:
    """The task of a dataset: of its plan, else of its dataset.json; "" if it has neither."""
    plan = _plan_there(space, name, plan_name)
    if plan is not None:
        return plan.task
    raw = space.raw / name
    return load_description(raw).task if (raw / "dataset.json").is_file() else ""


def _plan_there(space: Workspace, name: str, plan_name: str) -> Plan | None:
    """A plan of the workspace, if the name of the dataset is known and there is one."""
    path = space.plan_file(name, plan_name) if name else None
    return read_plan(path) if path is not None and path.is_file() else None


def _generates(name: str) -> bool:
    """Whether a task of this name is known, and makes volumes from nothing."""
    try:
        return isinstance(load_task(name), GenerationTask)
    except PlanError:
        return False


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"
