"""The layout of the BraTS challenges: `CASE/CASE-t1n.nii.gz`, or `CASE/CASE_t1.nii.gz` of old."""

from collections.abc import Sequence
from pathlib import Path

from liftnet.pipeline.convert.folder_kinds import images_in, nothing_found
from liftnet.pipeline.convert.layouts import (
    BRATS_CHANNELS,
    Cases,
    Found,
    one_folder,
    train_and_test,
)
from liftnet.pipeline.convert.layouts_names import cases_in_folders, spellings, split_names

__all__ = ["find_brats"]


def find_brats(sources: Sequence[str | Path], test: str | Path | None) -> Found:
    """The cases of one folder in BraTS layout, `CASE/CASE-t1n.nii.gz`, or of its train and test.

    Raises:
        DatasetError: If there is no such case.
    """
    source, test_folder = train_and_test(one_folder("brats", sources), test)
    train, left_out = _cases(source)
    if not train:
        alone, _ = split_names(list(images_in(source)), spellings(_channels()))
        raise nothing_found(
            "No BraTS case found" if not alone else "This is the folder of a single case",
            source,
            "Expected CASE/CASE-t1n.nii.gz (t1n, t1c, t2w, t2f) or CASE/CASE_t1.nii.gz (t1, t1ce, "
            "t2, flair)."
            if not alone
            else f"Give the folder above: {source.parent}.",
        )
    tested, test_left_out = _cases(test_folder) if test_folder else ({}, [])
    names = {channel for images in train.values() for channel in images}
    channels = tuple(c for c in _channels() if c in names)
    return Found(channels, train, tested, (*left_out, *test_left_out))


def _channels() -> list[str]:
    return list(dict.fromkeys(BRATS_CHANNELS.values()))


def _cases(folder: Path) -> tuple[Cases, list[Path]]:
    cases, left_out, _ = cases_in_folders(folder, spellings(_channels()), depth=1)
    return cases, left_out
