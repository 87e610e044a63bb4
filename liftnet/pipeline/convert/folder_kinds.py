"""A folder that a user names: whether it is one, and what it holds where no images are found."""

import os
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from liftnet.core.errors import DatasetError, PlanError
from liftnet.core.storage.jsonable import read_json
from liftnet.host.text_table import counted
from liftnet.imageio.formats import FILE_ENDINGS, split_ending

__all__ = ["existing_folder", "images_in", "nothing_found", "refuse_bids", "refuse_other_kind"]

DICOM_ENDINGS = (".dcm", ".ima", ".dicom")
DICOM_MARK = (128, b"DICM")  # DICOM PS3.10, Sec. 7.1: where it stands in a file, and what
MOST_LOOKED_AT = 20_000  # ours: files of a large archive are not all opened to name what it is
PACKED = (".zip", ".tar", ".tar.gz", ".tgz")
OTHER_IMAGES = (
    *(".mgz", ".mgh", ".mhd", ".hdr", ".img", ".nhdr", ".minc", ".mnc"),
    *(".png", ".jpg", ".tif", ".tiff", ".npy", ".npz", ".h5", *PACKED),
)
BIDS_KINDS = ("anat", "func", "dwi", "fmap", "perf")
DICOM_REMEDY = (
    "Convert it first, for example with dcm2niix (pip install dcm2niix): dcm2niix -z y -f "
    "%i_%p -o OUT FOLDER. Then give the folders of images, one per contrast: t1=DIR t2=DIR."
)
BIDS_REMEDY = (
    "Put links to the images of each contrast into a folder of its own, such as ln -s "
    '"$PWD"/sub-*/anat/*_T1w.nii.gz T1w/, and give these folders: t1=T1w t2=T2w. What the names '
    "share is the case."
)


def existing_folder(folder: Path, what: str = "folder", option: str = "") -> Path:
    """The absolute path of a folder.

    Args:
        folder: as it was given.
        what: it is, for the message, such as "input folder".
        option: that gave it, such as "-i".

    Raises:
        DatasetError: If there is no such folder, or it is a file.
    """
    if folder.is_dir():
        return folder.absolute()
    if folder.exists():
        packed = folder.name.lower().endswith(PACKED)
        raise DatasetError(
            f"The {what} is a file",
            where=str(folder),
            remedy="Unpack it, and give the folder." if packed else "Give the folder it lies in.",
        )
    raise DatasetError(
        f"The {what} does not exist",
        where=str(folder),
        remedy=f"Name another with {option}." if option else "Check the path.",
    )


def nothing_found(problem: str, folder: Path, remedy: str) -> DatasetError:
    """What to say of a folder in which nothing fits: of what kind it is, if that is known."""
    kind = _kind(folder)
    if kind is None:
        return DatasetError(problem, where=str(folder), remedy=remedy)
    return DatasetError(f"{problem}: {kind[0]}", where=str(folder), remedy=kind[1] or remedy)


def refuse_other_kind(problem: str, folder: Path) -> None:
    """Refuse a folder that holds no image that is read directly and is of another kind.

    Raises:
        DatasetError: If it is empty, of DICOM, BIDS, nnU-Net, or of other files.
    """
    if next(images_in(folder), None) is None and (kind := _kind(folder)) is not None:
        raise DatasetError(
            f"{problem}: {kind[0]}",
            where=str(folder),
            remedy=kind[1] or "Put the images directly into this folder.",
        )


def refuse_bids(folder: Path) -> None:
    """Refuse a BIDS dataset: its folders are kinds of images, not cases.

    Raises:
        DatasetError: If it is one, or a subject's folder in one.
    """
    if (kind := _bids(folder)) is not None:
        raise DatasetError(
            f"The folder has another layout: {kind[0]}", where=str(folder), remedy=kind[1]
        )


def images_in(folder: Path) -> Iterator[Path]:
    """The image files of a folder, in order of their names."""
    for path in sorted(folder.iterdir()):
        if split_ending(path)[1] and not path.name.startswith(".") and not path.is_dir():
            yield path


def _kind(folder: Path) -> tuple[str, str] | None:
    """What a folder is, and what to do with it ("" if that depends); None if nothing is known."""
    if not any(folder.iterdir()):
        return "it is empty", ""
    for look in (_described, _bids, _files):
        if (kind := look(folder)) is not None:
            return kind
    return None


def _described(folder: Path) -> tuple[str, str] | None:
    """A raw dataset, of nnU-Net or of liftnet."""
    try:
        description = read_json(folder / "dataset.json")
    except (PlanError, OSError):
        return None
    if not isinstance(description, dict) or "channels" in description:
        return (
            "it is a raw dataset of liftnet",
            "Give the folder imagesTs in it, or imagesTr; its training needs no conversion.",
        )
    return (
        "it is a raw dataset of nnU-Net",
        "Its images are named as liftnet's (CASE_0000): give the folder imagesTs in it to predict. "
        "To train, write a dataset.json as liftnet_raw_layout.md shows, with channels in place of "
        "channel_names.",
    )


def _bids(folder: Path) -> tuple[str, str] | None:
    """A BIDS dataset, or the folder of one of its subjects or sessions."""
    subjects = [path for path in folder.glob("sub-*") if path.is_dir()]
    inside = any(
        path.is_dir() and path.name in BIDS_KINDS and any(path.glob("sub-*"))
        for path in (*folder.iterdir(), *folder.glob("ses-*/*"))
    )
    if inside:
        return "it is of one subject in a BIDS dataset", BIDS_REMEDY
    marked = (folder / "dataset_description.json").is_file()
    if marked or any(
        any((path / kind).is_dir() for kind in BIDS_KINDS) for path in _deep(subjects)
    ):
        return f"it is a BIDS dataset ({counted(len(subjects), 'subject')})", BIDS_REMEDY
    return None


def _deep(subjects: list[Path]) -> Iterator[Path]:
    """The folders of subjects and of their sessions."""
    for path in subjects:
        yield path
        yield from path.glob("ses-*")


def _files(folder: Path) -> tuple[str, str] | None:
    """What most of the files are, at any depth, where they are no images that are read."""
    counts: Counter[str] = Counter()
    for path in islice(_all_files(folder), MOST_LOOKED_AT):
        name = path.name.lower()
        if name.endswith(FILE_ENDINGS):
            counts["image"] += 1
        elif name.endswith(DICOM_ENDINGS) or name == "dicomdir" or _is_dicom(path):
            counts["DICOM"] += 1
        elif ending := next((e for e in OTHER_IMAGES if name.endswith(e)), None):
            counts[ending] += 1
    if not counts:
        return None
    (most, number), *_ = counts.most_common(1)
    if most == "image":
        return None
    if most == "DICOM":
        more = " or more" if counts.total() >= MOST_LOOKED_AT else ""
        return f"it holds DICOM ({counted(number, 'file')}{more})", DICOM_REMEDY
    does = (
        "Unpack them first."
        if most in PACKED
        else f"Save them as one of {', '.join(FILE_ENDINGS)}."
    )
    return f"it holds {number} {most} file{'' if number == 1 else 's'}, which are not read", does


def _all_files(folder: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(folder):
        folders.sort()
        yield from (Path(place) / name for name in sorted(names) if not name.startswith("."))


def _is_dicom(path: Path) -> bool:
    start, mark = DICOM_MARK
    try:
        with path.open("rb") as file:
            return file.read(start + len(mark))[start:] == mark
    except OSError:
        return False
