"""The sections of a report that are tables and words; those with pictures are elsewhere."""

import math
from collections import Counter
from collections.abc import Collection, Sequence

from liftnet.core.comparison import MetricComparison, PairedDifference
from liftnet.metrics import regions
from liftnet.metrics.catalogue import digits_of, direction, explain, short_name
from liftnet.metrics.paired import better_sign, differ
from liftnet.pipeline.compare.table import (
    change_digits,
    change_text,
    change_unit,
    encode_p,
    mean_text,
)
from liftnet.pipeline.report.choice import Shown, identifier, outliers
from liftnet.pipeline.report.results import Image, Results
from liftnet.visual.html import Html, join, tag

__all__ = ["case_section", "measure_section", "metric_line", "summary_section"]

PAIR = 2  # methods that have one difference
MOST_COLUMNS = 12  # ours: more fit beside each other in small letters only
PAIRED_WORDS = (
    "Gains are differences from the baseline, case by case: + means better, also where lower is "
    "better (the sign of the difference is turned there); where nearest 1 is better, they are of "
    "|log2|, which is 0 at 1, and 1 at a half and at a double. Where it is not known which is "
    "better, they are method minus baseline. p: two-sided Wilcoxon signed-rank test; "
    "*** p < 0.0001, * p < 0.05; Holm: corrected for all tests of one metric, not over metrics. "
    "r: rank-biserial correlation of the pairs, -1 to 1; d_z: mean difference over its standard "
    "deviation. Better / same / worse counts cases. A method is called better or worse only where "
    "the corrected p is below 0.05, the interval excludes 0 and at least six cases differ; "
    '"no difference is shown" is not "there is none".'
)


def summary_section(results: Results) -> Html:
    """Means with intervals, and differences from the baseline; main metrics first, then the rest.

    Cells hold their number at full precision as data-value.
    """
    names = dict.fromkeys(table.metric for table in results.tables)
    rest = [metric for metric in names if metric not in results.main_metrics]
    parts = [_means_table(results, results.main_metrics)]
    tested = results.compared and len(results.cases) > 1
    if tested:
        parts.append(_differences_table(results, results.main_metrics))
    if rest:
        more = [_means_table(results, rest)]
        if tested:
            more.append(_differences_table(results, rest))
        parts.append(tag("details", tag("summary", f"All other metrics ({len(rest)})"), more))
    return join(*parts)


def _means_table(results: Results, metrics: Sequence[str]) -> Html:
    names = [method.name for method in results.methods]
    head = ["metric", "contrast", "better", "cases", *names]
    rows = []
    for table in _of(results, metrics):
        digits = digits_of(table.metric, [found.mean for found in table.means.values()])
        cells = [
            tag(
                "td",
                mean_text(table.means[name], digits, True),
                class_="number",
                data_value=repr(table.means[name].mean),
                data_metric=table.metric,
                data_contrast=table.contrast,
                data_method=name,
            )
            for name in names
        ]
        count = next(iter(table.means.values())).n
        title = short_name(table.metric) + (f" [{table.unit}]" if table.unit else "")
        words = [tag("td", title, title=table.metric), tag("td", table.contrast)]
        words.append(tag("td", {"unknown": "?"}.get(table.better, table.better)))
        rows.append(tag("tr", words, tag("td", str(count), class_="number"), cells))
    caption = "Mean over cases [95 % bootstrap interval]"
    return _table(caption, head, rows)


def _differences_table(results: Results, metrics: Sequence[str]) -> Html:
    head = ["metric", "contrast", "method", f"gain over {results.methods[0].name} (+ is better)"]
    tables = _of(results, metrics)
    tests = Counter(table.metric for table in tables for _ in table.differences)
    corrected = max(tests.values(), default=0) > 1  # else Holm's p is p
    head += ["p", *(["p, Holm"] if corrected else []), "r", "d_z", "better / same / worse"]
    rows = []
    for table in tables:
        for name, found in table.differences.items():
            wins = (found.wins, found.ties, found.losses)
            effect = "-" if found.cohens_dz is None else f"{found.cohens_dz:+z.2f}"
            unit = change_unit(table)
            title = short_name(table.metric) + (f" [{unit}]" if unit else "")
            rows.append(
                tag(
                    "tr",
                    tag("td", title, title=table.metric),
                    tag("td", table.contrast),
                    tag("td", name),
                    tag(
                        "td",
                        change_text(found, change_digits(table, found), sign="+"),
                        class_="number",
                        data_value="inf" if found.mean is None else repr(found.mean),
                    ),
                    _p_cell(found, found.p),
                    _p_cell(found, found.p_holm) if corrected else "",
                    _test_cell(found, f"{found.rank_biserial:+z.2f}"),
                    tag("td", effect, class_="number"),
                    tag("td", "-" if None in wins else " / ".join(map(str, wins)), class_="number"),
                )
            )
    caption = (
        "Paired gains, case by case [95 % bootstrap interval]: + means better, also where lower is"
    )
    return _table(caption, head, rows)


def _p_cell(found: PairedDifference, p: float) -> Html:
    return _test_cell(found, encode_p(p), data_value=repr(p))


def _test_cell(found: PairedDifference, shown: str, **attributes: str) -> Html:
    """A cell of a test, which one case does not give."""
    if found.n == 1:
        return tag("td", "-", class_="number")
    return tag("td", shown, class_="number", **attributes)


def _of(results: Results, metrics: Sequence[str]) -> list[MetricComparison]:
    return [table for metric in metrics for table in results.tables if table.metric == metric]


