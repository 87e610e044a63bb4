"""Training curves: which panels a training log gives, and how one panel is drawn."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from liftnet.visual.validation_words import score_words

Curve = tuple[NDArray[np.float64], NDArray[np.float64]]

# Source: Okabe and Ito, Color Universal Design, 2008: told apart by colour-blind readers.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
STYLES = ("-", "--", ":")  # ours: the next line style where colours repeat
SMOOTHING_SHARE = 0.03  # ours: the smoothed line forgets over 3 % of the steps shown
MOST_APART = 20.0  # ours: curves further apart than this get panels of their own
REFUSED_SHARE = 0.05  # ours: with more values than this below 0, a logarithmic axis would hide much
LONG_LEGEND = 12  # ours: from here on the legend beside a panel needs small letters

# What a number of a log row belongs to, if it is not a term of the loss, and its name there.
PLACES = {
    "seconds_per_step": ("seconds_per_step", "in_all"),
    "waited_per_step": ("seconds_per_step", "waiting_for_data"),
    "validation": ("validation", "score"),
}
TITLES = {
    "loss": "loss and its terms",
    "validation_psnr": "validation PSNR [dB], higher is better",
    "validation_mae_hu": "validation mean absolute error [HU], lower is better",
    "validation_mae": "validation mean absolute error [share of the range], lower is better",
    "validation_sharpness": "validation sharpness in plane, 1: as real, below: too smooth",
    "learning_rate": "learning rate",
    "seconds_per_step": "seconds per step",
}


@dataclass(frozen=True)
class Panel:
    """One set of axes: named curves over the step."""

    title: str
    curves: dict[str, Curve]
    """Name -> (steps, values), by rising step."""
    logarithmic: bool = False
    smooth: bool = False
    """Draw the raw curve faintly and a running mean over it."""
    mark: Literal["", "lowest", "highest"] = ""
    """Which value gets a star: the best."""
    from_zero: bool = False
    """Show from 0 to a little above all but the 2 % highest values: one hiccup hides nothing."""


def progress_panels(log: Sequence[Mapping[str, Any]]) -> list[Panel]:
    """Return the panels of a log: loss, validation and its details, learning rates, speed.

    A later row with the same step and name replaces an earlier one, as after a resumed run.
    """
    points: dict[str, dict[str, dict[float, float]]] = {}
    for row in log:
        for group, name, value in row_numbers(row):
            points.setdefault(group, {}).setdefault(name, {})[float(row["step"])] = value
    curves = {
        group: {name.replace("_", " "): _curve(values) for name, values in named.items()}
        for group, named in points.items()
    }
    losses, seconds = curves.get("loss", {}), curves.get("seconds_per_step", {})
    if len(losses) == 2:  # the only term is the loss itself
        losses = {"loss": losses["loss"]} if "loss" in losses else losses
    details = sorted(name for name in curves if name.startswith("validation_"))
    return [
        Panel(TITLES["loss"], losses, logarithmic=_positive(losses), smooth=True),
        _score_panel(curves.get("validation", {}), details),
        *(panel for name in details for panel in _detail_panels(name, curves[name])),
        Panel(TITLES["learning_rate"], curves.get("learning_rate", {}), logarithmic=True),
        Panel(TITLES["seconds_per_step"] + _waited(seconds), seconds, smooth=True, from_zero=True),
    ]


def _score_panel(curves: Mapping[str, Curve], details: Sequence[str]) -> Panel:
    """Return the panel of the score, as people know it: PSNR in dB, the higher the better."""
    known = [name.removeprefix("validation_") for name in details if "sharpness" not in name]
    words = score_words(known[0] if known else "")
    unit = f" [{words.unit}]" if words.unit else ""
    better: Literal["highest", "lowest"] = "highest" if words.higher else "lowest"
    shown = {}
    if "score" in curves:
        steps, values = curves["score"]
        shown["mean"] = (steps, -values if words.higher else values)
    title = f"validation: mean {words.name}{unit}, {better.removesuffix('est')}er is better"
    return Panel(title, shown, mark=better)


def row_numbers(row: Mapping[str, Any]) -> Iterator[tuple[str, str, float]]:
    """Yield (group, name, value) of every number in a row of the log but its step.

    Groups are "loss" (and its terms), "learning_rate", "seconds_per_step", "validation" and
    "validation_<metric>".
    """
    for key, value in row.items():
        if isinstance(value, Mapping):
            named = {(key, str(name)): number for name, number in value.items()}
        else:
            named = {PLACES.get(key, ("loss", key)): value}
        for (group, name), number in named.items():
            real = isinstance(number, int | float) and not isinstance(number, bool)
            if key != "step" and real:
                yield group, name, float(number)


def _positive(curves: Mapping[str, Curve]) -> bool:
    """Return whether a logarithmic axis shows nearly everything of every curve."""
    finite = [values[np.isfinite(values)] for _, values in curves.values()]
    return all((values <= 0).mean() <= REFUSED_SHARE for values in finite if values.size)


def _detail_panels(group: str, curves: Mapping[str, Curve]) -> Iterator[Panel]:
    """Yield the panels of one metric's details; numbers of another size get their own."""
    title = TITLES.get(group, group.replace("_", " "))
    sizes = {name: _size(values) for name, (_, values) in curves.items()}
    groups: list[list[str]] = []
    smallest = 0.0  # of the last group, but for curves of nothing or zeros, which fit anywhere
    for name in sorted(curves, key=lambda name: sizes[name]):
        if not groups or (smallest > 0 and sizes[name] > MOST_APART * smallest):
            groups.append([])
            smallest = 0.0
        smallest = smallest or sizes[name]
        groups[-1].append(name)
    for group_names in groups:
        kept = {name: curve for name, curve in curves.items() if name in group_names}  # in order
        yield Panel(title if len(groups) == 1 else f"{title}: {', '.join(kept)}", kept)


