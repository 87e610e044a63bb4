"""Three planes of a volume: which slices, in which window, and how they are drawn.

Volumes are (D, H, W) in canonical axes: D to superior, H to posterior, W to left.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Spacing = tuple[float, float, float]
Slices = tuple[int, int, int]

WINDOW_PERCENTILES = (0.5, 99.5)  # ours: a few outliers must not darken the rest
ERROR_COLOURS = "viridis"  # ours: even in lightness and safe for colour-blind readers
FINE_VOXELS = 128  # ours: from here on a voxel is smaller than a dot and is averaged
GAP_MM = 4.0  # ours: between the planes of one volume
MAX_PIXELS = 512  # ours: of a side; more only makes event files large


def three_planes(volume: Array, *, at: Slices | None = None) -> tuple[Array, Array, Array]:
    """Return axial (anterior up), coronal and sagittal (superior up) slices of a (D, H, W) volume.

    The patient's left is on the right of axial and coronal slices, and the front on the left of
    sagittal ones.

    Args:
        volume: (D, H, W) in canonical axes.
        at: Index of the slice along D, H and W; None takes the centre.

    Raises:
        ValueError: If the volume is not 3D or `at` lies outside it.
    """
    if volume.ndim != 3:
        raise ValueError(f"expected a (D, H, W) volume, got shape {volume.shape}")
    d, h, w = at if at is not None else tuple(side // 2 for side in volume.shape)
    if not all(0 <= i < side for i, side in zip((d, h, w), volume.shape, strict=True)):
        raise ValueError(f"expected slices inside shape {volume.shape}, got {(d, h, w)}")
    return volume[d], volume[::-1, h], volume[::-1, :, w]


def fullest_slices(lesion: Array) -> Slices | None:
    """Return the slice with most positive voxels along each axis, or None if there is none."""
    inside = lesion > 0
    if not inside.any():
        return None
    d, h, w = (int(inside.sum(axis=axes).argmax()) for axes in ((1, 2), (0, 2), (0, 1)))
    return d, h, w


def shared_windows(images: Sequence[tuple[str, Array]]) -> list[tuple[float, float]]:
    """Return the window of each labelled volume, so that what is compared looks alike.

    "... predicted ..." takes the window of the same label with "reference", anything else beside a
    "real" volume that of the real one; an error map, "... |error| ...", begins at 0.
    """
    named = dict(images)
    windows = []
    for label, volume in images:
        if "|error|" in label:
            windows.append((0.0, window_of(volume)[1]))
            continue
        truth = named.get("real", volume)
        if "predicted" in label:
            truth = named.get(label.replace("predicted", "reference"), truth)
        windows.append(window_of(truth))
    return windows


def grey_planes(
    volume: Array, spacing_mm: Spacing, window: tuple[float, float]
) -> NDArray[np.uint8]:
    """Return the three middle slices side by side, (rows, columns) grey, with square pixels.

    Args:
        volume: (D, H, W) in canonical axes.
        spacing_mm: Along D, H and W.
        window: What is drawn black and white; values that are not finite are black.
    """
    low, high = window
    lengths = [n * s for n, s in zip(volume.shape, spacing_mm, strict=True)]
    pixel = max(min(spacing_mm), max(lengths) / MAX_PIXELS)
    sizes = [max(1, round(length / pixel)) for length in lengths]
    rows = [np.arange(m) * n // m for m, n in zip(sizes, volume.shape, strict=True)]
    depth, height, width = rows
    planes = three_planes(volume)
    squares = [
        plane[np.ix_(a, b)]
        for plane, (a, b) in zip(
            planes, ((height, width), (depth, width), (depth, height)), strict=True
        )
    ]
    tall = max(len(square) for square in squares)
    shades = [
        np.pad(
            np.nan_to_num((square.astype(np.float32) - low) / (high - low), nan=0.0).clip(0, 1),
            (((tall - len(square)) // 2, -(-(tall - len(square)) // 2)), (0, 0)),
        )
        for square in squares
    ]
    return np.asarray((255 * np.concatenate(shades, axis=1)).round(), np.uint8)


def draw_planes(
    axes: Any,
    volume: Array,
    spacing_mm: Spacing,
    window: tuple[float, float],
    *,
    at: Slices | None = None,
    error: bool = False,
) -> Any:
    """Return the last image drawn: axial on the left, coronal above sagittal on the right."""
    depth, height, width = (n * s for n, s in zip(volume.shape, spacing_mm, strict=True))
    right = width + GAP_MM
    total, tall = right + max(width, height), max(height, 2 * depth + GAP_MM)
    middle, centre = tall / 2, right + max(width, height) / 2
    extents = (
        (0, width, middle - height / 2, middle + height / 2),
        (centre - width / 2, centre + width / 2, middle + GAP_MM / 2, middle + GAP_MM / 2 + depth),
        (
            centre - height / 2,
            centre + height / 2,
            middle - GAP_MM / 2 - depth,
            middle - GAP_MM / 2,
        ),
    )
    colours = ERROR_COLOURS if error else "gray"
    kind = "nearest" if max(volume.shape) < FINE_VOXELS else "auto"
    low, high = window
    drawn = None
    for plane, extent in zip(three_planes(volume, at=at), extents, strict=True):
        drawn = axes.imshow(
            plane, cmap=colours, vmin=low, vmax=high, extent=extent, interpolation=kind
        )
    axes.set_xlim(0, total)
    axes.set_ylim(0, tall)
    axes.set_aspect("equal")
    return drawn


def row_height(volume: Array, spacing_mm: Spacing, width: float) -> float:
    """Return the height in inches of a row of pictures this wide in inches, labels included."""
    depth, height, wide = (n * s for n, s in zip(volume.shape, spacing_mm, strict=True))
    tall, total = max(height, 2 * depth + GAP_MM), wide + GAP_MM + max(wide, height)
    return float(width * tall / total + 0.65)


def window_of(volume: Array) -> tuple[float, float]:
    """Return the intensities drawn black and white: percentiles of what is finite and not 0."""
    values = volume[np.isfinite(volume) & (volume != 0)]
    if values.size == 0:
        return 0.0, 1.0
    low, high = (float(v) for v in np.percentile(values, WINDOW_PERCENTILES))
    low = min(low, 0.0)  # 0 is the background of a skull-stripped image
    return (low, high) if high > low else (low, low + 1.0)
