"""Image files -> arrays (D, H, W) and their geometry."""

from pathlib import Path

import numpy as np

from liftnet.core.errors import DatasetError, GeometryError
from liftnet.core.geometry import Geometry, Volume
from liftnet.core.names import check_name
from liftnet.core.storage.files import missing_file
from liftnet.imageio.formats import format_of
from liftnet.imageio.limits import ImageInfo

__all__ = ["header_doubt", "read_case", "read_image"]


def read_image(path: Path) -> tuple[np.ndarray, ImageInfo]:
    """The voxels (D, H, W) as float32, with slope and intercept applied, and the header's facts.

    Raises:
        DatasetError: If the file is not a readable 3D scalar image, or its name is not UTF-8.
        GeometryError: If its header places it nowhere (zero or non-finite spacing, shear, ...).
    """
    check_name(path)
    if not path.is_file():
        raise missing_file(path)
    found = format_of(path)
    try:
        return found.read(path)
    except MemoryError:
        raise DatasetError(
            f"There is not enough memory for the image ({path.stat().st_size} bytes in its file)",
            where=str(path),
            remedy="Give the machine more memory, work on fewer files at a time (-np 1), or leave "
            "the image out.",
        ) from None


def header_doubt(path: Path) -> str | None:
    """How the header of a readable image contradicts itself, and what of it is used; or None."""
    return format_of(path).doubt(path)


def read_case(images: dict[str, Path], *, where: str) -> tuple[Volume, dict[str, str]]:
    """All images of a case as one volume (C, D, H, W), and the stored type of each.

    Raises:
        DatasetError: If an image cannot be read or holds NaN or inf.
        GeometryError: If the images do not share one grid.
    """
    arrays, dtypes = [], {}
    first: tuple[str, Geometry] | None = None
    for name, path in images.items():
        array, info = read_image(path)
        if first is None:
            first = (name, info.geometry)
        elif difference := first[1].differs(info.geometry):
            raise GeometryError(
                f"Channels of one case lie on different grids: {first[0]} and {name}, {difference}",
                where=where,
                remedy=f"Resample {name} onto {first[0]}, or remove the case.",
            )
        if not np.isfinite(array).all():
            raise DatasetError(
                f"{name} holds NaN or infinite values",
                where=f"{where}, {path}",
                remedy="Replace them (usually by 0), or remove the case.",
            )
        arrays.append(array)
        dtypes[name] = info.dtype
    if first is None:
        raise DatasetError("The case has no image", where=where, remedy="Remove the case.")
    voxels = arrays[0][None] if len(arrays) == 1 else np.stack(arrays)
    return Volume(voxels, first[1]), dtypes
