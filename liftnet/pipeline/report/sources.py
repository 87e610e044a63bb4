"""The files behind one image of a report: predicted, reference and sources, on one grid."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from liftnet.core.errors import DatasetError, LiftnetError
from liftnet.core.geometry import Geometry
from liftnet.core.scores import Compared
from liftnet.core.storage.checksum import file_sha256
from liftnet.core.workspace import find_workspace
from liftnet.pipeline.evaluate.evaluate import beside
from liftnet.pipeline.evaluate.files import find_images
from liftnet.pipeline.evaluate.scoring import (
    CaseFiles,
    Pair,
    find_files,
    open_case,
    read_on,
    sources_by_number,
    target_name,
)
from liftnet.pipeline.evaluate.setting import Setting, by_channel, find_setting, has_own_numbers
from liftnet.pipeline.predict.source_files import find_source
from liftnet.pipeline.report.results import Image, MethodFiles, Results

__all__ = ["MethodCase", "MethodSource", "find_methods", "find_sources", "read_method"]

NAME_FOLDER = ": name their folder with -s"


@dataclass(frozen=True)
class MethodCase:
    """One image of one method as its protocol compares it, and the files of its case."""

    compared: Compared
    geometry: Geometry
    files: CaseFiles
    pair: Pair
    setting: Setting


@dataclass(frozen=True)
class MethodSource:
    """The files of a method's cases, and what is the same for all of them."""

    cases: dict[str, CaseFiles]
    setting: Setting


def find_methods(
    results: Results,
    *,
    sources: Path | None,
    dataset: int | str | None,
    workspace: Path | str | None,
) -> dict[str, MethodSource]:
    """Method -> where its images are, and what the evaluation knew of them.

    Raises:
        LiftnetError: If a folder is gone, or no predicted image has a reference.
    """
    own_numbers = has_own_numbers(results.reference)
    apart = beside(results.reference, "images") if own_numbers else None
    source = sources or results.sources or apart or results.reference
    found = {}
    for method in results.methods:
        cases, _, _ = find_files(
            method.predicted,
            results.reference,
            source,
            None,  # pictures show the whole grid; a mask file is for numbers only
            dataset=dataset,
            workspace=workspace,
        )
        setting = find_setting(
            by_channel((pair.channel, pair.facts) for files in cases for pair in files.pairs),
            results.protocol.name,
            reference=results.reference,
            dataset=dataset,
            workspace=workspace,
        )
        found[method.name] = MethodSource({files.case: files for files in cases}, setting)
    return found


def read_method(method: MethodFiles, image: Image, source: MethodSource) -> MethodCase:
    """The image of one method.

    Raises:
        LiftnetError: If a file is gone, damaged or on another grid.
    """
    files, setting = source.cases.get(image.case), source.setting
    if files is None:
        raise DatasetError(
            f"No predicted image of case {image.case} with a reference is there any more",
            where=str(method.predicted),
            remedy="Evaluate again, or bring the files back.",
        )
    pairs = [pair for pair in files.pairs if target_name(pair, setting) == image.contrast]
    if not pairs:
        raise DatasetError(
            f"Case {image.case} has no predicted {image.contrast} any more",
            where=str(method.predicted),
            remedy="Evaluate again with the same -d: it names the channels.",
        )
    opened = open_case(files)
    comparison = opened.read(pairs[0], setting)
    compared = setting.protocol.as_compared(comparison)
    return MethodCase(compared, opened.geometry, files, pairs[0], setting)


def find_sources(
    method: MethodCase, *, sources: Path | None, workspace: Path | str | None
) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """The source images of a prediction by their names, in file units, and what is missing.

    A source is what the JSON file beside the prediction says that it was made from, known again by
    its content. Where an older file does not say so, it is looked for by its name and number.
    """
    facts = method.pair.facts
    if facts is not None and facts.made_from is not None:
        found, notes = _noted(method, sources, workspace)
    else:
        found, notes = _numbered(method, sources, workspace)
    volumes = {}
    for name, path in found.items():
        try:
            volumes[name] = read_on(method.geometry, path, "Source and reference")
        except LiftnetError as error:
            notes.append(f"source {name} is not shown: {error.problem}")
    return volumes, tuple(notes)


def _noted(
    method: MethodCase, sources: Path | None, workspace: Path | str | None
) -> tuple[dict[str, Path], list[str]]:
    """The very files that a prediction was made from, wherever they lie now."""
    facts, predicted = method.pair.facts, method.pair.predicted
    assert facts is not None and facts.made_from is not None
    files = (*method.files.sources.values(), *method.files.references.values())
    known = list(dict.fromkeys(path.parent for path in files))
    above = dict.fromkeys(up for folder in known for up in (folder.parent, folder.parent.parent))
    beside_them = [folder / Path(facts.made_from.folder).name for folder in above]
    folders = [*known, *beside_them, *_raw(method.setting, workspace)]
    found, notes = {}, []
    for name in facts.sources:
        path, problem = find_source(predicted, facts.made_from, name, folders, asked=sources)
        if path is None:
            notes.append(f"source {name} is not shown: {problem}{'' if sources else NAME_FOLDER}")
        else:
            found[name] = path
    return found, notes


def _numbered(
    method: MethodCase, sources: Path | None, workspace: Path | str | None
) -> tuple[dict[str, Path], list[str]]:
    """Files that can be sources by name and number, and are not the reference."""
    setting, facts = method.setting, method.pair.facts
    others = sources_by_number(method.files, method.pair, setting)
    wanted = list(facts.sources) if facts else []
    found = _named(others, setting, wanted)
    for place in [] if sources is not None else _raw(setting, workspace):
        if not _all(found, wanted):
            images = find_images(place, "source")[0].get(method.files.case, {})
            found = _named(images, setting, wanted)
    if not found and others:  # names are not known without the dataset
        found, wanted = _named(others, setting, []), []
    reference = file_sha256(method.files.references[method.pair.channel])
    found = {name: path for name, path in found.items() if file_sha256(path) != reference}
    if not found:
        return {}, [f"sources are not shown{NAME_FOLDER}"]
    notes = [f"source {name} is not shown: no file" for name in wanted if name not in found]
    return {name: found[name] for name in wanted or sorted(found) if name in found}, notes


def _raw(setting: Setting, workspace: Path | str | None) -> list[Path]:
    """The folders of images of the dataset in the workspace, as far as they are there."""
    raw = find_workspace(workspace).raw / setting.known.dataset
    folders = [raw / name for name in ("imagesTs", "imagesTr")] if setting.known.dataset else []
    return [folder for folder in folders if folder.is_dir()]


def _all(found: Mapping[str, Path], wanted: list[str]) -> bool:
    return bool(found) and all(name in found for name in wanted)


def _named(images: Mapping[str, Path], setting: Setting, wanted: list[str]) -> dict[str, Path]:
    """Files by the names of their channels; only those wanted, if any are."""
    named = {setting.known.source_name(digits): path for digits, path in images.items()}
    return {name: path for name, path in named.items() if not wanted or name in wanted}
