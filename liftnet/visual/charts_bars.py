"""A chart of means by category and method, as horizontal bars in SVG."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from liftnet.core.comparison import Direction, better_words
from liftnet.visual.charts_axes import (
    AXIS_HEIGHT,
    GAP,
    MAX_NAME,
    NUM_COLOURS,
    WIDTH,
    Scale,
    axis_label,
    chart,
    column,
    digits_for,
    domain,
    element,
    horizontal_axis,
    text,
    with_interval,
)

__all__ = ["Bar", "Category", "bars"]

TOP = 6.0  # ours: above the first bar
HEAD = 20.0  # ours: the line of a category's name, where it has several bars
PITCH = 18.0  # ours: a bar and the gap below it; a line of 12 px text
THICK = 12.0  # ours: two thirds of the pitch
INDENT = 10.0  # ours: names of methods under the name of their category
NONE = "no value"


@dataclass(frozen=True)
class Bar:
    """The mean of a method with its 95 % interval; None where there is none."""

    name: str
    mean: float | None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Category:
    """What bars are compared within: a region, a contrast."""

    name: str
    bars: tuple[Bar, ...]


def bars(
    groups: Sequence[Category],
    *,
    label: str,
    unit: str,
    better: Direction = "unknown",
) -> str:
    """A chart of one bar per category and method from 0 to its mean, with interval and numbers.

    A method has one colour in all categories. Infinite means have no bar, only words.

    Raises:
        ValueError: there is no category, one has no bar, or a number is NaN.
    """
    if not groups or not all(group.bars for group in groups):
        raise ValueError("expected categories with at least one bar each, got none")
    every = [bar for group in groups for bar in group.bars]
    values = [v for bar in every for v in (bar.mean, bar.low, bar.high) if v is not None]
    if any(map(math.isnan, values)):
        raise ValueError("expected means and intervals, got NaN")
    finite = [value for value in values if math.isfinite(value)]
    methods = list(dict.fromkeys(bar.name for bar in every))
    headed = len(methods) > 1
    digits = _digits(finite)
    names = methods if headed else [group.name for group in groups]
    left = 2 * GAP + column(names, MAX_NAME) + (INDENT if headed else 0.0)
    right = column((_numbers(bar, digits) for bar in every), WIDTH / 2)
    scale = Scale(*domain(finite or [0.0], from_zero=True), left, WIDTH - 2 * GAP - right)
    top, drawn = TOP, ""
    for group in groups:
        if headed:
            drawn += text(GAP, top + 14, group.name, width=WIDTH - 2 * GAP, css="name category")
            top += HEAD
        end = top + PITCH * len(group.bars)
        drawn += element("line", css="zero", x1=scale(0.0), x2=scale(0.0), y1=top, y2=end)
        for bar in group.bars:
            name, x = (bar.name, GAP + INDENT) if headed else (group.name, GAP)
            drawn += text(x, top + 13, name, width=MAX_NAME, css="name")
            css = f"m{methods.index(bar.name) % NUM_COLOURS}"
            drawn += _bar(bar, scale, top + PITCH / 2, css)
            written = _numbers(bar, digits)
            drawn += text(WIDTH - GAP, top + 13, written, css="value", text_anchor="end")
            top += PITCH
        top += GAP / 2
    title = axis_label(label, unit, better_words(better))
    grid, front = horizontal_axis(scale, top=TOP, bottom=top, label=title, ticks=bool(finite))
    spoken = "; ".join(
        f"{group.name}: " + ", ".join(f"{b.name} {_numbers(b, digits)}".strip() for b in group.bars)
        for group in groups
    )
    return chart(
        grid,
        drawn,
        front,
        css="chart bars",
        height=top + AXIS_HEIGHT,
        title=title,
        spoken=f"{title}. {spoken}",
    )


def _digits(values: Sequence[float]) -> int:
    """Three digits of the smallest number, but not many for the sake of a tiny one."""
    least = min((abs(value) for value in values if value), default=0.0)
    return min(digits_for([0.0, least]), digits_for([0.0, *values]) + 1)


def _numbers(bar: Bar, digits: int) -> str:
    return with_interval(bar.mean, bar.low, bar.high, digits, none=NONE)


def _bar(bar: Bar, scale: Scale, y: float, css: str) -> str:
    if bar.mean is None or math.isinf(bar.mean):
        return ""
    zero, end = scale(0.0), scale(bar.mean)
    drawn = element(
        "rect",
        css=f"bar {css}",
        x=min(zero, end),
        y=y - THICK / 2,
        width=abs(end - zero),
        height=THICK,
    )
    if bar.low is None or bar.high is None:
        return drawn
    low, high = (min(max(scale(v), scale.first), scale.last) for v in (bar.low, bar.high))
    return drawn + element("line", css="whisker on-bar", x1=low, x2=high, y1=y, y2=y)
