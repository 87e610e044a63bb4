"""How far two images of one grid lie apart, by the information they share."""

import math
from collections.abc import Callable
from itertools import product

import numpy as np
from acvl_utils.cropping_and_padding.bounding_boxes import bounding_box_to_slice, pad_bbox
from scipy import ndimage

from liftnet.core.geometry import Triple
from liftnet.ops.mask import bounding_box

__all__ = [
    "REACH_MM",
    "find_shift",
    "normalized_mutual_information",
    "own_information",
    "working_spacing",
]

REACH_MM = 12.0  # ours: a pair further apart than this is found too, as at the end of the search
WORKING_MM = 2.0  # ours: finer voxels are averaged to about this size; peaks are found to 0.2 of it
MAX_VOXELS = 4_000_000  # ours: or to a coarser size where the body is larger, which bounds the time
RIM_MM = 10.0  # ours: so much air around the body counts, for its outline
SHIFT_BINS = 32  # ours: 64 measured no better, and slower
SMOOTHING = 0.6  # ours: in working voxels; noise must not decide, nor voxels averaged by resampling
SAMPLES, COARSE_SAMPLES = 60_000, 15_000  # ours: NMI of 32 bins is then exact to about 0.001
MAX_COMPARED = 200_000  # ours: voxels of a box, which is exact to 0.003
MIN_GAIN = 0.002  # ours: a peak that stands less above its surroundings is noise

Voxels = tuple[int, int, int]


def own_information(
    first: np.ndarray, second: np.ndarray, subject: np.ndarray, *, left: int
) -> float:
    """How much more information two images share than the first and the second mirrored.

    Any two heads share an outline and layers, and small images share more than large ones by
    chance; the mirrored image shares as much by either. What is left only images of one subject
    share that lie on top of each other: about 0 for those of two, 0.03 to 0.4 for right pairs,
    and nearly 1 for copies.

    Args:
        first: (D, H, W), cropped to the subject.
        second: (D, H, W), likewise.
        subject: bool (D, H, W), what is looked at, where both images are above their smallest.
        left: the axis along which the subject is mirrored, that from right to left.
    """
    step = max(1, math.ceil((first.size / MAX_COMPARED) ** (1 / 3)))
    one, other, inside = (
        np.ascontiguousarray(image[::step, ::step, ::step]) for image in (first, second, subject)
    )
    inside = inside & (one > one.min())
    least = other.min()
    shared = []
    for turned in (other, np.flip(other, left)):
        both = inside & (turned > least)
        shared.append(normalized_mutual_information(one[both], turned[both]))
    return shared[0] - shared[1]


def normalized_mutual_information(first: np.ndarray, second: np.ndarray) -> float:
    """(H(a) + H(b)) / H(a, b) of two samples of voxels: 1 if unrelated, 2 if equal up to a map.

    Also 1 where there is too little to compare.

    Source: Studholme et al. 1999.
    """
    if first.size < SHIFT_BINS:
        return 1.0
    rows, columns = (
        ((v - v.min()) * ((SHIFT_BINS - 1e-3) / max(float(np.ptp(v)), 1e-30))).astype(np.int64)
        for v in (first.astype(np.float32), second.astype(np.float32))
    )
    joint = np.bincount(rows * SHIFT_BINS + columns, minlength=SHIFT_BINS**2)
    return _information(joint.reshape(SHIFT_BINS, SHIFT_BINS))


def _information(joint: np.ndarray) -> float:
    """Normalized mutual information of a joint histogram of counts (n, m)."""
    p = joint / joint.sum()

    def entropy(p: np.ndarray) -> float:
        p = p[p > 0]
        return float(-(p * np.log(p)).sum())

    both = entropy(p)
    return (entropy(p.sum(0)) + entropy(p.sum(1))) / both if both > 0 else 2.0


