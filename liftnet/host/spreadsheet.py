"""CSV files that a spreadsheet opens without taking a name for a formula."""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence

__all__ = ["as_csv", "read_csv"]

# Source: OWASP, CSV Injection: a text that begins with one of these may be run.
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
END = "\r\n"  # what is in it is quoted inside a cell
QUOTE = "'"  # a spreadsheet shows what follows as text


def as_csv(rows: Iterable[Sequence[object]]) -> str:
    r"""Lines of cells; a text that would be a formula gets an apostrophe, numbers stay.

    >>> as_csv([["=1+1", -0.5]])
    "'=1+1,-0.5\n"
    """
    return "".join(f"{_line(row)}\n" for row in rows)


def read_csv(lines: Iterable[str]) -> Iterator[dict[str, str]]:
    """The rows of a file that `as_csv` wrote, by the names in its first line."""
    rows = csv.reader(lines)
    names = [_bare(name) for name in next(rows, [])]
    for row in rows:
        yield dict(zip(names, map(_bare, row), strict=True))


def _line(row: Sequence[object]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator=END).writerow([_guarded(cell) for cell in row])
    return text.getvalue()[: -len(END)]


def _guarded(cell: object) -> object:
    return QUOTE + cell if isinstance(cell, str) and _is_formula(cell) else cell


def _bare(cell: str) -> str:
    return cell[1:] if cell.startswith(QUOTE) and _is_formula(cell) else cell


def _is_formula(cell: str) -> bool:
    """Whether it begins as a formula does, behind apostrophes of its own too."""
    return cell.lstrip(QUOTE).startswith(FORMULA)
