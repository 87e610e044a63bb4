"""A comparison for reading: tables and sentences for the terminal, lines for a spreadsheet."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from liftnet.core.comparison import (
    Direction,
    LeftOut,
    MethodComparison,
    MetricComparison,
    PairedDifference,
    better_words,
)
from liftnet.core.scores import AVERAGE, CaseScore, MetricSummary
from liftnet.host import spreadsheet
from liftnet.host.progress import mention, say
from liftnet.host.text_table import aligned, say_wrapped
from liftnet.metrics.catalogue import digits_of, direction
from liftnet.metrics.paired import LEVEL_OF_SIGNIFICANCE, better_sign, differ, is_shown
from liftnet.pipeline.evaluate.table import TABLE_WIDTH

__all__ = [
    "as_csv",
    "change_digits",
    "change_text",
    "change_unit",
    "conclude",
    "encode_p",
    "mean_text",
    "report",
    "table",
]

HIGHLY = 1e-4  # LiFT App. B.4: *** for p < 0.0001, * for p < 0.05
MOST_DIGITS = 6  # ours: a difference is shown with two digits that count, up to this many places
SHOWN_LEFT_OUT = 10  # ours: more of them stand in comparison.json
LEGEND = (
    "mean [95 % bootstrap interval over cases]; difference: method - baseline, case by case (where "
    "nearest 1 is better, of |log2|: 0 at 1, 1 at a half and at a double); p: two-sided Wilcoxon "
    "signed-rank, *** p < 0.0001, * p < 0.05 (LiFT App. B.4); Holm: p corrected for all tests of "
    "one metric, not over metrics; r: rank-biserial correlation; d_z: Cohen's; W/T/L: cases on "
    "which the method is better, the same, worse"
)
EXPENDABLE = ("d_z", "r", "p")  # columns that are left out, in this order, where it is too wide


def encode_p(p: float) -> str:
    """A p value as the paper's tables mark it.

    Source: LiFT App. B.4.

    >>> encode_p(2e-5), encode_p(0.0412), encode_p(0.4)
    ('<1e-4 ***', '0.0412 *', '0.4')
    """
    if p < HIGHLY:
        return "<1e-4 ***"
    return f"{p:.3g} *" if p < LEVEL_OF_SIGNIFICANCE else f"{p:.3g}"


def report(comparison: MethodComparison, path: Path) -> None:
    """Print convention, tables, what was left out, warnings and conclusions."""
    width = shutil.get_terminal_size((TABLE_WIDTH, 24)).columns
    protocol = comparison.protocol
    say_wrapped(f"Protocol {protocol.name}: {protocol.description}", width, mention)
    names = ", ".join(method.name for method in comparison.methods[1:])
    head = f"{names} against {comparison.baseline} on {len(comparison.cases)} cases"
    if any(metric.startswith("delta_z") for metric in comparison.main_metrics):
        head += f"; delta_z along the {comparison.slice_axis} slice axis"
    say_wrapped(head, width)
    for metric in comparison.main_metrics:
        if block := [result for result in comparison.results if result.metric == metric]:
            say("")
            say(table(block, width))
    say("")
    say_wrapped(LEGEND, width, mention)
    for entry in comparison.left_out[:SHOWN_LEFT_OUT]:
        say(f"left out: {_left_out(entry)}")
    if len(comparison.left_out) > SHOWN_LEFT_OUT:
        say(f"left out: {len(comparison.left_out) - SHOWN_LEFT_OUT} more, in {path.name}")
    for warning in comparison.warnings:
        say_wrapped(f"warning: {warning}", width)
    say(f"Comparison: {path}, comparison.csv")
    say("")
    for sentence in comparison.conclusions:
        say_wrapped(sentence, width)


def _left_out(entry: LeftOut) -> str:
    metric = f", {entry.metric}" if entry.metric else ""
    return f"{entry.case}, {entry.contrast}{metric}: not in {', '.join(entry.absent_in)}"


def table(block: Sequence[MetricComparison], width: int = TABLE_WIDTH) -> str:
    """The means of one metric, then the differences from the baseline; rows are contrasts.

    Where it is wider than `width`, intervals of means and columns of the differences are left out.
    """
    first = block[0]
    words = better_words(first.better) or "which is better is not known"
    title = ", ".join(part for part in (first.metric, first.unit, words) if part)
    full = aligned(_means(block, intervals=True))
    means = full if max(map(len, full)) <= width else aligned(_means(block, intervals=False))
    changes = _changes(block)
    if sum(len(result.differences) for result in block) == 1:
        changes = _without(changes, "Holm")
    for column in EXPENDABLE:
        if max(map(len, aligned(changes))) > width:
            changes = _without(changes, column)
    return "\n".join([title, *means, *aligned(changes)])


def _means(block: Sequence[MetricComparison], *, intervals: bool) -> list[list[str]]:
    lines = [["  contrast", "n", *block[0].means]]
    for result in block:
        values = [found.mean for found in result.means.values()]
        cells = [
            mean_text(found, digits_of(result.metric, values), intervals)
            for found in result.means.values()
        ]
        lines.append([f"  {result.contrast}", str(_count(result)), *cells])
    return lines


def _count(result: MetricComparison) -> int:
    return next(iter(result.means.values())).n


def mean_text(found: MetricSummary, digits: int, interval: bool) -> str:
    """A mean, with its interval if that is wanted and there are several cases."""
    text = f"{found.mean:.{digits}f}"
    if interval and found.n > 1:
        text += f" [{found.low:.{digits}f}, {found.high:.{digits}f}]"
    return text


def _changes(block: Sequence[MetricComparison]) -> list[list[str]]:
    heads = ["  contrast", "method", "difference", "p", "Holm", "r", "d_z", "W/T/L"]
    lines = [heads]
    pairs = [(result, found) for result in block for found in result.differences.values()]
    digits = max((change_digits(result, found) for result, found in pairs), default=0)
    for result in block:
        for name, found in result.differences.items():
            wins = "-" if found.wins is None else f"{found.wins}/{found.ties}/{found.losses}"
            effect = "-" if found.cohens_dz is None else f"{found.cohens_dz:+z.2f}"
            lines.append(
                [
                    f"  {result.contrast}",
                    name,
                    change_text(found, digits, sign="+"),
                    encode_p(found.p),
                    encode_p(found.p_holm),
                    f"{found.rank_biserial:+z.2f}",
                    effect,
                    wins,
                ]
            )
    return lines


def _without(lines: Sequence[Sequence[str]], head: str) -> list[list[str]]:
    kept = [i for i, own in enumerate(lines[0]) if own != head]
    return [[line[i] for i in kept] for line in lines]


def change_text(found: PairedDifference, digits: int, *, sign: str = "", factor: float = 1) -> str:
    """A difference with its interval; times -1 the bounds change places."""
    if found.mean is None or found.low is None or found.high is None:
        return "infinite"
    low, high = sorted((factor * found.low, factor * found.high))
    text = f"{factor * found.mean:{sign}z.{digits}f}"
    if found.n - found.infinite > 1:
        text += f" [{low:{sign}z.{digits}f}, {high:{sign}z.{digits}f}]"
    return text


def change_unit(result: MetricComparison) -> str:
    """The unit of a metric's differences: its own, or that of ratios which are best at 1."""
    return "|log2|" if result.better == "nearest 1" else result.unit