def _size(values: NDArray[np.float64]) -> float:
    """Return the typical size of a curve's values, 0 if there is none."""
    finite = np.abs(values[np.isfinite(values)])
    return float(np.median(finite)) if finite.size else 0.0


def _waited(seconds: Mapping[str, Curve]) -> str:
    """Return the words on the share of time that was spent waiting for data."""
    if not {"in all", "waiting for data"} <= seconds.keys():
        return ""
    every, waited = (float(np.nansum(seconds[k][1])) for k in ("in all", "waiting for data"))
    return f", {waited / every:.0%} of the time waiting for data" if every > 0 else ""


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
    """Draw one panel with its legend beside it, or say that there is nothing to draw yet."""
    axes.set_title(panel.title, fontsize=10, loc="left")
    curves = {name: _drawable(curve, panel.logarithmic) for name, curve in panel.curves.items()}
    curves = {name: curve for name, curve in curves.items() if np.isfinite(curve[1]).any()}
    if not curves:
        middle = {"ha": "center", "va": "center", "transform": axes.transAxes}
        axes.text(0.5, 0.5, "no values yet", color="0.4", **middle)
        axes.set_xticks([])
        axes.set_yticks([])
        return
    for index, (name, curve) in enumerate(curves.items()):
        colour = COLOURS[index % len(COLOURS)]
        style = STYLES[index // len(COLOURS) % len(STYLES)]
        _draw_curve(axes, name, curve, colour=colour, style=style, smooth=panel.smooth)
    if panel.mark:
        _mark_best(axes, *next(iter(curves.values())), best=panel.mark)
    if panel.logarithmic:
        axes.set_yscale("log")
    axes.set_xlabel("step", fontsize=8)
    if panel.from_zero:
        everything = np.concatenate([values for _, values in curves.values()])
        axes.set_ylim(0, 1.4 * max(float(np.nanpercentile(everything, 98)), 1e-9))
    axes.tick_params(which="both", labelsize=8)
    axes.grid(alpha=0.25, linewidth=0.6)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    if len(curves) > 1 or not any(name in panel.title for name in curves):
        axes.legend(
            fontsize=8 if len(curves) < LONG_LEGEND else 6,
            frameon=False,
            loc="upper left",
            bbox_to_anchor=(1.0, 1.03),
            borderaxespad=0.2,
        )


def _draw_curve(
    axes: Any, name: str, curve: Curve, *, colour: str, style: str, smooth: bool
) -> None:
    """Draw one curve; if smooth, its running mean over its faint values."""
    steps, values = curve
    marker = "o" if len(steps) < 25 else ""  # ours: few points need dots
    if smooth and np.isfinite(values).sum() > 1:
        axes.plot(steps, values, color=colour, alpha=0.25, linewidth=0.8)
        values, marker = running_mean(values, SMOOTHING_SHARE * len(steps)), ""
    axes.plot(steps, values, color=colour, linestyle=style, marker=marker, markersize=3, label=name)


def _drawable(curve: Curve, logarithmic: bool) -> Curve:
    """Return the curve with a gap wherever a value cannot be drawn."""
    steps, values = curve
    good = np.isfinite(values) & ((values > 0) | (not logarithmic))
    return steps, np.where(good, values, np.nan)


def _mark_best(
    axes: Any, steps: NDArray[np.float64], values: NDArray[np.float64], *, best: str
) -> None:
    """Mark the lowest or highest value with a star, and say in the title which it is."""
    index = int(np.nanargmin(values) if best == "lowest" else np.nanargmax(values))
    axes.plot(
        steps[index], values[index], marker="*", markersize=13, color=COLOURS[1], linestyle="none"
    )
    title = axes.get_title(loc="left")
    axes.set_title(
        f"{title}: best {values[index]:.4g} at step {steps[index]:.0f}", fontsize=10, loc="left"
    )
