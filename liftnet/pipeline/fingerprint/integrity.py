"""What is wrong with a raw dataset, all of it at once, in one table."""

import re
import shutil
import textwrap
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from liftnet.core.dataset import Case, Channel, DatasetDescription
from liftnet.core.errors import DatasetError, LiftnetError
from liftnet.core.geometry import Geometry, Volume
from liftnet.core.names import one_form
from liftnet.imageio import ImageInfo, read_image
from liftnet.imageio.formats import split_ending
from liftnet.ops.given_mask import mask_doubt
from liftnet.ops.intensities import check_intensities
from liftnet.pipeline.fingerprint.header_check import header_faults

__all__ = ["Problem", "check_names", "inspect_case", "problem_table", "raise_on_errors"]

MANY = 4  # ours: so many files with one fault are one row, which names the first
MAX_NAME_WIDTH = 28  # ours: longer case and file names wrap, so that text keeps half of 80 columns

Severity = Literal["error", "warning"]


@dataclass(frozen=True)
class Problem:
    """One row of the table. An error stops the pipeline, a warning does not."""

    case: str
    file: str
    problem: str
    remedy: str
    severity: Severity = "error"


def check_names(
    folder: Path, description: DatasetDescription, *, min_channels: int = 2
) -> list[Problem]:
    """The problems of a raw dataset that file names alone show.

    Args:
        folder: The dataset, `Dataset001_Name`.
        description: Its dataset.json.
        min_channels: How many channels a training case must have to be of use, in a dataset
            without targets: two (a source and a target).
    """
    ending = description.file_ending
    cases, problems = _scan(folder / "imagesTr", description.channels, ending)
    tests, test_problems = _scan(folder / "imagesTs", description.channels, ending)
    targets, target_problems = _scan(folder / "targetsTr", description.targets, ending)
    problems += [*test_problems, *target_problems, *_alike(cases)]
    problems += _orphans("targetsTr", targets, set(cases), "imagesTr")
    if description.targets:
        for case in sorted(cases):
            problems += _check_targets(case, targets.get(case, []), description)
        references, reference_problems = _scan(folder / "targetsTs", description.targets, ending)
        problems += reference_problems
        problems += _orphans("targetsTs", references, set(tests), "imagesTs")
    else:
        for case, files in sorted(cases.items()):
            if len(files) < min_channels:
                remedy = f"A case needs at least {min_channels}: add one, or remove the case."
                problems.append(Problem(case, files[0], f"Only {len(files)} channel", remedy))
    problems += _check_masks(folder / "masksTr", set(cases), "imagesTr", ending)
    problems += _check_masks(folder / "masksTs", set(tests), "imagesTs", ending)
    return problems


def _check_targets(
    case: str, files: Sequence[str], description: DatasetDescription
) -> Iterator[Problem]:
    """A case without target is of no use; one that lacks some serves for the others."""
    stems = {one_form(file[: -len(description.file_ending)]) for file in files}
    lacking = [
        channel.name
        for number, channel in sorted(description.targets.items(), key=lambda item: int(item[0]))
        if f"{case}_{int(number):04d}" not in stems
    ]
    if not files:
        remedy = "Add it, or remove the case's images."
        yield Problem(case, "-", "No target image in targetsTr", remedy)
    elif lacking:
        remedy = "Add it if you can; the case serves for the other targets."
        yield Problem(case, "-", f"No {', '.join(lacking)} in targetsTr", remedy, "warning")


def _files(folder: Path) -> Iterator[Path]:
    """The visible entries of a folder, in order; none if there is no such folder."""
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if not path.name.startswith("."):
            yield path


def _scan(
    folder: Path, channels: Mapping[str, Channel], ending: str
) -> tuple[dict[str, list[str]], list[Problem]]:
    """Case -> names of its usable files in one folder, and what is wrong with the others."""
    cases: dict[str, list[str]] = {}
    taken: dict[tuple[str, str], str] = {}
    problems = []
    for path in _files(folder):
        shown = f"{folder.name}/{path.name}"
        stem, found = split_ending(path)
        if not found or path.is_dir():
            what = "A folder" if path.is_dir() else "Not an image file"
            problems.append(Problem("-", shown, f"{what}, left alone", "Remove it.", "warning"))
            continue
        match = re.fullmatch(r"(.+)_(\d{4})", stem)
        if match is None:
            remedy = f"Name it CASE_0000{ending}, 0000 being the channel number."
            problems.append(Problem("-", shown, "No channel number in the name", remedy))
            continue
        case, number = one_form(match[1]), match[2]
        if str(int(number)) not in channels:
            known = ", ".join(f"{int(n):04d}" for n in sorted(channels, key=int)) or "none"
            listed = "targets" if folder.name.startswith("targets") else "channels"
            remedy = f"Add channel {int(number)} to its '{listed}', or remove the file. "
            remedy += f"Known: {known}."
            problems.append(
                Problem(case, shown, f"Channel {number} is not in dataset.json", remedy)
            )
        elif (case, number) in taken:
            other = taken[case, number]
            problems.append(
                Problem(case, shown, f"Same case and channel as {other}", "Keep one of the two.")
            )
        elif found != ending:
            remedy = f"Save all images as {ending}, or change file_ending."
            problems.append(
                Problem(case, shown, f"Ends in {found}, dataset.json says {ending}", remedy)
            )
            taken[case, number] = path.name
        else:
            taken[case, number] = path.name
            cases.setdefault(case, []).append(path.name)
    return cases, problems


