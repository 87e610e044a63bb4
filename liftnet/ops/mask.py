"""Foreground masks and boxes of volumes (C, D, H, W)."""

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from liftnet.ops.intensities import bright_end, clip_extremes, otsu_threshold

__all__ = [
    "Box",
    "body",
    "bounding_box",
    "box_about",
    "foreground",
    "has_zero_background",
    "largest_component",
    "lattice",
    "without_rim",
]

Box = list[list[int]]  # [start, stop), along each axis, as acvl-utils has it
CLOSED_GAP = 2  # ours: voxels; gaps up to twice this are closed
FLOOR = 0.01  # ours: of the bright end; what interpolation leaves of a background lies below
COARSE_SIDE = 48  # ours: voxels per axis at most; enough to tell air from subject, or for a mean
AROUND = 3  # ours: coarse voxels about Otsu's subject that may still be the subject's
MIN_FAR = 0.01  # ours: of the grid; with less air than this there is nothing to judge
AIR = 0.15  # ours: of the bright end; air is darker, the noise of MR reaches 0.1 in it
MAX_NOISE = (
    0.05  # ours: of the air above the floor; stripped MR has 0.000, ringing 0.013, noise 0.15
)
MAX_SPECKS = 0.0005  # ours: of the air above the floor; more, and what is not attached comes off
NOISE_QUANTILE = 0.999  # ours: of the air; single voxels of noise above it come off
LEAST_PIECE = 0.1  # ours: of the largest piece; two legs are two pieces, ripples are smaller


def foreground(voxels: np.ndarray, rule: str, ct: Sequence[bool] = ()) -> np.ndarray:
    """The voxels (D, H, W) that belong to the subject in any channel of (C, D, H, W).

    "nonzero": above 1 % of a channel's bright end, so that what interpolation or a tiny offset
    leaves of a zero background is none. Where the background is not zero after all, what stands
    out of the noise in the air. "otsu": above the Otsu threshold of a
    channel. CT, which has no zero background, is always taken by Otsu's threshold.

    Args:
        voxels: (C, D, H, W), in file units.
        rule: "nonzero" or "otsu".
        ct: which channels are CT; by default none.
    """
    if rule not in ("nonzero", "otsu"):
        raise ValueError(f"expected the rule 'nonzero' or 'otsu', got {rule!r}")
    is_ct = list(ct) or [False] * len(voxels)
    mask = np.zeros(voxels.shape[1:], dtype=bool)
    for image, of_ct in zip(voxels, is_ct, strict=True):
        if of_ct or rule == "otsu":
            image = clip_extremes(image, ct=of_ct)  # noqa: PLW2901
            mask |= image > otsu_threshold(image)
    mr = voxels[np.logical_not(is_ct)] if any(is_ct) else voxels
    if rule == "nonzero" and len(mr):
        mask |= _above_zero(mr)
    return mask


def has_zero_background(voxels: np.ndarray) -> bool:
    """Whether there is next to nothing far from what Otsu's thresholds find in MR (C, D, H, W).

    So it is after skull stripping. An MR that is zero only where it was not scanned has noise in
    the air inside its field of view. Bright voxels far away are tissue, not background.
    """
    return _background(voxels)[0] <= MAX_NOISE


