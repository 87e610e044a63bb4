"""The numbers of a comparison: the images that all methods have, and each metric of them."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from liftnet.core.comparison import LeftOut, MetricComparison, PairedDifference
from liftnet.core.errors import DatasetError
from liftnet.core.scores import AVERAGE, CaseScore
from liftnet.metrics.catalogue import direction, unit_of
from liftnet.metrics.paired import (
    LEVEL_OF_SIGNIFICANCE,
    differ,
    holm,
    smallest_p,
    summarize_differences,
)
from liftnet.pipeline.evaluate.table import metric_names, summarize, units_of

__all__ = ["common_rows", "compare_rows", "row_warnings"]

FEW_CASES = 10  # ours: below it a percentile bootstrap of the mean is clearly too narrow
ENOUGH_CASES = 6  # with fewer, no two-sided signed-rank test is below 0.05
SAME_NOTES = ("mask", "box", "ssim_window", "brain")  # of one image, for any method


def common_rows(
    scores: Mapping[str, Sequence[CaseScore]], metrics: Sequence[str] | None = None
) -> tuple[dict[str, list[CaseScore]], list[LeftOut]]:
    """By method, rows of the images and metrics that all methods have, in one order; and the rest.

    Args:
        scores: method -> its rows.
        metrics: keep these only.

    Raises:
        DatasetError: If there is no such image, or one is scored in two units.
    """
    images = {
        name: {(row.case, row.contrast): row for row in rows} for name, rows in scores.items()
    }
    kept: dict[str, list[CaseScore]] = {name: [] for name in scores}
    left_out: list[LeftOut] = []
    for case, contrast in sorted(set().union(*images.values())):
        found = {name: own.get((case, contrast)) for name, own in images.items()}
        rows = {name: row for name, row in found.items() if row is not None}
        if absent := tuple(name for name, row in found.items() if row is None):
            left_out.append(LeftOut(case, contrast, "", absent))
            continue
        _refuse_units(rows)
        shared: list[str] = []
        for metric in metric_names(list(rows.values())):
            if metrics is not None and metric not in metrics:
                continue
            absent = tuple(name for name, row in rows.items() if metric not in row.metrics)
            if absent:
                left_out.append(LeftOut(case, contrast, metric, absent))
            else:
                shared.append(metric)
        for name, row in rows.items():
            kept[name].append(replace(row, metrics={m: row.metrics[m] for m in shared}))
    if not any(kept.values()):
        raise DatasetError(
            "The methods have no image in common",
            where="; ".join(f"{name}: {_some(own)}" for name, own in images.items()),
            remedy="Compare predictions of the same cases and channels; where one has numbers "
            "for names of channels, name the dataset with -d.",
        )
    return kept, left_out


def _refuse_units(rows: Mapping[str, CaseScore]) -> None:
    units = {name: row.notes.get("unit", "[0, 1]") for name, row in rows.items()}
    if len(set(units.values())) > 1:
        row = next(iter(rows.values()))
        raise DatasetError(
            "One image is scored in two units: "
            + ", ".join(f"{unit} ({name})" for name, unit in units.items()),
            where=f"case {row.case}, {row.contrast}",
            remedy="Evaluate both again with -d DATASET, which says what is CT.",
        )


def _some(images: Mapping[tuple[str, str], CaseScore]) -> str:
    shown = [f"{case} {contrast}" for case, contrast in sorted(images)[:3]]
    return ", ".join(shown) + (", ..." if len(images) > len(shown) else "")


def compare_rows(rows: Mapping[str, Sequence[CaseScore]]) -> tuple[MetricComparison, ...]:
    """Every metric of every contrast, and of each case's average over contrasts.

    The first method is the baseline. There is no average of one contrast, nor of different units.
    Holm's correction is over all tests of one metric: methods times contrasts, average included.

    Args:
        rows: method -> rows of the same images in the same order, as `common_rows` gives them.
    """
    summaries = {name: summarize(own) for name, own in rows.items()}
    first, *others = rows
    contrasts = [c for c in summaries[first] if c != AVERAGE or len(summaries[first]) > 2]
    results: list[MetricComparison] = []
    for metric in metric_names(rows[first]):
        there = [contrast for contrast in contrasts if metric in summaries[first][contrast]]
        better, unit = direction(metric), unit_of(metric, units_of(rows[first]))
        block = []
        for contrast in there:
            changes = {n: _differences(rows[n], rows[first], metric, contrast) for n in others}
            found = {
                name: summarize_differences(values, better=better)
                for name, values in changes.items()
                if values
            }
            means = {name: summaries[name][contrast][metric] for name in rows}
            block.append(MetricComparison(metric, contrast, better, unit, means, found))
        results += _corrected(block)
    return tuple(results)


def _differences(
    rows: Sequence[CaseScore], baseline: Sequence[CaseScore], metric: str, contrast: str
) -> list[float]:
    """One difference per case: of this contrast, or the mean of those of its contrasts."""
    pairs = [pair for pair in zip(rows, baseline, strict=True) if metric in pair[0].metrics]
    own, other = ([row.metrics[metric] for row in side] for side in zip(*pairs, strict=True))
    changes = differ(own, other, direction(metric))
    by_case: dict[str, list[float]] = {}
    for (row, _), change in zip(pairs, changes, strict=True):
        if contrast in (row.contrast, AVERAGE):
            by_case.setdefault(row.case, []).append(float(change))
    means = [_mean(values) for values in by_case.values()]
    return [mean for mean in means if not math.isnan(mean)]


def _mean(values: Sequence[float]) -> float:
    """The mean; NaN, which is no difference, if one value is infinite and another minus that."""
    infinite = {value for value in values if math.isinf(value)}
    if infinite:
        return infinite.pop() if len(infinite) == 1 else math.nan
    return float(np.mean(values))


def _corrected(block: Sequence[MetricComparison]) -> Iterator[MetricComparison]:
    """The results of one metric with Holm's correction over all of its tests."""
    corrected = iter(holm([d.p for result in block for d in result.differences.values()]))
    for result in block:
        found: dict[str, PairedDifference] = {
            name: replace(difference, p_holm=next(corrected))
            for name, difference in result.differences.items()
        }
        yield replace(result, differences=found)


