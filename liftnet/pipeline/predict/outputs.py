"""What prediction writes: an image on the case's own grid, and a JSON that says how it was made."""

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from liftnet.core.dataset import Case
from liftnet.core.errors import PlanError
from liftnet.core.geometry import Geometry, Placement
from liftnet.core.plan import ClipAndScale, Plan
from liftnet.core.request import Request
from liftnet.core.storage.jsonable import read_json, write_json
from liftnet.host.origin import shown_command
from liftnet.imageio import write_image
from liftnet.imageio.formats import FILE_ENDINGS, split_ending
from liftnet.ops import normalize
from liftnet.ops.compute.cost import Cost
from liftnet.ops.compute.machine import describe_machine
from liftnet.pipeline.models.model import Model
from liftnet.pipeline.models.plausibility import examine
from liftnet.pipeline.models.pretrained import pretrained_origins
from liftnet.pipeline.models.training_facts import shares
from liftnet.pipeline.predict.source_files import MadeFrom
from liftnet.pipeline.preprocess.preprocess import restore
from liftnet.version import __version__

__all__ = [
    "Prepared",
    "input_facts",
    "is_finished",
    "made_by",
    "output_path",
    "output_range",
    "output_type",
    "remove_half_written",
    "sampling_of",
    "write_case",
    "write_with_facts",
]

MIN_GREY_LEVELS = 100  # ours: in fewer whole numbers, rounding would be seen


@dataclass(frozen=True)
class Prepared:
    """A case on its way to the network."""

    case: Case
    request: Request
    voxels: np.ndarray
    mask: np.ndarray | None
    placement: Placement
    shown: np.ndarray  # bool, on the case's own grid: where a source is above its background
    ranges: dict[str, tuple[float, float]]
    dtypes: dict[str, str]
    ending: str
    inputs: dict[str, list[int]]  # size and time of change of its files before they were read
    made_from: MadeFrom
    warnings: tuple[str, ...] = ()  # what is odd about its files and images


def remove_half_written(output: Path, cases: set[str]) -> None:
    """Delete what a killed run left of these cases' files."""
    endings = "|".join(map(re.escape, FILE_ENDINGS))
    for path in output.glob(".*") if output.is_dir() else ():
        match = re.fullmatch(
            rf"\.\d+\.(.+)_\d{{4}}(?:{endings})|\.(.+)_\d{{4}}\.json\.\d+\.tmp", path.name
        )
        if match and (match[1] or match[2]) in cases:
            path.unlink(missing_ok=True)


def output_path(output: Path, plan: Plan, case: str, target: str, ending: str) -> Path:
    """The file of a synthesized image: CASE_0003.nii.gz, numbered as in the raw dataset."""
    return output / f"{case}_{plan.file_number(target):04d}{ending}"


def input_facts(case: Case, request: Request) -> dict[str, list[int]]:
    """Size and time of change of every source file: other ones make another result."""
    files = {name: case.images[name] for name in request.given}
    files |= {"mask": case.mask} if case.mask else {}
    return {name: [path.stat().st_size, path.stat().st_mtime_ns] for name, path in files.items()}


def is_finished(path: Path, expected: dict[str, Any]) -> bool:
    """Whether an output is there whole, and its JSON says that it was made from these facts."""
    if not path.is_file():
        return False
    try:
        facts = read_json(sidecar(path))
        facts["range"] = [facts["intensity"]["low"], facts["intensity"]["high"]]
        facts.setdefault("sampling", None)
        return all(facts[key] == value for key, value in expected.items())
    except (PlanError, KeyError, TypeError):  # damaged: made again
        return False


def output_range(plan: Plan, target: str, normalized: bool) -> tuple[float, float]:
    """The intensities between which a target is written (for no limits: those of 0 and 1)."""
    rule = plan.channel(target).normalization
    if not normalized:
        return normalize.written_range(rule)
    return normalize.limits(rule) if np.isfinite(normalize.limits(rule)).all() else (0.0, 1.0)


