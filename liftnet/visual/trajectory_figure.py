"""How the vectors of slices move along the slice axis, drawn without pyplot."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from liftnet.ops.principal import principal_axes
from liftnet.visual.png import write_png

__all__ = ["SlicePath", "plot_trajectories"]

SIZE = (12.5, 8.4)  # ours: inches, on a screen as a whole
RESOLUTION = 110  # ours: dots per inch
NAMED = 8  # ours: more cases are not told apart by colour; LiFT Fig. 7 has eight
# Okabe and Ito 2008 without yellow, told apart by colour-blind people, and a grey
COLOURS = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000", "#888888",
)  # fmt: skip
COMPONENTS = 3
DEPTH = "depth from the first slice [mm]"
LONGEST_NAME = 24  # ours: characters of a case in the legend


@dataclass(frozen=True)
class SlicePath:
    """The vectors of one case's slices."""

    case: str
    vectors: np.ndarray  # (D, K)
    depth_mm: np.ndarray  # (D,) from the first slice


def plot_trajectories(paths: Sequence[SlicePath], file: Path, *, title: str) -> None:
    """Write a PNG of all cases in the principal components of all their slices together.

    Component 1 and 2 with depth as colour, 1 and 3 against depth, and how far the vectors of
    neighbouring slices lie apart. A circle marks the first slice, a square the last one.

    Source: LiFT Fig. 6 and 7.

    Raises:
        ValueError: If there are no cases.
    """
    from matplotlib.figure import Figure

    if not paths:
        raise ValueError("expected at least one case, got none")
    mean, axes, explained = principal_axes(np.concatenate([p.vectors for p in paths]), COMPONENTS)
    missing = COMPONENTS - len(axes)  # vectors of fewer numbers
    placed = [np.pad((p.vectors - mean) @ axes.T, ((0, 0), (0, missing))) for p in paths]
    labels = [
        f"PC{k + 1} ({100 * part:.1f} % of variance)"
        for k, part in enumerate(np.pad(explained, (0, missing)))
    ]
    figure = Figure(figsize=SIZE, layout="constrained")
    figure.suptitle(title, fontsize=12)
    grid = figure.add_gridspec(3, 2, width_ratios=[1.4, 1.0])
    plane, first = figure.add_subplot(grid[:, 0]), figure.add_subplot(grid[0, 1])
    third, steps = (figure.add_subplot(grid[row, 1], sharex=first) for row in (1, 2))
    _draw_plane(figure, plane, paths, placed)
    plane.set(xlabel=labels[0], ylabel=labels[1], title="path from first to last slice")
    plane.set_aspect("equal", adjustable="datalim")
    for panel, k in ((first, 0), (third, 2)):
        _draw_lines(panel, paths, [p.depth_mm for p in paths], [at[:, k] for at in placed])
        panel.set(ylabel=labels[k], title=f"component {k + 1} along the slice axis")
    middles = [(p.depth_mm[1:] + p.depth_mm[:-1]) / 2 for p in paths]
    distances = [np.linalg.norm(np.diff(p.vectors, axis=0), axis=1) for p in paths]
    _draw_lines(steps, paths, middles, distances)
    steps.set(ylabel="distance (all components)", title="from each slice to the next")
    steps.set_ylim(bottom=0)
    steps.set_xlabel(DEPTH)
    for panel in (first, third):
        panel.tick_params(labelbottom=False)
    for panel in (plane, first, third, steps):
        panel.grid(visible=True, linewidth=0.4, alpha=0.5)
    if len(paths) <= NAMED:
        figure.legend(
            *first.get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=9
        )
    write_png(figure, file, (RESOLUTION,))


def _draw_plane(
    figure: Any, panel: Any, paths: Sequence[SlicePath], placed: Sequence[np.ndarray]
) -> None:
    """Draw component 2 over 1, coloured by depth; the ends have the colour of their case."""
    from matplotlib.collections import LineCollection
    from matplotlib.colors import Normalize
    from matplotlib.lines import Line2D

    scale = Normalize(0, max(float(p.depth_mm.max()) for p in paths) or 1.0)
    size = 46 if len(paths) <= NAMED else 18
    for index, (path, at) in enumerate(zip(paths, placed, strict=True)):
        points = at[:, :2]
        lines = LineCollection(
            list(np.stack([points[:-1], points[1:]], axis=1)),
            cmap="viridis",
            norm=scale,
            linewidths=1.8 if len(paths) <= NAMED else 0.8,
        )
        lines.set_array((path.depth_mm[1:] + path.depth_mm[:-1]) / 2)
        panel.add_collection(lines)
        style = {"color": _colour(index, len(paths)), "edgecolors": "white", "zorder": 3}
        panel.scatter(*points[0], s=size, marker="o", **style)
        panel.scatter(*points[-1], s=size, marker="s", **style)
    panel.autoscale_view()
    ends = [
        Line2D([], [], marker=marker, color="0.4", linestyle="none", label=label)
        for marker, label in (("o", "first slice"), ("s", "last slice"))
    ]
    panel.legend(handles=ends, fontsize=8, loc="best")
    figure.colorbar(lines, ax=panel, location="bottom", label=DEPTH, aspect=50, pad=0.02)


def _draw_lines(
    panel: Any, paths: Sequence[SlicePath], x: Sequence[np.ndarray], y: Sequence[np.ndarray]
) -> None:
    """Draw one line per case."""
    few = len(paths) <= NAMED
    for index, (path, depth, values) in enumerate(zip(paths, x, y, strict=True)):
        name = path.case
        if len(name) > LONGEST_NAME:
            name = "\u2026" + name[1 - LONGEST_NAME :]
        panel.plot(
            depth,
            values,
            color=_colour(index, len(paths)),
            linewidth=1.5 if few else 0.7,
            alpha=1.0 if few else 0.5,
            label=name.replace("_", " ") if name.startswith("_") else name,  # not hidden
        )


def _colour(index: int, total: int) -> str:
    return COLOURS[index] if total <= NAMED else "0.35"
