"""What the charts of a page share: SVG elements, linear axes with round ticks, widths of text.

Colours, strokes and fonts come from the page's style sheet by classes; lengths are units of the
viewBox, which are CSS pixels at its natural width.
"""

import html
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from liftnet.core.names import isolated

__all__ = [
    "AXIS_HEIGHT",
    "EDGE",
    "GAP",
    "MAX_NAME",
    "NUM_COLOURS",
    "WIDTH",
    "Scale",
    "axis_label",
    "chart",
    "column",
    "cut",
    "digits_for",
    "domain",
    "element",
    "horizontal_axis",
    "name",
    "name_column",
    "number",
    "round_ticks",
    "text",
    "text_width",
    "tick_texts",
    "with_interval",
]

WIDTH = 420.0  # ours: two charts beside each other on a laptop screen, one on a phone
GAP = 8.0  # ours: between columns of text and the plot, and to the border
EDGE = 16.0  # ours: the strip at an end of the axis where infinite values are drawn
MAX_NAME = 118.0  # ours: more would leave too little for the plot; longer names are cut
NUM_COLOURS = 6  # the classes m0 to m5 of the page's style sheet
AXIS_HEIGHT = 42.0  # ours: a line of ticks and a line of label, 12 px each
TICK_COUNTS = (6, 5, 4, 3)  # ours: at most so many steps, fewer where the texts are long
BREAKS = " -_/+,"  # ours: where names of methods and folders may be broken
SAME = 1e-9  # ours: values that differ by less of their size are equal up to rounding
MOST_DIGITS = 6  # ours: smaller numbers are written with an exponent
# Widths of a 12 px sans-serif; ours: the wider of common ones (DejaVu Sans), so nothing is cut.
NARROW, WIDE = frozenset(" !'()[],.:;|/Iijltfr-"), frozenset("mwMW@%")
NARROW_WIDTH, CAPITAL_WIDTH, WIDE_WIDTH, USUAL_WIDTH = 4.7, 8.4, 11.4, 7.5


@dataclass(frozen=True)
class Scale:
    """A linear map of the values low to high onto the positions first to last."""

    low: float
    high: float
    first: float
    last: float

    def __call__(self, value: float) -> float:
        """The position of a value."""
        share = (value - self.low) / (self.high - self.low)
        return self.first + share * (self.last - self.first)


def element(tag: str, *children: str, **attributes: object) -> str:
    """An SVG element around children that are SVG already; attributes are escaped.

    `css` is the attribute class, and underscores become hyphens.

    >>> element("circle", css="dot", cx=1.0, data_case='"a"')
    '<circle class="dot" cx="1" data-case="&quot;a&quot;"/>'
    """
    parts = [tag]
    for given, value in attributes.items():
        key = "class" if given == "css" else given.replace("_", "-")
        written = f"{round(value, 2) + 0.0:g}" if isinstance(value, float) else str(value)
        parts.append(f'{key}="{html.escape(written)}"')
    head = " ".join(parts)
    return f"<{head}>{''.join(children)}</{tag}>" if children else f"<{head}/>"


def text(x: float, y: float, content: str, *, width: float = math.inf, **attributes: object) -> str:
    """A line of text with its baseline at y; one that is cut to the width has its whole as title.

    `text_anchor` says whether it starts (by default), has its middle or ends at x.
    """
    shown = cut(content, width)
    children = [html.escape(isolated(shown))]
    if shown != content:
        children.append(element("title", html.escape(isolated(content))))
    return element("text", *children, x=x, y=y, **attributes)


def text_width(content: str) -> float:
    """About how wide a line of text is, rather too wide than too narrow."""
    return sum(
        NARROW_WIDTH
        if letter in NARROW
        else WIDE_WIDTH
        if letter in WIDE
        else CAPITAL_WIDTH
        if letter.isupper()
        else USUAL_WIDTH
        for letter in content
    )


def cut(content: str, width: float) -> str:
    """The text, its end replaced by dots if it is wider than `width`."""
    if text_width(content) <= width:
        return content
    kept = len(content)
    while kept > 1 and text_width(content[:kept] + "…") > width:
        kept -= 1
    return content[:kept].rstrip() + "…"


def column(texts: Iterable[str], most: float = math.inf) -> float:
    """The width of a column of texts with the gap beside it; 0 if all are empty."""
    widest = max(map(text_width, texts), default=0.0)
    return min(widest, most) + GAP if widest else 0.0


def name_column(names: Iterable[str]) -> float:
    """The width of a column of names, each in one line or two, with the gap beside it."""
    return column((line for name in names for line in _lines(name)), MAX_NAME)


def name(x: float, y: float, content: str) -> str:
    """A name that starts at x with its middle line at y, in two lines where it is long."""
    lines = _lines(content)
    drawn = ""
    for k, line in enumerate(lines):
        at = y + 14 * (k - (len(lines) - 1) / 2)
        drawn += text(x, at, line, width=MAX_NAME, css="name")
    if lines == [content]:
        return drawn
    return element("g", element("title", html.escape(isolated(content))), drawn)


def _lines(content: str) -> list[str]:
    """A text that is wider than a name may be, broken behind a word; else in one line."""
    if text_width(content) <= MAX_NAME:
        return [content]
    ends = [k + 1 for k, letter in enumerate(content[:-1]) if letter in BREAKS]
    fitting = [k for k in ends if text_width(content[:k].rstrip()) <= MAX_NAME]
    return [content[: fitting[-1]].rstrip(), content[fitting[-1] :]] if fitting else [content]


