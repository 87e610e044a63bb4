"""Scores for reading: their summary, a table for the terminal, lines for a spreadsheet."""

import shutil
import textwrap
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from liftnet.core.scores import AVERAGE, CaseScore, MetricSummary, ScoreFailure, Scores
from liftnet.host import spreadsheet
from liftnet.host.progress import mention, say
from liftnet.host.text_table import aligned
from liftnet.metrics import regions, statistics
from liftnet.metrics.catalogue import digits_of, direction

__all__ = [
    "as_csv",
    "explanation",
    "report",
    "report_failures",
    "summarize",
    "table",
    "units_of",
]

UNIT = "units of the [0, 1] range"  # where the notes of a row name no other
NOTED = (("absent_regions", "without"), ("left_out", "left out"), ("intensities", "warning:"))
TABLE_WIDTH = 100  # ours: where the terminal does not say its own


def units_of(rows: Sequence[CaseScore]) -> set[str]:
    """The units of the images of rows, as far as their notes name one: HU."""
    return {row.notes["unit"] for row in rows if "unit" in row.notes}


def metric_names(rows: Sequence[CaseScore]) -> list[str]:
    """Every metric that some row has, in the order of the fullest row."""
    fullest = max(rows, key=lambda row: len(row.metrics))
    return list(dict.fromkeys([*fullest.metrics, *(m for row in rows for m in row.metrics)]))


def summarize(rows: Sequence[CaseScore]) -> dict[str, dict[str, MetricSummary]]:
    """Contrast -> metric -> statistics over the cases that have it, and of each case's means.

    No average is taken over contrasts with errors in different units.

    Source: LiFT App. B.4.
    """
    by_contrast: dict[str, list[CaseScore]] = {}
    by_case: dict[str, list[CaseScore]] = {}
    for row in rows:
        by_contrast.setdefault(row.contrast, []).append(row)
        by_case.setdefault(row.case, []).append(row)
    names = metric_names(rows)
    summary = {
        contrast: _statistics({m: _values(group, m) for m in names})
        for contrast, group in sorted(by_contrast.items())
    }
    if len({row.notes.get("unit", UNIT) for row in rows}) > 1:
        return summary
    groups = [[_values(group, m) for group in by_case.values()] for m in names]
    means = [[float(np.mean(values)) for values in group if values] for group in groups]
    return summary | {AVERAGE: _statistics(dict(zip(names, means, strict=True)))}


def _values(rows: Sequence[CaseScore], metric: str) -> list[float]:
    return [row.metrics[metric] for row in rows if metric in row.metrics]


def _statistics(values: dict[str, list[float]]) -> dict[str, MetricSummary]:
    return {metric: statistics.summarize(found) for metric, found in values.items() if found}


def as_csv(rows: Sequence[CaseScore]) -> str:
    """One line per case and contrast, one column per metric and note; empty where it has none."""
    metrics = metric_names(rows)
    notes = sorted({note for row in rows for note in row.notes})
    lines: list[list[object]] = [["case", "contrast", *metrics, *notes]]
    for row in rows:
        values = [row.metrics.get(m, "") for m in metrics]
        lines.append([row.case, row.contrast, *values, *(row.notes.get(n, "") for n in notes)])
    return spreadsheet.as_csv(lines)


def table(summary: dict[str, dict[str, MetricSummary]], width: int = TABLE_WIDTH) -> str:
    """Metrics by contrasts: `mean [low, high]`, the 95 % bootstrap interval over cases.

    Where that is wider than `width`, only the average has intervals. One case has none. A cell
    with fewer cases than its column says how many.
    """
    full = _lines(summary, intervals=set(summary))
    if AVERAGE in summary and len(summary) > 2 and max(map(len, full)) > width:
        return "\n".join(_lines(summary, intervals={AVERAGE}))
    return "\n".join(full)


def _lines(summary: dict[str, dict[str, MetricSummary]], intervals: set[str]) -> list[str]:
    contrasts = [c for c in summary if c != AVERAGE or len(summary) > 2]
    counts = {c: max(found.n for found in summary[c].values()) for c in contrasts}
    cells = [["", *contrasts], ["cases", *(str(counts[c]) for c in contrasts)]]
    for metric in dict.fromkeys(metric for c in contrasts for metric in summary[c]):
        row = {c: summary[c].get(metric) for c in contrasts}
        digits = digits_of(metric, [s.mean for s in row.values() if s is not None])
        texts = [_cell(row[c], digits, counts[c], c in intervals) for c in contrasts]
        cells.append([metric, *texts])
    return aligned(cells)


def _cell(found: MetricSummary | None, digits: int, count: int, interval: bool) -> str:
    if found is None:
        return "-"
    text = f"{found.mean:.{digits}f}"
    if interval and found.n > 1:
        text += f" [{found.low:.{digits}f}, {found.high:.{digits}f}]"
    return text if found.n == count else f"{text} (n = {found.n})"


def explanation(rows: Sequence[CaseScore], slice_axis: str, width: int = TABLE_WIDTH) -> list[str]:
    """What the numbers of the table are: units, axis, regions, and what cases lack."""
    units = sorted({row.notes.get("unit", UNIT) for row in rows})
    names = metric_names(rows)
    several = len({row.case for row in rows}) > 1
    parts = ["mean [95 % bootstrap interval over cases]"] if several else []
    lines = ["; ".join([*parts, f"psnr in dB, errors in {' or '.join(units)}"])]
    if any(name.startswith("delta_z") for name in names):
        lines.append(f"delta_z along the {slice_axis} slice axis")
    if any(direction(name) == "nearest 1" for name in names):
        lines.append(
            "sharpness, power: share of the reference's, below 1 too smooth, above too rough"
        )
    if any("brain" in row.notes for row in rows):
        lines.append("brain: above 1 % of the bright end of any reference channel")
    if any("regions" in row.notes for row in rows):
        lines += textwrap.wrap(regions.DESCRIPTION, width)
    for note, words in NOTED:
        counts = Counter(row.notes[note] for row in rows if note in row.notes)
        lines += [f"{words} {text}: {n} of {len(rows)} images" for text, n in counts.items()]
    return lines


def report(scores: Scores, path: Path) -> None:
    """Print the table, what it rests on, what was not scored, and where the scores are."""
    if scores.cases:
        width = shutil.get_terminal_size((TABLE_WIDTH, 24)).columns
        say(table(scores.summary, width))
        for line in explanation(scores.cases, scores.slice_axis, width):
            mention(line)
    origins = Counter(row.notes.get("predicted_range", "").split(":")[0] for row in scores.cases)
    for origin, count in sorted(origins.items()):
        if origin:
            mention(f"range of the predicted images: {origin} ({count} of {len(scores.cases)})")
    for name in scores.without_reference:
        say(f"warning: {name} has no reference; not scored")
    report_failures(scores.failures)
    with_lines = ", scores.csv" if path.name == "scores.json" else ""
    say(f"Scores of {len(scores.cases)} images: {path}{with_lines}")


def report_failures(failures: Sequence[ScoreFailure]) -> None:
    """Print which images could not be scored, and why."""
    for failure in failures:
        say(f"failed: {failure.case}: {failure.problem}")
