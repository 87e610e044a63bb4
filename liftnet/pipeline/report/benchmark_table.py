"""The table of a benchmark: a column for each number, in cells for terminals, pages, files."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from liftnet.core.benchmark import BenchmarkRow
from liftnet.core.comparison import MetricComparison
from liftnet.core.scores import AVERAGE
from liftnet.metrics.catalogue import digits_of, short_name
from liftnet.pipeline.compare.table import change_digits, change_text, change_unit, encode_p

__all__ = ["COST", "QUALITY", "TRAINING", "Cell", "Column", "columns", "overall"]

QUALITY, TRAINING, COST = "quality", "training", "a volume"
REGIONS = ("mae_soft", "mae_bone", "mae_air")  # LiFT App. B.5: reported per region of a CT
NONE = "-"
TINY = 1e-3


class Cell(NamedTuple):
    """A number as people read it, and in full, with the interval around it."""

    text: str
    value: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Column:
    """One number of every row."""

    group: str
    key: str  # in benchmark.csv
    head: str
    cells: tuple[Cell, ...]

    @property
    def told(self) -> bool:
        """Whether any row has it."""
        return any(cell.text != NONE for cell in self.cells)


def columns(
    rows: Sequence[BenchmarkRow], results: Sequence[MetricComparison], main: Sequence[str]
) -> list[Column]:
    """All columns in which some row has something.

    Args:
        rows: in any order.
        results: of the comparison of these rows, differences as gains: + is better.
        main: its main metrics, the first of which ranks.
    """
    found = [*_quality(rows, results, main), *_training(rows), *_cost(rows), _published(rows)]
    return [column for column in found if column.told]


def overall(results: Sequence[MetricComparison], metric: str) -> list[MetricComparison]:
    """A metric of the average over contrasts; where there is none, of each contrast."""
    own = [result for result in results if result.metric == metric]
    return [result for result in own if result.contrast == AVERAGE] or own


def _quality(
    rows: Sequence[BenchmarkRow], results: Sequence[MetricComparison], main: Sequence[str]
) -> Iterator[Column]:
    for place, metric in enumerate(main):
        yield from _of_metric(rows, results, metric)
        if place == 0:
            yield from _changes(rows, results, metric)
        if metric == "mae":
            for region in REGIONS:
                yield from _of_metric(rows, results, region)


def _of_metric(
    rows: Sequence[BenchmarkRow], results: Sequence[MetricComparison], metric: str
) -> Iterator[Column]:
    tables = overall(results, metric)
    for table in tables:
        digits = digits_of(metric, [found.mean for found in table.means.values()])
        cells = []
        for row in rows:
            found = table.means[row.name]
            text = f"{found.mean:.{digits}f}"
            if found.n > 1:
                text += f" [{found.low:.{digits}f}, {found.high:.{digits}f}]"
            cells.append(Cell(text, found.mean, found.low, found.high))
        key, head = _named(metric, short_name(metric), table.unit, table, len(tables))
        yield Column(QUALITY, key, head, tuple(cells))


def _named(key: str, head: str, unit: str, table: MetricComparison, tables: int) -> tuple[str, str]:
    """Key and heading, with the contrast where there are several."""
    head += f" [{unit}]" if unit else ""
    if tables == 1:
        return key, head
    return f"{key}_{table.contrast}", f"{head}, {table.contrast}"


def _changes(
    rows: Sequence[BenchmarkRow], results: Sequence[MetricComparison], metric: str
) -> Iterator[Column]:
    """Gains over the baseline, and whether they are more than chance."""
    tables = overall(results, metric)
    for table in tables:
        changes, ps = [], []
        digits = max((change_digits(table, d) for d in table.differences.values()), default=0)
        for row in rows:
            found = table.differences.get(row.name)
            if found is None:
                changes.append(Cell("baseline" if row.name in table.means else NONE))
                ps.append(Cell(NONE))
                continue
            text = change_text(found, digits, sign="+")
            changes.append(Cell(text, found.mean, found.low, found.high))
            tested = found.n > 1
            ps.append(Cell(encode_p(found.p_holm), found.p_holm) if tested else Cell(NONE))
        unit, title = change_unit(table), f"gain in {short_name(metric)}"
        key, head = _named(f"{metric}_gain", title, unit, table, len(tables))
        yield Column(QUALITY, key, head, tuple(changes))
        key, head = _named("p_holm", "p, Holm", "", table, len(tables))
        yield Column(QUALITY, key, head, tuple(ps))


def _training(rows: Sequence[BenchmarkRow]) -> Iterator[Column]:
    costs = [row.training for row in rows]
    parameters = [None if c.parameters is None else c.parameters / 1e6 for c in costs]
    flops = [None if c.flops is None else c.flops / 1e15 for c in costs]
    yield _numbers(TRAINING, "parameters_m", "parameters [M]", parameters)
    yield _numbers(TRAINING, "training_steps", "steps", [c.steps for c in costs], _whole)
    yield _numbers(TRAINING, "training_pflop", "training [PFLOP]", flops)
    yield _numbers(TRAINING, "training_s", "training [s]", [c.seconds for c in costs])
    yield _words(TRAINING, "training_device", "on", [c.device for c in costs])
    peaks = [c.peak_gib for c in costs]
    yield _numbers(TRAINING, "training_peak_gib", "peak of training [GiB]", peaks)


def _cost(rows: Sequence[BenchmarkRow]) -> Iterator[Column]:
    costs = [row.prediction for row in rows]
    steps = [cost.sampler_steps for cost in costs]
    flops = [None if cost.flops is None else cost.flops / 1e12 for cost in costs]
    yield _numbers(COST, "sampler_steps", "sampler steps", steps, _whole)
    yield _numbers(COST, "volume_tflop", "a volume [TFLOP]", flops)
    yield _numbers(COST, "volume_s", "a volume [s]", [cost.seconds for cost in costs])
    yield _words(COST, "volume_device", "volumes on", [cost.device for cost in costs])
    yield _numbers(COST, "volume_peak_gib", "peak [GiB]", [cost.peak_gib for cost in costs])


def _published(rows: Sequence[BenchmarkRow]) -> Column:
    texts = [
        "; ".join(f"{short_name(metric)} {text}" for metric, text in row.published.items())
        for row in rows
    ]
    return _words(QUALITY, "published", "published", texts)


def _words(group: str, key: str, head: str, texts: Iterable[str]) -> Column:
    return Column(group, key, head, tuple(Cell(text or NONE) for text in texts))


def _digits(value: float) -> str:
    """Three digits that count, written out unless it is tiny.

    >>> _digits(0.01234), _digits(12345.6), _digits(8.27e-6)
    ('0.0123', '12,346', '8.27e-06')
    """
    if abs(value) < TINY:
        return f"{value:.3g}"
    places = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{places}f}"


def _whole(value: float) -> str:
    return f"{value:,.0f}"


def _numbers(
    group: str,
    key: str,
    head: str,
    values: Iterable[float | None],
    write: Callable[[float], str] = _digits,
) -> Column:
    cells = (Cell(NONE) if v is None else Cell(write(v), float(v)) for v in values)
    return Column(group, key, head, tuple(cells))