def _table(caption: str, head: Sequence[str], rows: Sequence[Html], *, dense: bool = False) -> Html:
    """A table that the reader can sort, in a box that scrolls where it is wide even if dense."""
    heads = tag("tr", [tag("th", name, scope="col") for name in head])
    table = tag(
        "table",
        tag("caption", caption),
        tag("thead", heads),
        tag("tbody", rows),
        class_="sortable dense" if dense else "sortable",
    )
    return tag("div", table, class_="table")


def case_section(
    results: Results, shown: Sequence[Shown], flags: dict[str, str], trained: Collection[str]
) -> Html:
    """Every case with its main metrics, those shown as pictures linked, and what was left out.

    Args:
        results: what the report is about.
        shown: images with pictures.
        flags: image -> why prediction flagged it.
        trained: cases that a network was trained on.
    """
    roles = {identifier(one.image): one.role for one in shown}
    metrics = results.main_metrics
    several = results.compared
    heads = ["case", "contrast", "remark"]
    for metric in metrics:
        unit = f" [{results.unit(metric)}]" if results.unit(metric) else ""
        names = [method.name for method in results.methods] if several else [""]
        names += ["gain"] if len(results.methods) == PAIR else []
        heads += [f"{short_name(metric)}{unit}" + (f", {n}" if n else "") for n in names]
    rows = []
    bad = {identifier(image) for image in outliers(results, metrics[0])}
    for image in results.images:
        key = identifier(image)
        case: str = image.case
        if key in roles:
            case = tag("a", image.case, href="#pictures", data_show=key)
        tags = [tag("span", roles[key], class_="tag")] if key in roles else []
        tags += [tag("span", "outlier", class_="tag")] if key in bad else []
        tags += [tag("span", "trained on", class_="tag")] if image.case in trained else []
        if key in flags:
            tags.append(tag("span", "flagged", class_="tag", title=flags[key]))
        cells = [
            tag(
                "td",
                _number(results, image, metric, value, change=place == PAIR),
                class_="number",
                data_value=None if math.isnan(value) else repr(value),
            )
            for metric in metrics
            for place, value in enumerate(_with_difference(results.values(image, metric), metric))
        ]
        rows.append(tag("tr", tag("td", case), tag("td", image.contrast), tag("td", tags), cells))
    caption = "Every image; press a heading to sort"
    caption += "; gain: + means better, also where lower is" if len(results.methods) == PAIR else ""
    parts = [_table(caption, heads, rows, dense=len(heads) > MOST_COLUMNS)]
    if flags:
        items = [tag("li", f"{key.replace('/', ', ')}: {why}") for key, why in flags.items()]
        parts += [tag("h3", "Flagged by liftnet_predict, without knowing the reference")]
        parts += [tag("ul", items)]
    if results.failures:
        items = [tag("li", line) for line in results.failures]
        parts += [tag("h3", "Left out of the numbers"), tag("ul", items)]
    return join(*parts)


def _with_difference(values: Sequence[float], metric: str) -> list[float]:
    """The values, and of two the gain: above 0 where the second is better."""
    if len(values) != PAIR:
        return list(values)
    better = direction(metric)
    change = differ(values[1:], values[:1], better) * (better_sign(better) or 1)
    return [*values, *change.tolist()]


def _number(results: Results, image: Image, metric: str, value: float, *, change: bool) -> str:
    """A value of an image, or the change between two, with the places of its metric."""
    if math.isnan(value):
        return "-"
    digits = digits_of(metric, results.values(image, metric))
    return f"{value:+z.{digits}f}" if change else f"{value:.{digits}f}"


def measure_section(results: Results) -> Html:
    """How everything was measured: the protocol, each metric in a sentence, the statistics."""
    metrics = dict.fromkeys(table.metric for table in results.tables)
    unit = "HU" if any(table.unit == "HU" for table in results.tables) else ""
    terms = []
    for metric in metrics:
        sentence = explain(metric, unit)
        terms += [tag("dt", short_name(metric), " ", tag("code", metric)), tag("dd", sentence)]
    words = [
        tag("p", tag("strong", f"Protocol {results.protocol.name}: "), results.protocol.description)
    ]
    if any(metric.startswith("delta_z") for metric in metrics):
        words.append(tag("p", f"Δz is taken along the {results.slice_axis} slice axis."))
    if any(metric.endswith("_body") for metric in metrics):
        words.append(tag("p", f"Regions of the reference: {regions.DESCRIPTION}."))
    statistics = (
        "Intervals: percentile bootstrap of the mean over cases, 10,000 resamples, 95 %. "
        "Where an average over contrasts is shown, each case's contrasts are averaged first, so "
        "that a case counts once."
    )
    words.append(tag("p", statistics))
    words += [tag("p", note) for note in results.notes]
    if results.compared:
        words.append(tag("p", PAIRED_WORDS))
    return join(*words, tag("dl", terms, class_="meta"))


def metric_line(results: Results, image: Image) -> list[str]:
    """The main metrics of an image in one line per method."""
    lines = []
    for position, method in enumerate(results.methods):
        parts = []
        for metric in results.main_metrics:
            value = results.values(image, metric)[position]
            if not math.isnan(value):
                unit = f" {results.unit(metric)}" if results.unit(metric) else ""
                digits = digits_of(metric, [value])
                parts.append(f"{short_name(metric)} {value:.{digits}f}{unit}")
        lines.append((f"{method.name}: " if results.compared else "") + ", ".join(parts))
    return lines
