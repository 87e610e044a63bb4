"""A chart of mean differences with their intervals beside zero, as SVG."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from liftnet.core.comparison import Direction
from liftnet.visual.charts_axes import (
    AXIS_HEIGHT,
    GAP,
    WIDTH,
    Scale,
    axis_label,
    chart,
    column,
    digits_for,
    domain,
    element,
    horizontal_axis,
    name,
    name_column,
    text,
    with_interval,
)

__all__ = ["Row", "forest"]

TOP = 6.0  # ours: above the first row
HEIGHT = 38.0  # ours: two lines of 12 px text
MAX_TEXT = 200.0  # ours: a p value, its correction and wins; leaves a plot beside a long name
NONE = "no finite difference"
SIDES = {
    "higher": "right of 0 is better",
    "lower": "left of 0 is better",
    "nearest 1": "left of 0 is better",
}


@dataclass(frozen=True)
class Row:
    """A mean difference with its 95 % interval (None: no difference is finite), and remarks."""

    name: str
    mean: float | None
    low: float | None
    high: float | None
    text: str
    css_class: str = "m1"  # the first method after the baseline


def forest(
    rows: Sequence[Row],
    *,
    label: str,
    unit: str,
    better: Direction = "unknown",
    digits: int | None = None,
) -> str:
    """A chart with a row per difference: name, mean and interval beside a line at 0, numbers.

    `digits` are the places of the numbers; by default as many as tell them apart.

    Raises:
        ValueError: there is no row, or a number is not finite.
    """
    if not rows:
        raise ValueError("expected at least one row, got none")
    values = [v for row in rows for v in (row.mean, row.low, row.high) if v is not None]
    if not all(map(math.isfinite, values)):
        raise ValueError(f"expected finite differences or None, got {values}")
    if digits is None:
        digits = _digits([row.mean for row in rows if row.mean], values)
    numbers = [_numbers(row, digits) for row in rows]
    left = GAP + name_column(row.name for row in rows)
    right = max(column(numbers), column((row.text for row in rows), MAX_TEXT))
    scale = Scale(*domain([0.0, *values]), left + GAP, WIDTH - 2 * GAP - right)
    bottom = TOP + HEIGHT * len(rows)
    title = axis_label(label, unit, SIDES.get(better, ""))
    grid, front = horizontal_axis(scale, top=TOP, bottom=bottom, label=title, ticks=bool(values))
    zero = element("line", css="zero", x1=scale(0.0), x2=scale(0.0), y1=TOP, y2=bottom)
    drawn = "".join(
        _row(row, written, scale, TOP + HEIGHT * index)
        for index, (row, written) in enumerate(zip(rows, numbers, strict=True))
    )
    spoken = "; ".join(
        ", ".join(part for part in (f"{row.name}: {written}", row.text) if part)
        for row, written in zip(rows, numbers, strict=True)
    )
    return chart(
        grid,
        zero,
        drawn,
        front,
        css="chart forest",
        height=bottom + AXIS_HEIGHT,
        title=title,
        spoken=f"{title}. {spoken}",
    )


def _digits(means: Sequence[float], values: Sequence[float]) -> int:
    """Two digits of the smallest mean, but no more than three of the largest number."""
    most = digits_for([0.0, *values])
    return min(most, max(0, digits_for([0.0, min(map(abs, means))]) - 1)) if means else most


def _numbers(row: Row, digits: int) -> str:
    return with_interval(row.mean, row.low, row.high, digits, none=NONE, sign="+")


def _row(row: Row, written: str, scale: Scale, top: float) -> str:
    y = top + HEIGHT / 2
    right = WIDTH - GAP
    parts = [
        name(GAP, y + 4, row.name),
        text(right, y - 4 if row.text else y + 4, written, css="value", text_anchor="end"),
    ]
    if row.text:
        parts.append(text(right, y + 12, row.text, width=MAX_TEXT, css="value", text_anchor="end"))
    if row.mean is None:
        return "".join(parts)
    if row.low is not None and row.high is not None:
        ends = scale(row.low), scale(row.high)
        parts.append(
            element("line", css=f"whisker {row.css_class}", x1=ends[0], x2=ends[1], y1=y, y2=y)
        )
        parts += [
            element("line", css=f"whisker {row.css_class}", x1=x, x2=x, y1=y - 4, y2=y + 4)
            for x in ends
        ]
    x = scale(row.mean)
    parts.append(element("circle", css=f"mean {row.css_class}", cx=x, cy=y, r=4.5))
    return "".join(parts)
