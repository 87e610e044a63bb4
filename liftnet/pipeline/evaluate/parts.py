"""An evaluation in parts: each leaves a file, and the part that finishes last merges them all."""

import hashlib
import json
import math
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from liftnet.core.errors import PlanError
from liftnet.core.scores import CaseScore, ScoreFailure, Scores, read_scores
from liftnet.core.storage.jsonable import from_json, read_json, to_json, write_json
from liftnet.host.origin import origin_since
from liftnet.host.parallel import part_of
from liftnet.host.progress import say
from liftnet.pipeline.evaluate.scoring import score_all
from liftnet.pipeline.evaluate.table import report
from liftnet.pipeline.evaluate.whole import (
    Evaluation,
    gather,
    part_of_evaluation,
    require_scores,
    write_scores,
)
from liftnet.pipeline.predict.outputs import sidecar
from liftnet.version import __version__

__all__ = ["describe", "evaluate_part", "part_file"]


@dataclass(frozen=True)
class PartRow:
    """A CaseScore as its file has it: an infinite value is null."""

    case: str
    contrast: str
    metrics: dict[str, float | None]
    notes: dict[str, str]


@dataclass(frozen=True)
class PartScores:
    """What the file of one part holds; `setting` is all that must be equal for parts to merge."""

    setting: dict[str, str]
    rows: tuple[PartRow, ...]
    failures: tuple[ScoreFailure, ...]


def evaluate_part(whole: Evaluation, num_parts: int, part_id: int, workers: int) -> Scores:
    """Score one part and leave its file; the part that finds all of them merges them.

    A part whose file is there already, of this setting and without a failure, is not scored again.

    Returns:
        The scores of the whole if this part merged them, else its own.

    Raises:
        DatasetError: If no image of any part could be scored.
    """
    start = time.perf_counter()
    own = part_of_evaluation(whole, part_of(num_parts, part_id))
    setting, name = describe(whole), f"part {part_id} of {num_parts}"
    path = part_file(whole.output, num_parts, part_id)
    _name_other_splits(whole.output, num_parts)
    part = _read(path)
    if (merged := _merged(whole.output, setting)) is not None:
        for number in range(num_parts):  # left where the merging part was killed
            part_file(whole.output, num_parts, number).unlink(missing_ok=True)
        say(f"Scored and merged already: {whole.output / 'scores.json'}")
        return merged
    if part is None or part.setting != setting or part.failures:
        rows, failures = score_all(own.files, own.setting, workers)
        part = PartScores(setting, tuple(map(_to_file, rows)), tuple(failures))
        write_json(path, part)
    else:
        say(f"Scored already: {name}")
    written = path.stat().st_mtime_ns if path.is_file() else 0
    scores = gather(own, map(_from_file, part.rows), part.failures)
    say(f"Scores of {name}:")
    report(scores, path)
    parts, absent = _find_parts(whole.output, num_parts, setting)
    if not absent:
        rows = [_from_file(row) for one in parts for row in one.rows]
        scores = gather(whole, rows, [failure for one in parts for failure in one.failures])
        require_scores(scores)
        scores = replace(scores, made=replace(origin_since(start), inputs=_digest(setting)))
        write_scores(whole.output, scores, label=f"part_{part_id}_of_{num_parts}")
        for number in reversed(range(num_parts)):  # if killed here: the later ones score anew
            part_file(whole.output, num_parts, number).unlink(missing_ok=True)
        say(f"Scores of all {num_parts} parts:")
        report(scores, whole.output / "scores.json")
    elif _merged_elsewhere(whole.output, path, written):
        say(f"Another part merged all {num_parts}: {whole.output / 'scores.json'}")
    else:
        say(f"Not merged yet; to be done: {', '.join(absent)}")
    return scores


def part_file(folder: Path, num_parts: int, part_id: int) -> Path:
    """The file of a part's scores."""
    return folder / f"scores.part_{part_id}_of_{num_parts}.json"