def _alike(cases: Mapping[str, Sequence[str]]) -> list[Problem]:
    """Cases whose names differ only in upper and lower case."""
    first: dict[str, str] = {}
    problems = []
    for case in sorted(cases):
        other = first.setdefault(case.lower(), case)
        if other != case:
            text = f"Differs from case {other} only in upper and lower case"
            problems.append(Problem(case, cases[case][0], text, "Rename one of them."))
    return problems


def _orphan(case: str, file: str, images: str) -> Problem:
    """A target or mask of no case; among test cases it harms nothing."""
    remedy = f"Name it like a case in {images}, or remove it."
    severity: Severity = "warning" if images.endswith("Ts") else "error"
    return Problem(case, file, f"No image of this case in {images}", remedy, severity)


def _orphans(
    folder: str, found: Mapping[str, Sequence[str]], cases: set[str], images: str
) -> Iterator[Problem]:
    """The targets in `folder` whose case has no file in the folder `images`."""
    for case, files in sorted(found.items()):
        if case not in cases:
            yield _orphan(case, f"{folder}/{files[0]}", images)


def _check_masks(folder: Path, cases: set[str], images: str, ending: str) -> list[Problem]:
    problems = []
    for path in _files(folder):
        stem, found = split_ending(path)
        shown = f"{folder.name}/{path.name}"
        if not found or path.is_dir():
            problems.append(Problem("-", shown, "Not an image file", "Remove it.", "warning"))
        elif found != ending:
            text = f"Ends in {found}, dataset.json says {ending}"
            problems.append(Problem("-", shown, text, f"Save it as {ending}."))
        elif one_form(stem) not in cases:
            problems.append(_orphan(one_form(stem), shown, images))
    return problems


def _shown(path: Path) -> str:
    """The file's name, with its folder where a file in imagesTr has the same name."""
    return f"{path.parent.name}/{path.name}" if path.parent.name == "targetsTr" else path.name


def inspect_case(
    case: Case, ct: Collection[str] = ()
) -> tuple[Volume | None, dict[str, str], list[Problem]]:
    """The images of a case as one volume, their stored types, and what is wrong with them.

    Every image is read once. There is no volume if there is an error. An image has one row,
    whatever is wrong with it; a mask is checked like an image of the same grid.

    Args:
        case: The case.
        ct: Its channels that are CT.
    """
    arrays, dtypes, problems = [], {}, []
    first: tuple[str, Geometry] | None = None
    files = [*case.images.items(), *([("mask", case.mask)] if case.mask else [])]
    for name, path in files:
        try:
            array, info = read_image(path)
        except LiftnetError as error:
            problems.append(
                Problem(case.identifier, _shown(path), error.problem, error.remedy or "")
            )
            continue
        first = first or (name, info.geometry)
        faults = [
            *_grid_faults(name, info, first),
            *_voxel_faults(array, "mask" if name == "mask" else "CT" if name in ct else "MR"),
        ]
        faults += [(*fault, "warning") for fault in header_faults(path, info.geometry)]
        for severity in ("error", "warning"):
            chosen = [(text, remedy) for text, remedy, kind in faults if kind == severity]
            if chosen:
                texts = "; ".join(text for text, _ in chosen)
                remedies = " ".join(remedy for _, remedy in chosen)
                problems.append(Problem(case.identifier, _shown(path), texts, remedies, severity))
        if name != "mask":
            arrays.append(array)
            dtypes[name] = info.dtype
    if first is None and not problems:
        problems.append(Problem(case.identifier, "-", "The case has no image", "Remove it."))
    if first is None or any(problem.severity == "error" for problem in problems):
        return None, dtypes, problems
    return Volume(np.stack(arrays), first[1]), dtypes, problems


Fault = tuple[str, str, Severity]


