"""What a report finds, in sentences: the box at the top of the page."""

import math
import re
from collections.abc import Collection, Iterable, Sequence

from liftnet.core.comparison import MetricComparison
from liftnet.metrics.catalogue import digits_of, direction, short_name
from liftnet.metrics.paired import better_sign, differ, is_shown
from liftnet.metrics.statistics import summarize
from liftnet.pipeline.compare.table import change_digits, change_text, change_unit
from liftnet.pipeline.report.choice import gain, hardest, outliers, ranked
from liftnet.pipeline.report.results import Image, Results

__all__ = ["verdict"]

NAMED = 5  # ours: more cases are in the table
DETAIL = "high_frequency_power"
SEEN = 2.0  # ours: a blur of 0.5 voxel, which one sees beside the reference, leaves 0.32 to 0.49


def verdict(
    results: Results, metric: str, *, flags: Sequence[str], trained: Collection[str]
) -> list[str]:
    """What the report finds, in sentences: how good, which is better, where it fails.

    Args:
        results: what the report is about.
        metric: that ranks images.
        flags: sentences on images that prediction flagged.
        trained: cases that a network was trained on.
    """
    unseen = _unseen(results, metric, trained)
    losses = _other_losses(results) if results.compared else []
    found = [*_findings(results), *_smooth_or_rough(results), *losses]
    return [*found, *unseen, *_failings(results, metric), *flags]


def _findings(results: Results) -> Iterable[str]:
    if results.compared:
        if len(results.cases) == 1:
            yield from _of_one_case(results)
            return
        for sentence in results.conclusions:
            words = _in_words(sentence, results)
            named = words.startswith(tuple(method.name for method in results.methods))
            yield f"{words if named else words[0].upper() + words[1:]}."
        return
    count = len(results.cases)
    for table in _overall(results, results.main_metrics):
        (found,) = table.means.values()
        digits = digits_of(table.metric, [found.mean])
        unit = f" {table.unit}" if table.unit else ""
        interval = ""
        if found.n > 1:
            interval = f" (95 % interval {found.low:.{digits}f} to {found.high:.{digits}f})"
        where = "" if table.contrast == "average" else f" of {table.contrast}"
        name = short_name(table.metric)
        over = f"on average over {found.n} cases" if count > 1 else "in the only case"
        yield (
            f"{name[0].upper()}{name[1:]}{where} is {found.mean:.{digits}f}{unit} {over}{interval}."
        )


def _of_one_case(results: Results) -> Iterable[str]:
    """The main metrics of each method, without a test."""
    for table in _overall(results, results.main_metrics):
        digits = digits_of(table.metric, [found.mean for found in table.means.values()])
        unit = f" {table.unit}" if table.unit else ""
        texts = [f"{name} {found.mean:.{digits}f}{unit}" for name, found in table.means.items()]
        name = short_name(table.metric)
        yield f"{name[0].upper()}{name[1:]} in the only case: {', '.join(texts)}."


def _smooth_or_rough(results: Results) -> Iterable[str]:
    """A sentence on each method whose images have less than half or over twice the detail."""
    for table in _overall(results, [DETAIL]):
        for method, found in table.means.items():
            if 1 / SEEN <= found.mean <= SEEN:
                continue
            whose = f"The images of {method}" if results.compared else "The images"
            what = "smoother" if found.mean < 1 else "rougher"
            where = "" if table.contrast == "average" else f" in {table.contrast}"
            yield (
                f"{whose} are {what} than their references{where}: "
                f"{short_name(DETAIL)} is {found.mean:.2g} of theirs."
            )


def _in_words(sentence: str, results: Results) -> str:
    """A sentence with the names of metrics as headings have them, but not those of methods."""
    methods = {method.name for method in results.methods}
    for metric in sorted(set(results.main_metrics) - methods, key=len, reverse=True):
        sentence = re.sub(rf"(?<![\w-]){metric}(?![\w-])", short_name(metric), sentence)
    return sentence


def _other_losses(results: Results) -> list[str]:
    """In which metrics besides the main ones a method is worse than the baseline."""
    sentences = []
    for method in results.methods[1:]:
        found = [
            (table, table.differences[method.name])
            for table in results.tables
            if table.metric not in results.main_metrics
            and method.name in table.differences
            and better_sign(table.better)
        ]
        worse = [
            (table, change)
            for table, change in found
            if is_shown(change) and change.rank_biserial < 0
        ]
        texts = [
            f"{short_name(table.metric)}"
            + (f" of {table.contrast}" if len({i.contrast for i in results.images}) > 1 else "")
            + f" ({change_text(change, change_digits(table, change), sign='+')}"
            + f" {change_unit(table)}".rstrip()
            + f", worse on {change.losses} of {change.n})"
            for table, change in worse
        ]
        if texts:
            more = "" if len(texts) <= NAMED else f"; {len(texts) - NAMED} more in the table"
            sentences.append(
                f"But {method.name} is worse than {results.methods[0].name} in "
                f"{len(texts)} of the {len(found)} other metrics: "
                f"{'; '.join(texts[:NAMED])}{more}."
            )
    return sentences


