"""A chart of all cases' values of one metric, one lane per method or contrast, as SVG."""

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from liftnet.core.comparison import Direction, better_words
from liftnet.core.names import isolated
from liftnet.visual.charts_axes import (
    AXIS_HEIGHT,
    EDGE,
    GAP,
    NUM_COLOURS,
    WIDTH,
    Scale,
    axis_label,
    chart,
    digits_for,
    domain,
    element,
    horizontal_axis,
    name,
    name_column,
    number,
    text,
    text_width,
)

__all__ = ["Group", "distribution"]

TOP = 6.0  # ours: above the first lane
LANE = 54.0  # ours: a swarm of up to nine dots above each other, and the mean below it
SWARM = 20.0  # ours: from the top of a lane to the middle of its dots ...
MEAN = 44.0  # ours: ... and to its mean
RADII = (3.0, 2.0)  # ours: a dot to point at with the mouse; smaller ones for ...
MANY = 60  # ours: ... more cases than this
SPREAD = 15.0  # ours: a dot lies at most so far above or below the middle
FEWEST_FOR_BOX = 5  # ours: below it the quartiles are single dots
MOST_PAIRS = 60  # ours: more lines are a grey area


@dataclass(frozen=True)
class Group:
    """The values of one metric by case, and their mean with its 95 % interval."""

    name: str
    points: tuple[tuple[str, float], ...]
    """(case, value); a value may be infinite."""
    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class _Axis:
    """The scale of finite values, and the two ends where infinite ones are drawn."""

    scale: Scale
    first: float
    last: float

    def place(self, value: float) -> float:
        """The position of a value."""
        if math.isinf(value):
            return self.last if value > 0 else self.first
        return self.scale(value)


def distribution(
    groups: Sequence[Group],
    *,
    label: str,
    unit: str,
    better: Direction = "unknown",
    digits: int | None = None,
) -> str:
    """A chart of every case as a dot, quartiles behind, the mean and its 95 % interval below.

    Where all groups have the same cases, lines connect them. Infinite values are triangles at the
    end of the axis. `digits` are the places of the numbers; by default as many as tell them apart.

    Raises:
        ValueError: there is no group, a group has no point, or a value is NaN.
    """
    _check(groups)
    all_values = [value for group in groups for value in _values(group)]
    finite = [value for value in all_values if math.isfinite(value)]
    digits = digits_for(finite) if digits is None else digits
    numbers = [_numbers(group, digits) for group in groups]
    names = name_column(group.name for group in groups)
    axis = _axis(all_values, GAP + names, max(text_width(t) for pair in numbers for t in pair))
    bottom = TOP + LANE * len(groups)
    remark = better_words(better)
    title = axis_label(label, unit, remark)
    grid, front = horizontal_axis(
        axis.scale,
        ends=(axis.first, axis.last),
        top=TOP,
        bottom=bottom,
        label=title,
        ticks=bool(finite),
    )
    placed = [
        _swarm(
            [axis.place(value) for _, value in group.points],
            TOP + LANE * index + SWARM,
            _radius(group),
        )
        for index, group in enumerate(groups)
    ]
    lanes = ""
    for index, group in enumerate(groups):
        top, css = TOP + LANE * index, f"m{index % NUM_COLOURS}"
        lanes += _box(group, axis, top, css)
        for (case, value), (x, y) in zip(group.points, placed[index], strict=True):
            lanes += _dot(x, y, value, _point_title(case, value, digits, unit), css, _radius(group))
        lanes += _mean(group, axis, top + MEAN, css)
        lanes += name(GAP, top + SWARM + 12, group.name)
        for line, written in enumerate(numbers[index]):
            y = top + SWARM + 4 + 16 * line
            lanes += text(WIDTH - GAP, y, written, css="value", text_anchor="end")
    spoken = [
        f"{g.name or 'all'}: mean {' '.join(pair)}, {len(g.points)} "
        + ("case" if len(g.points) == 1 else "cases")
        for g, pair in zip(groups, numbers, strict=True)
    ]
    return chart(
        grid,
        _pairs(groups, placed),
        lanes,
        front,
        css="chart distribution",
        height=bottom + AXIS_HEIGHT,
        title=title,
        spoken=f"{title}. {'; '.join(spoken)}",
    )


def _check(groups: Sequence[Group]) -> None:
    if not groups or not all(group.points for group in groups):
        raise ValueError("expected groups with at least one point each, got none")
    for group in groups:
        if any(math.isnan(value) for value in _values(group)):
            raise ValueError(f"expected values, got NaN in group {group.name}")


def _values(group: Group) -> list[float]:
    return [value for _, value in group.points] + [group.mean, group.low, group.high]


def _numbers(group: Group, digits: int) -> tuple[str, ...]:
    """The mean, and its interval if there is more than one case."""
    mean = number(group.mean, digits)
    if len(group.points) == 1:
        return (mean,)
    return mean, f"[{number(group.low, digits)}, {number(group.high, digits)}]"


