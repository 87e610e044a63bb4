"""A benchmark for reading: tables and sentences for the terminal, lines for a spreadsheet."""

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from liftnet.core.benchmark import Benchmark, BenchmarkFailure
from liftnet.core.comparison import MethodComparison
from liftnet.host import spreadsheet
from liftnet.host.progress import mention, say
from liftnet.host.text_table import aligned, say_wrapped
from liftnet.pipeline.evaluate.table import TABLE_WIDTH
from liftnet.pipeline.report.benchmark_table import Column, columns
from liftnet.pipeline.report.results import as_gains

__all__ = ["as_csv", "report", "say_failures"]

LEGEND = (
    "mean [95 % bootstrap interval over cases]; gain: over the baseline, + is better; "
    "p: two-sided Wilcoxon signed-rank, Holm-corrected for all tests of the metric; training: all "
    "steps, validations left out; a volume: median over cases"
)


def report(found: Benchmark, comparison: MethodComparison, output: Path) -> None:
    """Print what was equal, the tables, warnings, and what it means."""
    width = shutil.get_terminal_size((TABLE_WIDTH, 24)).columns
    every = _columns(found, comparison)
    say("")
    say_wrapped(
        f"{len(found.rows)} rows on {len(comparison.cases)} cases of {found.dataset}, each with "
        f"{found.equal}",
        width,
    )
    for group in dict.fromkeys(column.group for column in every):
        own = [column for column in every if column.group == group]
        for block in _blocks([row.name for row in found.rows], own, width):
            say("")
            for line in block:
                say(line)
    say("")
    say_wrapped(LEGEND, width, mention)
    for warning in comparison.warnings:
        say_wrapped(f"warning: {warning}", width)
    say(f"Benchmark: {output / 'benchmark.json'}, benchmark.csv, comparison.json")
    say("")
    for sentence in found.verdict:
        say_wrapped(sentence, width)


def _columns(found: Benchmark, comparison: MethodComparison) -> list[Column]:
    gains = [as_gains(result) for result in comparison.results]
    return columns(found.rows, gains, comparison.main_metrics)


def _blocks(names: Sequence[str], own: Sequence[Column], width: int) -> Iterator[list[str]]:
    """Lines of as many columns beside the names as the width has room for, then of the next."""
    left = list(own)
    while left:
        taken = 1
        lines = _lines(names, left[:1])
        while taken < len(left):
            more = _lines(names, left[: taken + 1])
            if max(map(len, more)) > width:
                break
            lines, taken = more, taken + 1
        yield lines
        left = left[taken:]


def _lines(names: Sequence[str], own: Sequence[Column]) -> list[str]:
    heads = ["method", *(column.head for column in own)]
    cells = zip(names, *([cell.text for cell in column.cells] for column in own), strict=True)
    return aligned([heads, *map(list, cells)])


def say_failures(failures: Sequence[BenchmarkFailure]) -> None:
    """Which methods have no row, why, and what to do about it."""
    for failure in failures:
        say(f"\n{failure.method} failed: {failure.problem}")
        if failure.where:
            say(f"  where: {failure.where}")
        if failure.remedy:
            say(f"  do:    {failure.remedy}")


def as_csv(found: Benchmark, comparison: MethodComparison) -> str:
    """One line per row, numbers in full, intervals in columns of their own."""
    heads = ["method"]
    lines: list[list[object]] = [[row.name] for row in found.rows]
    for column in _columns(found, comparison):
        ends = any(cell.low is not None for cell in column.cells)
        heads += [column.key, *([f"{column.key}_low", f"{column.key}_high"] if ends else [])]
        for line, cell in zip(lines, column.cells, strict=True):
            line.append(cell.text if cell.value is None else cell.value)
            line.extend(
                "" if end is None else end for end in ((cell.low, cell.high) if ends else ())
            )
    return spreadsheet.as_csv([heads, *lines])