def _unseen(results: Results, metric: str, trained: Collection[str]) -> list[str]:
    """The ranking metric on the cases that no network was trained on, where some were."""
    images = [image for image in results.images if image.case not in trained]
    if not trained or not images:
        return []
    unit = f" {results.unit(metric)}" if results.unit(metric) else ""
    texts, by_method = [], []
    for position, method in enumerate(results.methods):
        values = _by_case(results, images, metric, position)
        if not values:
            return []
        found = summarize(list(values.values()))
        digits = digits_of(metric, [found.mean])
        texts.append(
            (f"{method.name} " if results.compared else "")
            + f"{found.mean:.{digits}f}{unit} [{found.low:.{digits}f}, {found.high:.{digits}f}]"
        )
        by_method.append(values)
    change = ""
    if results.compared:
        shared = [case for case in by_method[0] if case in by_method[1]]
        base, own = ([values[case] for case in shared] for values in by_method[:2])
        better = direction(metric)
        found = summarize(differ(own, base, better) * (better_sign(better) or 1))
        unit = " |log2|" if better == "nearest 1" else unit
        word = "gain" if better_sign(better) else "difference"
        change = f"; {word} {found.mean:+.3g}{unit} [{found.low:+.3g}, {found.high:+.3g}]"
    count = len({image.case for image in images})
    return [
        f"On the {count} cases that no network was trained on, {short_name(metric)} is "
        f"{', '.join(texts)}{change}."
    ]


def _by_case(
    results: Results, images: Sequence[Image], metric: str, position: int
) -> dict[str, float]:
    """Case -> the mean of a method's finite values over the contrasts of the case."""
    values: dict[str, list[float]] = {}
    for image in images:
        value = results.values(image, metric)[position]
        if math.isfinite(value):
            values.setdefault(image.case, []).append(value)
    return {case: sum(own) / len(own) for case, own in values.items()}


def _overall(results: Results, metrics: Sequence[str]) -> list[MetricComparison]:
    """These metrics of the average over contrasts, or of each where there is none."""
    averaged = {t.metric for t in results.tables if t.contrast == "average"}
    return [
        table
        for metric in metrics
        for table in results.tables
        if table.metric == metric and (metric not in averaged or table.contrast == "average")
    ]


def _failings(results: Results, metric: str) -> Iterable[str]:
    name = short_name(metric)
    order = ranked(results, metric)
    if results.compared and order:
        first, other = (method.name for method in results.methods[:2])
        losses = [image for image in order if gain(results, image, metric) < 0]
        where = f" by {name}"
        if losses:
            shown = "; ".join(_gain_text(results, i, metric) for i in reversed(losses[-NAMED:]))
            more = "" if len(losses) <= NAMED else f"; {len(losses) - NAMED} more"
            yield (
                f"{other} is worse than {first}{where} on {len(losses)} of {len(order)} images, "
                f"most on {shown}{more}."
            )
        else:
            yield f"{other} is not worse than {first}{where} on any of {len(order)} images."
        worst = hardest(results, metric)
        yield f"The worst image of {other}{where}: {_value_text(results, worst, metric)}."
    elif order:
        yield f"Worst by {name}: {_value_text(results, order[-1], metric)}; best: " + (
            f"{_value_text(results, order[0], metric)}."
        )
    bad = outliers(results, metric)
    if bad:
        names = "; ".join(_value_text(results, image, metric) for image in bad[:NAMED])
        more = "" if len(bad) <= NAMED else f"; {len(bad) - NAMED} more"
        yield f"Far worse than the rest of its contrast by {name}: {names}{more}."
    if results.failures:
        yield f"{len(results.failures)} left out of the numbers: see the cases."


def _gain_text(results: Results, image: Image, metric: str) -> str:
    first, other, *_ = results.values(image, metric)
    better = direction(metric)
    unit = "|log2|" if better == "nearest 1" else results.unit(metric)
    digits = max(2, digits_of(metric, [first]))
    change = float(differ([other], [first], better)[0]) * (better_sign(better) or 1)
    return f"{image.title} ({change:+.{digits}f}{f' {unit}' if unit else ''})"


def _value_text(results: Results, image: Image, metric: str) -> str:
    values = results.values(image, metric)
    unit = f" {results.unit(metric)}" if results.unit(metric) else ""
    digits = digits_of(metric, values)
    texts = [f"{value:.{digits}f}{unit}" for value in values]
    if results.compared:
        texts = [f"{m.name} {text}" for m, text in zip(results.methods, texts, strict=True)]
    return f"{image.title} ({', '.join(texts)})"
