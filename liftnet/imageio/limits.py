"""What all readers give, and what they refuse before memory is taken."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from liftnet.core.errors import DatasetError, GeometryError
from liftnet.core.geometry import Geometry, Shape

__all__ = [
    "CUT_OFF",
    "LARGEST_MM",
    "MAX_DEFLATE_RATIO",
    "SMALLEST_MM",
    "ImageInfo",
    "dimension_error",
    "grid",
    "kind_error",
    "refuse_too_many",
    "sizes",
    "too_short",
]

MAX_DEFLATE_RATIO = 1032  # zlib: no compressed byte can hold more than 1032 bytes
MAX_VOXELS = 2**31  # ours: several times the largest scan of a whole body
SMALLEST_MM, LARGEST_MM = 1e-6, 1e6  # ours: no voxel is smaller, no scanner is larger
CUT_OFF = "The file is cut off or damaged: copy it again."


@dataclass(frozen=True)
class ImageInfo:
    """One 3D image: its grid, the numpy type of its stored voxels, and if its axes are known.

    A file whose integers are scaled by a slope counts as float32.
    """

    geometry: Geometry
    dtype: str
    oriented: bool = True


def refuse_too_many(shape: Shape, path: Path) -> None:
    """Refuse a header that claims more voxels than anybody has.

    Raises:
        DatasetError: Naming the size.
    """
    if math.prod(shape) > MAX_VOXELS:
        raise DatasetError(
            f"The header claims {sizes(shape)} voxels ({math.prod(shape):.3g}); liftnet reads "
            f"{MAX_VOXELS:.3g} at most",
            where=str(path),
            remedy="If the header is right, cut the image into parts, or resample it.",
        )


def too_short(shape: Shape, needed: int, path: Path) -> DatasetError:
    """The refusal of a file that holds less than its header says."""
    return DatasetError(
        f"The file is shorter than its header says: {sizes(shape)} voxels need {needed} bytes",
        where=str(path),
        remedy=CUT_OFF,
    )


def sizes(shape: Shape) -> str:
    """The sizes in the order of headers."""
    return " x ".join(map(str, shape[::-1]))


def kind_error(kind: str, path: Path) -> DatasetError:
    """The refusal of an image that does not hold one real number per voxel."""
    if "complex" in kind:
        problem, remedy = "The image is complex-valued", "Store its magnitude as a 3D image."
    else:
        problem = f"The image has several values per voxel ({kind})"
        remedy = "Store one scalar 3D image per channel."
    return DatasetError(problem, where=str(path), remedy=remedy)


def dimension_error(size: Sequence[int], path: Path) -> DatasetError:
    """The refusal of an image that is not 3D."""
    return DatasetError(
        f"The image is {len(size)}D ({' x '.join(map(str, size))}), expected 3D",
        where=str(path),
        remedy="Split it: one 3D file per channel or time point."
        if len(size) > 3
        else "Stack the slices to one 3D file.",
    )


def grid(
    size: Sequence[int],
    spacing: Sequence[float],
    origin: Sequence[float],
    axes: Sequence[float],
    path: Path,
) -> Geometry:
    """The grid of a header in the order (i, j, k); `axes` are their unit vectors, one by one.

    Raises:
        GeometryError: If the axes are sheared, or a number is of no use.
    """
    (i, j, k), (sx, sy, sz), (x, y, z) = size, spacing, origin
    numbers = [*spacing, *origin, *axes]
    usable = all(math.isfinite(n) and abs(n) < LARGEST_MM for n in numbers)
    if not usable or min(spacing) < SMALLEST_MM:
        raise GeometryError(
            f"The header gives no usable grid: spacing ({sx:g}, {sy:g}, {sz:g}) mm",
            where=str(path),
            remedy="Correct the header (spacing must be positive, the directions finite).",
        )
    rows = np.reshape(axes, (3, 3))
    if not np.allclose(rows @ rows.T, np.eye(3), atol=1e-3):  # as Geometry.differs
        raise GeometryError(
            "The axes are sheared",
            where=str(path),
            remedy="Resample it onto a grid without shear.",
        )
    a, b, c = ((float(row[0]), float(row[1]), float(row[2])) for row in rows[::-1])
    return Geometry(
        shape=(k, j, i), spacing_mm=(sz, sy, sx), origin_mm=(x, y, z), direction=(a, b, c)
    )
