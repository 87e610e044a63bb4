"""Step 6: score predicted images against references, under a named protocol."""

import csv
import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from liftnet.core.errors import DatasetError, LiftnetError
from liftnet.core.jsonable import write_json, write_text
from liftnet.core.scores import (
    AVERAGE,
    SCORES_VERSION,
    CaseScore,
    MetricSummary,
    ScoreFailure,
    Scores,
)
from liftnet.metrics import statistics
from liftnet.pipeline.parallel import in_parallel, worker_count
from liftnet.pipeline.progress import progress, say
from liftnet.pipeline.scoring import (
    CaseFiles,
    Facts,
    Pair,
    find_images,
    find_setting,
    read_facts,
    score_files,
)
from liftnet.version import __version__

__all__ = ["evaluate", "summarize", "table"]

DEFAULT_PROTOCOL = "liftnet"  # ours: the paper's range and grid, without the target's zeros
SHOWN_NAMES = 4  # ours: enough of each folder's names to see what is different


def evaluate(
    predicted_folder: Path | str,
    reference_folder: Path | str,
    *,
    protocol: str = DEFAULT_PROTOCOL,
    dataset: int | str | None = None,
    output: Path | str | None = None,
    sources: Path | str | None = None,
    num_processes: int | None = None,
    workspace: Path | str | None = None,
) -> Scores:
    """The scores of predicted images; also written as scores.json and scores.csv.

    Args:
        predicted_folder: files named CASE_0003.nii.gz, with the JSON that predict wrote.
        reference_folder: files of the same names; others, such as the sources, may be there.
        protocol: which convention of range, grid and mask; "lift", "cwdm", "brasyn" as published.
        dataset: id or name; gives channel names and slice axis where the JSON files do not.
        output: folder for the scores; by default the predicted folder.
        sources: folder of source images, for protocols that mask with one; by default the
            reference folder.
        num_processes: cases worked on at the same time.
        workspace: the workspace folder.

    Raises:
        DatasetError: If no predicted image has a reference, or none could be scored.
        PlanError: If there is no such protocol.
    """
    predicted, reference = Path(predicted_folder), Path(reference_folder)
    source = reference if sources is None else Path(sources)
    target = predicted if output is None else Path(output)
    files, alone, broken = find_files(predicted, reference, source)
    facts: dict[str, list[Facts]] = {}
    for pair in (pair for case in files for pair in case.pairs):
        facts.setdefault(pair.channel, []).extend([pair.facts] if pair.facts else [])
    setting = find_setting(facts, protocol, dataset=dataset, workspace=workspace)
    say(f"Protocol {setting.protocol.name}: {setting.protocol.description}")
    rows: list[CaseScore] = []
    failures = list(broken)
    workers = min(worker_count(num_processes), max(1, len(files)))
    with progress("Evaluate", len(files)) as advance, threads_shared_by(workers):
        pairs = in_parallel(lambda f: score_files(f, setting), files, workers)
        for _, (scored, failed) in pairs:
            rows += scored
            failures += failed
            advance()
    failures.sort(key=lambda failure: failure.case)
    rows.sort(key=lambda row: (row.case, row.contrast))
    if not rows:
        _report_failures(failures)
        raise DatasetError(
            "None of the predicted images could be scored",
            where=str(predicted),
            remedy="The lines above say why, case by case.",
        )
    scores = Scores(
        version=SCORES_VERSION,
        protocol=setting.protocol,
        task=setting.task,
        dataset=setting.dataset,
        slice_axis=setting.slice_axis,
        predicted_folder=str(predicted.absolute()),
        reference_folder=str(reference.absolute()),
        sources_folder=str(source.absolute()) if setting.protocol.needs_source else "",
        summary=summarize(rows),
        cases=tuple(rows),
        without_reference=tuple(path.name for path in alone),
        failures=tuple(failures),
        liftnet=__version__,
    )
    write_json(target / "scores.json", scores)
    write_text(target / "scores.csv", as_csv(rows))
    _report(scores, target)
    return scores