def output_type(dtypes: dict[str, str], low: float, high: float, modality: str) -> str:
    """int16 for HU; else the sources' own integer type if it can hold the range, else float32."""
    kinds = {np.dtype(np.int16)} if modality == "CT" else {np.dtype(t) for t in dtypes.values()}
    if len(kinds) > 1 or min(kinds).kind not in "iu":
        return "float32"
    limits = np.iinfo(min(kinds))
    holds = limits.min <= low and high <= limits.max and high - low >= MIN_GREY_LEVELS
    return min(kinds).name if holds else "float32"


def sidecar(path: Path) -> Path:
    """The JSON file beside an image."""
    return path.with_name(split_ending(path)[0] + ".json")


def write_case(
    prepared: Prepared,
    volumes: np.ndarray,
    model: Model,
    output: Path,
    normalized: bool,
    cost: Cost,
) -> None:
    """Write every target on the case's own grid; its JSON comes last, and marks it complete."""
    plan, case, request = model.plan, prepared.case, prepared.request
    each = shares(model.facts, request)
    for target, made in zip(request.made, volumes, strict=True):
        channel = plan.channel(target)
        rule = channel.normalization
        low, high = output_range(plan, target, normalized)
        dtype = output_type(prepared.dtypes, low, high, channel.modality)
        plausibility = examine(
            plan,
            target,
            made,
            prepared.voxels,
            prepared.placement,
            model.known,
        )
        outside = normalize.background(rule)
        if normalized:
            outside = normalize.limits(rule)[0] if isinstance(rule, ClipAndScale) else 0.0
        else:
            made = normalize.invert(made, *normalize.typical_range(rule))  # noqa: PLW2901
        image = restore(made, prepared.placement, outside=outside)
        if channel.modality == "MR":  # air gives no MR signal, and resampling blurs the edge
            image = np.where(prepared.shown, image, np.float32(outside))
        path = output_path(output, plan, case.identifier, target, prepared.ending)
        facts = {
            "case": case.identifier,
            "target": target,
            "modality": channel.modality,
            "sources": list(request.given),
            "source_ranges": {k: list(v) for k, v in prepared.ranges.items()},
            "intensity": {"low": low, "high": high, "dtype": dtype},
            "inputs": prepared.inputs,
            "made_from": asdict(prepared.made_from),
            "warnings": list(prepared.warnings),
            "plausibility": plausibility,
            **made_by(model, cost, made.shape, [len(share.made) for share in each]),
            "folds": [
                folder.name
                for folder, share in zip(model.folders, each, strict=True)
                if target in share.made
            ],
        }
        write_with_facts(path, image, prepared.placement.source, facts)


def made_by(
    model: Model, cost: Cost, shape: tuple[int, int, int], targets: Sequence[int] = (1,)
) -> dict[str, Any]:
    """What the JSON of every image says of the networks that made it, and of the cost.

    `shape` (D, H, W) is that of the volume, of which each network made so many targets.
    """
    counts = [model.flops(shape, number) for number in targets if number]
    sampling = sampling_of(model)
    begun_with = pretrained_origins(model.folders)
    return {
        "task": model.plan.task,
        "method": model.method.name,
        "dataset": model.plan.dataset,
        "plan": model.plan.name,
        "folds": [folder.name for folder in model.folders],
        "model": model.digest,
        **({"unimproved_folds": list(model.unimproved)} if model.unimproved else {}),
        **({"pretrained": begun_with} if begun_with else {}),
        **asdict(cost),
        "flops": None if None in counts else sum(count for count in counts if count is not None),
        **({"sampling": sampling} if sampling else {}),
        "device": model.device.type,
        "hardware": describe_machine(str(model.device)),
        "command": shown_command(),
        "liftnet": __version__,
    }


def sampling_of(model: Model) -> dict[str, Any] | None:
    """How images are drawn, and from which seed; None where a case has one result."""
    sampling = model.recipe.sampling
    if sampling is None:
        return None
    kept = ("sampler", "num_steps", "samples")
    return {name: getattr(sampling, name) for name in kept} | {"seed": model.seed}


def write_with_facts(
    path: Path, image: np.ndarray, geometry: Geometry, facts: dict[str, Any]
) -> None:
    """Write an image (D, H, W); then its JSON, without which it does not count."""
    sidecar(path).unlink(missing_ok=True)
    write_image(path, image, geometry, dtype=facts["intensity"]["dtype"])
    write_json(sidecar(path), facts)
