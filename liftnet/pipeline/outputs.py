"""What prediction writes: an image on the case's own grid, and a JSON that says how it was made."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from liftnet.core.dataset import FILE_ENDINGS, Case
from liftnet.core.errors import PlanError
from liftnet.core.geometry import Placement
from liftnet.core.jsonable import read_json, write_json
from liftnet.core.plan import Plan
from liftnet.imageio import write_image
from liftnet.ops import normalize
from liftnet.pipeline.model import Model
from liftnet.pipeline.preprocess import restore
from liftnet.tasks.base import Request
from liftnet.version import __version__

__all__ = [
    "Prepared",
    "input_facts",
    "is_finished",
    "output_path",
    "output_range",
    "remove_half_written",
    "write_case",
]

MIN_GREY_LEVELS = 100  # ours: in fewer whole numbers, rounding would be seen


@dataclass(frozen=True)
class Prepared:
    """A case on its way to the network."""

    case: Case
    request: Request
    voxels: np.ndarray
    placement: Placement
    subject: np.ndarray  # bool, on the prepared case's own grid: where a source is above its 0
    ranges: dict[str, tuple[float, float]]
    dtypes: dict[str, str]
    ending: str


def remove_half_written(output: Path, cases: set[str]) -> None:
    """Delete what a killed run left of these cases' files."""
    for path in output.glob(".*") if output.is_dir() else ():
        match = re.fullmatch(
            r"\.(?:\d+\.)?(.+)_\d{4}\.(?:json\.\d+\.tmp|nii|nii\.gz|mha|nrrd)", path.name
        )
        if match and match[1] in cases:
            path.unlink(missing_ok=True)


def output_path(output: Path, plan: Plan, case: str, target: str, ending: str) -> Path:
    """The file of a synthesized image: CASE_0003.nii.gz, numbered as the channel that it is."""
    return output / f"{case}_{plan.channel_names.index(target):04d}{ending}"


def input_facts(case: Case, request: Request) -> dict[str, list[int]]:
    """Size and time of change of every source file: other ones make another result."""
    stats = {name: case.images[name].stat() for name in request.sources}
    return {name: [s.st_size, s.st_mtime_ns] for name, s in stats.items()}


def is_finished(path: Path, expected: dict[str, Any]) -> bool:
    """Whether an output is there whole, and its JSON says that it was made from these facts."""
    if not path.is_file():
        return False
    try:
        facts = read_json(sidecar(path))
        intensity = facts["intensity"]
        found = {k: facts[k] for k in ("model", "inputs")}
        return {**found, "range": [intensity["low"], intensity["high"]]} == expected
    except (PlanError, KeyError, TypeError):  # damaged: made again
        return False


def output_range(plan: Plan, target: str, normalized: bool) -> tuple[float, float]:
    """The intensities that the network's 0 and 1 become in the file."""
    return (0.0, 1.0) if normalized else normalize.typical_range(plan.channel(target).normalization)


def output_type(dtypes: dict[str, str], low: float, high: float) -> str:
    """The sources' own type if it is one integer type that can hold the range, else float32."""
    kinds = {np.dtype(dtype) for dtype in dtypes.values()}
    if len(kinds) > 1 or min(kinds).kind not in "iu":
        return "float32"
    limits = np.iinfo(min(kinds))
    holds = limits.min <= low and high <= limits.max and high - low >= MIN_GREY_LEVELS
    return min(kinds).name if holds else "float32"


def sidecar(path: Path) -> Path:
    """The JSON file beside an image."""
    ending = next(e for e in FILE_ENDINGS if path.name.lower().endswith(e))
    return path.with_name(path.name[: -len(ending)] + ".json")


def write_case(
    prepared: Prepared,
    volumes: np.ndarray,
    model: Model,
    output: Path,
    normalized: bool,
    seconds: float,
) -> None:
    """Write every target on the case's own grid; its JSON comes last, and marks it complete."""
    plan, case, request = model.plan, prepared.case, prepared.request
    for target, volume in zip(request.targets, volumes, strict=True):
        low, high = output_range(plan, target, normalized)
        dtype = output_type(prepared.dtypes, low, high)
        image = restore(normalize.invert(volume, low, high), prepared.placement, outside=low)
        image = np.where(prepared.subject, image, np.float32(low))  # resampling blurs the edge
        path = output_path(output, plan, case.identifier, target, prepared.ending)
        facts = {
            "case": case.identifier,
            "target": target,
            "sources": list(request.sources),
            "source_ranges": {k: list(v) for k, v in prepared.ranges.items()},
            "intensity": {"low": low, "high": high, "dtype": dtype},
            "task": plan.task,
            "dataset": plan.dataset,
            "plan": plan.name,
            "folds": [folder.name for folder in model.folders],
            "variant": model.folders[0].parent.name,
            "model": model.digest,
            "inputs": input_facts(case, request),
            "seconds": round(seconds, 3),
            "device": model.device.type,
            "liftnet": __version__,
        }
        sidecar(path).unlink(missing_ok=True)
        write_image(path, image, prepared.placement.source, dtype=dtype)
        write_json(sidecar(path), facts)