def change_digits(result: MetricComparison, found: PairedDifference) -> int:
    """As many places as the means have, and more where the difference would show as 0.0."""
    digits = digits_of(result.metric, [mean.mean for mean in result.means.values()])
    size = max((abs(v) for v in (found.mean, found.low, found.high) if v is not None), default=0)
    while 0 < size < 10 ** (1 - digits) and digits < MOST_DIGITS:
        digits += 1
    return digits


def conclude(results: Sequence[MetricComparison], baseline: str) -> Iterator[str]:
    """One sentence per method and metric: of the average over contrasts where there is one."""
    averaged = {result.metric for result in results if result.contrast == AVERAGE}
    contrasts = {result.contrast for result in results}
    tests: dict[str, int] = {}
    for result in results:
        tests[result.metric] = tests.get(result.metric, 0) + len(result.differences)
    for result in results:
        if result.metric in averaged and result.contrast != AVERAGE:
            continue
        what = "average of contrasts" if result.contrast == AVERAGE else result.contrast
        where = result.metric if len(contrasts) == 1 else f"{result.metric} ({what})"
        for name, found in result.differences.items():
            shown = encode_p(found.p_holm).split(" ")[0]
            p = f"p < {shown[1:]}" if shown.startswith("<") else f"p = {shown}"
            p += ", Holm" if tests[result.metric] > 1 else ""
            yield _sentence(result, found, name=name, baseline=baseline, where=where, p=p)


def _sentence(
    result: MetricComparison,
    found: PairedDifference,
    *,
    name: str,
    baseline: str,
    where: str,
    p: str,
) -> str:
    digits, unit = change_digits(result, found), f" {change_unit(result)}".rstrip()
    if not is_shown(found):
        factor = better_sign(result.better) or 1
        change = change_text(found, digits, sign="+", factor=factor).replace(" [", f"{unit} [", 1)
        change = change if " [" in change else change + unit
        change = f"a gain of {change}" if factor < 0 else change  # + is better here too
        return (
            f"no difference is shown between {name} and {baseline} in {where}: {change} on "
            f"{found.n} cases ({p})"
        )
    above = found.rank_biserial > 0
    change = change_text(found, digits, factor=1 if above else -1).replace(" [", f"{unit} [", 1)
    verb, count = _verb(result.better, found, above)
    return f"{name} is {verb} {baseline} in {where} by {change}{count} ({p})"


def _verb(better: Direction, found: PairedDifference, above: bool) -> tuple[str, str]:
    if not better_sign(better):
        remark = better_words(better) or "which is better is not known"
        return f"{'higher' if above else 'lower'} than", f" ({remark})"
    if above == (better_sign(better) > 0):
        return "better than", f" on {found.wins} of {found.n} cases"
    return "worse than", f" on {found.losses} of {found.n} cases"


def as_csv(rows: Mapping[str, Sequence[CaseScore]]) -> str:
    """One line per case, contrast and metric: each method's value, and minus the baseline's."""
    first, *others = rows
    changes = [f"{name} - {first}" for name in others]
    lines: list[list[object]] = [["case", "contrast", "metric", "better", *rows, *changes]]
    for group in zip(*rows.values(), strict=True):
        for metric in group[0].metrics:
            values = [row.metrics[metric] for row in group]
            better = direction(metric)
            line = [group[0].case, group[0].contrast, metric, better, *values]
            lines.append([*line, *differ(values[1:], values[:1] * len(others), better).tolist()])
    return spreadsheet.as_csv(lines)
