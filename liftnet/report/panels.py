"""Training curves: which panels a training log gives, and how one panel is drawn."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Curve = tuple[NDArray[np.float64], NDArray[np.float64]]

# Source: Okabe and Ito, Color Universal Design, 2008: told apart by colour-blind readers.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
STYLES = ("-", "--", ":")  # ours: the next line style where colours repeat
SMOOTHING_SHARE = 0.03  # ours: the smoothed line forgets over 3 % of the steps shown
NOT_TERMS = ("step", "learning_rate", "seconds_per_step")  # ours: everything else is a loss term


@dataclass(frozen=True)
class Panel:
    """One set of axes: named curves over the step."""

    title: str
    curves: dict[str, Curve]
    """Name -> (steps, values), by rising step."""
    logarithmic: bool = False
    smooth: bool = False
    """Draw the raw curve faintly and a running mean over it."""
    mark_lowest: bool = False
    from_zero: bool = False
    """Show from 0 to a little above all but the 2 % highest values: one hiccup hides nothing."""


def progress_panels(log: Sequence[Mapping[str, Any]]) -> list[Panel]:
    """Return the panels of a log: loss, validation and its metrics, learning rates, speed.

    A later row with the same step and name replaces an earlier one, as after a resumed run.
    """
    points: dict[str, dict[str, dict[float, float]]] = {}
    for row in log:
        for panel, curve, value in _entries(row):
            points.setdefault(panel, {}).setdefault(curve, {})[float(row["step"])] = value
    curves = {
        panel: {name: _curve(values) for name, values in named.items()}
        for panel, named in points.items()
    }
    metrics = sorted(name for name in curves if name.startswith("validation "))
    return [
        Panel("loss", curves.get("loss", {}), logarithmic=True, smooth=True),
        Panel("validation, lower is better", curves.get("validation", {}), mark_lowest=True),
        *(Panel(name, curves[name]) for name in metrics),
        Panel("learning rate", curves.get("learning rate", {}), logarithmic=True),
        Panel("seconds per step", curves.get("seconds per step", {}), smooth=True, from_zero=True),
    ]


def _entries(row: Mapping[str, Any]) -> Iterator[tuple[str, str, float]]:
    """Yield (panel, curve, value) of every number in a log row."""
    for key, value in row.items():
        if key.startswith("validation"):
            panel = key.replace("_", " ", 1)
        else:
            panel = key.replace("_", " ") if key in NOT_TERMS else "loss"
        named = value if isinstance(value, Mapping) else {key: value}
        for name, number in named.items():
            real = isinstance(number, int | float) and not isinstance(number, bool)
            if key != "step" and real:
                yield panel, str(name), float(number)


def _curve(values: Mapping[float, float]) -> Curve:
    """Return steps and values by rising step."""
    steps = np.array(sorted(values))
    return steps, np.array([values[step] for step in steps])


def running_mean(values: NDArray[np.float64], memory: float) -> NDArray[np.float64]:
    """Return the exponential running mean over about `memory` values, not biased towards the start.

    Values that are not finite are left out of the mean and stay gaps in the result.
    """
    keep = 1 - 1 / max(memory, 1.0)
    total = weight = 0.0
    means = np.full(values.shape, np.nan)
    for index, value in enumerate(values):
        if np.isfinite(value):
            total, weight = keep * total + value, keep * weight + 1
            means[index] = total / weight
    return means


def draw_curves(axes: Any, panel: Panel) -> None:
    """Draw one panel, or say that there is nothing to draw yet."""
    axes.set_title(panel.title, fontsize=11, loc="left")
    curves = {name: _drawable(curve, panel.logarithmic) for name, curve in panel.curves.items()}
    curves = {name: curve for name, curve in curves.items() if np.isfinite(curve[1]).any()}
    if not curves:
        axes.text(
            0.5,
            0.5,
            "no values yet",
            ha="center",
            va="center",
            color="0.4",
            transform=axes.transAxes,
        )
        axes.set_xticks([])
        axes.set_yticks([])
        return
    for index, (name, (steps, values)) in enumerate(curves.items()):
        colour = COLOURS[index % len(COLOURS)]
        style = STYLES[index // len(COLOURS) % len(STYLES)]
        marker = "o" if len(steps) < 25 else ""  # ours: few points need dots
        shown = values
        if panel.smooth and np.isfinite(values).sum() > 1:
            axes.plot(steps, values, color=colour, alpha=0.25, linewidth=0.8)
            shown, marker = running_mean(values, SMOOTHING_SHARE * len(steps)), ""
        axes.plot(
            steps, shown, color=colour, linestyle=style, marker=marker, markersize=3, label=name
        )
        if panel.mark_lowest and name == "validation":
            _mark_lowest(axes, steps, values)
    if panel.logarithmic:
        axes.set_yscale("log")
    axes.set_xlabel("step", fontsize=9)
    if panel.from_zero:
        everything = np.concatenate([values for _, values in curves.values()])
        axes.set_ylim(0, 1.4 * max(float(np.nanpercentile(everything, 98)), 1e-9))
    axes.tick_params(which="both", labelsize=8)
    axes.grid(alpha=0.25, linewidth=0.6)
    if len(curves) > 1 or panel.mark_lowest:
        axes.legend(fontsize=8, framealpha=0.8, ncols=1 + (len(curves) > 4))


def _drawable(curve: Curve, logarithmic: bool) -> Curve:
    """Return the curve with a gap wherever a value cannot be drawn."""
    steps, values = curve
    good = np.isfinite(values) & ((values > 0) | (not logarithmic))
    return steps, np.where(good, values, np.nan)


def _mark_lowest(axes: Any, steps: NDArray[np.float64], values: NDArray[np.float64]) -> None:
    """Mark the lowest value with a star that the legend explains."""
    best = int(np.nanargmin(values))
    axes.plot(
        steps[best],
        values[best],
        marker="*",
        markersize=13,
        color=COLOURS[1],
        linestyle="none",
        label=f"best {values[best]:.4g} at step {steps[best]:.0f}",
    )
