"""What a memorization probe compares: task, channels and distances, and the files of each group."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from liftnet.core.errors import DatasetError, PlanError
from liftnet.core.plan import Plan
from liftnet.core.probe import ProbedBy, ProbeMeasure
from liftnet.host.text_table import first_names
from liftnet.metrics.memorization import probe_measure
from liftnet.pipeline.evaluate.cohort_setting import CohortFiles
from liftnet.pipeline.evaluate.files import find_images
from liftnet.pipeline.evaluate.setting import (
    Facts,
    Known,
    find_known,
    read_facts,
    refuse_network_units,
)
from liftnet.tasks import load_task, task_names

__all__ = ["ChannelSetting", "Groups", "ProbeSetting", "find_groups", "find_probe", "measurable"]

SHOWN_NAMES = 4  # ours: enough to see what is meant
FEWEST = {"predicted": 1, "training": 2, "held_out": 1}  # a nearest and a second nearest one

Groups = Mapping[str, CohortFiles]  # "predicted", "training" and "held_out"


@dataclass(frozen=True)
class ChannelSetting:
    """What is the same for all volumes of a channel."""

    name: str  # or its digits if that is all that is known
    digits: str  # of the files
    modality: str
    measure: ProbeMeasure
    plan: Plan | None  # None: there is none, or the task compares on a grid of its own
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class ProbeSetting:
    """Task, dataset and channels of a probe."""

    task: str
    dataset: str  # "" if it is not known
    channels: tuple[ChannelSetting, ...]  # in order of their numbers


def find_probe(
    predicted: Path,
    training: Path,
    held_out: Path,
    *,
    task: str | None,
    dataset: int | str | None,
    channel: str | None,
    workspace: Path | str | None,
) -> ProbeSetting:
    """Task, channels and distances: those asked for, else those that the JSON files name.

    Raises:
        DatasetError: If the task or the channel is not known, or a folder holds sources.
        PlanError: If the paper has no distance for the task.
    """
    facts, digits = _facts(predicted)
    refuse_network_units((fact for group in facts.values() for fact in group), predicted)
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
    _refuse_sources(known, {"-t": training, "-r": held_out})
    return ProbeSetting(
        task=chosen,
        dataset=known.dataset,
        channels=tuple(
            _channel(number, chosen, known)
            for number in _chosen_channels(channel, known, digits, predicted)
        ),
    )


def find_groups(
    predicted: Path, training: Path, held_out: Path, setting: ProbeSetting
) -> dict[str, Groups]:
    """Channel digits -> its files "predicted", "training" and "held_out"; some may have none.

    Raises:
        DatasetError: If no channel has enough volumes, or a training case is in another folder.
    """
    folders = {"predicted": predicted, "training": training, "held_out": held_out}
    cases = {what: sorted(find_images(path, what)[0].items()) for what, path in folders.items()}
    groups: dict[str, Groups] = {}
    for channel in setting.channels:
        number = channel.digits
        own = {
            what: {case: images[number] for case, images in found if number in images}
            for what, found in cases.items()
        }
        groups[number] = {w: CohortFiles(w, folders[w], files) for w, files in own.items()}
        _refuse_shared(groups[number])
    if not any(measurable(own) for own in groups.values()):
        counts = "; ".join(
            f"{channel.name}: {len(groups[channel.digits]['training'].files)} training, "
            f"{len(groups[channel.digits]['held_out'].files)} held out"
            for channel in setting.channels
        )
        raise DatasetError(
            "A probe needs at least 2 training volumes and 1 held-out one of a predicted channel, "
            f"named CASE_{setting.channels[0].digits} as predicted ones are ({counts})",
            where=f"{training}, {held_out}",
            remedy="Name the folder of all volumes that the network was trained on with -t, and "
            "real ones that it has not seen with -r.",
        )
    return groups


def measurable(groups: Groups) -> bool:
    """Whether there are volumes enough for distances, if not for a verdict."""
    return all(len(groups[what].files) >= fewest for what, fewest in FEWEST.items())


def probed_tasks() -> dict[str, ProbedBy]:
    """The tasks for which there is a distance -> what it compares."""
    found = {name: load_task(name).probed_by for name in task_names()}
    return {name: by for name, by in found.items() if by is not None}


def _channel(number: str, task: str, known: Known) -> ChannelSetting:
    """Modality, distance and grid of a channel."""
    by = probed_tasks()[task]
    modality = known.modalities.get(number)
    warnings = []
    if modality is None:
        in_hu = probe_measure(by, "CT").unit == "HU"
        modality = "CT" if in_hu else "MR"
        warnings.append(f"the channel's modality is not known; taken for {modality}, as in LiFT")
    measure = probe_measure(by, modality)
    own_grid = measure.pooled or task != known.task or _makes_from_sources(known.plan)
    return ChannelSetting(
        name=known.names.get(number, number),
        digits=number,
        modality=modality,
        measure=measure,
        plan=None if own_grid else known.plan,
        warnings=tuple(warnings),
    )


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


def _chosen_channels(asked: str | None, known: Known, digits: list[str], folder: Path) -> list[str]:
    """The digits of the channel asked for, or of all there are."""
    if not digits:
        raise DatasetError(
            "The folder has no image named CASE_0003.nii.gz",
            where=str(folder),
            remedy="Name the folder of predictions with -i.",
        )
    if asked is None:
        return digits
    names = {number: known.names.get(number, number) for number in digits}
    number = f"{int(asked):04d}" if re.fullmatch(r"\d{1,4}", asked) else asked
    for own, name in names.items():
        if asked == name or number == own:
            return [own]
    raise DatasetError(
        f"No predicted volume of channel '{asked}'",
        where=str(folder),
        remedy=f"There are: {', '.join(names.values())}.",
    )


def _refuse_sources(known: Known, folders: Mapping[str, Path]) -> None:
    """Refuse folders of sources where targets have numbers of their own."""
    if not (known.own_numbers and known.source_names):
        return
    for option, folder in folders.items():
        if (name := folder.absolute().name) in ("imagesTr", "imagesTs"):
            raise DatasetError(
                f"{name} holds the sources of task {known.task}; its targets were predicted",
                where=f"{option} {folder}",
                remedy=f"Name {name.replace('images', 'targets')} with {option}.",
            )


def _refuse_shared(groups: Groups) -> None:
    """Refuse cases of training, by name or by file, among predicted or held-out ones."""
    known = groups["training"]
    files = {path.resolve() for path in known.files.values()}
    for what, says in (
        ("predicted", "Cases are both predicted and in training: their prediction is no test"),
        ("held_out", "Cases are both held out and in training: they are no baseline"),
    ):
        own = groups[what].files
        if shared := [n for n, path in own.items() if n in known.files or path.resolve() in files]:
            raise DatasetError(
                f"{says}: {first_names(sorted(shared), SHOWN_NAMES)}",
                where=f"{groups[what].folder}, {known.folder}",
                remedy="Leave them out of one of the folders (a folder of links will do); rename "
                "other subjects of the same name.",
            )


def _makes_from_sources(plan: Plan | None) -> bool:
    """Whether a plan's grid is each case's own: the plan makes targets on the grid of sources."""
    return plan is None or bool(plan.sources)
