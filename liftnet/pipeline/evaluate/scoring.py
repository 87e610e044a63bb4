"""One case of an evaluation: its files found, read on one grid, and given to the task."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from liftnet.core.errors import DatasetError, GeometryError, LiftnetError
from liftnet.core.geometry import Geometry, Volume, axis_order, turn
from liftnet.core.scores import CaseScore, Comparison, ScoreFailure
from liftnet.host.parallel import in_parallel, threads_shared_by
from liftnet.host.progress import progress, say
from liftnet.imageio import read_image
from liftnet.imageio.raw_dataset import find_masks
from liftnet.ops.given_mask import inside_of
from liftnet.ops.mask import foreground
from liftnet.pipeline.convert.folder_kinds import existing_folder
from liftnet.pipeline.evaluate.files import (
    find_images,
    find_references,
    find_sources_of,
    no_pair,
)
from liftnet.pipeline.evaluate.setting import Facts, Setting, read_facts
from liftnet.pipeline.predict.source_files import find_source

__all__ = [
    "CaseFiles",
    "OpenCase",
    "Pair",
    "find_files",
    "open_case",
    "read_on",
    "read_turned",
    "refuse_same_files",
    "score_all",
    "sources_by_number",
    "target_name",
]

CANONICAL = "axial"  # the order (z, y, x) in which images are compared


@dataclass(frozen=True)
class Pair:
    """A predicted file that has a reference; channels are the four digits of the file name."""

    channel: str
    predicted: Path
    facts: Facts | None


@dataclass(frozen=True)
class CaseFiles:
    """The files of one case: pairs to score, and images by channel digits."""

    case: str
    pairs: tuple[Pair, ...]
    references: dict[str, Path]
    sources: dict[str, Path]
    mask: Path | None = None


def refuse_same_files(files: Sequence[CaseFiles]) -> None:
    """Refuse predicted images that are links to their references.

    Raises:
        DatasetError: If there is one.
    """
    for case in files:
        for pair in case.pairs:
            reference = case.references[pair.channel]
            there = pair.predicted.exists() and reference.exists()  # else scoring tells of it
            if there and pair.predicted.samefile(reference):
                raise DatasetError(
                    "A predicted image is its reference: both names lead to one file",
                    where=f"{pair.predicted}, {reference}",
                    remedy="Remove the link from one of the folders.",
                )


def find_files(
    predicted: Path,
    reference: Path,
    source: Path,
    mask: Path | None,
    *,
    dataset: int | str | None,
    workspace: Path | str | None,
) -> tuple[list[CaseFiles], list[Path], list[ScoreFailure]]:
    """The cases to score, predicted files without a reference, and files with a broken JSON.

    References and sources that are not in the raw format are matched by case and contrast, which
    the JSON files or the dataset name.

    Raises:
        DatasetError: If a folder is missing, or no predicted file has a reference.
    """
    found, strangers = find_images(predicted, "predicted")
    for path in strangers:
        say(f"warning: {path} is left out: it is not named like CASE_0003.nii.gz")
    asked: dict[str, Any] = {"dataset": dataset, "workspace": workspace}
    references = find_references(reference, found, **asked)
    sources = find_sources_of(source, found, reference=reference, **asked)
    masks = {} if mask is None else find_masks(existing_folder(mask, "folder of masks", "-m"))
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
            own_sources, own_mask = sources.get(case, {}), masks.get(case)
            files.append(CaseFiles(case, tuple(pairs), references[case], own_sources, own_mask))
    if not files and not broken:
        raise no_pair(predicted, found, reference, references)
    return files, alone, broken


def score_all(
    files: Sequence[CaseFiles], setting: Setting, workers: int
) -> tuple[list[CaseScore], list[ScoreFailure]]:
    """The scores of all images of these cases, and the images that could not be scored."""
    rows: list[CaseScore] = []
    failures: list[ScoreFailure] = []
    workers = min(workers, max(1, len(files)))
    with progress("Evaluate", len(files)) as advance, threads_shared_by(workers):
        for _, (scored, failed) in in_parallel(lambda f: score_files(f, setting), files, workers):
            rows += scored
            failures += failed
            advance()
    return rows, failures


def score_files(
    files: CaseFiles, setting: Setting
) -> tuple[tuple[CaseScore, ...], tuple[ScoreFailure, ...]]:
    """The scores of every predicted image of a case; one that cannot be scored is a failure."""
    try:
        opened = open_case(files)
    except LiftnetError as error:
        return (), (ScoreFailure(files.case, _message(error, files.case)),)
    scores, failures = [], []
    for pair in files.pairs:
        try:
            scores.append(_checked(setting.protocol.score_case(opened.read(pair, setting))))
        except LiftnetError as error:
            where = f"{files.case}, {target_name(pair, setting)}"
            failures.append(ScoreFailure(files.case, _message(error, where)))
    return tuple(scores), tuple(failures)


def _checked(score: CaseScore) -> CaseScore:
    """The score, whose metrics must be numbers.

    Raises:
        DatasetError: If one is NaN, as a range that float32 cannot scale makes it.
    """
    if bad := [name for name, value in score.metrics.items() if math.isnan(value)]:
        raise DatasetError(
            f"No number comes out for {', '.join(bad)}",
            remedy="Check the intensities: their range is too small or too large to be scaled.",
        )
    return score


def target_name(pair: Pair, setting: Setting) -> str:
    """The name of the channel of a predicted image, or its digits."""
    return pair.facts.target if pair.facts else setting.known.name(pair.channel)


@dataclass(frozen=True)
class OpenCase:
    """The references of a case, on the grid that all its images must have."""

    files: CaseFiles
    references: dict[str, np.ndarray]  # channel digits -> (D, H, W)
    geometry: Geometry

    def read(self, pair: Pair, setting: Setting) -> Comparison:
        """A predicted image beside its reference.

        Raises:
            LiftnetError: If an image cannot be read, lies on another grid, or is missing.
        """
        source, source_name = _read_source(self.files, pair, setting, self.geometry)
        return Comparison(
            case=self.files.case,
            channel=target_name(pair, setting),
            predicted=read_on(self.geometry, pair.predicted, "Predicted and reference"),
            reference=self.references[pair.channel],
            subject=foreground(np.stack(list(self.references.values())), "nonzero"),
            subject_note="foreground of " + ", ".join(map(setting.known.name, self.references)),
            slice_axis=setting.known.slice_axis,
            spacing_mm=self.geometry.spacing_mm,
            modality=setting.known.modalities.get(pair.channel),
            written_range=pair.facts.written_range if pair.facts else None,
            source=source,
            source_name=source_name,
            mask=_read_mask(self.files, setting, self.geometry),
        )


def open_case(files: CaseFiles) -> OpenCase:
    """A case with its reference images, which must share one grid.

    Raises:
        LiftnetError: If one cannot be read, or lies on another grid.
    """
    digits = files.pairs[0].channel
    first, geometry = read_turned(files.references[digits])
    images = {digits: first}
    for other, path in files.references.items():
        if other != digits:
            images[other] = read_on(geometry, path, f"The references {digits} and {other}")
    return OpenCase(files, dict(sorted(images.items())), geometry)


def _message(error: LiftnetError, case: str) -> str:
    error.where = f"case {case}" + (f": {error.where}" if error.where else "")
    return str(error)


def _read_source(
    files: CaseFiles, pair: Pair, setting: Setting, geometry: Geometry
) -> tuple[np.ndarray | None, str]:
    """The first source image of a predicted one, where the protocol masks by it.

    It is the file that the JSON names, where that is found; else one of the folder of sources.
    """
    if not setting.protocol.stated.needs_source:
        return None, ""
    others = sources_by_number(files, pair, setting)
    if pair.facts and pair.facts.made_from and pair.facts.sources:
        name, folders = pair.facts.sources[0], {path.parent for path in others.values()}
        path, _ = find_source(pair.predicted, pair.facts.made_from, name, sorted(folders))
        if path is not None:
            return read_on(geometry, path, "Source and reference"), name
    if not others:
        raise DatasetError(
            f"Protocol {setting.protocol.stated.name} masks with the first source, "
            "and there is none",
            remedy="Name the folder of source images with -s.",
        )
    digits = min(others)
    if pair.facts:
        by_name = {setting.known.source_name(d): d for d in others}
        used = [by_name[name] for name in pair.facts.sources if name in by_name]
        predicted = set() if setting.known.own_numbers else {p.channel for p in files.pairs}
        # Where the sources' numbers are not known, what was predicted is the least likely one.
        digits = used[0] if used else min(set(others) - predicted or others)
    name = setting.known.source_name(digits)
    return read_on(geometry, others[digits], "Source and reference"), name


def sources_by_number(files: CaseFiles, pair: Pair, setting: Setting) -> dict[str, Path]:
    """What of the folder of sources can be a source: the predicted channel and references are not.

    Where targets have numbers of their own, the folder of references holds no source.
    """
    if not setting.known.own_numbers:
        return {digits: path for digits, path in files.sources.items() if digits != pair.channel}
    known = {path.resolve() for path in files.references.values()}
    return {d: path for d, path in files.sources.items() if path.resolve() not in known}


def _read_mask(files: CaseFiles, setting: Setting, geometry: Geometry) -> np.ndarray | None:
    """Where the case's mask is not 0, for a protocol that needs it, as far as there is one."""
    if files.mask is None or not setting.protocol.stated.needs_mask:
        return None
    inside = inside_of(read_on(geometry, files.mask, "Mask and reference"))
    if not inside.any():
        raise DatasetError(
            "The mask is empty: all voxels are 0",
            where=str(files.mask),
            remedy="Draw it again, or remove it.",
        )
    return inside


def read_on(geometry: Geometry, path: Path, pair: str) -> np.ndarray:
    """An image (D, H, W) that must lie on this grid, whatever the order of its stored axes.

    Raises:
        GeometryError: If it does not.
    """
    image, own = read_turned(path)
    if difference := geometry.differs(own):
        raise GeometryError(
            f"{pair} lie on different grids: {difference}",
            where=str(path),
            remedy="Resample one onto the other; scores compare voxel by voxel.",
        )
    return image


def read_turned(path: Path) -> tuple[np.ndarray, Geometry]:
    """An image (D = z, H = y, W = x) and its grid.

    Raises:
        LiftnetError: If it cannot be read, or holds NaN or infinite values.
    """
    voxels, info = read_image(path)
    if not np.isfinite(voxels).all():
        raise DatasetError(
            "The image holds NaN or infinite values", where=str(path), remedy="Replace them by 0."
        )
    turned = turn(Volume(voxels[None], info.geometry), axis_order(info.geometry, CANONICAL))
    return np.ascontiguousarray(turned.voxels[0]), turned.geometry