def _grid_faults(name: str, info: ImageInfo, first: tuple[str, Geometry]) -> Iterator[Fault]:
    if difference := first[1].differs(info.geometry):
        text = f"Lies on another grid than {first[0]}: {difference}"
        yield text, f"Resample {name} onto {first[0]}, or remove the case.", "error"
    if not info.oriented:
        text = "The header does not say where the axes point (sform and qform codes are 0)"
        remedy = "Set one of them if you can; the order left, anterior, superior is assumed."
        yield text, remedy, "warning"


def _voxel_faults(array: np.ndarray, kind: Literal["MR", "CT", "mask"]) -> Iterator[Fault]:
    low, high = float(array.min()), float(array.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        count = int(array.size - np.isfinite(array).sum())
        plural = "s are" if count > 1 else " is"
        yield f"{count} voxel{plural} NaN or infinite", "Replace them (usually by 0).", "error"
    elif low == high == 0:
        remedy = (
            "Remove the mask." if kind == "mask" else "Remove the file: the contrast is missing."
        )
        yield "Empty: all voxels are 0", remedy, "error"
    elif low == high and kind != "mask":
        yield f"Constant: all voxels are {low:g}", "Remove the file.", "error"
    elif high <= 0:
        yield f"No voxel above 0 (the largest is {high:g})", "Correct the sign or scale.", "error"
    elif kind != "mask":
        for finding in check_intensities(array, ct=kind == "CT"):
            yield finding.text, finding.remedy, finding.severity
    elif (doubt := mask_doubt(array)) is not None:
        yield *doubt, "warning"


def problem_table(problems: Sequence[Problem]) -> str:
    """The problems as an aligned table, errors first, that fits the terminal's width."""
    if not problems:
        return "No problem found"
    columns = ("", "case", "file", "problem", "do")
    ordered = sorted(_collapsed(problems), key=lambda p: (p.severity, p.case, p.file))
    rows = [columns, *((p.severity, p.case, p.file, p.problem, p.remedy) for p in ordered)]
    width = max(80, shutil.get_terminal_size((120, 24)).columns)
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    widths = [widths[0], *(min(w, MAX_NAME_WIDTH) for w in widths[1:])]
    left = width - sum(widths) - 2 * (len(columns) - 1)
    longest = [max(len(row[i]) for row in rows) for i in (3, 4)]
    share = max(left // 2, left - longest[1])  # what the remedies do not need
    widths += [min(longest[0], share)]
    widths += [min(longest[1], left - widths[3])]
    lines = [line for row in rows for line in _lines(row, widths)]
    rule = "  ".join("-" * w for w in widths)
    return "\n".join([*lines[:1], rule, *lines[1:], "", _count(problems)])


def _collapsed(problems: Sequence[Problem]) -> list[Problem]:
    """The problems, those that many files share as one row that names the first."""
    alike: dict[tuple[str, str, str], list[Problem]] = {}
    for problem in problems:
        alike.setdefault((problem.severity, problem.problem, problem.remedy), []).append(problem)
    rows = []
    for group in alike.values():
        if len(group) < MANY:
            rows += group
            continue
        first = min(group, key=lambda problem: (problem.case, problem.file))
        cases = len({problem.case for problem in group})
        file = f"{first.file} and {len(group) - 1} more"
        case = first.case if cases == 1 else f"{first.case} and {cases - 1} more"
        rows.append(replace(first, case=case, file=file))
    return rows


def _lines(row: Sequence[str], widths: Sequence[int]) -> Iterator[str]:
    """The lines of one row, each cell wrapped to its column."""
    cells = [textwrap.wrap(cell, width) or [""] for cell, width in zip(row, widths, strict=True)]
    for i in range(max(map(len, cells))):
        parts = [cell[i] if i < len(cell) else "" for cell in cells]
        pairs = zip(parts, widths, strict=True)
        yield "  ".join(part.ljust(width) for part, width in pairs).rstrip()


def _count(problems: Sequence[Problem]) -> str:
    errors = sum(problem.severity == "error" for problem in problems)
    counts = [(errors, "error"), (len(problems) - errors, "warning")]
    return ", ".join(f"{n} {word}{'s' if n != 1 else ''}" for n, word in counts)


def raise_on_errors(problems: Sequence[Problem]) -> None:
    """Stop if one of the problems is an error; say all of them.

    Raises:
        DatasetError: If there is an error; its text holds the table.
    """
    if any(problem.severity == "error" for problem in problems):
        raise DatasetError(
            f"The dataset is not usable as it is\n\n{problem_table(problems)}\n",
            remedy="Correct the rows marked error, then run the same command again.",
        )
