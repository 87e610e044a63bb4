"""What is the same for all cases of an evaluation: protocol, task, slice axis, channel names."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from liftnet.core.dataset import Channel, DatasetDescription, Modality
from liftnet.core.errors import DatasetError, LiftnetError, PlanError
from liftnet.core.geometry import SliceAxis
from liftnet.core.names import CHANNEL_WORDS, check_channel_name, check_folder_name
from liftnet.core.plan import Plan
from liftnet.core.storage.jsonable import from_json, read_json
from liftnet.core.workspace import find_workspace
from liftnet.imageio import read_image
from liftnet.imageio.formats import split_ending
from liftnet.imageio.raw_dataset import load_description
from liftnet.metrics.protocols.base import PairProtocol
from liftnet.metrics.regions import AIR_HU
from liftnet.pipeline.plan import DEFAULT_PLAN, read_plan
from liftnet.pipeline.predict.source_files import MadeFrom
from liftnet.tasks import load_synthesis, load_task, task_names
from liftnet.tasks.base import SynthesisTask

__all__ = [
    "Facts",
    "Known",
    "Setting",
    "by_channel",
    "find_known",
    "find_protocol",
    "find_setting",
    "has_own_numbers",
    "read_facts",
    "refuse_network_units",
]

P = TypeVar("P")
DEFAULT_TASK = "missing_modality"  # where neither a JSON file nor a dataset names the task
DEFAULT_SLICE_AXIS: SliceAxis = "axial"  # LiFT: all three tasks


@dataclass(frozen=True)
class Facts:
    """What the JSON file beside a predicted image says about it."""

    target: str
    sources: tuple[str, ...]
    written_range: tuple[float, float]
    task: str
    dataset: str
    plan: str
    method: str
    modality: Modality | None = None
    made_from: MadeFrom | None = None  # None: an older file

    @property
    def in_network_units(self) -> bool:
        """Whether the image was written with --normalized, in [0, 1] or [-1, 1].

        MR in [0, 1] is an intensity like another: it is 0 in the background.
        """
        low, high = self.written_range
        return high <= 1 and (low < 0 or self.modality == "CT")


@dataclass(frozen=True)
class Channels:
    """The channels that are known, by the four digits of a file name."""

    predicted: Mapping[str, Channel] = field(default_factory=dict)
    sources: Mapping[str, Channel] = field(default_factory=dict)


@dataclass(frozen=True)
class Known:
    """What is known of images: task, dataset and plan, and names by the digits of a file name."""

    task: str  # "" if it is not known
    dataset: str  # "" if it is not known
    plan: Plan | None
    slice_axis: SliceAxis
    names: Mapping[str, str]  # of predicted images
    modalities: Mapping[str, Modality]
    source_names: Mapping[str, str]
    own_numbers: bool  # whether targets are numbered apart from sources

    def name(self, digits: str) -> str:
        """The name of a predicted channel, or its digits."""
        return self.names.get(digits, digits)

    def source_name(self, digits: str) -> str:
        """The name of a source channel, or its digits."""
        return self.source_names.get(digits, digits)


@dataclass(frozen=True)
class Setting:
    """What is the same for all cases: how they are scored, and what is known of the images."""

    protocol: PairProtocol
    known: Known


def read_facts(image: Path) -> Facts | None:
    """What the JSON file beside a predicted image says; None if there is none of liftnet's.

    Raises:
        PlanError: If the file is damaged.
    """
    path = image.with_name(split_ending(image)[0] + ".json")
    if not path.is_file():
        return None
    data = read_json(path)
    if not isinstance(data, dict) or "intensity" not in data or "target" not in data:
        return None  # another program's
    known: Any = Modality | None
    files: Any = MadeFrom | None
    wrong = "Predict this case again, or delete the JSON file to use the image's own range."
    try:
        limits = from_json(dict[str, Any], data["intensity"], where="intensity")
        low, high = (from_json(float, limits.get(key), where=key) for key in ("low", "high"))
        sources = from_json(list[str], data.get("sources", []), where="sources")
        named = {
            key: from_json(str, data.get(key, ""), where=key)
            for key in ("target", "task", "dataset", "plan", "method")
        }
        modality = from_json(known, data.get("modality"), where="modality")
        made_from = from_json(files, data.get("made_from"), where="made_from")
    except PlanError as error:
        raise PlanError(error.problem, where=f"{path}: {error.where}", remedy=wrong) from None
    if not low < high:
        raise PlanError("The intensity range is damaged", where=f"{path}: intensity", remedy=wrong)
    try:
        for what in ("dataset", "plan"):
            if named[what]:
                check_folder_name(named[what], what)
        if named["target"] in CHANNEL_WORDS:
            check_channel_name(named["target"], where="target")
    except LiftnetError as error:
        raise PlanError(error.problem, where=str(path), remedy=wrong) from None
    return Facts(
        sources=tuple(sources),
        written_range=(low, high),
        modality=modality,
        made_from=made_from,
        **named,
    )


def has_own_numbers(reference: Path) -> bool:
    """Whether a folder of references is one of targets that are numbered apart from sources."""
    return reference.absolute().name in ("targetsTr", "targetsTs")


def by_channel(images: Iterable[tuple[str, Facts | None]]) -> dict[str, list[Facts]]:
    """Channel digits -> what the JSON files of its images say; none for a channel without any."""
    found: dict[str, list[Facts]] = {}
    for digits, facts in images:
        found.setdefault(digits, []).extend([facts] if facts else [])
    return found


def refuse_network_units(facts: Iterable[Facts], where: Path) -> None:
    """Refuse images that are to be read as intensities, and are none.

    Raises:
        DatasetError: If one was written with --normalized.
    """
    if any(fact.in_network_units for fact in facts):
        raise DatasetError(
            "Images were written in the network's units (--normalized), not as intensities",
            where=str(where),
            remedy="Predict or generate them again without --normalized.",
        )


def find_setting(
    facts: Mapping[str, list[Facts]],
    protocol: str,
    *,
    reference: Path,
    dataset: int | str | None,
    workspace: Path | str | None,
) -> Setting:
    """Protocol, task, channel names and slice axis, as `find_known` has them.

    Args:
        facts: channel digits -> the JSON facts of its predicted images.
        protocol: the protocol's name.
        reference: the folder of references.
        dataset: id or name, or None.
        workspace: the workspace folder.

    Raises:
        PlanError: If the task has no such protocol.
        DatasetError: If the dataset asked for is not there.
    """
    known = find_known(facts, reference=reference, dataset=dataset, workspace=workspace)
    known = replace(known, task=known.task or _task_with(protocol, reference))
    protocols = load_synthesis(known.task).protocols
    return Setting(find_protocol(known.task, protocols, protocol), known)


def find_known(
    facts: Mapping[str, list[Facts]],
    *,
    reference: Path,
    dataset: int | str | None,
    workspace: Path | str | None,
) -> Known:
    """Task, channel names and slice axis: from the dataset asked for, or the one that predicted.

    Where neither is there, from the raw dataset in which the references lie.

    Args:
        facts: channel digits -> the JSON facts of its predicted images.
        reference: the folder of references.
        dataset: id or name, or None.
        workspace: the workspace folder.

    Raises:
        DatasetError: If the dataset asked for is not there.
    """
    listed = [fact for group in facts.values() for fact in group]
    first = {digits: group[0] for digits, group in facts.items() if group}
    space = find_workspace(workspace)
    name = space.dataset_name(dataset) if dataset is not None else _only(f.dataset for f in listed)
    task = _only(fact.task for fact in listed)
    slice_axis, own_numbers = DEFAULT_SLICE_AXIS, has_own_numbers(reference)
    plan_name = _only(fact.plan for fact in listed) or DEFAULT_PLAN
    description = _describe(space.raw / name if name else None, reference, dataset is not None)
    found, plan = None, None
    if name and (path := space.plan_file(name, plan_name)).is_file():
        plan = read_plan(path)
        task, slice_axis, found = plan.task, plan.grid.slice_axis, _planned(plan)
    elif description is not None:
        task, found = description.task, _described(description)
    elif dataset is not None:
        raise DatasetError(
            f"{name} has neither a plan nor a dataset.json",
            where=space.describe(),
            remedy="Leave out -d: the JSON files beside predicted images name their channels.",
        )
    if found is None:
        names = {digits: fact.target for digits, fact in first.items()}
        modalities = {d: fact.modality for d, fact in first.items() if fact.modality is not None}
        source_names = {} if own_numbers else names
    else:
        names = {digits: channel.name for digits, channel in found.predicted.items()}
        modalities = {digits: channel.modality for digits, channel in found.predicted.items()}
        source_names = {digits: channel.name for digits, channel in found.sources.items()}
        own_numbers = found.sources != found.predicted
    return Known(
        task=task,
        dataset=name,
        plan=plan,
        slice_axis=slice_axis,
        names=names,
        modalities=modalities,
        source_names=source_names,
        own_numbers=own_numbers,
    )


def _describe(raw: Path | None, reference: Path, asked: bool) -> DatasetDescription | None:
    """The dataset.json of a raw dataset, or that beside the folder of references."""
    folders = [] if raw is None else [raw]
    if not asked and reference.absolute().name.endswith(("sTr", "sTs")):
        folders.append(reference.absolute().parent)
    for folder in folders:
        if (folder / "dataset.json").is_file():
            return load_description(folder)
    return None


def _planned(plan: Plan) -> Channels:
    """The channels of a plan; targets that are never a source have numbers of their own."""
    numbered = {
        name: (f"{plan.file_number(name):04d}", Channel(name, plan.channel(name).modality))
        for name in plan.channel_names
    }
    sources = dict(entry for name, entry in numbered.items() if name in plan.sources)
    pure = dict(entry for name, entry in numbered.items() if name not in plan.sources)
    return Channels(pure or sources, sources)


def _described(description: DatasetDescription) -> Channels:
    """The channels of a raw dataset, targets in a folder of their own or among the sources."""
    groups = (description.targets or description.channels, description.channels)
    predicted, sources = ({f"{int(k):04d}": c for k, c in group.items()} for group in groups)
    return Channels(predicted, sources)


def _only(values: Iterable[str]) -> str:
    """The value if all are the same, else ""."""
    different = set(values)
    return different.pop() if len(different) == 1 else ""


def _task_with(protocol: str, reference: Path) -> str:
    """The default task, or another that has the protocol: where that has not, or for CT."""
    having = [name for name in task_names() if protocol in load_task(name).protocols]
    if DEFAULT_TASK in having and not _holds_ct(reference):
        return DEFAULT_TASK
    others = (name for name in having if name != DEFAULT_TASK)
    return next((n for n in others if isinstance(load_task(n), SynthesisTask)), DEFAULT_TASK)


def _holds_ct(folder: Path) -> bool:
    """Whether the first image of a folder has values as low as air's in HU."""
    shown = (path for path in sorted(folder.iterdir()) if not path.name.startswith("."))
    images = (path for path in shown if split_ending(path)[1])
    try:
        return any(bool(read_image(path)[0].min() < AIR_HU) for path in islice(images, 1))
    except LiftnetError:  # scoring names it
        return False


def find_protocol(task: str, protocols: Mapping[str, P], name: str) -> P:
    """The protocol of this name.

    Raises:
        PlanError: If the task has none.
    """
    if name not in protocols:
        raise PlanError(
            f"Task {task} has no protocol '{name}'",
            where="--protocol",
            remedy=f"Use one of {', '.join(protocols)}.",
        )
    return protocols[name]
