"""NRRD files, read by ITK: their voxels, grid and stored type."""

import math
import re
from pathlib import Path
from typing import Any

import numpy as np

from liftnet.core.errors import DatasetError, GeometryError
from liftnet.imageio.limits import (
    CUT_OFF,
    MAX_DEFLATE_RATIO,
    ImageInfo,
    dimension_error,
    grid,
    kind_error,
    refuse_too_many,
)

__all__ = ["read_nrrd", "spacing_contradiction"]

HEADER_BYTES = 2**16  # ours: a header of lines is far shorter
SAME_SIDE = 0.01  # ours: the same share as Geometry.differs allows


def read_nrrd(path: Path) -> tuple[np.ndarray, ImageInfo]:
    """The voxels (D, H, W) as float32, and the header's facts.

    Raises:
        DatasetError: If the file is not a readable 3D scalar image with its voxels inside.
        GeometryError: If its header places it nowhere.
    """
    import SimpleITK as sitk

    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    _check_header(path)
    reader = sitk.ImageFileReader()
    reader.SetImageIO("NrrdImageIO")  # never the reader of another format
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError:
        raise _damaged(path) from None
    _check_kind(reader, path, sitk)
    _refuse_open_grid(path)
    d = reader.GetDirection()
    axes = [d[row * 3 + axis] for axis in range(3) for row in range(3)]
    geometry = grid(reader.GetSize(), reader.GetSpacing(), reader.GetOrigin(), axes, path)
    refuse_too_many(geometry.shape, path)
    claimed, held = math.prod(geometry.shape), path.stat().st_size
    if claimed > held * MAX_DEFLATE_RATIO:  # refused before memory is taken for it
        raise DatasetError(
            f"The header claims {claimed:.3g} voxels, the file holds {held} bytes",
            where=str(path),
            remedy=CUT_OFF,
        )
    try:
        image = reader.Execute()
    except RuntimeError:
        raise DatasetError(
            "The voxels cannot be read: fewer than the header says, or damaged",
            where=str(path),
            remedy=CUT_OFF,
        ) from None
    array = sitk.GetArrayViewFromImage(image)
    return np.array(array, dtype=np.float32), ImageInfo(geometry, array.dtype.name)


def spacing_contradiction(path: Path) -> str | None:
    """How "spacings" of a header that is readable contradicts its "space directions", or None."""
    header, _ = _header(path)
    found = {
        key: re.search(rf"(?im)^{key}[ \t]*:=?[ \t]*(.+)$", header.decode("latin-1"))
        for key in ("spacings", "space directions")
    }
    spacings, directions = found.values()
    if spacings is None or directions is None:
        return None
    try:
        sides = [float(word) for word in spacings[1].split()]
        vectors = [
            [float(part) for part in vector.split(",")]
            for vector in re.findall(r"\(([^)]*)\)", directions[1])
        ]
    except ValueError:
        return None
    lengths = [math.hypot(*vector) for vector in vectors]
    pairs = list(zip(sides, lengths, strict=False))
    if all(math.isclose(side, length, rel_tol=SAME_SIDE) for side, length in pairs if side > 0):
        return None
    said = [" x ".join(f"{side:.4g}" for side in each) for each in (lengths, sides)]
    return f"Space directions say voxels of {said[0]} mm, spacings {said[1]} mm; the first are used"


def _header(path: Path) -> tuple[bytes, bool]:
    """The lines of the header, and whether they end where voxels may follow."""
    with path.open("rb") as file:
        start = file.read(HEADER_BYTES)
    header, end, _ = start.replace(b"\r\n", b"\n").partition(b"\n\n")
    return header, bool(end)


def _check_header(path: Path) -> None:
    """Refuse what is no NRRD file, and one whose voxels lie in another file."""
    header, end = _header(path)
    if not header.startswith(b"NRRD000") or not end:
        raise _damaged(path)
    if re.search(rb"(?im)^[ \t]*data ?file", header):
        raise DatasetError(
            "The header names another file for the voxels",
            where=str(path),
            remedy="Save header and voxels as one .nrrd file.",
        )


def _refuse_open_grid(path: Path) -> None:
    """Refuse a header that leaves open where an axis leads; ITK takes 1 mm along a world axis."""
    text = _header(path)[0].decode("latin-1")
    for key in ("space directions", "space origin", "spacings"):
        found = re.search(rf"(?im)^{key}[ \t]*:=?[ \t]*(.*\b(?:none|nan)\b.*)$", text)
        if found and not (key == "spacings" and re.search("(?im)^space directions", text)):
            raise GeometryError(
                f"The header leaves the grid open: {key}: {found[1].strip()[:80]}",
                where=str(path),
                remedy="Write the direction and the spacing of each axis into the header.",
            )


def _damaged(path: Path) -> DatasetError:
    return DatasetError(
        "Not an NRRD image, or its header is damaged",
        where=str(path),
        remedy="Copy it again, or save it again as a plain 3D image.",
    )


def _check_kind(reader: Any, path: Path, sitk: Any) -> None:
    kind = sitk.GetPixelIDValueAsString(reader.GetPixelID())
    if "complex" in kind:
        raise kind_error("complex", path)
    if reader.GetNumberOfComponents() != 1 or "vector" in kind:
        raise kind_error(f"{reader.GetNumberOfComponents()} of them", path)
    if len(reader.GetSize()) != 3:
        raise dimension_error(reader.GetSize(), path)