def chart(*children: str, height: float, title: str, spoken: str, **attributes: object) -> str:
    """The SVG of a chart: `title` appears under the mouse, `spoken` is for screen readers."""
    return element(
        "svg",
        element("title", html.escape(isolated(title))),
        *children,
        **attributes,
        viewBox=f"0 0 {WIDTH:g} {height:g}",
        role="img",
        aria_label=spoken,
    )


def axis_label(label: str, unit: str, remark: str = "") -> str:
    """A label as people write it.

    >>> axis_label("PSNR", "dB", "higher is better"), axis_label("SSIM", "")
    ('PSNR [dB], higher is better', 'SSIM')
    """
    named = f"{label} [{unit}]" if unit else label
    return f"{named}, {remark}" if remark else named


def domain(values: Sequence[float], *, from_zero: bool = False) -> tuple[float, float]:
    """What an axis covers: all values and a little more; with `from_zero` it starts or ends at 0.

    Raises:
        ValueError: there is no value.
    """
    if not values:
        raise ValueError("expected at least one finite value, got none")
    low, high = min(values), max(values)
    if from_zero:
        low, high = min(low, 0.0), max(high, 0.0)
    size = max(abs(low), abs(high))
    if high - low <= SAME * size:
        margin = size / 20 or 1.0  # equal values lie in the middle
        return (0.0, margin) if from_zero else (low - margin, high + margin)
    margin = (high - low) / 20
    return (
        low if from_zero and low == 0 else low - margin,
        high if from_zero and high == 0 else high + margin,
    )


def round_ticks(low: float, high: float, count: int) -> tuple[list[float], float]:
    """The multiples of a step of 1, 2 or 5 times a power of 10 in an interval, and the step.

    The step is the smallest that the interval has at most `count` of.

    >>> round_ticks(0.0, 9.0, 5)
    ([0.0, 2.0, 4.0, 6.0, 8.0], 2.0)
    """
    wanted = (high - low) / count
    power = 10.0 ** math.floor(math.log10(wanted))
    step = next(f * power for f in (1, 2, 5, 10) if f * power >= wanted * (1 - SAME))
    first, last = math.ceil(low / step - SAME), math.floor(high / step + SAME)
    return [k * step for k in range(first, last + 1)], step


def tick_texts(ticks: Sequence[float], step: float) -> list[str]:
    """The ticks with as many places as the step has."""
    digits = max(0, -math.floor(math.log10(step) + SAME))
    if digits > MOST_DIGITS or max(map(abs, ticks), default=0) >= 10**MOST_DIGITS:
        return [f"{tick:.6g}" for tick in ticks]
    return [f"{tick:z.{digits}f}" for tick in ticks]


def horizontal_axis(
    scale: Scale,
    *,
    top: float,
    bottom: float,
    label: str,
    ends: tuple[float, float] | None = None,
    ticks: bool = True,
) -> tuple[str, str]:
    """Grid lines to lie behind the plot, and the line, numbers and label below it.

    The line has the scale's length, or goes from one of `ends` to the other.
    """
    behind, front = "", ""
    ends = ends or (scale.first, scale.last)
    for tick, written in _fitting_ticks(scale) if ticks else ():
        x = scale(tick)
        behind += element("line", css="grid", x1=x, x2=x, y1=top, y2=bottom)
        half = text_width(written) / 2
        near = min(max(x, half), WIDTH - half)
        front += text(near, bottom + 15, written, css="tick", text_anchor="middle")
    front += element("line", css="axis", x1=ends[0], x2=ends[1], y1=bottom, y2=bottom)
    half = min(text_width(label), WIDTH - GAP) / 2
    middle = min(max(sum(ends) / 2, GAP / 2 + half), WIDTH - GAP / 2 - half)
    front += text(middle, bottom + 34, label, width=WIDTH - GAP, css="label", text_anchor="middle")
    return behind, front


def _fitting_ticks(scale: Scale) -> list[tuple[float, str]]:
    """As many ticks as have room for their texts."""
    for count in TICK_COUNTS:
        ticks, step = round_ticks(scale.low, scale.high, count)
        texts = tick_texts(ticks, step)
        room = abs(scale(step) - scale(0.0))
        if max(map(text_width, texts), default=0.0) + GAP <= room:
            break
    return list(zip(ticks, texts, strict=True))


def digits_for(values: Iterable[float]) -> int:
    """How many places tell the values apart: two beyond the first digit of their range."""
    finite = [value for value in values if math.isfinite(value)]
    size = max(map(abs, finite), default=0.0)
    span = max(finite, default=0.0) - min(finite, default=0.0)
    span = span if span > SAME * size else size
    return max(0, 2 - math.floor(math.log10(span))) if span > 0 else 2


def number(value: float, digits: int, sign: str = "") -> str:
    """A number with so many places; with sign "+" also positive ones have a sign.

    >>> number(-0.001, 2), number(0.5, 2, "+"), number(math.inf, 2), number(2.5e-9, 11)
    ('0.00', '+0.50', 'infinite', '2.5e-09')
    """
    if math.isinf(value):
        return "infinite" if value > 0 else "-infinite"
    return f"{value:{sign}.3g}" if digits > MOST_DIGITS else f"{value:{sign}z.{digits}f}"


def with_interval(
    mean: float | None,
    low: float | None,
    high: float | None,
    digits: int,
    *,
    none: str,
    sign: str = "",
) -> str:
    """A mean with its interval, if it has one; `none` where there is no mean.

    >>> with_interval(1.0, 0.5, 2.0, 1, none="-"), with_interval(1.0, None, None, 1, none="-")
    ('1.0 [0.5, 2.0]', '1.0')
    """
    if mean is None:
        return none
    if low is None or high is None:
        return number(mean, digits, sign)
    ends = f"[{number(low, digits, sign)}, {number(high, digits, sign)}]"
    return f"{number(mean, digits, sign)} {ends}"