def row_warnings(
    rows: Mapping[str, Sequence[CaseScore]], results: Sequence[MetricComparison]
) -> Iterator[str]:
    """What weakens the numbers: few cases, unequal treatment of the methods, infinite values."""
    # Where there is an average over contrasts, sentences are about it.
    averages = [result for result in results if result.contrast == AVERAGE] or list(results)
    least = min((d.n for result in averages for d in result.differences.values()), default=0)
    if least < FEW_CASES:
        yield (
            f"n = {least} cases: with fewer than {FEW_CASES}, intervals are too narrow and tests "
            "find large differences only"
        )
    tests = Counter(result.metric for result in results for _ in result.differences)
    most = max(tests.values(), default=0)
    if (bound := most * smallest_p(least)) >= LEVEL_OF_SIGNIFICANCE:
        family = f" and {most} tests of one metric" if most > 1 else ""
        yield (
            f"n = {least} cases{family}: no {'corrected ' if family else ''}p can be below "
            f"{min(1.0, bound):g}, so no difference can be significant (two-sided, 0.05)"
            + (f" with fewer than {ENOUGH_CASES}" if least < ENOUGH_CASES else "")
        )
    yield from _unequal(rows)
    for result in results:
        for name, found in result.differences.items():
            if found.infinite:
                yield (
                    f"{result.metric} of {result.contrast}: {found.infinite} of {found.n} "
                    f"differences of {name} are infinite (an image equals its reference); they "
                    "count for test and wins, not for the mean difference"
                )


def _unequal(rows: Mapping[str, Sequence[CaseScore]]) -> Iterator[str]:
    """What was not alike for the methods, or suspiciously so."""
    origins = {
        name: Counter(row.notes.get("predicted_range", "").split(":")[0] for row in own)
        for name, own in rows.items()
    }
    if len({tuple(sorted(counts.items())) for counts in origins.values()}) > 1:
        parts = [f"{name}: {' and '.join(counts)}" for name, counts in origins.items()]
        yield f"the methods' images came to their range in different ways ({'; '.join(parts)})"
    first, *others = rows
    for note in SAME_NOTES:
        for name in others:
            pairs = zip(rows[name], rows[first], strict=True)
            count = sum(a.notes.get(note) != b.notes.get(note) for a, b in pairs)
            if count:
                yield f"{count} images of {name} and {first} were not scored alike: other {note}"
    for name in others:
        if [row.metrics for row in rows[name]] == [row.metrics for row in rows[first]]:
            yield f"all scores of {name} are those of {first}"
