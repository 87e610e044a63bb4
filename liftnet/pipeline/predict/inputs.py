"""The cases of a folder of new images."""

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from liftnet.core.dataset import Case, Channel, require_channel
from liftnet.core.errors import DatasetError
from liftnet.core.names import one_form
from liftnet.core.plan import Plan
from liftnet.host.progress import say
from liftnet.host.text_table import first_names
from liftnet.imageio.formats import FILE_ENDINGS, split_ending
from liftnet.imageio.raw_dataset import find_cases, find_masks
from liftnet.pipeline.convert.folder_kinds import existing_folder, nothing_found, refuse_other_kind
from liftnet.pipeline.convert.recognise import (
    Inputs,
    describe_cases,
    describe_left_out,
    folders_of,
    recognise,
    split_inputs,
)
from liftnet.pipeline.predict.case_check import NAME_APART

__all__ = ["check_targets", "find_inputs", "refuse_one_folder"]

SHOWN = 4  # ours: names of cases, enough to see which they are
MANY_STRANGERS = 3  # ours: more images of one case than this beyond its channels are other cases


def find_inputs(given: Inputs, plan: Plan, masks: Path | None = None) -> list[Case]:
    """The cases of new images, with their masks if a folder of masks is given.

    Files in the raw format, CASE_0000.nii.gz, come first; else the layout is recognised.

    Args:
        given: a folder, texts such as "t1n=DIR", or a folder for each source.
        plan: whose sources they are.
        masks: the folder of masks.

    Raises:
        DatasetError: If there is no case, it is not clear what an image is, or the folder of masks
            has no mask of any of them.
    """
    folder = split_inputs(given, plan.sources, "-i")
    if isinstance(folder, Path):
        folder = existing_folder(folder, "input folder", "-i")
        if (found := _raw_cases(folder, plan)) is not None:
            written = {case: _written(images) for case, images in found.items()}
            return _with_masks(found, written, plan, masks)
    recognised = recognise(folder, plan.sources, plan.channel_names)
    if recognised is None:
        raise _no_case(folder, plan)
    say(describe_cases(recognised, plan.sources))
    if recognised.left_out:
        say(describe_left_out(recognised.left_out))
    return _with_masks(recognised.cases, {}, plan, masks)


def _with_masks(
    found: Mapping[str, dict[str, Path]],
    written: Mapping[str, str],
    plan: Plan,
    masks: Path | None,
) -> list[Case]:
    files = _find_masks(masks, plan, found) if masks is not None else {}
    return [
        Case(written.get(case, case), images, files.get(case))
        for case, images in sorted(found.items())
    ]


def _raw_cases(folder: Path, plan: Plan) -> dict[str, dict[str, Path]] | None:
    """The cases of a folder of CASE_0000.nii.gz files; None if none is named so."""
    channels = {
        str(plan.file_number(name)): Channel(name, plan.channel(name).modality)
        for name in plan.sources
    }
    found, strangers = find_cases(folder, channels)
    _refuse_numbered_patients(found, strangers, folder, channels)
    if not found:
        return None
    for path in strangers:
        if path.name.lower().endswith(FILE_ENDINGS):
            say(
                f"warning: {path.name} is not named CASE_0000 to "
                f"CASE_{len(channels) - 1:04d}; left out"
            )
    return found


def _no_case(folder: Path | dict[str, Path], plan: Plan) -> DatasetError:
    """What to say of a folder, or of one for each contrast, without a case."""
    numbers = ", ".join(f"{plan.file_number(name):04d} for {name}" for name in plan.sources)
    if isinstance(folder, Path):
        named = "P01.nii.gz" if len(plan.sources) == 1 else f"P01_{plan.sources[0]}.nii.gz"
        return nothing_found(
            "The input folder holds no case",
            folder,
            f"Name files CASE_0000.nii.gz, with numbers {numbers}; or {named}; or give the folder "
            f"of each contrast: -i {plan.sources[0]}=DIR.",
        )
    for place in folder.values():
        refuse_other_kind("The folder holds no image", place)
    return DatasetError(
        "The input folders hold no image",
        where=", ".join(map(str, folder.values())),
        remedy=f"Put the images directly into them; {', '.join(FILE_ENDINGS)} are read.",
    )


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
    known = find_masks(existing_folder(folder, "folder of masks", "-m"))
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


def refuse_one_folder(given: Inputs, output: Path) -> None:
    """Keep results away from sources: they would be taken for sources, or overwrite them.

    Raises:
        DatasetError: If the two folders are the same.
    """
    for source in folders_of(given):
        if source.resolve() != output.resolve():
            continue
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
