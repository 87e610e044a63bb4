"""MGH files of FreeSurfer, not compressed: their voxels, grid and stored type."""

import math
from pathlib import Path

import numpy as np

from liftnet.core.errors import DatasetError
from liftnet.imageio.limits import (
    ImageInfo,
    dimension_error,
    grid,
    kind_error,
    refuse_too_many,
    too_short,
)

__all__ = ["no_contradiction", "read_mgh"]

# FreeSurfer mri.h, all big-endian; vectors are of right, anterior and superior.
HEADER = np.dtype(
    [
        ("version", ">i4"),
        ("size", ">i4", 3),
        ("frames", ">i4"),
        ("type", ">i4"),
        ("dof", ">i4"),
        ("placed", ">i2"),
        ("spacing", ">f4", 3),
        ("axes", ">f4", (3, 3)),
        ("centre", ">f4", 3),
    ]
)
OFFSET = 284  # bytes before the voxels
TYPES = {0: ">u1", 1: ">i4", 3: ">f4", 4: ">i2"}
LPS = np.array([-1.0, -1.0, 1.0])
UNPLACED = ((1.0, 1.0, 1.0), ((-1.0, 0.0, 0.0), (0.0, 0.0, -1.0), (0.0, 1.0, 0.0)), (0.0,) * 3)


def read_mgh(path: Path) -> tuple[np.ndarray, ImageInfo]:
    """The voxels (D, H, W) as float32, and the header's facts.

    Raises:
        DatasetError: If the file is not a readable 3D scalar image.
        GeometryError: If its header places it nowhere.
    """
    held = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(OFFSET)
    if len(start) < OFFSET or (head := np.frombuffer(start, HEADER, count=1)[0])["version"] != 1:
        raise DatasetError(
            "Not an MGH image", where=str(path), remedy="Copy it again, or leave it out."
        )
    size = head["size"].tolist()
    if head["frames"] != 1 or min(size) < 1:
        raise dimension_error([*size, int(head["frames"])], path)
    if (code := int(head["type"])) not in TYPES:
        raise kind_error(f"type {code}", path)
    placed = (head[name].tolist() for name in ("spacing", "axes", "centre"))
    spacing, axes, centre = placed if head["placed"] else UNPLACED
    along = LPS * np.asarray(axes, np.float64)
    with np.errstate(over="ignore", invalid="ignore"):  # `grid` refuses what is not finite
        half = np.asarray(size) / 2 * np.asarray(spacing)
        origin = LPS * np.asarray(centre) - half @ along
    geometry = grid(size, spacing, origin.tolist(), along.ravel().tolist(), path)
    refuse_too_many(geometry.shape, path)
    dtype = np.dtype(TYPES[code])
    end = OFFSET + math.prod(geometry.shape) * dtype.itemsize
    if held < end:
        raise too_short(geometry.shape, end, path)
    stored = np.fromfile(path, dtype, count=math.prod(geometry.shape), offset=OFFSET)
    array = stored.astype(np.float32).reshape(geometry.shape)
    return array, ImageInfo(geometry, dtype.newbyteorder("=").name, oriented=bool(head["placed"]))


def no_contradiction(path: Path) -> None:
    """A header of this format says nothing twice."""
