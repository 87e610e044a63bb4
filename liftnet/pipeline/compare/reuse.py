"""Scores that are there already: whether they are still those of the files."""

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from liftnet.core.errors import PlanError
from liftnet.core.scores import Scores, read_scores
from liftnet.imageio.formats import split_ending
from liftnet.pipeline.evaluate.evaluate import beside
from liftnet.pipeline.evaluate.files import find_images, find_references
from liftnet.pipeline.evaluate.setting import (
    Facts,
    by_channel,
    find_setting,
    has_own_numbers,
    read_facts,
)
from liftnet.version import __version__

__all__ = ["Asked", "earlier_scores", "newer_file", "stale_warnings"]


class Asked(NamedTuple):
    """What an evaluation is asked for."""

    protocol: str
    reference: Path
    sources: Path | str | None
    dataset: int | str | None
    workspace: Path | str | None


def earlier_scores(path: Path, predicted: Path, asked: Asked) -> tuple[Scores | None, str]:
    """The scores of an earlier comparison if they are as asked for; else None and why not.

    The reason is "" where there are none.

    Raises:
        LiftnetError: If what is asked for cannot be evaluated.
    """
    if not path.is_file():
        return None, ""
    try:
        scores = read_scores(path)
    except PlanError as error:
        return None, error.problem
    reason = next(_reasons(scores, path, predicted, asked), "")
    return (None if reason else scores), reason


def newer_file(path: Path, scores: Scores) -> Path | None:
    """A predicted image, its JSON file or a reference that was changed after it was scored.

    Args:
        path: of the scores.
        scores: what it holds.
    """
    written = path.stat().st_mtime_ns
    cases = {row.case for row in scores.cases}
    places = [scores.predicted_folder, scores.reference_folder, scores.sources_folder]
    for folder in dict.fromkeys(Path(place) for place in places if place):
        for file in _files_of(folder, cases) if folder.is_dir() else ():
            if file.is_file() and file.stat().st_mtime_ns > written:
                return file
    return None


def _files_of(folder: Path, cases: Collection[str]) -> Iterator[Path]:
    """The images of these cases and their JSON files; in another layout all images below."""
    found = find_images(folder, "scored")[0]
    if not found:
        yield from (path for path in sorted(folder.rglob("*")) if split_ending(path)[1])
    for case, images in found.items():
        if case in cases:
            for digits, image in images.items():
                yield from (image, image.with_name(f"{case}_{digits}.json"))


def stale_warnings(folders: Mapping[str, Path], scores: Mapping[str, Scores]) -> Iterator[str]:
    """A warning for each method whose files were changed after they were scored."""
    for name, folder in folders.items():
        if (file := newer_file(folder / "scores.json", scores[name])) is not None:
            yield (
                f"{file.name} is newer than the scores of {name}: evaluate it again, or give "
                "the references with -r"
            )


def _reasons(scores: Scores, path: Path, predicted: Path, asked: Asked) -> Iterator[str]:
    """Why scores are not as asked for, the plainest reason first."""
    yield from _other_origin(scores, predicted, asked)
    try:
        images = _images(predicted, asked)
    except PlanError as error:
        yield f"{error.problem[0].lower()}{error.problem[1:]} ({error.where})"
        return
    count, scored = len(images), len(scores.cases) + len(scores.without_reference)
    if count != scored:
        yield f"{count} images are there, {scored} were scored"
    yield from _other_setting(scores, images, asked)
    if (file := newer_file(path, scores)) is not None:
        yield f"{file.name} is newer than its scores"


def _other_origin(scores: Scores, predicted: Path, asked: Asked) -> Iterator[str]:
    """What the scores note of themselves that is not as asked for."""
    if scores.protocol.name != asked.protocol:
        yield f"the scores there are of protocol {scores.protocol.name}"
    for what, own, wanted in (
        ("predictions", scores.predicted_folder, predicted),
        ("references", scores.reference_folder, asked.reference),
    ):
        if Path(own).resolve() != wanted.resolve():
            yield f"the scores there are of {what} in {own}"
    if scores.liftnet != __version__:
        yield f"liftnet {scores.liftnet} made the scores there"
    in_hu = any(row.notes.get("unit") == "HU" for row in scores.cases)
    if scores.protocol.needs_mask and in_hu:  # of CT alone, see Protocol
        yield "scores do not note which masks they rest on"
    if scores.protocol.needs_source and not _same_sources(scores, asked):
        yield f"the scores there are masked with images in {scores.sources_folder}"
    if scores.failures:
        yield f"{len(scores.failures)} of its images could not be scored the last time"


class _Image(NamedTuple):
    """A predicted image."""

    case: str
    digits: str
    path: Path
    paired: bool  # whether there is a reference of it
    facts: Facts | None  # None also where there is no reference


def _images(predicted: Path, asked: Asked) -> list[_Image]:
    """All predicted images.

    Raises:
        PlanError: If a JSON file beside one is damaged.
    """
    there = find_images(predicted, "predicted")[0]
    references = find_references(
        asked.reference, there, dataset=asked.dataset, workspace=asked.workspace
    )
    found = []
    for case, images in there.items():
        for digits, path in images.items():
            paired = digits in references.get(case, {})
            facts = read_facts(path) if paired else None
            found.append(_Image(case, digits, path, paired, facts))
    return found


def _other_setting(scores: Scores, images: list[_Image], asked: Asked) -> Iterator[str]:
    """What differs from an evaluation of these images as it would be made now."""
    setting = find_setting(
        by_channel((image.digits, image.facts) for image in images if image.paired),
        asked.protocol,
        reference=asked.reference,
        dataset=asked.dataset,
        workspace=asked.workspace,
    )
    for what, then, now in (
        ("task", scores.task, setting.known.task),
        ("dataset", scores.dataset, setting.known.dataset),
        ("slice axis", scores.slice_axis, setting.known.slice_axis),
    ):
        if then != now:
            yield f"the {what} was {then or 'not known'}, and is {now or 'not known'}"
    if scores.protocol != setting.protocol.stated:
        yield f"protocol {asked.protocol} had another meaning"
    name = setting.known.name
    pairs = {
        (image.case, image.facts.target if image.facts else name(image.digits)): image.facts
        for image in images
        if image.paired
    }
    alone = {image.path.name for image in images if not image.paired}
    scored = {(row.case, row.contrast) for row in scores.cases}
    if (pairs.keys(), alone) != (scored, set(scores.without_reference)):
        yield "other images are there than were scored"
    for row in scores.cases:
        used = row.notes.get("predicted_range", "").startswith("JSON file")
        if used and pairs.get((row.case, row.contrast)) is None:
            yield f"the JSON file of {row.case}, {row.contrast}, is gone"


def _same_sources(scores: Scores, asked: Asked) -> bool:
    """Whether the folder of sources is that asked for, or by default that of an evaluation."""
    apart = beside(asked.reference, "images") if has_own_numbers(asked.reference) else None
    wanted = (apart or asked.reference) if asked.sources is None else Path(asked.sources)
    return Path(scores.sources_folder).resolve() == wanted.resolve()
