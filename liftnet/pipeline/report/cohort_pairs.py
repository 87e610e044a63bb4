"""A volume beside its nearest neighbour, as the viewer of a report shows them."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from acvl_utils.cropping_and_padding.bounding_boxes import bounding_box_to_slice, pad_bbox

from liftnet.core.scores import ClosestPair
from liftnet.ops.mask import bounding_box
from liftnet.pipeline.report.pictures import CONTENT, MARGIN, POOLS, STEPS
from liftnet.visual.volume_text import encode, pooled

__all__ = ["PairPicture", "pair_identifier", "pair_picture"]

Triple = tuple[float, float, float]
ERROR_PERCENTILE = 99.5  # ours: a few voxels must not darken the map
ERROR_STEP = 0.1  # ours: the map of a copy stays dark, as its scale ends here or above


@dataclass(frozen=True)
class PairPicture:
    """What the viewer reads of a pair."""

    data: dict[str, Any]
    texts: dict[str, str]  # id -> volume
    note: str  # "" unless it is shown coarser


def pair_identifier(pair: ClosestPair) -> str:
    """The name of a pair inside the page."""
    return f"{pair.cohort}/{pair.volume}"


def pair_picture(
    pair: ClosestPair,
    volumes: tuple[np.ndarray, np.ndarray],
    *,
    known: str,
    spacing_mm: Triple,
    slice_axis: int,
    number: int,
    max_bytes: float,
) -> PairPicture:
    """A pair, cut to its content and small enough for its share of the page.

    Args:
        pair: which volumes, and how far they are from each other.
        volumes: the volume and its neighbour (D, H, W) in [0, 1], in canonical axes.
        known: the cohort of the neighbour.
        spacing_mm: of these axes.
        slice_axis: of these axes.
        number: makes the ids of its volumes unlike those of others.
        max_bytes: of its volumes as text.
    """
    content = np.maximum(*volumes) > CONTENT
    box = bounding_box_to_slice(pad_bbox(bounding_box(content), MARGIN, content.shape))
    labels = {"predicted": f"{pair.cohort} {pair.volume}", "reference": f"{known} {pair.neighbour}"}
    for pool in POOLS:
        entries: list[dict[str, Any]] = []
        texts: dict[str, str] = {}
        shape: tuple[int, ...] = ()
        for (role, label), volume in zip(labels.items(), volumes, strict=True):
            voxels = pooled(volume[box], pool)
            shape = voxels.shape
            stored = encode(voxels, low=0.0, high=1.0, step=1 / STEPS)
            key = f"v{number}-{len(texts)}"
            texts[key] = stored.text
            entries.append(
                {
                    "role": role,
                    "label": label,
                    "unit": "",
                    "window": [0.0, 1.0],
                    "data": key,
                    "offset": stored.offset,
                    "step": stored.step,
                }
            )
        if sum(map(len, texts.values())) <= max_bytes:
            break
    start = [part.start for part in box]
    title = f"{labels['predicted']}, nearest {labels['reference']}"
    data = {
        "id": pair_identifier(pair),
        "title": title,
        "role": "chosen",
        "shape": list(shape),
        "spacing": [round(size * pool, 6) for size in spacing_mm],
        "start": start,
        "pool": pool,
        "full": list(content.shape),
        "sliceAxis": slice_axis,
        "affine": _affine(content.shape, spacing_mm, start, pool),
        "unit": "of the range [0, 1]",
        "window": [0.0, 1.0],
        "errorWindow": [0.0, _error_limit(volumes, content)],
        "slices": [n // 2 for n in shape],
        "images": entries[::-1],  # the reference stands before the predicted, as in other reports
        "metrics": f"mean absolute difference {pair.distance:.4g} in units of [-1, 1], "
        f"{pair.distance / 2:.4g} of the range [0, 1]",
    }
    note = f"{title}: shown in cubes of {pool}³ voxels; numbers are of the whole grid"
    return PairPicture(data, texts, note if pool > 1 else "")


def _error_limit(volumes: tuple[np.ndarray, np.ndarray], content: np.ndarray) -> float:
    """The end of the scale of the error map, in steps of a tenth."""
    one, other = volumes
    inside = content if content.any() else np.ones(content.shape, bool)
    limit = float(np.percentile(np.abs(one - other)[inside], ERROR_PERCENTILE))
    return round(max(1, math.ceil(limit / ERROR_STEP)) * ERROR_STEP, 3)


def _affine(
    full: tuple[int, ...], spacing: Triple, start: list[int], pool: int
) -> list[list[float]]:
    """The matrix from voxel (x, y, z) = (W, H, D) to RAS in mm; 0 is the centre of the grid."""
    rows = []
    for row, (axis, sign) in enumerate(((2, -1.0), (1, -1.0), (0, 1.0))):
        first = start[axis] + (pool - 1) / 2 - (full[axis] - 1) / 2
        line = [0.0, 0.0, 0.0, round(sign * spacing[axis] * first, 4)]
        line[row] = sign * round(spacing[axis] * pool, 6)
        rows.append(line)
    return [*rows, [0.0, 0.0, 0.0, 1.0]]
