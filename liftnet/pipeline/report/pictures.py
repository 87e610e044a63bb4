"""The images that a report shows: read, cut to their content, and written into the page."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from acvl_utils.cropping_and_padding.bounding_boxes import bounding_box_to_slice, pad_bbox

from liftnet.core.errors import LiftnetError
from liftnet.core.geometry import Geometry, array_axes
from liftnet.core.scores import Compared
from liftnet.ops.depth import delta_z
from liftnet.ops.mask import bounding_box
from liftnet.pipeline.report.choice import Shown, identifier
from liftnet.pipeline.report.results import Results
from liftnet.pipeline.report.sources import MethodCase, MethodSource, find_sources, read_method
from liftnet.visual.volume_text import encode, pooled

__all__ = ["Picture", "SliceProfile", "picture"]

CONTENT = 0.05  # ours: of the range above its lower end; noise in air is below
MARGIN = 3  # ours: voxels around the content
STEPS = 1000  # ours: of a range that is not in HU; no screen shows more
HU_STEP = 1.0  # ours: CT is stored in whole HU
HU_WINDOW = (-1000.0, 1000.0)  # ours: air to bone, as radiotherapy looks at whole CTs
ERROR_PERCENTILE = 99.5  # ours: a few voxels must not darken the map
SOURCE_PERCENTILES = (0.0, 99.9)
POOLS = (1, 2, 3, 4)  # ours: cubes of so many voxels are averaged where the page gets too large
MB = 1_000_000


@dataclass(frozen=True)
class SliceProfile:
    """Numbers per slice of the whole grid along the slice axis; NaN where there is no subject."""

    error: dict[str, np.ndarray]  # method -> mean absolute error (D,)
    step: dict[str, np.ndarray]  # method, "reference" -> mean absolute step to the next (D - 1,)
    step_error: dict[str, np.ndarray]  # method -> mean absolute error of the step (D - 1,)


@dataclass(frozen=True)
class Picture:
    """One image of the page."""

    shown: Shown
    data: dict[str, Any]  # what the viewer reads
    texts: dict[str, str]  # id -> volume
    profile: SliceProfile
    unit: str
    first: float  # slices of the whole grid that the first and the last shown one are
    last: float
    notes: tuple[str, ...]


def picture(
    results: Results,
    shown: Shown,
    found: Mapping[str, MethodSource],
    *,
    sources: Path | None,
    workspace: Path | str | None,
    number: int,
    max_bytes: float,
) -> Picture:
    """An image of all methods with its sources, small enough for its share of the page.

    Args:
        results: what the report is about.
        shown: which image.
        found: method -> where its images are.
        sources: the folder of sources, where it cannot be found.
        workspace: the workspace folder.
        number: makes the ids of its volumes unlike those of other images.
        max_bytes: of its volumes as text.

    Raises:
        LiftnetError: If a file is gone or damaged.
    """
    methods = {
        method.name: read_method(method, shown.image, found[method.name])
        for method in results.methods
    }
    first = next(iter(methods.values()))
    for name, other in methods.items():
        if difference := first.geometry.differs(other.geometry):
            raise LiftnetError(f"{name} lies on another grid: {difference}")
    told = next((m for m in methods.values() if m.pair.facts and m.pair.facts.made_from), first)
    extra, notes = find_sources(told, sources=sources, workspace=workspace)
    images = {name: method.compared for name, method in methods.items()}
    axis = array_axes(results.slice_axis)[0]
    content = _content(images)
    volumes = _volumes(images, extra)
    box = bounding_box_to_slice(pad_bbox(bounding_box(content), MARGIN, content.shape))
    smallest = min(part.stop - part.start for part in box)
    for pool in (pool for pool in POOLS if pool <= smallest):
        entries, texts = _encoded(volumes, box, pool, number, first)
        if sum(map(len, texts.values())) <= max_bytes:
            break
    if pool > 1:
        notes = (*notes, f"shown in cubes of {pool}³ voxels; numbers are of the whole grid")
    start = [part.start for part in box]
    shape = [(part.stop - part.start) // pool for part in box]
    middle = [round(float(np.mean(np.nonzero(_along(content[box], a))[0]))) for a in range(3)]
    data = {
        "id": identifier(shown.image),
        "title": shown.image.title,
        "role": shown.role,
        "shape": shape,
        "spacing": [round(s * pool, 6) for s in first.geometry.spacing_mm],
        "start": start,
        "pool": pool,
        "full": list(content.shape),
        "sliceAxis": axis,
        "affine": _affine(first.geometry, start, pool),
        "unit": first.compared.unit or "of the range [0, 1]",
        "window": list(_window(first.compared)),
        "errorWindow": [0.0, _error_limit(images, content)],
        "slices": [min(m // pool, n - 1) for m, n in zip(middle, shape, strict=True)],
        "images": entries,
    }
    return Picture(
        shown=shown,
        data=data,
        texts=texts,
        profile=_profile(images, content, axis),
        unit=first.compared.unit,
        first=start[axis] + (pool - 1) / 2,
        last=start[axis] + (pool - 1) / 2 + (shape[axis] - 1) * pool,
        notes=notes,
    )


@dataclass(frozen=True)
class _Volume:
    """A volume to be shown, and between which values it is kept."""

    role: str
    label: str
    unit: str
    voxels: np.ndarray
    low: float
    high: float
    step: float


def _volumes(images: dict[str, Compared], sources: dict[str, np.ndarray]) -> list[_Volume]:
    """Sources, reference and predicted images in the order in which they stand on the page."""
    found = []
    for label, voxels in sources.items():
        low, high = (float(v) for v in np.percentile(voxels, SOURCE_PERCENTILES))
        high = high if high > low else low + 1.0
        found.append(_Volume("source", label, "", voxels, low, high, (high - low) / STEPS))
    first = next(iter(images.values()))
    both = [image for one in images.values() for image in (one.predicted, one.reference)]
    low = math.floor(min(float(image.min()) for image in both))
    high = math.ceil(max(float(image.max()) for image in both))
    high = high if high > low else low + 1
    step = HU_STEP if first.unit == "HU" else (high - low) / STEPS
    kept: dict[str, Any] = {"unit": first.unit, "low": low, "high": high, "step": step}
    found.append(_Volume("reference", "reference", voxels=first.reference, **kept))
    found += [
        _Volume("predicted", name, voxels=one.predicted, **kept) for name, one in images.items()
    ]
    return found


def _encoded(
    volumes: Sequence[_Volume],
    box: tuple[slice, ...],
    pool: int,
    number: int,
    first: MethodCase,
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """What the viewer reads of each volume, and the volumes as text."""
    entries, texts = [], {}
    for place, volume in enumerate(volumes):
        stored = encode(
            pooled(volume.voxels[box], pool), low=volume.low, high=volume.high, step=volume.step
        )
        key = f"v{number}-{place}"
        texts[key] = stored.text
        window = (volume.low, volume.high)
        if volume.role != "source":
            window = _window(first.compared)
        entries.append(
            {
                "role": volume.role,
                "label": volume.label,
                "unit": volume.unit,
                "window": list(window),
                "data": key,
                "offset": stored.offset,
                "step": stored.step,
            }
        )
    return entries, texts


def _content(images: dict[str, Compared]) -> np.ndarray:
    """Where the reference is above the lower end of its range (D, H, W); all of it if nowhere."""
    reference = next(iter(images.values())).reference
    low, high = float(reference.min()), float(reference.max())
    content = np.asarray(reference > low + CONTENT * (high - low))
    return content if content.any() else np.ones(reference.shape, bool)


def _along(content: np.ndarray, axis: int) -> np.ndarray:
    return np.asarray(content.any(axis=tuple(a for a in range(3) if a != axis)))


def _window(images: Compared) -> tuple[float, float]:
    return HU_WINDOW if images.unit == "HU" else (0.0, 1.0)


def _error_limit(images: dict[str, Compared], content: np.ndarray) -> float:
    """The end of the colour scale of all error maps of the case: a round number."""
    errors = [np.abs(one.predicted - one.reference)[content] for one in images.values()]
    limit = max(float(np.percentile(error, ERROR_PERCENTILE)) for error in errors)
    if limit <= 0:
        return HU_STEP if next(iter(images.values())).unit == "HU" else 0.01
    power = 10.0 ** math.floor(math.log10(limit))
    return float(next(m * power for m in (1, 1.5, 2, 3, 4, 5, 6, 8, 10) if m * power >= limit))


def _affine(geometry: Geometry, start: list[int], pool: int) -> list[list[float]]:
    """The matrix from voxel (x, y, z) = (W, H, D) of what is shown to RAS in mm."""
    corner = tuple(s + (pool - 1) / 2 for s in start)
    origin = geometry.world((corner[0], corner[1], corner[2]))
    columns = [
        [geometry.direction[a][k] * geometry.spacing_mm[a] * pool for k in range(3)]
        for a in (2, 1, 0)
    ]
    signs = (-1.0, -1.0, 1.0)  # LPS to RAS
    rows = [
        [round(signs[k] * column[k], 6) for column in columns] + [round(signs[k] * origin[k], 4)]
        for k in range(3)
    ]
    return [*rows, [0.0, 0.0, 0.0, 1.0]]


def _profile(images: dict[str, Compared], content: np.ndarray, axis: int) -> SliceProfile:
    """Means over the subject in each slice, and over what two neighbouring slices share."""
    inside = np.moveaxis(content, axis, 0)
    shared = inside[1:] & inside[:-1]
    reference = np.moveaxis(next(iter(images.values())).reference, axis, 0)
    wanted = delta_z(reference, dim=0)
    profile = SliceProfile({}, {"reference": _means(np.abs(wanted), shared)}, {})
    for name, one in images.items():
        predicted = np.moveaxis(one.predicted, axis, 0)
        steps = delta_z(predicted, dim=0)
        profile.error[name] = _means(np.abs(predicted - reference), inside)
        profile.step[name] = _means(np.abs(steps), shared)
        profile.step_error[name] = _means(np.abs(steps - wanted), shared)
    return profile


def _means(values: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """The mean of each slice over the voxels inside; NaN where there is none."""
    counts = inside.sum(axis=(1, 2))
    sums = np.where(inside, values, 0).sum(axis=(1, 2), dtype=np.float64)
    return np.divide(sums, counts, out=np.full(len(sums), np.nan), where=counts > 0)