def lattice(voxels: np.ndarray) -> np.ndarray:
    """Every n-th voxel along each axis of (C, D, H, W): a view of at most 48 voxels a side."""
    steps = [-(-size // COARSE_SIDE) for size in voxels.shape[1:]]
    return voxels[(slice(None), *(slice(None, None, step) for step in steps))]


def _above_zero(voxels: np.ndarray) -> np.ndarray:
    """The subject in MR (C, D, H, W) whose background should be zero."""
    share, ends = _background(voxels)
    floors = [FLOOR * bright_end(image) for image in voxels]
    if share > MAX_NOISE:
        floors = [max(floor, end) for floor, end in zip(floors, ends, strict=True)]
    mask = np.zeros(voxels.shape[1:], dtype=bool)
    for image, floor in zip(voxels, floors, strict=True):
        mask |= image > floor
    return _pieces(mask) if share > MAX_SPECKS else mask


def _background(voxels: np.ndarray) -> tuple[float, list[float]]:
    """How much of what lies far from the subject is above the floor; and the noise's upper ends.

    Both are 0 where there is no such place, or it is too bright to be air.
    """
    few = lattice(voxels)
    found = ndimage.binary_fill_holes(_closed(foreground(few, "otsu")))
    far = ~ndimage.binary_dilation(found, iterations=AROUND)
    none = 0.0, [0.0] * len(voxels)
    if far.mean() < MIN_FAR:
        return none
    ends = [bright_end(image) for image in few]
    noise = [image[far] for image in few]
    above = np.any([n > FLOOR * end for n, end in zip(noise, ends, strict=True)], axis=0)
    if any(np.median(n[above]) > AIR * e for n, e in zip(noise, ends, strict=True) if above.any()):
        return none
    return float(above.mean()), [float(np.quantile(n, NOISE_QUANTILE)) for n in noise]


def _closed(mask: np.ndarray) -> np.ndarray:
    """The mask (D, H, W) with gaps closed, and all that it had."""
    closed = ndimage.binary_dilation(mask, iterations=CLOSED_GAP)
    return np.asarray(ndimage.binary_erosion(closed, iterations=CLOSED_GAP, border_value=1) | mask)


def _pieces(mask: np.ndarray) -> np.ndarray:
    """The largest connected piece of a mask (D, H, W) and those that are not much smaller."""
    labels, sizes = _labelled(mask)
    return np.asarray((sizes >= max(1, LEAST_PIECE * sizes.max()))[labels])


def _labelled(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The number of each voxel's connected piece, 0 outside; and the voxels of each, of 0 none."""
    # Here, since it brings scikit-image, whose 0.15 s most commands need not spend.
    from acvl_utils.morphology.morphology_helper import cc3d_label_with_component_sizes

    labels, sizes = cc3d_label_with_component_sizes(mask, connectivity=6)
    return labels, np.array([0, *sizes.values()])


def body(voxels: np.ndarray, rule: str, ct: Sequence[bool] = ()) -> np.ndarray:
    """The subject (D, H, W) in volumes (C, D, H, W): the foreground in one piece, without holes.

    Gaps are closed first, so that a thin scalp still encloses the skull. Holes are filled in each
    slice and then in 3D, since a sinus or an airway that opens to the outside somewhere is a hole
    in most slices. Arguments are those of `foreground`.

    Source: SynthRAD2023 pre-processing (Otsu, largest component, closed, holes filled).
    """
    mask = largest_component(_closed(foreground(voxels, rule, ct)))
    for axis in range(3):
        for one in np.moveaxis(mask, axis, 0):  # views: filled in place
            ndimage.binary_fill_holes(one, output=one)
    return np.asarray(ndimage.binary_fill_holes(mask))


def largest_component(mask: np.ndarray) -> np.ndarray:
    """The largest connected piece of a mask (D, H, W), neighbours sharing a face."""
    labels, sizes = _labelled(mask)
    return np.asarray((labels == sizes.argmax()) & mask)


def bounding_box(mask: np.ndarray) -> Box:
    """The smallest box that holds a mask (D, H, W); all of it if the mask is empty.

    What acvl-utils' `get_bbox_from_mask` gives, which takes six times as long for a head.
    """
    box = []
    for axis in range(mask.ndim):
        others = tuple(a for a in range(mask.ndim) if a != axis)
        inside = np.flatnonzero(mask.any(axis=others)).tolist()
        box.append([inside[0], inside[-1] + 1] if inside else [0, mask.shape[axis]])
    return box


def box_about(mask: np.ndarray, sizes: Sequence[int]) -> Box:
    """A box of these sizes about the centre of the box of a mask (D, H, W).

    It is pushed inside the volume, and as small as the volume where that is smaller.
    """
    box = []
    for (first, last), wanted, limit in zip(bounding_box(mask), sizes, mask.shape, strict=True):
        size = min(max(wanted, 1), limit)
        start = min(max((first + last - size) // 2, 0), limit - size)
        box.append([start, start + size])
    return box


def without_rim(region: np.ndarray) -> np.ndarray:
    """A region (D, H, W) without its outermost voxels; a cut by the end of the grid is no rim."""
    return np.asarray(ndimage.binary_erosion(region, border_value=1))
