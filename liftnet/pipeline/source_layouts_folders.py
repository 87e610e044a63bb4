"""The layout with one folder per contrast, in which the files of a case have the same name."""

from collections.abc import Sequence
from pathlib import Path

from liftnet.core.dataset import split_ending
from liftnet.core.errors import DatasetError
from liftnet.core.names import check_channel_name, one_form
from liftnet.pipeline.source_layouts import (
    Cases,
    Found,
    add_image,
    existing_folder,
    trainable,
)

__all__ = ["find_folders"]

TEST_MASKS = "masks"  # the sub-folder of a test folder that holds masks


def find_folders(
    sources: Sequence[str | Path],
    test: str | Path | None,
    *,
    targets: Sequence[str] = (),
    masks: str | Path | None = None,
    alone: bool = False,
) -> Found:
    """The cases of `t1n=DIR` folders whose files have the same name for the same case.

    Args:
        sources: "t1n=DIR", one per contrast.
        test: a folder with a sub-folder per contrast; of one contrast alone, its folder too.
        targets: "ct=DIR", one per contrast to be made.
        masks: the folder of masks.
        alone: whether there is one contrast, to be generated, and nothing else.

    Raises:
        DatasetError: If a source is no such pair, or no name occurs where it must.
    """
    folders = _named_folders([*map(str, sources), *targets])
    target_names = tuple(folders)[len(sources) :]
    channels = tuple(folders)[: len(sources)]
    if alone and len(folders) != 1:
        raise DatasetError(
            f"Generation takes one contrast and no target, got {', '.join(folders) or 'none'}",
            remedy="Write t1n=DIR, and make a dataset of each contrast.",
        )
    if not alone and (len(folders) < 2 or not channels):
        raise DatasetError(
            f"Layout folders takes two or more different contrasts, got {', '.join(folders)}"
            if channels
            else "There is no source to make the target from",
            remedy="Write t1n=DIR t2w=DIR, or mr=DIR --target ct=DIR: sources come first. One "
            "contrast alone is for --task unconditional.",
        )
    train, left_out = _same_named(folders)
    if alone and not train:
        raise DatasetError(
            "No image found",
            where=str(folders[channels[0]]),
            remedy="Put the images directly into this folder.",
        )
    if not alone and max((len(images) for images in train.values()), default=0) < 2:
        raise DatasetError(
            "No file name occurs in two of the folders",
            where=", ".join(map(str, folders.values())),
            remedy="Give the images of one case the same file name in each folder.",
        )
    tested: Cases = {}
    test_masks: dict[str, Path] = {}
    if test:
        root = existing_folder(Path(test))
        parts = {c: root / c for c in folders if (root / c).is_dir()}
        if alone and not parts:
            parts = {channels[0]: root}
        tested, more = _same_named(parts)
        left_out += more
        if not any(set(channels) & set(images) for images in tested.values()):
            raise DatasetError(
                "No test image found",
                where=str(root),
                remedy=f"Put them into sub-folders named {', '.join(channels)}.",
            )
        if TEST_MASKS not in folders and (root / TEST_MASKS).is_dir():
            test_masks, more = _masks(root / TEST_MASKS)
            left_out += more
    train_masks: dict[str, Path] = {}
    if masks:
        train_masks, more = _masks(existing_folder(Path(masks)))
        left_out += more
    found = Found(channels, train, tested, tuple(left_out), target_names, train_masks, test_masks)
    return trainable(found, where=", ".join(map(str, folders.values())))


def _named_folders(pairs: Sequence[str]) -> dict[str, Path]:
    """Channel -> folder for texts such as "t1n=DIR"."""
    folders: dict[str, Path] = {}
    for pair in pairs:
        channel, mark, folder = pair.partition("=")
        if not mark or not folder or not channel:
            raise DatasetError(
                f"'{pair}' is not a contrast and a folder", remedy="Write it as t1n=DIR."
            )
        check_channel_name(channel, where=pair)
        if channel in folders:
            raise DatasetError(
                f"Two folders for {channel}: {folders[channel]} and {folder}",
                remedy="Give each contrast a name and a folder of its own.",
            )
        path = existing_folder(Path(folder))
        for other, taken in folders.items():
            if taken.samefile(path):
                raise DatasetError(
                    f"{other} and {channel} are the same folder",
                    where=str(path),
                    remedy="Give each contrast a folder of its own.",
                )
        folders[channel] = path
    return folders


def _same_named(folders: dict[str, Path]) -> tuple[Cases, list[Path]]:
    """Case -> contrast -> file for folders of same-named files, and what is no image."""
    cases: Cases = {}
    left_out = []
    for channel, folder in folders.items():
        for path in sorted(folder.iterdir()):
            stem, ending = split_ending(path)
            if path.name.startswith("."):
                continue
            if not ending or path.is_dir():
                left_out.append(path)
                continue
            add_image(cases.setdefault(one_form(stem), {}), channel, path, where=folder)
    return cases, left_out


def _masks(folder: Path) -> tuple[dict[str, Path], list[Path]]:
    """Case -> mask for a folder of masks, and what is no image."""
    cases, left_out = _same_named({"mask": folder})
    return {case: images["mask"] for case, images in cases.items()}, left_out
