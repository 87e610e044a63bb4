"""The folder layouts that images come in: which file is which contrast of which case."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from liftnet.core.dataset import FILE_ENDINGS
from liftnet.core.errors import DatasetError

__all__ = ["Found", "common_ending", "find_brats", "find_folders"]

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
    """What a source holds: the cases, and which files were left out."""

    channels: tuple[str, ...]
    train: Cases
    test: Cases
    left_out: tuple[Path, ...]


def _existing_folder(folder: Path) -> Path:
    if not folder.is_dir():
        raise DatasetError("No such folder", where=str(folder), remedy="Check the path.")
    return folder.absolute()


def _split_ending(path: Path) -> tuple[str, str] | None:
    """The name without its ending, and the ending; None if it is no image file."""
    ending = next((e for e in FILE_ENDINGS if path.name.lower().endswith(e)), None)
    return (path.name[: -len(ending)], ending) if ending else None


def find_brats(sources: Sequence[str | Path], test: str | Path | None) -> Found:
    """The cases of one folder in BraTS layout, `CASE/CASE-t1n.nii.gz`, or of its train and test.

    Raises:
        DatasetError: If there is no such case.
    """
    if len(sources) != 1:
        raise DatasetError(
            f"Layout brats takes one source folder, got {len(sources)}",
            remedy="Give the folder that holds one folder per case.",
        )
    source = _existing_folder(Path(sources[0]))
    test_folder = _existing_folder(Path(test)) if test else None
    if (source / "train").is_dir():
        if test_folder is None and (source / "test").is_dir():
            test_folder = source / "test"
        source = source / "train"
    train, left_out = _brats_cases(source)
    if not train:
        raise DatasetError(
            "No BraTS case found",
            where=str(source),
            remedy="Expected CASE/CASE-t1n.nii.gz (t1n, t1c, t2w, t2f) or CASE/CASE_t1.nii.gz "
            "(t1, t1ce, t2, flair).",
        )
    tested, test_left_out = _brats_cases(test_folder) if test_folder else ({}, [])
    names = {channel for images in train.values() for channel in images}
    channels = tuple(dict.fromkeys(c for c in BRATS_CHANNELS.values() if c in names))
    return Found(channels, train, tested, (*left_out, *test_left_out))


def _brats_cases(folder: Path) -> tuple[Cases, list[Path]]:
    """The cases of a folder in BraTS layout, and the image files that are no contrast."""
    cases: Cases = {}
    left_out = []
    for path in sorted(folder.glob("*/*")):
        parts = _split_ending(path)
        if parts is None or path.name.startswith(".") or path.is_dir():
            continue
        match = re.fullmatch(r".*[-_]([A-Za-z0-9]+)", parts[0])
        channel = BRATS_CHANNELS.get(match[1].lower()) if match else None
        if channel is None:
            left_out.append(path)
            continue
        images = cases.setdefault(path.parent.name, {})
        if channel in images:
            raise DatasetError(
                f"Two files for {channel}: {images[channel].name} and {path.name}",
                where=str(path.parent),
                remedy="Keep one of them.",
            )
        images[channel] = path
    return cases, left_out


def find_folders(sources: Sequence[str | Path], test: str | Path | None) -> Found:
    """The cases of `t1n=DIR` folders whose files have the same name for the same case.

    Raises:
        DatasetError: If a source is no such pair, or no name occurs twice.
    """
    pairs = [str(source).partition("=") for source in sources]
    channels = tuple(channel for channel, _, _ in pairs)
    for (channel, mark, folder), source in zip(pairs, sources, strict=True):
        if not mark or not folder or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9-]*", channel):
            raise DatasetError(
                f"'{source}' is not a contrast and a folder",
                remedy="Write it as t1n=DIR; the name may hold letters, digits and '-'.",
            )
    if len(set(channels)) != len(channels) or len(channels) < 2:
        raise DatasetError(
            f"Layout folders takes two or more different contrasts, got {', '.join(channels)}",
            remedy="Write for example t1n=DIR t2w=DIR.",
        )
    folders = {channel: _existing_folder(Path(folder)) for channel, _, folder in pairs}
    train, left_out = _same_named(folders)
    if max((len(images) for images in train.values()), default=0) < 2:
        raise DatasetError(
            "No file name occurs in two of the folders",
            where=", ".join(map(str, folders.values())),
            remedy="Give the images of one case the same file name in each folder.",
        )
    tested: Cases = {}
    if test:
        root = _existing_folder(Path(test))
        tested, more = _same_named({c: root / c for c in channels if (root / c).is_dir()})
        left_out += more
        if not tested:
            raise DatasetError(
                "No test image found",
                where=str(root),
                remedy=f"Put them into sub-folders named {', '.join(channels)}.",
            )
    return Found(channels, train, tested, tuple(left_out))


def _same_named(folders: dict[str, Path]) -> tuple[Cases, list[Path]]:
    """Case -> contrast -> file for folders of same-named files, and what is no image."""
    cases: Cases = {}
    left_out = []
    for channel, folder in folders.items():
        for path in sorted(folder.iterdir()):
            parts = _split_ending(path)
            if path.name.startswith("."):
                continue
            if parts is None or path.is_dir():
                left_out.append(path)
                continue
            images = cases.setdefault(parts[0], {})
            if channel in images:
                raise DatasetError(
                    f"Two files for case {parts[0]}: {images[channel].name} and {path.name}",
                    where=str(folder),
                    remedy="Keep one of them.",
                )
            images[channel] = path
    return cases, left_out


def common_ending(found: Found) -> str:
    """The one file ending of all images.

    Raises:
        DatasetError: If there are several.
    """
    examples: dict[str, Path] = {}
    for cases in (found.train, found.test):
        for images in cases.values():
            for path in images.values():
                parts = _split_ending(path)
                examples.setdefault(parts[1] if parts else "", path)
    if len(examples) != 1:
        raise DatasetError(
            f"The images have different endings: {', '.join(sorted(examples))}",
            where=", ".join(str(path) for path in examples.values()),
            remedy="Save all images in one format.",
        )
    return next(iter(examples))
