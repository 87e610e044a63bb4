"""A chart of one value against what it costs, a named point for each method, as SVG."""

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass

from liftnet.core.names import isolated
from liftnet.visual.charts_axes import (
    AXIS_HEIGHT,
    GAP,
    NUM_COLOURS,
    WIDTH,
    Scale,
    chart,
    cut,
    domain,
    element,
    horizontal_axis,
    number,
    round_ticks,
    text,
    text_width,
    tick_texts,
)

__all__ = ["Point", "scatter"]

PLOT_HEIGHT = 230.0  # ours: about as high as wide, without the numbers beside it
TOP = 26.0  # ours: a line of label above
LINE = 14.0  # ours: a line of 12 px text
LABEL = 150.0  # ours: the longest name in one line; longer ones are cut
ROWS_OF_TICKS = 5  # ours: a number every 45 px
RADIUS = 4.0  # ours
STEPS = ((1, 1.5, 2, 3, 5, 7), (1, 2, 5), (1, 3), (1,))  # ticks of each power of 10
MOST_TICKS = 6  # ours: a number every 60 px


@dataclass(frozen=True)
class Point:
    """A mean with its interval, and a cost; without a cost it is a line across the chart."""

    name: str
    cost: float | None  # above 0
    mean: float
    low: float
    high: float


def scatter(
    points: Sequence[Point], *, label: str, cost_label: str, digits: int, remark: str = ""
) -> str:
    """A chart of means with their intervals over costs, on an axis of powers of 10.

    Args:
        points: at least one has a cost; means and intervals are finite.
        label: of the value, with its unit.
        cost_label: the same of the cost.
        digits: places of the values.
        remark: which value is better.

    Raises:
        ValueError: no point has a cost, or one is 0 or less.
    """
    costs = [point.cost for point in points if point.cost is not None]
    if not costs or min(costs) <= 0:
        raise ValueError(f"expected costs above 0, got {costs}")
    bottom = TOP + PLOT_HEIGHT
    heights = [v for p in points for v in (p.mean, p.low, p.high)]
    y_scale = Scale(*domain(heights), bottom, TOP)
    ticks, step = round_ticks(y_scale.low, y_scale.high, ROWS_OF_TICKS)
    written = tick_texts(ticks, step)
    left = 2 * GAP + max(map(text_width, written))
    x_scale = _costs(costs, left)
    behind, front = horizontal_axis(
        x_scale, top=TOP, bottom=bottom, label=cost_label, ticks=False, ends=(left, WIDTH - GAP)
    )
    for tick, shown in zip(ticks, written, strict=True):
        y = y_scale(tick)
        behind += element("line", css="grid", x1=left, x2=WIDTH - GAP, y1=y, y2=y)
        front += text(left - GAP, y + 4, shown, css="tick", text_anchor="end")
    for value in _powers(x_scale):
        x = x_scale(math.log10(value))
        behind += element("line", css="grid", x1=x, x2=x, y1=TOP, y2=bottom)
        front += text(x, bottom + 15, f"{value:,.12g}", css="tick", text_anchor="middle")
    title = ", ".join(filter(None, (label, remark)))
    spoken = "; ".join(_spoken(point, digits) for point in points)
    return chart(
        text(GAP, 14, title, width=WIDTH - 2 * GAP, css="label"),
        behind,
        *(_drawn(p, k, x_scale, y_scale, left, digits) for k, p in enumerate(points)),
        *_names(points, x_scale, y_scale, left),
        front,
        css="chart scatter",
        height=bottom + AXIS_HEIGHT,
        title=f"{title}, against {cost_label}",
        spoken=f"{title}, against {cost_label}. {spoken}",
    )


def _costs(costs: Sequence[float], left: float) -> Scale:
    """The axis of the powers of 10 of costs, with room for a name at both ends."""
    low, high = math.log10(min(costs)), math.log10(max(costs))
    margin = max(0.1 * (high - low), 0.15)
    return Scale(low - margin, high + margin, left, WIDTH - GAP)


def _powers(scale: Scale) -> list[float]:
    """The ticks of an axis of powers of 10, as many as have room."""
    powers = range(math.floor(scale.low), math.ceil(scale.high) + 1)
    for steps in STEPS:
        found = [step * 10.0**power for power in powers for step in steps]
        found = [value for value in found if scale.low <= math.log10(value) <= scale.high]
        if len(found) <= MOST_TICKS:
            return found
    return found[:: -(-len(found) // MOST_TICKS)]


def _drawn(
    point: Point, index: int, x_scale: Scale, y_scale: Scale, left: float, digits: int
) -> str:
    """A dot on its interval, or, where it costs nothing, a line across."""
    css, y = f"m{index % NUM_COLOURS}", y_scale(point.mean)
    words = element("title", html.escape(isolated(_spoken(point, digits))))
    if point.cost is None:
        line = element("line", css=css, x1=left, x2=WIDTH - GAP, y1=y, y2=y, stroke_dasharray="6 3")
        return element("g", words, line)
    x = x_scale(math.log10(point.cost))
    whisker = element(
        "line", css=f"whisker {css}", x1=x, x2=x, y1=y_scale(point.low), y2=y_scale(point.high)
    )
    dot = element("circle", css=f"dot {css}", cx=x, cy=y, r=RADIUS)
    return element("g", words, whisker, dot)


def _names(points: Sequence[Point], x_scale: Scale, y_scale: Scale, left: float) -> list[str]:
    """The name of each point beside it, moved up or down where another one stands."""
    dots = [(x_scale(math.log10(p.cost)), y_scale(p.mean)) for p in points if p.cost is not None]
    taken = [(x - RADIUS, x + RADIUS, y) for x, y in dots]  # first and last x, y
    drawn = []
    for point in sorted(points, key=lambda p: y_scale(p.mean)):
        shown = cut(point.name, LABEL)
        width, y = text_width(shown), y_scale(point.mean) - 3
        if point.cost is None:  # above its line
            first, y = left + GAP, y - 5
        else:
            x = x_scale(math.log10(point.cost))
            right = x + RADIUS + 3
            first = right if right + width <= WIDTH else 2 * x - right - width
        free = (
            y + sign * move * LINE / 2
            for move in range(2 * len(points) + 1)
            for sign in (1, -1)
            if TOP + LINE / 2 <= y + sign * move * LINE / 2 <= TOP + PLOT_HEIGHT - 2
        )
        y = next((at for at in free if not _overlaps(taken, first, first + width, at)), y)
        taken.append((first, first + width, y))
        drawn.append(text(first, y + 4, point.name, width=LABEL, css="name"))
    return drawn


def _overlaps(
    taken: Sequence[tuple[float, float, float]], first: float, last: float, y: float
) -> bool:
    return any(a < last and first < b and abs(y - at) < LINE for a, b, at in taken)


def _spoken(point: Point, digits: int) -> str:
    ends = f"[{number(point.low, digits)}, {number(point.high, digits)}]"
    cost = "no cost" if point.cost is None else f"{point.cost:.3g}"
    return f"{point.name}: {number(point.mean, digits)} {ends} at {cost}"
