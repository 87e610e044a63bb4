"""All that an evaluation is about: its files and setting; and its scores, gathered and written."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from liftnet.core.errors import DatasetError
from liftnet.core.scores import SCORES_VERSION, CaseScore, ScoreFailure, Scores
from liftnet.core.storage.files import write_together
from liftnet.core.storage.jsonable import json_text
from liftnet.pipeline.evaluate.scoring import CaseFiles
from liftnet.pipeline.evaluate.setting import Setting
from liftnet.pipeline.evaluate.table import as_csv, report_failures, summarize
from liftnet.version import __version__

__all__ = [
    "Evaluation",
    "gather",
    "part_of_evaluation",
    "remove_half_scored",
    "require_scores",
    "write_scores",
]


@dataclass(frozen=True)
class Evaluation:
    """What is to be scored, under which setting, and where the scores go."""

    setting: Setting
    files: tuple[CaseFiles, ...]
    without_reference: tuple[str, ...]
    broken: tuple[ScoreFailure, ...]  # files whose JSON is damaged
    predicted: Path
    reference: Path
    source: Path
    mask: Path | None
    output: Path


def part_of_evaluation(whole: Evaluation, part: slice) -> Evaluation:
    """A part of the cases; files without a reference are the whole's."""
    every = {files.case for files in whole.files} | {failure.case for failure in whole.broken}
    own = set(sorted(every)[part])
    return replace(
        whole,
        files=tuple(files for files in whole.files if files.case in own),
        broken=tuple(failure for failure in whole.broken if failure.case in own),
        without_reference=(),
    )


def gather(what: Evaluation, rows: Iterable[CaseScore], failures: Iterable[ScoreFailure]) -> Scores:
    """Scores in order of their cases, with their summary; the order they came in does not count."""
    in_order = sorted(rows, key=lambda row: (row.case, row.contrast))
    failed = sorted([*what.broken, *failures], key=lambda failure: failure.case)
    stated, known = what.setting.protocol.stated, what.setting.known
    return Scores(
        version=SCORES_VERSION,
        protocol=stated,
        task=known.task,
        dataset=known.dataset,
        slice_axis=known.slice_axis,
        predicted_folder=str(what.predicted.absolute()),
        reference_folder=str(what.reference.absolute()),
        sources_folder=str(what.source.absolute()) if stated.needs_source else "",
        summary=summarize(in_order) if in_order else {},
        cases=tuple(in_order),
        without_reference=what.without_reference,
        failures=tuple(failed),
        liftnet=__version__,
    )


def require_scores(scores: Scores) -> None:
    """Say why nothing was scored, if so.

    Raises:
        DatasetError: If there is no row.
    """
    if not scores.cases:
        report_failures(scores.failures)
        raise DatasetError(
            "None of the predicted images could be scored",
            where=scores.predicted_folder,
            remedy="The lines above say why, case by case.",
        )


def remove_half_scored(folder: Path, part: str = "") -> None:
    """Delete what killed evaluations left half-written: this part's, or all for the whole."""
    pattern = re.compile(rf"\.{{1,2}}(cohort_)?scores\.{re.escape(part)}.*")
    for path in folder.glob(".*") if folder.is_dir() else ():
        if pattern.fullmatch(path.name):
            path.unlink(missing_ok=True)


def write_scores(folder: Path, scores: Scores, *, label: str = "whole") -> None:
    """Write scores.csv and scores.json together; parts on several machines may do so at once."""
    table = folder / "scores.csv", as_csv(scores.cases)
    write_together(dict([table, (folder / "scores.json", json_text(scores))]), label=label)
