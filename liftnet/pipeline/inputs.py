"""The cases of a folder of new images."""

import re
from collections.abc import Collection, Sequence
from pathlib import Path

from liftnet.core.dataset import (
    FILE_ENDINGS,
    Case,
    Channel,
    find_cases,
    find_masks,
    require_channel,
    split_ending,
)
from liftnet.core.errors import DatasetError, LiftnetError
from liftnet.core.names import one_form
from liftnet.core.plan import Plan
from liftnet.pipeline.case_check import NAME_APART
from liftnet.pipeline.progress import say
from liftnet.pipeline.text_table import first_names

__all__ = ["check_targets", "find_inputs", "part_of", "refuse_one_folder"]

SHOWN = 4  # ours: names of cases, enough to see which they are
MANY_STRANGERS = 3  # ours: more images of one case than this beyond its channels are other cases
MAX_PARTS = 10_000  # ours: more runs than anybody starts


def find_inputs(folder: Path, plan: Plan, masks: Path | None = None) -> list[Case]:
    """The cases of an input folder, with their masks if a folder of masks is given.

    Raises:
        DatasetError: If there is none, or the folder of masks has no mask of any of them.
    """
    if not folder.is_dir():
        raise DatasetError(
            "The input folder does not exist", where=str(folder), remedy="Name another with -i."
        )
    channels = {
        str(plan.file_number(name)): Channel(name, plan.channel(name).modality)
        for name in plan.sources
    }
    found, strangers = find_cases(folder, channels)
    _refuse_numbered_patients(found, strangers, folder, channels)
    for path in strangers:
        if path.name.lower().endswith(FILE_ENDINGS):
            say(
                f"warning: {path.name} is not named CASE_0000 to "
                f"CASE_{len(channels) - 1:04d}; left out"
            )
    if not found:
        raise DatasetError(
            "The input folder holds no case",
            where=str(folder),
            remedy="Name files CASE_0000.nii.gz, with numbers "
            + ", ".join(f"{int(i):04d} for {c.name}" for i, c in channels.items())
            + ".",
        )
    files = _find_masks(masks, plan, found) if masks is not None else {}
    return [
        Case(_written(images), images, files.get(identifier))
        for identifier, images in sorted(found.items())
    ]


def _written(images: dict[str, Path]) -> str:
    """The name of a case as its first file has it, whatever the form of its letters."""
    return split_ending(next(iter(images.values())))[0][: -len("_0000")]


def _refuse_numbered_patients(
    found: dict[str, dict[str, Path]],
    strangers: Sequence[Path],
    folder: Path,
    channels: dict[str, Channel],
) -> None:
    """Refuse a folder of one name whose numbers run from patient to patient.

    One case that has some contrasts more than the plan has channel 0, or few of them.

    Raises:
        DatasetError: If the numbers go beyond the channels and cannot be those of contrasts.
    """
    stems = [split_ending(path)[0] for path in strangers if split_ending(path)[1]]
    named = {one_form(stem[: -len("_0000")]) for stem in stems if re.fullmatch(r".+_\d{4}", stem)}
    if len(found) != 1 or named != set(found):
        return
    ((case, images),) = found.items()
    first = any(path.stem.startswith(f"{_written(images)}_0000") for path in images.values())
    if not first or len(stems) >= MANY_STRANGERS:
        known = ", ".join(f"{int(number):04d}" for number in channels)
        raise DatasetError(
            f"All {len(stems) + len(images)} images are named {case}_NNNN, with numbers beyond the "
            f"channels {known}: these look like numbers of patients",
            where=str(folder),
            remedy=f"{NAME_APART} If it is one case, remove what is no channel.",
        )


def _find_masks(folder: Path, plan: Plan, cases: Collection[str]) -> dict[str, Path]:
    """Case -> mask for the `CASE.nii.gz` files of a folder."""
    if plan.grid.mask == "none":
        raise DatasetError(
            "This plan uses no masks", where=str(folder), remedy="Leave out -m: they do nothing."
        )
    known = find_masks(folder)
    files = {case: known[case] for case in cases if case in known}
    alone = sorted(known.keys() - files.keys())
    without = sorted(set(cases) - files.keys())
    if files and alone and without:
        say(
            f"warning: {first_names(alone, SHOWN)} in the folder of masks are no case, and "
            f"{first_names(without, SHOWN)} have no mask: are names misspelled?"
        )
    if not files:
        raise DatasetError(
            "The folder of masks has no mask of any case",
            where=str(folder),
            remedy="Name them as the cases: CASE.nii.gz.",
        )
    return files


def part_of(num_parts: int, part_id: int) -> slice:
    """Every num_parts-th case, from part_id on.

    Raises:
        LiftnetError: If there is no such part, or nobody can have as many.
    """
    if not 1 <= num_parts <= MAX_PARTS:
        raise LiftnetError(
            f"The cases cannot be split into {num_parts} parts",
            where="-num_parts",
            remedy=f"Use 1 to {MAX_PARTS}.",
        )
    if not 0 <= part_id < num_parts:
        raise LiftnetError(
            f"Part {part_id} of {num_parts} does not exist",
            where="-part_id",
            remedy=f"Use 0 to {num_parts - 1}.",
        )
    return slice(part_id, None, num_parts)


def refuse_one_folder(source: Path, output: Path) -> None:
    """Keep results away from sources: they would be taken for sources, or overwrite them.

    Raises:
        DatasetError: If the two folders are the same.
    """
    if source.resolve() == output.resolve():
        raise DatasetError(
            "Input and output folder are the same",
            where=str(source),
            remedy="Name another folder with -o.",
        )


def check_targets(target: Sequence[str] | None, plan: Plan) -> list[str] | None:
    """The wanted contrasts, or None if none is named.

    Raises:
        DatasetError: If the plan cannot make one of them.
    """
    for name in target or ():
        require_channel(str(name), list(plan.targets))
    return [str(name) for name in target] if target else None