def _axis(values: Sequence[float], left: float, numbers: float) -> _Axis:
    """The axis between the columns of names and numbers."""
    first, last = left + GAP, WIDTH - 3 * GAP - numbers
    finite = [value for value in values if math.isfinite(value)]
    start = first + EDGE if -math.inf in values else first
    stop = last - EDGE if math.inf in values else last
    return _Axis(Scale(*domain(finite or [0.0]), start, stop), first, last)


def _radius(group: Group) -> float:
    return RADII[len(group.points) > MANY]


def _swarm(positions: Sequence[float], middle: float, radius: float) -> list[tuple[float, float]]:
    """Where dots lie that would overlap in a row: moved up or down, from left to right."""
    steps = range(1, int(SPREAD / radius) + 1)
    offsets = (0.0, *(sign * radius * k for k in steps for sign in (-1, 1)))
    found: dict[int, tuple[float, float]] = {}
    order = sorted(range(len(positions)), key=lambda i: (positions[i], i))
    for rank, index in enumerate(order):
        x = positions[index]
        near = []
        for other in reversed(order[:rank]):
            if x - positions[other] >= 2 * radius:
                break
            near.append(found[other])
        spaces = [
            min((math.hypot(x - a, middle + offset - b) for a, b in near), default=math.inf)
            for offset in offsets
        ]
        free = (i for i, space in enumerate(spaces) if space >= 2 * radius)
        chosen = next(free, max(range(len(spaces)), key=spaces.__getitem__))
        found[index] = x, middle + offsets[chosen]
    return [found[index] for index in range(len(positions))]


def _point_title(case: str, value: float, digits: int, unit: str) -> str:
    if math.isinf(value):
        return f"{case}: infinite (equal images)"
    return f"{case}: {number(value, digits)} {unit}".rstrip()


def _dot(x: float, y: float, value: float, title: str, css: str, radius: float) -> str:
    words = element("title", html.escape(isolated(title)))
    if math.isinf(value):
        tip = radius + 2 if value > 0 else -radius - 2
        corners = ((x + tip, y), (x - tip / 2, y - radius - 1), (x - tip / 2, y + radius + 1))
        points = " ".join(f"{a:.2f},{b:.2f}" for a, b in corners)
        return element("polygon", words, css=f"dot infinite {css}", points=points)
    return element("circle", words, css=f"dot {css}", cx=x, cy=y, r=radius)


def _box(group: Group, axis: _Axis, top: float, css: str) -> str:
    """The quartiles and the median of five cases or more."""
    if len(group.points) < FEWEST_FOR_BOX:
        return ""
    values = sorted(value for _, value in group.points)
    first, median, last = (axis.place(_quantile(values, share)) for share in (0.25, 0.5, 0.75))
    y, height = top + SWARM - 17, 34.0
    return element(
        "rect", css=f"box {css}", x=first, y=y, width=last - first, height=height
    ) + element("line", css=f"box median {css}", x1=median, x2=median, y1=y, y2=y + height)


def _quantile(values: Sequence[float], share: float) -> float:
    """A quantile of sorted values, linear between two of them; infinite beside an infinite one."""
    rank = share * (len(values) - 1)
    below = math.floor(rank)
    if rank == below or values[below] == values[below + 1]:
        return values[below]
    return values[below] + (rank - below) * (values[below + 1] - values[below])


def _mean(group: Group, axis: _Axis, y: float, css: str) -> str:
    """A line along the interval with a diamond at the mean."""
    x, low, high = (axis.place(value) for value in (group.mean, group.low, group.high))
    points = f"{x:.2f},{y - 5:.2f} {x + 5:.2f},{y:.2f} {x:.2f},{y + 5:.2f} {x - 5:.2f},{y:.2f}"
    return element("line", css=f"whisker {css}", x1=low, x2=high, y1=y, y2=y) + element(
        "polygon", css=f"mean {css}", points=points
    )


def _pairs(groups: Sequence[Group], placed: Sequence[Sequence[tuple[float, float]]]) -> str:
    """Lines from each case's dot to that in the next lane, if all lanes have the same cases."""
    dots = [
        {case: at for (case, _), at in zip(group.points, own, strict=True)}
        for group, own in zip(groups, placed, strict=True)
    ]
    counts = {len(group.points) for group in groups}
    if max(counts) > MOST_PAIRS or counts != {len(dots[0])}:
        return ""
    if any(own.keys() != dots[0].keys() for own in dots):
        return ""
    return "".join(
        element("line", css="pair", x1=here[0], y1=here[1], x2=there[0], y2=there[1])
        for upper, lower in pairwise(dots)
        for here, there in ((at, lower[case]) for case, at in upper.items())
    )
