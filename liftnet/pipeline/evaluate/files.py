"""The images of a folder by case and channel number, in the raw format or another layout."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from liftnet.core.dataset import Channel
from liftnet.core.errors import DatasetError, LiftnetError
from liftnet.host.progress import mention
from liftnet.host.text_table import first_names
from liftnet.imageio.formats import split_ending
from liftnet.imageio.raw_dataset import find_cases
from liftnet.pipeline.convert.folder_kinds import (
    existing_folder,
    images_in,
    nothing_found,
    refuse_other_kind,
)
from liftnet.pipeline.convert.recognise import describe_cases, recognise
from liftnet.pipeline.evaluate.setting import Facts, by_channel, find_known, read_facts

__all__ = [
    "Numbered",
    "find_images",
    "find_references",
    "find_sources_of",
    "no_pair",
    "refuse_same_folder",
]

SHOWN_NAMES = 4  # ours: enough of each folder's names to see what is different
# A folder of predicted images need not have a dataset.json: any four digits are a channel.
ANY_CHANNEL = {str(i): Channel(f"{i:04d}") for i in range(10_000)}
Numbered = dict[str, dict[str, Path]]  # case -> channel digits -> file


def find_images(folder: Path, what: str) -> tuple[Numbered, list[Path]]:
    """Case -> channel digits -> file, and the images whose names do not fit.

    Raises:
        DatasetError: If the folder does not exist, or two files claim to be one channel.
    """
    existing_folder(folder, f"folder of {what} images")
    found, strangers = find_cases(folder, ANY_CHANNEL)
    return found, [path for path in strangers if split_ending(path)[1]]


def find_references(
    folder: Path,
    predicted: Numbered,
    *,
    dataset: int | str | None,
    workspace: Path | str | None,
) -> Numbered:
    """The references in a folder: in the raw format, else in another layout by case and contrast.

    Args:
        folder: of references.
        predicted: the predicted images, whose JSON files name their contrasts.
        dataset: id or name, which names the contrasts too.
        workspace: the workspace folder.

    Raises:
        DatasetError: If the folder does not exist, or it is not clear what an image is.
    """
    found, _ = find_images(folder, "reference")
    if found:
        return found
    known = find_known(
        by_channel(_facts(predicted)), reference=folder, dataset=dataset, workspace=workspace
    )
    return _by_name(folder, known.names, told=True)


def find_sources_of(
    folder: Path,
    predicted: Numbered,
    *,
    reference: Path,
    dataset: int | str | None,
    workspace: Path | str | None,
) -> Numbered:
    """The source images in a folder, likewise.

    The folder of references need hold none: what is unclear about it as one of sources is let be.

    Raises:
        DatasetError: If the folder does not exist, or it is not clear what an image is.
    """
    found, _ = find_images(folder, "source")
    if found:
        return found
    known = find_known(
        by_channel(_facts(predicted)), reference=reference, dataset=dataset, workspace=workspace
    )
    try:
        return _by_name(folder, known.source_names, told=folder != reference)
    except DatasetError:
        if folder != reference:
            raise
        return {}


def _facts(predicted: Numbered) -> Iterator[tuple[str, Facts | None]]:
    """What the JSON files say; a damaged one says nothing here, and is told of where it counts."""
    for images in predicted.values():
        for digits, path in images.items():
            try:
                yield digits, read_facts(path)
            except LiftnetError:
                yield digits, None


def _by_name(folder: Path, names: Mapping[str, str], *, told: bool) -> Numbered:
    """The images of a layout by channel digits, where the names of these are known."""
    digits = {name: number for number, name in names.items()}
    recognised = recognise(folder, list(digits), list(digits)) if digits else None
    if recognised is None:
        return {}
    if told:
        mention(f"{folder}: {describe_cases(recognised, list(digits))}")
    return {
        case: {digits[name]: path for name, path in images.items()}
        for case, images in recognised.cases.items()
    }


def refuse_same_folder(predicted: Path, others: Mapping[str, Path | None]) -> None:
    """Refuse to compare images with themselves; the scores would be perfect, and say nothing.

    Args:
        predicted: the folder of predicted images or generated volumes.
        others: option -> the folder that it names, through a link or by another path, too.

    Raises:
        DatasetError: If one of them is the folder of predicted images.
    """
    for option, folder in others.items():
        if folder is not None and folder.resolve() == predicted.resolve():
            raise DatasetError(
                f"-i and {option} are the same folder: images would be compared with themselves",
                where=f"{predicted}, {folder}",
                remedy=f"Name the folder of the real images with {option}.",
            )


def no_pair(
    predicted: Path, found: Numbered, reference: Path, references: Numbered
) -> DatasetError:
    """What to say where no predicted image has a reference, in the names that are there."""
    if not found and any(reference.glob("*_[0-9][0-9][0-9][0-9].json")):
        return DatasetError(
            "-i and -r look exchanged: predicted images with their JSON files lie in that of -r",
            where=f"-i {predicted}, -r {reference}",
            remedy="Give the folder that liftnet_predict wrote with -i.",
        )
    if not found:
        return nothing_found(
            "The folder of predicted images holds none",
            predicted,
            "Give the folder that liftnet_predict wrote: CASE_0000.nii.gz and CASE_0000.json.",
        )
    if not references:
        refuse_other_kind("The folder of reference images holds none", reference)
    names = [path.name for images in found.values() for path in images.values()]
    there = [path.name for images in references.values() for path in images.values()]
    there = there or [path.name for path in images_in(reference)]
    numbers = {n for images in found.values() for n in images}
    other = {n for images in references.values() for n in images} - numbers
    same_cases = bool(found.keys() & references.keys())
    why = "same case, same number"
    if same_cases and other:
        why = f"the number is {' or '.join(sorted(numbers))}, not {' or '.join(sorted(other))}"
    return DatasetError(
        "No predicted image has a reference of the same name",
        where=f"-i {predicted}: {first_names(names, SHOWN_NAMES)}; "
        f"-r {reference}: {first_names(there, SHOWN_NAMES) if there else 'no image'}",
        remedy=f"Name the references as the predicted images, {names[0]}: {why}. Or with case and "
        "contrast, as liftnet_convert takes them; -d names the dataset whose contrasts they are.",
    )