@contextmanager
def threads_shared_by(workers: int) -> Iterator[None]:
    """Torch's threads divided among workers; more threads than processors hold each other up."""
    before = torch.get_num_threads()
    torch.set_num_threads(max(1, before // workers))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def find_files(
    predicted: Path, reference: Path, source: Path
) -> tuple[list[CaseFiles], list[Path], list[ScoreFailure]]:
    """The cases to score, predicted files without a reference, and files with a broken JSON.

    Raises:
        DatasetError: If a folder is missing, or no predicted file has a reference.
    """
    found, strangers = find_images(predicted, "predicted")
    for path in strangers:
        say(f"warning: {path.name} is not named like CASE_0003; left out")
    references, _ = find_images(reference, "reference")
    sources = references if source == reference else find_images(source, "source")[0]
    files, alone, broken = [], [], []
    for case, images in sorted(found.items()):
        pairs = []
        for channel, path in sorted(images.items()):
            if channel not in references.get(case, {}):
                alone.append(path)
                continue
            try:
                pairs.append(Pair(channel, path, read_facts(path)))
            except LiftnetError as error:
                broken.append(ScoreFailure(case, str(error)))
        if pairs:
            files.append(CaseFiles(case, tuple(pairs), references[case], sources.get(case, {})))
    if not files and not broken:
        raise DatasetError(
            "No predicted image has a reference of the same name",
            where=f"predicted {predicted}: {_some_names(found)}; "
            f"reference {reference}: {_some_names(references)}",
            remedy="Name both CASE_0003.nii.gz: same case, same channel number.",
        )
    return files, alone, broken


def _some_names(found: dict[str, dict[str, Path]]) -> str:
    names = [path.name for images in found.values() for path in images.values()]
    more = f" and {len(names) - SHOWN_NAMES} more" if len(names) > SHOWN_NAMES else ""
    return ", ".join(names[:SHOWN_NAMES]) + more if names else "no image named CASE_0003"


def summarize(rows: Sequence[CaseScore]) -> dict[str, dict[str, MetricSummary]]:
    """Contrast -> metric -> statistics over cases, and those of the means of each case.

    Source: LiFT App. B.4.
    """
    by_contrast: dict[str, list[CaseScore]] = {}
    by_case: dict[str, list[CaseScore]] = {}
    for row in rows:
        by_contrast.setdefault(row.contrast, []).append(row)
        by_case.setdefault(row.case, []).append(row)
    metrics = list(rows[0].metrics)
    summary = {
        contrast: {m: statistics.summarize([row.metrics[m] for row in group]) for m in metrics}
        for contrast, group in sorted(by_contrast.items())
    }
    means = {
        m: [float(np.mean([row.metrics[m] for row in group])) for group in by_case.values()]
        for m in metrics
    }
    return summary | {AVERAGE: {m: statistics.summarize(values) for m, values in means.items()}}


def as_csv(rows: Sequence[CaseScore]) -> str:
    """One line per case and contrast, one column per metric and note."""
    metrics = list(rows[0].metrics)
    notes = sorted({note for row in rows for note in row.notes})
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["case", "contrast", *metrics, *notes])
    for row in rows:
        values = [row.metrics[m] for m in metrics]
        writer.writerow([row.case, row.contrast, *values, *(row.notes.get(n, "") for n in notes)])
    return text.getvalue()


def table(summary: dict[str, dict[str, MetricSummary]]) -> str:
    """Metrics by contrasts: `mean [low, high]`, the 95 % bootstrap interval over cases."""
    contrasts = [c for c in summary if c != AVERAGE or len(summary) > 2]
    metrics = list(summary[contrasts[0]])
    lines = [["", *contrasts], ["cases", *(str(summary[c][metrics[0]].n) for c in contrasts)]]
    lines += [[m, *(_cell(m, summary[c][m]) for c in contrasts)] for m in metrics]
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def _cell(metric: str, found: MetricSummary) -> str:
    digits = 2 if metric.startswith("psnr") else 4
    return f"{found.mean:.{digits}f} [{found.low:.{digits}f}, {found.high:.{digits}f}]"


def _report(scores: Scores, output: Path) -> None:
    """Print the table, what it rests on, and what was not scored."""
    say(table(scores.summary))
    say(
        "mean [95 % bootstrap interval over cases]; psnr in dB, errors in units of the [0, 1] range"
    )
    say(f"delta_z along the {scores.slice_axis} slice axis; brain: any reference channel above 0")
    origins: dict[str, int] = {}
    for row in scores.cases:
        origin = row.notes.get("predicted_range", "").split(":")[0]
        origins[origin] = origins.get(origin, 0) + 1
    for origin, count in sorted(origins.items()):
        if origin:
            say(f"range of the predicted images: {origin} ({count} of {len(scores.cases)})")
    for name in scores.without_reference:
        say(f"warning: {name} has no reference; not scored")
    _report_failures(scores.failures)
    say(f"Scores of {len(scores.cases)} images: {output / 'scores.json'}, scores.csv")


def _report_failures(failures: Sequence[ScoreFailure]) -> None:
    for failure in failures:
        say(f"failed: {failure.case}: {failure.problem}")
