"""dataset.json and the cases found on disk: `Dataset001_Name/{imagesTr,targetsTr,masksTr,...}`."""

import re
from pathlib import Path

from liftnet.core.dataset import Case, Channel, Dataset, DatasetDescription, channel_list
from liftnet.core.errors import DatasetError, PlanError
from liftnet.core.names import check_channel_name, check_name, one_form
from liftnet.core.storage.jsonable import from_json, read_json
from liftnet.imageio.formats import FILE_ENDINGS, split_ending

__all__ = ["find_cases", "find_masks", "load_dataset", "load_description"]


def load_description(folder: Path) -> DatasetDescription:
    """The checked content of a dataset's dataset.json.

    Raises:
        DatasetError: If the file is missing or wrong.
    """
    path = folder / "dataset.json"
    if not path.is_file():
        raise DatasetError(
            "The dataset has no dataset.json",
            where=str(folder),
            remedy="Write one as liftnet_raw_layout.md shows, or use liftnet_convert.",
        )
    try:
        description = from_json(DatasetDescription, read_json(path), where=path)
    except PlanError as error:
        raise DatasetError(error.problem, where=error.where, remedy=error.remedy) from None
    _check_description(description, path)
    return description


def load_dataset(folder: Path) -> Dataset:
    """A raw dataset with its training cases in order of their names.

    Raises:
        DatasetError: If dataset.json is wrong or there is no training case.
    """
    description = load_description(folder)
    images = folder / "imagesTr"
    if not images.is_dir():
        raise DatasetError(
            "The dataset has no folder imagesTr",
            where=str(folder),
            remedy="Put the training images there as CASE_0000" + description.file_ending,
        )
    found, _ = find_cases(images, description.channels, file_ending=description.file_ending)
    targets: dict[str, dict[str, Path]] = {}
    if description.targets:
        if not (folder / "targetsTr").is_dir():
            raise DatasetError(
                "The dataset has no folder targetsTr, but dataset.json lists targets",
                where=str(folder),
                remedy="Put the target images there as CASE_0000" + description.file_ending + ".",
            )
        targets, _ = find_cases(
            folder / "targetsTr", description.targets, file_ending=description.file_ending
        )
    if not found:
        raise DatasetError(
            "No training case found",
            where=str(images),
            remedy=f"Files must be named CASE_0000{description.file_ending}; "
            "see liftnet_raw_layout.md.",
        )
    masks = {}
    if (folder / "masksTr").is_dir():
        masks = find_masks(folder / "masksTr", file_ending=description.file_ending)
    cases = (
        Case(identifier, {**paths, **targets.get(identifier, {})}, masks.get(identifier))
        for identifier, paths in sorted(found.items())
    )
    return Dataset(folder, description, tuple(cases))


def find_cases(
    folder: Path, channels: dict[str, Channel], *, file_ending: str | None = None
) -> tuple[dict[str, dict[str, Path]], list[Path]]:
    """Case -> channel name -> file for the `CASE_0000.ending` files of a folder, and strangers.

    Names of cases are in one form (`one_form`), so that those of several folders can be compared.
    Strangers are files that do not fit. With no `file_ending` each supported ending is taken.

    Raises:
        DatasetError: If two files claim to be the same channel of the same case, or a name is not
            UTF-8.
    """
    cases: dict[str, dict[str, Path]] = {}
    strangers = []
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.is_dir():
            continue
        stem = _stem(path, file_ending)
        if stem is not None:
            check_name(path)
        match = re.fullmatch(r"(.+)_(\d{4})", stem or "")
        if match is None or str(int(match[2])) not in channels:
            strangers.append(path)
            continue
        name = channels[str(int(match[2]))].name
        case = one_form(match[1])
        images = cases.setdefault(case, {})
        if name in images:
            raise DatasetError(
                f"Two files for channel {name} of case {case}: {images[name].name} and {path.name}",
                where=str(folder),
                remedy="Keep one of them.",
            )
        images[name] = path
    return cases, strangers


def find_masks(folder: Path, *, file_ending: str | None = None) -> dict[str, Path]:
    """Case -> mask file, the names in one form. With no `file_ending` each ending is taken.

    Raises:
        DatasetError: If the folder does not exist, or a name is not UTF-8.
    """
    if not folder.is_dir():
        raise DatasetError(
            "The folder of masks does not exist", where=str(folder), remedy="Check the path."
        )
    found = {}
    for path in sorted(folder.iterdir()):
        stem = _stem(path, file_ending)
        if stem is not None and not path.name.startswith(".") and not path.is_dir():
            check_name(path)
            found[one_form(stem)] = path
    return found


def _check_description(description: DatasetDescription, path: Path) -> None:
    if description.file_ending not in FILE_ENDINGS:
        raise DatasetError(
            f"File ending '{description.file_ending}' is not supported",
            where=f"{path}: file_ending",
            remedy=f"Use one of {', '.join(FILE_ENDINGS)}.",
        )
    for group in ("channels", "targets"):
        numbers = list(getattr(description, group))
        if sorted(numbers) != sorted(str(i) for i in range(len(numbers))):
            raise DatasetError(
                f"The keys of '{group}' are {', '.join(numbers)}",
                where=str(path),
                remedy="Number them 0, 1, 2, ... as in the file names CASE_0000, CASE_0001.",
            )
    names = [channel.name for channel in channel_list(description)]
    for name in names:
        check_channel_name(name, where=str(path))
    if len(set(names)) != len(names):
        raise DatasetError(
            f"Channel names must differ: {', '.join(names)}",
            where=str(path),
            remedy="Rename the channels.",
        )


def _stem(path: Path, file_ending: str | None) -> str | None:
    """The name of an image without its ending; None if it has not that one, or none at all."""
    stem, ending = split_ending(path)
    return stem if ending and ending == (file_ending or ending) else None
