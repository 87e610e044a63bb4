"""A chart of values along the slices of one case, with a line at the slice that is shown."""

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass

from liftnet.core.names import isolated
from liftnet.visual.charts_axes import (
    AXIS_HEIGHT,
    GAP,
    WIDTH,
    Scale,
    axis_label,
    chart,
    domain,
    element,
    horizontal_axis,
    round_ticks,
    text,
    text_width,
    tick_texts,
)

__all__ = ["Line", "profile"]

PLOT_HEIGHT = 130.0  # ours: a third of the width, as curves along an axis are usually drawn
LEGEND_ROW = 16.0  # ours: a line of 12 px text
SAMPLE = 24.0  # ours: a piece of line that shows its dashes twice
FIRST = 1  # ours: people count slices from 1
ROWS_OF_TICKS = 4  # ours: a number every 30 px
MAX_LEGEND = 300.0  # ours: a name in most of the width
# Dashes that tell the methods apart without their colour; others, as the reference, are solid.
DASHES = {"m1": "6 3", "m2": "2 2", "m3": "8 3 2 3", "m4": "12 4", "m5": "4 2 1 2"}


@dataclass(frozen=True)
class Line:
    """One value per slice; where it is not finite, the line has a gap."""

    name: str
    css_class: str
    values: Sequence[float]


def profile(
    lines: Sequence[Line],
    *,
    label: str,
    unit: str,
    x_label: str,
    case: str,
    axis: int,
    cursor_first: float,
    cursor_last: float,
) -> str:
    """A chart of one line per image along an axis, from 0 or below, with a legend above.

    Value k lies at slice k + 1. The page's script moves the cursor between the positions that the
    svg's data-first and data-last name: those of the (fractional) indices `cursor_first` and
    `cursor_last`, the first and the last slice of the embedded volume.

    Raises:
        ValueError: there is no line or no finite value, or lengths differ.
    """
    lengths = {len(line.values) for line in lines}
    if len(lengths) != 1 or lengths == {0}:
        raise ValueError(f"expected lines of one length above 0, got lengths {sorted(lengths)}")
    values = [float(v) for line in lines for v in line.values if math.isfinite(v)]
    y_low, y_high = domain(values, from_zero=True)
    legend, top = _legend(lines, 16 + GAP)
    bottom = top + PLOT_HEIGHT
    y_scale = Scale(y_low, y_high, bottom, top)
    ticks, y_step = round_ticks(y_low, y_high, ROWS_OF_TICKS)
    texts = tick_texts(ticks, y_step)
    left = 2 * GAP + max(map(text_width, texts))
    x_scale = _slices(lengths.pop(), (cursor_first, cursor_last), left)
    title = axis_label(label, unit)
    grid, front = horizontal_axis(x_scale, top=top, bottom=bottom, label=x_label)
    for tick, written in zip(ticks, texts, strict=True):
        y = y_scale(tick)
        kind = "zero" if tick == 0 else "grid"
        grid += element("line", css=kind, x1=x_scale.first, x2=x_scale.last, y1=y, y2=y)
        front += text(left - GAP, y + 4, written, css="tick", text_anchor="end")
    xs = [x_scale(FIRST + k) for k in range(len(lines[0].values))]
    drawn = "".join(_line(line, xs, y_scale) for line in lines)
    first, last = (x_scale(FIRST + k) for k in (cursor_first, cursor_last))
    cursor = element("line", css="cursor", x1=first, x2=first, y1=top, y2=bottom)
    names = ", ".join(line.name for line in lines)
    return chart(
        text(GAP, 14, title, width=WIDTH - 2 * GAP, css="label"),
        legend,
        grid,
        drawn,
        front,
        cursor,
        css="chart profile",
        data_case=case,
        data_axis=axis,
        data_first=first,
        data_last=last,
        height=bottom + AXIS_HEIGHT,
        title=f"{case}: {title}",
        spoken=f"{case}: {title} along {x_label}, from {min(values):.4g} to {max(values):.4g}: "
        f"{names}",
    )


def _slices(count: int, cursor: tuple[float, float], left: float) -> Scale:
    """The axis of slice numbers, wide enough for all values and for the cursor."""
    ends = [FIRST + k for k in (0, count - 1, *cursor)]
    low, high = min(ends), max(ends)
    if low == high:
        low, high = low - 0.5, high + 0.5
    return Scale(low, high, left, WIDTH - 2 * GAP)


def _line(line: Line, xs: Sequence[float], y_scale: Scale) -> str:
    """Pieces between gaps; a piece of one value is a dot."""
    pieces: list[list[tuple[float, float]]] = [[]]
    for x, value in zip(xs, line.values, strict=True):
        if math.isfinite(value):
            pieces[-1].append((x, y_scale(float(value))))
        elif pieces[-1]:
            pieces.append([])
    dashes = {"stroke_dasharray": DASHES[line.css_class]} if line.css_class in DASHES else {}
    drawn = []
    for piece in filter(None, pieces):
        if len(piece) == 1:
            (x, y), css = piece[0], f"dot {line.css_class}"
            drawn.append(element("circle", css=css, cx=x, cy=y, r=2.0))
            continue
        points = " ".join(f"{x:.2f},{y:.2f}" for x, y in piece)
        drawn.append(
            element("polyline", css=f"line {line.css_class}", points=points, fill="none", **dashes)
        )
    return element("g", element("title", html.escape(isolated(line.name))), *drawn)


def _legend(lines: Sequence[Line], top: float) -> tuple[str, float]:
    """Names beside pieces of their lines, in as many rows as they need, and where they end."""
    x, y, drawn = GAP, top, ""
    for line in lines:
        width = SAMPLE + GAP / 2 + min(text_width(line.name), MAX_LEGEND)
        if x > GAP and x + width > WIDTH - GAP:
            x, y = GAP, y + LEGEND_ROW
        css = line.css_class
        dashes = {"stroke_dasharray": DASHES[css]} if css in DASHES else {}
        drawn += element("line", css=f"line {css}", x1=x, x2=x + SAMPLE, y1=y, y2=y, **dashes)
        drawn += text(x + SAMPLE + GAP / 2, y + 4, line.name, width=MAX_LEGEND, css="name")
        x += width + 2 * GAP
    return drawn, y + LEGEND_ROW
