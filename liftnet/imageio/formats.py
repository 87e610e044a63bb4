"""The formats of images: what a file name ends in, and who reads it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from liftnet.core.errors import DatasetError
from liftnet.imageio.limits import ImageInfo
from liftnet.imageio.mha import field_contradiction, read_mha
from liftnet.imageio.nifti import forms_contradiction, read_nifti
from liftnet.imageio.nrrd import read_nrrd, spacing_contradiction

__all__ = ["FILE_ENDINGS", "Format", "format_of", "split_ending"]


@dataclass(frozen=True)
class Format:
    """A format of images, stated once.

    Attributes:
        ending: of file names, in small letters.
        read: the voxels (D, H, W) as float32 of a file, and the header's facts; it raises
            DatasetError and GeometryError.
        doubt: how a readable header contradicts itself, and what of it is used; or None.
        written: the ending of images that are made from such ones.
    """

    ending: str
    read: Callable[[Path], tuple[np.ndarray, ImageInfo]]
    doubt: Callable[[Path], str | None]
    written: str


FORMATS = (
    Format(".nii.gz", read_nifti, forms_contradiction, written=".nii.gz"),
    Format(".nii", read_nifti, forms_contradiction, written=".nii"),
    Format(".mha", read_mha, field_contradiction, written=".mha"),
    Format(".nrrd", read_nrrd, spacing_contradiction, written=".nrrd"),
)
FILE_ENDINGS = tuple(one.ending for one in FORMATS)


def format_of(path: Path) -> Format:
    """The format of an image file by its name.

    Raises:
        DatasetError: If it is none of these.
    """
    for one in FORMATS:
        if path.name.lower().endswith(one.ending):
            return one
    raise DatasetError(
        f"Not a supported kind of file: {path.name}",
        where=str(path),
        remedy=f"Save it as one of {', '.join(FILE_ENDINGS)}.",
    )


def split_ending(path: Path) -> tuple[str, str]:
    """The name of an image file without its ending, and that ending in small letters.

    The ending is "" where it is none of `FILE_ENDINGS`.

    >>> split_ending(Path("head.v2.NII.GZ")), split_ending(Path("notes.txt"))
    (('head.v2', '.nii.gz'), ('notes.txt', ''))
    """
    ending = next((e for e in FILE_ENDINGS if path.name.lower().endswith(e)), "")
    return path.name[: len(path.name) - len(ending)], ending
