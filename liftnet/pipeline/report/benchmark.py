"""The part of a page that is about a benchmark: its tables, and what quality costs."""

from collections.abc import Callable, Iterator, Sequence
from math import isfinite

from liftnet.core.benchmark import BENCHMARK, Benchmark, BenchmarkRow, read_benchmark
from liftnet.core.comparison import better_words
from liftnet.metrics.catalogue import digits_of, short_name
from liftnet.pipeline.report.benchmark_table import QUALITY, Cell, Column, columns, overall
from liftnet.pipeline.report.results import Results
from liftnet.visual.charts_scatter import Point, scatter
from liftnet.visual.html import Html, join, tag

__all__ = ["benchmark_section", "find_benchmark"]

WORDS = (
    "Means over cases with their 95 % bootstrap interval. A gain is over the baseline, case by "
    "case, + is better; p is that of a two-sided Wilcoxon signed-rank test, Holm-corrected for all "
    "tests of the metric. Press a heading to sort."
)
COST_WORDS = (
    "Training is all its steps, validations left out, and its network with what only training "
    "needs. A volume is the median over cases. Memory on a GPU is that of tensors, on a CPU that "
    "of the whole process. Operations are counted, times and memory measured on the devices named."
)
CHART_WORDS = (
    "Further left costs less; each step of the axis is a multiple. A dashed line takes no steps."
)


def find_benchmark(results: Results) -> tuple[Benchmark | None, list[str]]:
    """The benchmark beside a comparison, and a warning if it is not of the same rows.

    Raises:
        PlanError: If the file is damaged.
    """
    path = results.file.with_name(BENCHMARK)
    if results.file.name != "comparison.json" or not path.is_file():
        return None, []
    found = read_benchmark(path)
    if [row.name for row in found.rows] != [method.name for method in results.methods]:
        return None, [f"{BENCHMARK} is not shown: it is of other methods than the comparison"]
    return found, [f"{failure.method} failed: {failure.problem}" for failure in found.failures]


def benchmark_section(found: Benchmark, results: Results) -> Html:
    """What was equal, how good each method is, what it costs, and both in one picture."""
    every = columns(found.rows, results.tables, results.main_metrics)
    quality = [column for column in every if column.group == QUALITY]
    cost = [column for column in every if column.group != QUALITY]
    equal = f"Each method had {found.equal}. Fold {found.fold} of plan {found.plan}."
    return join(
        tag("p", equal),
        _table(found, "How good", quality),
        tag("p", WORDS, class_="note"),
        tag("div", list(_charts(found, results)), class_="charts"),
        tag("p", CHART_WORDS, class_="note"),
        _table(found, "What it costs", cost),
        tag("p", COST_WORDS, class_="note"),
    )


def _table(found: Benchmark, caption: str, own: Sequence[Column]) -> Html:
    """A row for each method, in a table that the reader can sort."""
    heads = [tag("th", head, scope="col") for head in ("method", *(c.head for c in own))]
    rows = [
        tag("tr", _method(found, row), [_cell(column.cells[number]) for column in own])
        for number, row in enumerate(found.rows)
    ]
    table = tag(
        "table",
        tag("caption", caption),
        tag("thead", tag("tr", heads)),
        tag("tbody", rows),
        class_="sortable dense",
    )
    return tag("div", table, class_="table")


def _method(found: Benchmark, row: BenchmarkRow) -> Html:
    """The name of a row, and what is to be known of it."""
    tags = [
        word
        for word, holds in (
            ("best", row.name == found.best),
            ("not distinguishable from it", row.name in found.alike),
            ("closed form", row.closed_form),
        )
        if holds
    ]
    return tag("td", row.name, [join(" ", tag("span", word, class_="tag")) for word in tags])


def _cell(cell: Cell) -> Html:
    value = None if cell.value is None else repr(cell.value)
    return tag("td", cell.text, class_="number", data_value=value)


def _charts(found: Benchmark, results: Results) -> Iterator[Html]:
    """The main metric against the time that training takes, and that of a volume.

    Where all had the same time, training is shown by its operations.
    """

    def operations(row: BenchmarkRow) -> float | None:
        return None if row.training.flops is None else row.training.flops / 1e15

    if found.minutes is None:
        yield from _chart(found, results, "training [s]", lambda row: row.training.seconds)
    else:
        yield from _chart(found, results, "training [PFLOP]", operations)
    yield from _chart(found, results, "a volume [s]", lambda row: row.prediction.seconds)


def _chart(
    found: Benchmark, results: Results, what: str, cost: Callable[[BenchmarkRow], float | None]
) -> Iterator[Html]:
    """A figure, unless nothing has this cost or a value is infinite."""
    metric = results.main_metrics[0]
    table, *_ = overall(results.tables, metric)
    points = [
        Point(row.name, cost(row) or None, own.mean, own.low, own.high)
        for row in found.rows
        for own in (table.means[row.name],)
    ]
    ends = [end for point in points for end in (point.mean, point.low, point.high)]
    if not all(map(isfinite, ends)) or all(point.cost is None for point in points):
        return
    name = short_name(metric)
    drawn = scatter(
        points,
        label=f"{name} [{table.unit}]" if table.unit else name,
        cost_label=what,
        digits=digits_of(metric, [point.mean for point in points]),
        remark=better_words(table.better),
    )
    caption = f"{name} against the cost of {what.partition(' [')[0]}"
    yield tag("figure", tag("figcaption", caption), Html(drawn))
