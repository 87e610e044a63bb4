"""Text of tables and lists for the terminal."""

import textwrap
from collections.abc import Callable, Sequence

from liftnet.host.progress import say

__all__ = ["aligned", "counted", "first_names", "number_or_dash", "say_wrapped"]


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """A line per row, in which the cells of a column begin one below the other.

    >>> aligned([["", "n"], ["mean", "12"]])
    ['      n', 'mean  12']
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def number_or_dash(value: float | None) -> str:
    """A number with four digits that count; a dash where there is none."""
    return "-" if value is None else f"{value:.4g}"


def counted(number: int, what: str) -> str:
    """A number and what it counts.

    >>> counted(1, "case"), counted(2, "case")
    ('1 case', '2 cases')
    """
    return f"{number} {what}{'' if number == 1 else 's'}"


def first_names(names: Sequence[str], shown: int) -> str:
    """The first names, and how many there are more.

    >>> first_names(["a", "b", "c"], 2)
    'a, b and 1 more'
    """
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more


def say_wrapped(text: str, width: int, tell: Callable[[str], None] = say) -> None:
    """Print a text in lines of a width that break at spaces, as a result or as `tell` does."""
    for line in textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False):
        tell(line)
