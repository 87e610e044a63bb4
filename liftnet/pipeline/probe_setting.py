"""What a memorization probe compares: task, channel and distance, and the files of each group."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from liftnet.core.errors import DatasetError, PlanError
from liftnet.core.plan import Plan
from liftnet.core.probe import ProbeMeasure
from liftnet.metrics.memorization import probe_measure, probed_tasks
from liftnet.pipeline.cohort_setting import CohortFiles, find_cohorts
from liftnet.pipeline.score_setting import Facts, Known, find_known, read_facts
from liftnet.pipeline.scoring import find_images

__all__ = ["ProbeSetting", "find_groups", "find_probe"]

SHOWN_NAMES = 4  # ours: enough to see what is meant


@dataclass(frozen=True)
class ProbeSetting:
    """What is the same for all volumes."""

    task: str
    dataset: str  # "" if it is not known
    plan: Plan | None  # None: there is none, or the task compares on a grid of its own
    channel: str  # its name, or its digits if that is all that is known
    digits: str  # of the files
    modality: str
    measure: ProbeMeasure
    warnings: tuple[str, ...]


def find_probe(
    predicted: Path,
    training: Path,
    *,
    task: str | None,
    dataset: int | str | None,
    channel: str | None,
    workspace: Path | str | None,
) -> ProbeSetting:
    """Task, channel and distance: those asked for, else those that the JSON files name.

    Raises:
        DatasetError: If the task or the channel is not known, or there are several.
        PlanError: If the paper has no distance for the task.
    """
    facts, digits = _facts(predicted)
    known = find_known(facts, reference=training, dataset=dataset, workspace=workspace)
    chosen = task or known.task
    if not chosen:
        raise DatasetError(
            "It is not known which task made these volumes, or there are several",
            where=str(predicted),
            remedy=f"Say it with --task: {', '.join(probed_tasks())}.",
        )
    if chosen not in probed_tasks():
        raise PlanError(
            f"There is no distance for task '{chosen}'",
            where="--task" if task else str(predicted),
            remedy=f"Choose one with --task: {', '.join(probed_tasks())}.",
        )
    number = _channel(channel, known, digits, predicted)
    modality = known.modalities.get(number)
    warnings = []
    if modality is None:
        in_hu = probe_measure(chosen, "CT").unit == "HU"
        modality = "CT" if in_hu else "MR"
        warnings.append(f"the channel's modality is not known; taken for {modality}, as in LiFT")
    measure = probe_measure(chosen, modality)
    own_grid = measure.pooled or chosen != known.task or _makes_from_sources(known.plan)
    return ProbeSetting(
        task=chosen,
        dataset=known.dataset,
        plan=None if own_grid else known.plan,
        channel=known.names.get(number, number),
        digits=number,
        modality=modality,
        measure=measure,
        warnings=tuple(warnings),
    )


def find_groups(
    predicted: Path, training: Path, held_out: Path, digits: str
) -> dict[str, CohortFiles]:
    """The files "predicted", "training" and "held_out" of one channel.

    Raises:
        DatasetError: If a folder has too few volumes, or a training case is in another folder.
    """
    folders = {"predicted": predicted, "training": training, "held_out": held_out}
    groups = {group.what: group for group in find_cohorts(folders, digits, fewest=1)[0]}
    known = groups["training"]
    if len(known.files) < 2:
        raise DatasetError(
            "A probe needs at least 2 training volumes: a nearest and a second nearest one",
            where=str(training),
            remedy="Name the folder of all volumes that the network was trained on with -t.",
        )
    files = {path.resolve() for path in known.files.values()}
    for what, says in (
        ("predicted", "Cases are both predicted and in training: their prediction is no test"),
        ("held_out", "Cases are both held out and in training: they are no baseline"),
    ):
        own = groups[what].files
        if shared := [n for n, path in own.items() if n in known.files or path.resolve() in files]:
            raise DatasetError(
                f"{says}: {_listed(shared)}",
                where=f"{folders[what]}, {training}",
                remedy="Leave them out of one of the folders; rename other subjects of the name.",
            )
    return groups


def _facts(folder: Path) -> tuple[dict[str, list[Facts]], list[str]]:
    """Channel digits -> what the JSON files beside the images say; and all digits there are."""
    found: dict[str, list[Facts]] = {}
    digits: set[str] = set()
    for images in find_images(folder, "predicted")[0].values():
        digits |= images.keys()
        for number, path in images.items():
            if (fact := read_facts(path)) is not None:
                found.setdefault(number, []).append(fact)
    return found, sorted(digits)


def _channel(asked: str | None, known: Known, digits: list[str], folder: Path) -> str:
    """The digits of the channel asked for, or of the only one there is."""
    names = {number: known.names.get(number, number) for number in digits}
    if asked is None:
        if len(digits) == 1:
            return digits[0]
        problem = (
            f"The folder has {len(digits)} channels: {', '.join(names.values())}"
            if digits
            else "The folder has no image named CASE_0003.nii.gz"
        )
        remedy = "Name one with --channel." if digits else "Name the folder of predictions with -i."
        raise DatasetError(problem, where=str(folder), remedy=remedy)
    number = f"{int(asked):04d}" if re.fullmatch(r"\d{1,4}", asked) else asked
    for own, name in names.items():
        if asked == name or number == own:
            return own
    raise DatasetError(
        f"No predicted volume of channel '{asked}'",
        where=str(folder),
        remedy=f"There are: {', '.join(names.values()) or 'none'}.",
    )


def _makes_from_sources(plan: Plan | None) -> bool:
    """Whether a plan's grid is each case's own: the plan makes targets on the grid of sources."""
    return plan is None or bool(plan.sources)


def _listed(names: Iterable[str]) -> str:
    names = sorted(names)
    more = f" and {len(names) - SHOWN_NAMES} more" if len(names) > SHOWN_NAMES else ""
    return ", ".join(names[:SHOWN_NAMES]) + more
