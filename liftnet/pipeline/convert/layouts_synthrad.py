"""The layout of the SynthRAD challenges: `Task1/brain/1BA001/{mr,ct,mask}.nii.gz`."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from liftnet.core.errors import DatasetError
from liftnet.imageio.formats import split_ending
from liftnet.pipeline.convert.folder_kinds import images_in, nothing_found
from liftnet.pipeline.convert.layouts import (
    Cases,
    Found,
    add_image,
    one_folder,
    train_and_test,
    trainable,
)
from liftnet.pipeline.convert.layouts_names import MAX_DEPTH, OVERVIEW

__all__ = ["find_synthrad"]

SOURCES = ("mr", "cbct")  # SynthRAD: of Task 1 and of Task 2
TARGET = "ct"
MASK = "mask"


def find_synthrad(layout: str, sources: Sequence[str | Path], test: str | Path | None) -> Found:
    """The cases in a folder of a SynthRAD challenge, or in its train and test, at any depth to 3.

    Raises:
        DatasetError: If there is no case, or cases of both tasks.
    """
    source, test_folder = train_and_test(one_folder(layout, sources), test)
    train, train_masks, left_out = _synthrad_cases(source)
    if test_folder:
        tested, test_masks, more = _synthrad_cases(test_folder)
    else:
        tested, test_masks, more = {}, {}, []
    found = Found(
        channels=_one_source([*train.values(), *tested.values()]),
        train=train,
        test=tested,
        left_out=(*left_out, *more),
        targets=(TARGET,),
        train_masks=train_masks,
        test_masks=test_masks,
    )
    return trainable(found, where=str(source))


def _one_source(cases: Sequence[dict[str, Path]]) -> tuple[str]:
    """The source channel that the cases have: mr or cbct, never both."""
    examples = {name: images[name] for images in cases for name in SOURCES if name in images}
    if len(examples) > 1:
        raise DatasetError(
            "There are MR (Task 1) and CBCT (Task 2) images: these are two datasets",
            where=", ".join(str(path) for path in examples.values()),
            remedy="Convert the folders Task1 and Task2 one at a time, each with its own number.",
        )
    return (next(iter(examples), SOURCES[0]),)


def _synthrad_cases(folder: Path) -> tuple[Cases, dict[str, Path], list[Path]]:
    """The cases below a folder, their masks, and the image files that are neither."""
    cases: Cases = {}
    masks: dict[str, Path] = {}
    left_out = []
    folders: dict[str, Path] = {}
    for place in _case_folders(folder, MAX_DEPTH):
        case = place.name
        if case in folders:
            raise DatasetError(
                f"Two folders for case {case}",
                where=f"{folders[case]}, {place}",
                remedy="Remove one of them, or convert the folders above them one at a time.",
            )
        folders[case] = place
        images: dict[str, Path] = {}
        for name, path in _images(place):
            if name in (*SOURCES, TARGET, MASK):
                add_image(images, name, path, where=place)
            else:
                left_out.append(path)
        if MASK in images:
            masks[case] = images.pop(MASK)
        cases[case] = images
    if not cases:
        raise nothing_found(
            "No SynthRAD case found",
            folder,
            "Give the folder that holds the cases, CASE/mr.nii.gz (or cbct) and "
            f"CASE/ct.nii.gz, or one above it: {MAX_DEPTH} levels are searched.",
        )
    return cases, masks, left_out


def _case_folders(folder: Path, depth: int) -> Iterator[Path]:
    """The folders below that hold an image of a case, in order."""
    for place in sorted(path for path in folder.iterdir() if path.is_dir()):
        if place.name.startswith(".") or place.name.lower() == OVERVIEW:
            continue
        if any(name in (*SOURCES, TARGET) for name, _ in _images(place)):
            yield place
        elif depth > 1:
            if place.name.lower() == "test":  # its cases must not be trained on
                raise DatasetError(
                    "A folder named test lies among the training cases",
                    where=str(place),
                    remedy="Give the folder that holds train and test, or the training cases "
                    f"alone and --test {place}.",
                )
            yield from _case_folders(place, depth - 1)


def _images(folder: Path) -> Iterator[tuple[str, Path]]:
    """The image files of a folder by their names in small letters, without ending."""
    for path in images_in(folder):
        yield split_ending(path)[0].lower(), path
