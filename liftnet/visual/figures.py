"""Pictures a person looks at while training and after evaluation, drawn without pyplot.

Volumes are (D, H, W) in canonical axes: D to superior, H to posterior, W to left. Matplotlib is
imported inside the functions, so that importing this module costs nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from liftnet.visual.panels import draw_curves, progress_panels
from liftnet.visual.planes import (
    Array,
    Spacing,
    draw_planes,
    fullest_slices,
    row_height,
    shared_windows,
    three_planes,
    window_of,
)
from liftnet.visual.png import write_png

WIDTH = 13.0  # ours: inches, readable on a laptop screen
PANEL_HEIGHT = 2.6  # ours: inches, three rows of curves on one screen
RESOLUTIONS = (130, 100, 75, 55, 40)  # ours: dots per inch, the first that is small enough
SHEET_COLUMNS = 4  # ours: eight samples in two rows, as wide as a screen
SHEET_GAP = 0.12  # ours: inches on each side, so that samples stand apart


@dataclass(frozen=True)
class Thumbnail:
    """One row of small pictures under the training curves."""

    title: str
    images: tuple[tuple[str, Array], ...]
    """(label, (D, H, W)); which share a window, says `shared_windows`; "|error|" is a map."""
    spacing_mm: Spacing


@dataclass(frozen=True)
class MontageRow:
    """One case of a montage: what went in, what came out and what is true."""

    label: str
    sources: tuple[tuple[str, Array], ...]
    """(channel, (D, H, W)); empty for unconditional generation."""
    predicted: Array
    reference: Array | None
    spacing_mm: Spacing
    target: str = ""
    """Channel of predicted and reference."""
    unit: str = "a.u."
    """Unit of predicted and reference, for the colour bar: HU, a.u."""
    lesion: Array | None = None
    """(D, H, W), positive in the lesion: the slices with most of it are shown."""
    reference_label: str = "reference"
    error_label: str = "|error|"


def plot_progress(
    log: Sequence[Mapping[str, Any]],
    thumbnails: Sequence[Thumbnail],
    path: Path,
    title: str = "",
) -> None:
    """Write a PNG of the training curves, with rows of three-plane thumbnails below.

    Args:
        log: Training rows (step, loss and its terms, learning_rate by submodule, seconds_per_step,
            waited_per_step) and validation rows (step, validation, validation_<metric> by name),
            in any order.
        thumbnails: One row of pictures each.
        path: Where the PNG goes; its folder exists.
        title: One line above all.
    """
    from matplotlib.figure import Figure

    panels = progress_panels(log)
    columns = 2 if len(panels) <= 6 else 3  # ours: two leave room for legends beside the curves
    rows = -(-len(panels) // columns)
    heights = [PANEL_HEIGHT * rows + 0.2]
    for thumbnail in thumbnails:
        first = thumbnail.images[0][1] if thumbnail.images else np.zeros((1, 1, 1))
        cell = min(WIDTH / max(1, len(thumbnail.images)), 3.2)
        heights.append(row_height(first, thumbnail.spacing_mm, cell))
    figure = Figure(figsize=(WIDTH, sum(heights)), layout="constrained")
    parts = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    if title:
        parts[0].suptitle(title, fontsize=12, x=0.01, ha="left", fontweight="bold")
    grid = parts[0].subplots(rows, columns, squeeze=False)
    for index, axes in enumerate(grid.flat):
        if index < len(panels):
            draw_curves(axes, panels[index])
        else:
            axes.set_axis_off()
    for part, thumbnail in zip(parts[1:], thumbnails, strict=True):
        _draw_thumbnail(part, thumbnail)
    write_png(figure, path, RESOLUTIONS)


def montage(rows: Sequence[MontageRow], path: Path, *, title: str) -> None:
    """Write a PNG with one row per case: sources, predicted, reference and error in three planes.

    Predicted and reference share the window of the reference; every row has its own windows,
    because scanners differ in gain. Without a reference there is no error map.

    Args:
        rows: The cases, best a dozen at most.
        path: Where the PNG goes; its folder exists.
        title: One line above all.

    Raises:
        ValueError: If there are no rows, or the volumes of a row differ in shape.
    """
    from matplotlib.figure import Figure

    if not rows:
        raise ValueError("expected at least one row, got none")
    most = max(len(row.sources) for row in rows)
    columns = most + (3 if any(row.reference is not None for row in rows) else 1)
    width = 2.6 * columns + 0.6
    rows = [_cropped(row) for row in rows]
    heights = [row_height(row.predicted, row.spacing_mm, width / columns) for row in rows]
    figure = Figure(figsize=(width, sum(heights) + 0.4), layout="constrained")
    figure.suptitle(title, fontsize=13)
    parts = figure.subfigures(len(rows), 1, height_ratios=heights, squeeze=False)[:, 0]
    for part, row in zip(parts, rows, strict=True):
        part.suptitle(row.label, fontsize=11, x=0.01, ha="left", fontweight="bold")
        grid = part.subplots(1, columns + 1, width_ratios=[*columns * [1.0], 0.04])  # colour bar
        for axes in grid:
            axes.set_axis_off()
        _draw_case(part, grid, row, most)
    write_png(figure, path, RESOLUTIONS)


def sample_sheet(
    samples: Sequence[tuple[str, Array]], path: Path, *, spacing_mm: Spacing, title: str
) -> None:
    """Write a PNG of three planes of each volume, all in one window.

    Args:
        samples: Labels and (D, H, W) volumes of one shape, best a dozen at most.
        path: Where the PNG goes; its folder exists.
        spacing_mm: Of every volume.
        title: One line above all.

    Raises:
        ValueError: If there are no volumes.
    """
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    if not samples:
        raise ValueError("expected at least one volume, got none")
    columns = min(len(samples), SHEET_COLUMNS)
    rows = -(-len(samples) // columns)
    cell = WIDTH / SHEET_COLUMNS
    height = rows * row_height(samples[0][1], spacing_mm, cell) + 0.4
    layout = ConstrainedLayoutEngine(w_pad=SHEET_GAP)
    figure = Figure(figsize=(columns * cell, height), layout=layout)
    figure.suptitle(title, fontsize=11)
    seen = [plane.reshape(-1) for _, volume in samples for plane in three_planes(volume)]
    window = window_of(np.concatenate(seen))
    for axes in figure.subplots(rows, columns, squeeze=False).flat:
        axes.set_axis_off()
    for axes, (label, volume) in zip(figure.axes, samples, strict=False):
        draw_planes(axes, volume, spacing_mm, window)
        axes.set_title(label, fontsize=10)
    write_png(figure, path, RESOLUTIONS)


def _cropped(row: MontageRow) -> MontageRow:
    """Return the row with all volumes cut to where any image differs from its corner voxel."""
    images = [volume for _, volume in row.sources] + [row.predicted]
    images += [volume for volume in (row.reference, row.lesion) if volume is not None]
    shapes = {volume.shape for volume in images}
    if len(shapes) != 1:
        raise ValueError(f"expected volumes of one shape in row {row.label}, got {sorted(shapes)}")
    content = np.any([volume != volume[0, 0, 0] for volume in images], axis=0)
    found = ndimage.find_objects(content.astype(np.uint8))
    box = found[0] if found else (slice(None),) * 3
    return replace(
        row,
        sources=tuple((channel, volume[box]) for channel, volume in row.sources),
        predicted=row.predicted[box],
        reference=None if row.reference is None else row.reference[box],
        lesion=None if row.lesion is None else row.lesion[box],
    )


def _draw_case(part: Any, grid: Any, row: MontageRow, most: int) -> None:
    """Draw one montage row: sources flush with the prediction, then reference and error."""
    at = fullest_slices(row.lesion) if row.lesion is not None else None
    first = most - len(row.sources)
    for axes, (channel, volume) in zip(grid[first:most], row.sources, strict=True):
        draw_planes(axes, volume, row.spacing_mm, window_of(volume), at=at)
        axes.set_title(f"source {channel}", fontsize=10)
    truth = row.predicted if row.reference is None else row.reference
    draw_planes(grid[most], row.predicted, row.spacing_mm, window_of(truth), at=at)
    grid[most].set_title(f"predicted {row.target}".rstrip(), fontsize=10)
    if row.reference is None:
        return
    draw_planes(grid[most + 1], row.reference, row.spacing_mm, window_of(truth), at=at)
    grid[most + 1].set_title(f"{row.reference_label} {row.target}".rstrip(), fontsize=10)
    error = np.abs(row.predicted.astype(np.float32) - row.reference.astype(np.float32))
    window = (0.0, window_of(error)[1])
    drawn = draw_planes(grid[most + 2], error, row.spacing_mm, window, at=at, error=True)
    grid[most + 2].set_title(row.error_label, fontsize=10)
    grid[-1].set_axis_on()
    bar = part.colorbar(drawn, cax=grid[-1], extend="max")
    bar.set_label(f"{row.error_label} [{row.unit}]", fontsize=9)
    bar.ax.tick_params(labelsize=8)


def _draw_thumbnail(part: Any, thumbnail: Thumbnail) -> None:
    """Draw one row of three-plane pictures with a label above each."""
    part.suptitle(thumbnail.title, fontsize=11, x=0.01, ha="left", fontweight="bold")
    grid = part.subplots(1, max(1, len(thumbnail.images)), squeeze=False)[0]
    windows = shared_windows(thumbnail.images)
    for axes in grid:
        axes.set_axis_off()
    for axes, (label, volume), window in zip(grid, thumbnail.images, windows, strict=False):
        error = "|error|" in label
        draw_planes(axes, volume, thumbnail.spacing_mm, window, error=error)
        axes.set_title(f"{label}, 0 to {window[1]:.2g}" if error else label, fontsize=10)
