"""Foreground masks and boxes of volumes (C, D, H, W)."""

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

__all__ = [
    "body",
    "bounding_box",
    "box_about",
    "foreground",
    "largest_component",
    "otsu_threshold",
]

CLOSED_GAP = 2  # ours: voxels; gaps up to twice this are closed
MAX_OTSU_VOXELS = 200_000  # ours: a threshold from a sample of this size is exact to a bin


def foreground(voxels: np.ndarray, rule: str) -> np.ndarray:
    """The voxels (D, H, W) that belong to the subject in any channel of (C, D, H, W).

    "nonzero": above zero, negatives counting as zero (ringing of a skull stripper must not
    make the background foreground). "otsu": above the Otsu threshold of a channel.
    """
    if rule == "nonzero":
        return np.asarray((voxels > 0).any(axis=0))
    if rule == "otsu":
        mask = np.zeros(voxels.shape[1:], dtype=bool)
        for channel in voxels:
            mask |= channel > otsu_threshold(channel)
        return mask
    raise ValueError(f"expected the rule 'nonzero' or 'otsu', got {rule!r}")


def body(voxels: np.ndarray, rule: str) -> np.ndarray:
    """The subject (D, H, W) in volumes (C, D, H, W): the foreground in one piece, without holes.

    Gaps are closed first, so that a thin scalp still encloses the skull. Holes are filled in each
    slice and then in 3D, since a sinus or an airway that opens to the outside somewhere is a hole
    in most slices.

    Source: SynthRAD2023 pre-processing (Otsu, largest component, closed, holes filled).
    """
    mask = foreground(voxels, rule)
    closed = ndimage.binary_dilation(mask, iterations=CLOSED_GAP)
    closed = ndimage.binary_erosion(closed, iterations=CLOSED_GAP, border_value=1)
    mask = largest_component(closed | mask)
    for axis in range(3):
        for one in np.moveaxis(mask, axis, 0):  # views: filled in place
            ndimage.binary_fill_holes(one, output=one)
    return np.asarray(ndimage.binary_fill_holes(mask))


def largest_component(mask: np.ndarray) -> np.ndarray:
    """The largest connected piece of a mask (D, H, W), neighbours sharing a face."""
    labels, count = ndimage.label(mask)
    if count < 2:
        return np.asarray(mask, dtype=bool)
    sizes = np.bincount(labels.reshape(-1))
    sizes[0] = 0
    return np.asarray(labels == sizes.argmax())


def otsu_threshold(image: np.ndarray) -> float:
    """The threshold that separates two classes of grey values best.

    Source: Otsu 1979, of every n-th voxel of a large image.
    """
    from skimage.filters import threshold_otsu

    values = image.reshape(-1)[:: max(1, image.size // MAX_OTSU_VOXELS)]
    return float(threshold_otsu(values))


def bounding_box(mask: np.ndarray) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """Start and stop (half-open) of the smallest box that holds the mask; all if it is empty."""
    start, stop = [], []
    for axis in range(mask.ndim):
        others = tuple(a for a in range(mask.ndim) if a != axis)
        inside = np.flatnonzero(mask.any(axis=others))
        start.append(int(inside[0]) if len(inside) else 0)
        stop.append(int(inside[-1]) + 1 if len(inside) else mask.shape[axis])
    return (start[0], start[1], start[2]), (stop[0], stop[1], stop[2])


def box_about(
    mask: np.ndarray, sizes: Sequence[int]
) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """Start and stop (half-open) of a box of these sizes about the centre of the mask's own box.

    It is pushed inside the volume (D, H, W), and as small as the volume where that is smaller.
    """
    start, stop = [], []
    for first, last, wanted, limit in zip(*bounding_box(mask), sizes, mask.shape, strict=True):
        size = min(max(wanted, 1), limit)
        start.append(min(max((first + last - size) // 2, 0), limit - size))
        stop.append(start[-1] + size)
    return (start[0], start[1], start[2]), (stop[0], stop[1], stop[2])