def find_shift(
    source: np.ndarray, target: np.ndarray, subject: np.ndarray, spacing_mm: Triple
) -> Triple | None:
    """How far the target lies from the source (mm along each array axis), or None if unknown.

    A positive number means that the target's content lies too far along the axis: the voxel at
    index p of the source belongs to that at p + shift / spacing of the target. The shift is the
    one with the largest normalized mutual information among whole voxels within `REACH_MM`,
    refined by a parabola along each axis. No image is interpolated, and each shift is judged by
    the same voxels of the source, all of which stay on the grid, so neither the edge of the grid
    nor interpolation can make a maximum.

    Args:
        source: (D, H, W).
        target: (D, H, W) on the same grid.
        subject: (D, H, W), where the source shows the subject.
        spacing_mm: Of the grid.
    """
    found = bounding_box(subject)
    start, stop = zip(*found, strict=True)
    step = working_spacing(start, stop, spacing_mm)
    factor = tuple(round(w / s) for w, s in zip(step, spacing_mm, strict=True))
    margin = [int((REACH_MM + RIM_MM) / s) + f for s, f in zip(spacing_mm, factor, strict=True)]
    box = bounding_box_to_slice(pad_bbox(found, margin))
    fixed, moving = (_smooth(_averaged(image[box], factor)) for image in (source, target))
    region = _averaged(subject[box], factor) > 0
    for axis in range(3):
        region = ndimage.maximum_filter1d(region, 2 * round(RIM_MM / step[axis]) + 1, axis=axis)
    # A thin stack would have no voxel left if its shifts reached as far as those of a head.
    reach = [
        min(int(np.ceil(REACH_MM / w)), n // 4) for w, n in zip(step, region.shape, strict=True)
    ]
    inner = np.zeros_like(region)
    inside = tuple(slice(r, n - r) for r, n in zip(reach, region.shape, strict=True))
    inner[inside] = region[inside]
    places = np.flatnonzero(inner)
    if len(places) == 0:
        return None
    if len(places) > SAMPLES:  # drawn, since a regular choice would favour some voxel distances
        places = np.random.default_rng(0).permutation(places)[:SAMPLES]
    rows = _bin(fixed, region).reshape(-1)[places] * SHIFT_BINS
    columns = _bin(moving, region).reshape(-1)
    few = slice(min(len(places), COARSE_SAMPLES))
    coarse = _shared(rows[few], columns, places[few], region.shape)
    shared = _shared(rows, columns, places, region.shape)
    steps = (range(-(r // 2) * 2, r + 1, 2) for r in reach)
    lattice = [(d, h, w) for d, h, w in product(*steps)]
    values = [coarse(shift) for shift in lattice]
    if max(values) - float(np.median(values)) < MIN_GAIN:
        return None
    best = _climb(shared, lattice[int(np.argmax(values))], reach)
    d, h, w = (_peak(shared, best, axis, reach[axis]) * step[axis] for axis in range(3))
    return d, h, w


def working_spacing(start: Voxels, stop: Voxels, spacing_mm: Triple) -> Triple:
    """The size of the voxels (mm) by which shifts of a subject in this box are measured."""
    extent = np.subtract(stop, start) * spacing_mm + 2 * (REACH_MM + RIM_MM)
    size = max(WORKING_MM, float(np.prod(extent) / MAX_VOXELS) ** (1 / 3))
    d, h, w = (s * max(1, round(size / s)) for s in spacing_mm)
    return d, h, w


def _averaged(image: np.ndarray, factor: tuple[int, ...]) -> np.ndarray:
    """The means of blocks of voxels; what does not fill a block is left out."""
    if all(f == 1 for f in factor):
        return np.asarray(image, dtype=np.float32)
    d, h, w = (n // f for n, f in zip(image.shape, factor, strict=True))
    i, j, k = factor
    blocks = image[: d * i, : h * j, : w * k].reshape(d, i, h, j, w, k)
    return np.asarray(blocks.mean(axis=(1, 3, 5), dtype=np.float32))


def _smooth(image: np.ndarray) -> np.ndarray:
    return np.asarray(ndimage.gaussian_filter(image, SMOOTHING, truncate=2.0))


def _bin(image: np.ndarray, region: np.ndarray) -> np.ndarray:
    """The number of the grey-value bin of each voxel, bins of equal width over the region."""
    values = image[region]
    low, high = np.percentile(values[:: max(1, values.size // SAMPLES)], (0.5, 99.5))
    scale = SHIFT_BINS / (high - low) if high > low else 0.0
    return np.asarray(np.clip((image - low) * scale, 0, SHIFT_BINS - 1).astype(np.int16))


def _shared(
    rows: np.ndarray, columns: np.ndarray, places: np.ndarray, shape: tuple[int, ...]
) -> Callable[[Voxels], float]:
    """A function: shift in voxels -> normalized mutual information of the sampled voxels."""
    known: dict[Voxels, float] = {}

    def value(shift: Voxels) -> float:
        if shift not in known:
            offset = (shift[0] * shape[1] + shift[1]) * shape[2] + shift[2]
            pairs = np.bincount(rows + columns[places + offset], minlength=SHIFT_BINS**2)
            known[shift] = _information(pairs.reshape(SHIFT_BINS, SHIFT_BINS))
        return known[shift]

    return value


def _climb(value: Callable[[Voxels], float], start: Voxels, reach: list[int]) -> Voxels:
    """The shift from which no neighbour within reach is better."""
    best = start
    while True:
        near = product(
            *(range(max(b - 1, -r), min(b + 1, r) + 1) for b, r in zip(best, reach, strict=True))
        )
        better = max(((d, h, w) for d, h, w in near), key=value)
        if value(better) <= value(best):
            return best
        best = better


def _peak(value: Callable[[Voxels], float], best: Voxels, axis: int, reach: int) -> float:
    """Where along an axis the parabola through the best shift and its neighbours has its top."""
    if abs(best[axis]) >= reach:
        return float(best[axis])
    low, middle, high = (
        value((shift[0], shift[1], shift[2]))
        for step in (-1, 0, 1)
        for shift in [[b + step * (a == axis) for a, b in enumerate(best)]]
    )
    bend = low - 2 * middle + high
    return best[axis] + (0.5 * (low - high) / bend if bend < 0 else 0.0)
