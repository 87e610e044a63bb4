"""What a folder of images holds: which file is which contrast of which case."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from liftnet.core.errors import DatasetError
from liftnet.core.names import check_name
from liftnet.core.storage.files import missing_file
from liftnet.host.text_table import counted
from liftnet.imageio.formats import split_ending
from liftnet.pipeline.convert.folder_kinds import existing_folder

__all__ = [
    "Cases",
    "Found",
    "add_image",
    "common_ending",
    "one_folder",
    "train_and_test",
    "trainable",
]

# BraTS 2023 names, and those of BraTS 2020 and before; in the order of the channels.
BRATS_CHANNELS = {
    "t1n": "t1n",
    "t1": "t1n",
    "t1c": "t1c",
    "t1ce": "t1c",
    "t2w": "t2w",
    "t2": "t2w",
    "t2f": "t2f",
    "flair": "t2f",
}

Cases = dict[str, dict[str, Path]]  # case -> channel -> file


@dataclass(frozen=True)
class Found:
    """What a source holds: the cases, and what was left out."""

    channels: tuple[str, ...]  # the sources, where there are targets
    train: Cases
    test: Cases
    left_out: tuple[Path, ...] = ()
    targets: tuple[str, ...] = ()
    train_masks: dict[str, Path] = field(default_factory=dict)  # case -> file
    test_masks: dict[str, Path] = field(default_factory=dict)
    notes: tuple[str, ...] = ()  # sentences on the cases that were left out


def one_folder(layout: str, sources: Sequence[str | Path]) -> Path:
    """The one source folder of a layout with a folder per case.

    Raises:
        DatasetError: If it is not one, or does not exist.
    """
    if len(sources) != 1:
        raise DatasetError(
            f"Layout {layout} takes one source folder, got {len(sources)}",
            remedy="Give the folder that holds one folder per case.",
        )
    return existing_folder(Path(sources[0]))


def train_and_test(source: Path, test: str | Path | None) -> tuple[Path, Path | None]:
    """The folders of training and test cases: sub-folders train and test, if there is a train."""
    test_folder = existing_folder(Path(test)) if test else None
    if (source / "train").is_dir():
        if test_folder is None and (source / "test").is_dir():
            test_folder = source / "test"
        source = source / "train"
    return source, test_folder


def add_image(images: dict[str, Path], channel: str, path: Path, *, where: Path) -> None:
    """Enter one image of a case.

    Raises:
        DatasetError: If the case has that channel already, the name is not UTF-8, or the file is
            a link to nowhere.
    """
    check_name(path)
    if not path.is_file():
        raise missing_file(path)
    if channel in images:
        raise DatasetError(
            f"Two files for {channel}: {images[channel].name} and {path.name}",
            where=str(where),
            remedy="Keep one of them.",
        )
    images[channel] = path


def trainable(found: Found, *, where: str) -> Found:
    """The same without what cannot be used, each kind with a note.

    A training case needs a source and every target, a test case a source, a mask its case.

    Raises:
        DatasetError: If no training case is left.
    """
    notes = list(found.notes)

    def keep(cases: Cases, needed: Sequence[str], kind: str) -> Cases:
        reasons: dict[str, list[str]] = {}
        for case, images in sorted(cases.items()):
            lacking = [name for name in needed if name not in images]
            if found.targets and not set(found.channels) & set(images):
                lacking.insert(0, " or ".join(found.channels))
            if lacking:
                reasons.setdefault(" and no ".join(lacking), []).append(case)
        for reason, names in reasons.items():
            count = counted(len(names), f"{kind} case")
            notes.append(f"{count} left out, no {reason}: {', '.join(names)}.")
        gone = {case for names in reasons.values() for case in names}
        return {case: images for case, images in cases.items() if case not in gone}

    def keep_masks(masks: dict[str, Path], cases: Cases, kind: str) -> dict[str, Path]:
        alone = sorted(masks.keys() - cases.keys())
        if alone:
            count = counted(len(alone), "mask")
            notes.append(f"{count} left out, no {kind} case: {', '.join(alone)}.")
        return {case: path for case, path in masks.items() if case in cases}

    train = keep(found.train, found.targets, "training")
    test = keep(found.test, (), "test")
    if not train:
        raise DatasetError(
            f"No case has {' and '.join(found.targets)} and a source: nothing to train on",
            where=where,
            remedy="A training case needs a source and every target. Cases without targets can "
            "be predicted: give their folder with --test.",
        )
    return replace(
        found,
        train=train,
        test=test,
        train_masks=keep_masks(found.train_masks, train, "training"),
        test_masks=keep_masks(found.test_masks, test, "test"),
        notes=tuple(notes),
    )


def common_ending(found: Found) -> str:
    """The one file ending of all images and masks.

    Raises:
        DatasetError: If there are several.
    """
    examples: dict[str, Path] = {}
    images = [i for cases in (found.train, found.test) for i in cases.values()]
    for files in (*images, found.train_masks, found.test_masks):
        for path in files.values():
            examples.setdefault(split_ending(path)[1], path)
    if len(examples) != 1:
        raise DatasetError(
            f"The images have different endings: {', '.join(sorted(examples))}",
            where=", ".join(str(path) for path in examples.values()),
            remedy="Save all images in one format.",
        )
    return next(iter(examples))
