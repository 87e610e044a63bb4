"""The layout with one folder per contrast: the files of a case share their name."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from liftnet.core.errors import DatasetError
from liftnet.core.names import check_channel_name, one_form
from liftnet.imageio.formats import split_ending
from liftnet.pipeline.convert.folder_kinds import existing_folder, nothing_found, refuse_other_kind
from liftnet.pipeline.convert.layouts import Cases, Found, add_image, trainable
from liftnet.pipeline.convert.layouts_names import match_folders, spellings, without_contrast

__all__ = ["find_folders"]

MASK = "mask"
TEST_MASKS = "masks"  # the sub-folder of a test folder that holds masks


def find_folders(
    sources: Sequence[str | Path],
    test: str | Path | None,
    *,
    targets: Sequence[str] = (),
    masks: str | Path | None = None,
    alone: bool = False,
) -> Found:
    """The cases of `t1n=DIR` folders; the names of a case are the same but for its contrast.

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
    words = {} if alone else spellings(tuple(folders))
    train, left_out = match_folders(folders, words)
    if alone and not train:
        raise nothing_found(
            "No image found",
            folders[channels[0]],
            "Put the images directly into this folder.",
        )
    if not alone and max((len(images) for images in train.values()), default=0) < 2:
        for channel, folder in folders.items():
            refuse_other_kind(f"The folder of {channel} holds no image", folder)
        raise DatasetError(
            "No case occurs in two of the folders",
            where=", ".join(map(str, folders.values())),
            remedy="Give the images of one case the same file name in each folder, or end their "
            f"names with the contrast: {', '.join(f'P01_{channel}' for channel in folders)}.",
        )
    tested: Cases = {}
    test_masks: dict[str, Path] = {}
    if test:
        tested, test_masks, more = _test_cases(Path(test), folders, channels, words, alone=alone)
        left_out += more
    train_masks: dict[str, Path] = {}
    if masks:
        place = existing_folder(Path(masks), "folder of masks", "--masks")
        masks_there, more = match_folders({MASK: place}, {})
        train_masks = _fit_masks(_of_one(masks_there), train, words)
        left_out += more
    found = Found(channels, train, tested, tuple(left_out), target_names, train_masks, test_masks)
    return trainable(found, where=", ".join(map(str, folders.values())))


def _test_cases(
    test: Path,
    folders: Mapping[str, Path],
    channels: Sequence[str],
    words: Mapping[str, str],
    *,
    alone: bool,
) -> tuple[Cases, dict[str, Path], list[Path]]:
    """The test cases, their masks, and what is no image."""
    root = existing_folder(test, "folder of test images", "--test")
    parts = {c: root / c for c in folders if (root / c).is_dir()}
    if alone and not parts:
        parts = {channels[0]: root}
    tested, left_out = match_folders(parts, words)
    if not any(set(channels) & set(images) for images in tested.values()):
        raise nothing_found(
            "No test image found",
            root,
            f"Put them into sub-folders named {', '.join(channels)}.",
        )
    masks: dict[str, Path] = {}
    if TEST_MASKS not in folders and (root / TEST_MASKS).is_dir():
        found, more = match_folders({MASK: root / TEST_MASKS}, {})
        masks = _fit_masks(_of_one(found), tested, words)
        left_out += more
    return tested, masks, left_out


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


def _of_one(cases: Cases) -> dict[str, Path]:
    """Case -> file for cases of one contrast."""
    return {case: next(iter(images.values())) for case, images in cases.items()}


def _fit_masks(masks: dict[str, Path], cases: Cases, words: Mapping[str, str]) -> dict[str, Path]:
    """Case -> mask: named as the case or as one of its images, or P01_mask.

    Raises:
        DatasetError: If two masks are of one case.
    """
    named = {
        one_form(split_ending(path)[0]): case
        for case, images in cases.items()
        for path in images.values()
    }
    found: Cases = {}
    for name, path in masks.items():
        bare = without_contrast(name, [MASK, *words])
        case = name if name in cases else named.get(name, bare if bare in cases else name)
        add_image(found.setdefault(case, {}), MASK, path, where=path.parent)
    return _of_one(found)