def describe(whole: Evaluation) -> dict[str, str]:
    """What decides the scores: parts belong together where all of it is equal."""
    facts = [_facts(path) for path in sorted(set(_all_files(whole)))]
    stated, known = whole.setting.protocol.stated, replace(whole.setting.known, plan=None)
    rest = [to_json(stated), to_json(known), list(whole.without_reference)]
    return {
        "liftnet": __version__,
        "protocol": stated.name,
        "predicted images in": str(whole.predicted.absolute()),
        "references in": str(whole.reference.absolute()),
        "sources in": str(whole.source.absolute()),
        "masks in": "" if whole.mask is None else str(whole.mask.absolute()),
        "plan or dataset": _digest(rest),
        "files": _digest(facts),
    }


def _facts(path: Path) -> list[str | int]:
    try:
        stat = path.stat()
    except FileNotFoundError:  # a link that leads nowhere; its case fails
        return [str(path)]
    return [str(path), stat.st_size, stat.st_mtime_ns]


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def _all_files(whole: Evaluation) -> Iterator[Path]:
    """Every file that the scores rest on."""
    for case in whole.files:
        for pair in case.pairs:
            yield pair.predicted
            if pair.facts is not None:
                yield sidecar(pair.predicted)
        yield from case.references.values()
        yield from case.sources.values()
        if case.mask is not None:
            yield case.mask


def _find_parts(
    folder: Path, num_parts: int, setting: dict[str, str]
) -> tuple[list[PartScores], list[str]]:
    """The parts that are there in this setting, and the others: not there, or why not taken."""
    parts, absent = [], []
    for number in range(num_parts):
        part = _read(part_file(folder, num_parts, number))
        if part is None:
            absent.append(f"part {number}")
        elif part.setting != setting:
            absent.append(f"part {number} (its file is not used: {_difference(part, setting)})")
        else:
            parts.append(part)
    return parts, absent


def _difference(part: PartScores, setting: dict[str, str]) -> str:
    """The first of what makes the setting of a part another one."""
    for what, value in setting.items():
        other = part.setting.get(what)
        if other != value:
            digest = what in ("plan or dataset", "files")
            return f"other {what}" if digest else f"{what} {other}, not {value}"
    return "more is set"


def _read(path: Path) -> PartScores | None:
    """The content of a part's file; None if it is not there or damaged."""
    try:
        return from_json(PartScores, read_json(path), where=path)
    except PlanError:
        return None


def _merged(folder: Path, setting: dict[str, str]) -> Scores | None:
    """The scores that parts of this setting were merged into, if nothing is left to be done."""
    path = folder / "scores.json"
    if not path.is_file():
        return None
    try:
        scores = read_scores(path)
    except PlanError:
        return None
    return scores if scores.made.inputs == _digest(setting) and not scores.failures else None


def _to_file(row: CaseScore) -> PartRow:
    return PartRow(row.case, row.contrast, dict(row.metrics), row.notes)


def _from_file(row: PartRow) -> CaseScore:
    metrics = {m: math.inf if value is None else value for m, value in row.metrics.items()}
    return CaseScore(row.case, row.contrast, metrics, row.notes)


def _merged_elsewhere(folder: Path, own: Path, written: int) -> bool:
    """Whether another part has merged this one: its file is gone, or older than the scores."""
    scores = folder / "scores.json"
    return not own.is_file() or (scores.is_file() and scores.stat().st_mtime_ns >= written)


def _name_other_splits(folder: Path, num_parts: int) -> None:
    """Say which part files are of another number of parts: they are neither used nor deleted."""
    for path in sorted(folder.glob("scores.part_*_of_*.json")):
        match = re.fullmatch(r"scores\.part_\d+_of_(\d+)\.json", path.name)
        if match and int(match[1]) != num_parts:
            say(f"warning: {path.name} is of another number of parts; not used")
