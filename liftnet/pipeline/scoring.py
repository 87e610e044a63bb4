"""What evaluation reads: predicted and reference files, and the JSON beside predicted ones."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from liftnet.core.dataset import FILE_ENDINGS, Channel, channel_list, find_cases, load_description
from liftnet.core.errors import DatasetError, GeometryError, LiftnetError, PlanError
from liftnet.core.geometry import Geometry, Volume, axis_order, turn
from liftnet.core.jsonable import read_json
from liftnet.core.scores import CaseScore, Comparison, Protocol, ScoreFailure
from liftnet.core.workspace import find_workspace
from liftnet.imageio import read_image
from liftnet.pipeline.plan import DEFAULT_PLAN, read_plan
from liftnet.tasks import load_task

__all__ = ["CaseFiles", "Facts", "Pair", "Setting", "find_images", "find_setting", "score_files"]

DEFAULT_TASK = "missing_modality"  # where neither a JSON file nor a dataset names the task
DEFAULT_SLICE_AXIS = "axial"  # LiFT: all three tasks
CANONICAL = "axial"  # the order (z, y, x) in which images are compared
# A folder of predicted images need not have a dataset.json: any four digits are a channel.
ANY_CHANNEL = {str(i): Channel(f"{i:04d}") for i in range(10_000)}


@dataclass(frozen=True)
class Facts:
    """What the JSON file beside a predicted image says about it."""

    target: str
    sources: tuple[str, ...]
    written_range: tuple[float, float]
    task: str
    dataset: str
    plan: str


@dataclass(frozen=True)
class Pair:
    """A predicted file that has a reference; channels are the four digits of the file name."""

    channel: str
    predicted: Path
    facts: Facts | None


@dataclass(frozen=True)
class CaseFiles:
    """The files of one case: pairs to score, and images by channel digits."""

    case: str
    pairs: tuple[Pair, ...]
    references: dict[str, Path]
    sources: dict[str, Path]


@dataclass(frozen=True)
class Setting:
    """What is the same for all cases."""

    protocol: Protocol
    task: str
    dataset: str
    slice_axis: str
    channels: Mapping[str, Channel]  # by channel digits, as far as they are known

    def name(self, channel: str) -> str:
        """The name of a channel, or its digits."""
        return self.channels[channel].name if channel in self.channels else channel


def find_images(folder: Path, what: str) -> tuple[dict[str, dict[str, Path]], list[Path]]:
    """Case -> channel digits -> file, and the images whose names do not fit.

    Raises:
        DatasetError: If the folder does not exist, or two files claim to be one channel.
    """
    if not folder.is_dir():
        raise DatasetError(
            f"The folder of {what} images does not exist", where=str(folder), remedy="Check it."
        )
    found, strangers = find_cases(folder, ANY_CHANNEL)
    return found, [path for path in strangers if path.name.lower().endswith(FILE_ENDINGS)]


def read_facts(image: Path) -> Facts | None:
    """What the JSON file beside a predicted image says; None if there is none of liftnet's.

    Raises:
        PlanError: If the file is damaged.
    """
    ending = next(e for e in FILE_ENDINGS if image.name.lower().endswith(e))
    path = image.with_name(image.name[: -len(ending)] + ".json")
    if not path.is_file():
        return None
    data = read_json(path)
    if not isinstance(data, dict) or "intensity" not in data or "target" not in data:
        return None  # another program's
    try:
        low, high = (float(data["intensity"][key]) for key in ("low", "high"))
    except (KeyError, TypeError, ValueError):
        low = high = 0.0
    if not low < high:
        raise PlanError(
            "The intensity range is damaged",
            where=f"{path}: intensity",
            remedy="Predict this case again, or delete the JSON file to use the image's own range.",
        )
    return Facts(
        target=str(data["target"]),
        sources=tuple(str(name) for name in data.get("sources", ())),
        written_range=(low, high),
        task=str(data.get("task", "")),
        dataset=str(data.get("dataset", "")),
        plan=str(data.get("plan", "")),
    )


def find_setting(
    facts: Mapping[str, list[Facts]],
    protocol: str,
    *,
    dataset: int | str | None,
    workspace: Path | str | None,
) -> Setting:
    """Task, channel names and slice axis: from the dataset asked for, or the one that predicted.

    Args:
        facts: channel digits -> the JSON facts of its predicted images.
        protocol: the protocol's name.
        dataset: id or name, or None.
        workspace: the workspace folder.

    Raises:
        PlanError: If the task has no such protocol.
        DatasetError: If the dataset asked for is not there.
    """
    listed = [fact for group in facts.values() for fact in group]
    names = {digits: Channel(group[0].target) for digits, group in facts.items() if group}
    space = find_workspace(workspace)
    named = _only(fact.dataset for fact in listed)
    name = space.dataset_name(dataset) if dataset is not None else named
    task = _only(fact.task for fact in listed) or DEFAULT_TASK
    slice_axis, channels = DEFAULT_SLICE_AXIS, names
    path = space.plan_file(name, _only(fact.plan for fact in listed) or DEFAULT_PLAN)
    if name and path.is_file():
        plan = read_plan(path)
        task, slice_axis = plan.task, plan.grid.slice_axis
        channels = {f"{i:04d}": Channel(c.name, c.modality) for i, c in enumerate(plan.channels)}
    elif name and (space.raw / name / "dataset.json").is_file():
        description = load_description(space.raw / name)
        task = description.task
        channels = {f"{i:04d}": c for i, c in enumerate(channel_list(description))}
    elif dataset is not None:
        raise DatasetError(
            f"{name} has neither a plan nor a dataset.json",
            where=space.describe(),
            remedy="Leave out -d: the JSON files beside predicted images name their channels.",
        )
    found = _find_protocol(task, protocol)
    return Setting(found, task, name, slice_axis, channels)


def _only(values: Any) -> str:
    """The value if all are the same, else ""."""
    different = set(values)
    return different.pop() if len(different) == 1 else ""


def _find_protocol(task: str, name: str) -> Protocol:
    protocols = load_task(task).protocols
    if name not in protocols:
        raise PlanError(
            f"Task {task} has no protocol '{name}'",
            where="--protocol",
            remedy=f"Use one of {', '.join(protocols)}.",
        )
    return protocols[name]


def score_files(
    files: CaseFiles, setting: Setting
) -> tuple[tuple[CaseScore, ...], tuple[ScoreFailure, ...]]:
    """The scores of every predicted image of a case; one that cannot be scored is a failure."""
    try:
        references, geometry = _read_references(files)
    except LiftnetError as error:
        return (), (ScoreFailure(files.case, _message(error, files.case)),)
    subject = np.any([image > 0 for image in references.values()], axis=0)
    scores, failures = [], []
    for pair in files.pairs:
        name = pair.facts.target if pair.facts else setting.name(pair.channel)
        try:
            source, source_name = _read_source(files, pair, setting, geometry)
            comparison = Comparison(
                case=files.case,
                channel=name,
                predicted=_read_on(geometry, pair.predicted, "Predicted and reference"),
                reference=references[pair.channel],
                subject=subject,
                subject_note="above 0 in any of " + ", ".join(map(setting.name, references)),
                slice_axis=setting.slice_axis,
                modality=setting.channels[pair.channel].modality
                if pair.channel in setting.channels
                else None,
                written_range=pair.facts.written_range if pair.facts else None,
                source=source,
                source_name=source_name,
            )
            task = load_task(setting.task)
            scores.append(task.score_case(comparison, setting.protocol.name))
        except LiftnetError as error:
            failures.append(ScoreFailure(files.case, _message(error, f"{files.case}, {name}")))
    return tuple(scores), tuple(failures)


def _message(error: LiftnetError, case: str) -> str:
    error.where = f"case {case}" + (f": {error.where}" if error.where else "")
    return str(error)


def _read_references(files: CaseFiles) -> tuple[dict[str, np.ndarray], Geometry]:
    """Every reference image of the case, which must share one grid."""
    digits = files.pairs[0].channel
    first, geometry = _read_turned(files.references[digits])
    images = {digits: first}
    for other, path in files.references.items():
        if other != digits:
            images[other] = _read_on(geometry, path, f"The references {digits} and {other}")
    return dict(sorted(images.items())), geometry


def _read_source(
    files: CaseFiles, pair: Pair, setting: Setting, geometry: Geometry
) -> tuple[np.ndarray | None, str]:
    """The first source image of a predicted one, where the protocol masks by it."""
    if not setting.protocol.needs_source:
        return None, ""
    others = {digits: path for digits, path in files.sources.items() if digits != pair.channel}
    if not others:
        raise DatasetError(
            f"Protocol {setting.protocol.name} masks with the first source, and there is none",
            remedy="Name the folder of source images with -s.",
        )
    digits = min(others)
    if pair.facts:
        by_name = {setting.name(d): d for d in others}
        used = [by_name[name] for name in pair.facts.sources if name in by_name]
        predicted = {p.channel for p in files.pairs}
        # Where the sources' numbers are not known, what was predicted is the least likely one.
        digits = used[0] if used else min(set(others) - predicted or others)
    return _read_on(geometry, others[digits], "Source and reference"), setting.name(digits)


def _read_on(geometry: Geometry, path: Path, pair: str) -> np.ndarray:
    """An image that must lie on this grid, whatever the order of its stored axes."""
    image, own = _read_turned(path)
    if difference := geometry.differs(own):
        raise GeometryError(
            f"{pair} lie on different grids: {difference}",
            where=path.name,
            remedy="Resample one onto the other; scores compare voxel by voxel.",
        )
    return image


def _read_turned(path: Path) -> tuple[np.ndarray, Geometry]:
    """An image (D = z, H = y, W = x) and its grid."""
    voxels, info = read_image(path)
    if not np.isfinite(voxels).all():
        raise DatasetError(
            "The image holds NaN or infinite values", where=str(path), remedy="Replace them by 0."
        )
    turned = turn(Volume(voxels[None], info.geometry), axis_order(info.geometry, CANONICAL))
    return np.ascontiguousarray(turned.voxels[0]), turned.geometry
