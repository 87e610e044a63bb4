"""NIfTI, MHA and NRRD files -> arrays (D, H, W) and their geometry."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from liftnet.core.dataset import FILE_ENDINGS
from liftnet.core.errors import DatasetError, GeometryError
from liftnet.core.geometry import Geometry, Volume
from liftnet.imageio.nifti_header import HEADER_BYTES, kind_error, parse_header

__all__ = ["ImageInfo", "read_case", "read_image"]

MAX_DEFLATE_RATIO = 1032  # zlib: no compressed byte can hold more than 1032 bytes
GZIP_MARK = b"\x1f\x8b"  # RFC 1952
GZIP_WINDOW = 31  # zlib: largest window, gzip wrapping
CUT_OFF = "The file is cut off or damaged: copy it again."


@dataclass(frozen=True)
class ImageInfo:
    """One 3D image: its grid, the numpy type of its stored voxels, and if its axes are known.

    A file whose integers are scaled by a slope counts as float32.
    """

    geometry: Geometry
    dtype: str
    oriented: bool = True


def read_image(path: Path) -> tuple[np.ndarray, ImageInfo]:
    """The voxels (D, H, W) as float32, with slope and intercept applied, and the header's facts.

    Raises:
        DatasetError: If the file is not a readable 3D scalar image.
        GeometryError: If its header places it nowhere (zero or non-finite spacing, shear, ...).
    """
    if not path.is_file():
        raise DatasetError("File not found", where=str(path), remedy="Check the path.")
    name = path.name.lower()
    if not name.endswith(FILE_ENDINGS):
        raise DatasetError(
            f"Not a supported kind of file: {path.name}",
            where=str(path),
            remedy=f"Save it as one of {', '.join(FILE_ENDINGS)}.",
        )
    return _read_nifti(path) if name.endswith((".nii", ".nii.gz")) else _read_with_itk(path)


def _read_nifti(path: Path) -> tuple[np.ndarray, ImageInfo]:
    data = path.read_bytes()
    header = parse_header(_unpack(data, HEADER_BYTES, path), path)
    shape = header.geometry.shape
    end = header.offset + math.prod(shape) * header.dtype.itemsize
    held = len(data) * (MAX_DEFLATE_RATIO if data.startswith(GZIP_MARK) else 1)
    content = _unpack(data, end, path) if end <= held else b""
    if len(content) < end:
        raise DatasetError(
            f"The file is shorter than its header says: {' x '.join(map(str, shape[::-1]))} voxels "
            f"need {end} bytes",
            where=str(path),
            remedy=CUT_OFF,
        )
    voxels = np.frombuffer(content, header.dtype, count=math.prod(shape), offset=header.offset)
    with np.errstate(over="ignore", invalid="ignore"):  # inf and NaN are for the checks to report
        if header.scale:
            slope, intercept = header.scale
            voxels = voxels.astype(np.float64) * slope + intercept
        array = voxels.astype(np.float32).reshape(shape)
    dtype = header.dtype.name
    if header.scale and header.dtype.kind in "iu":
        dtype = "float32"
    return array, ImageInfo(geometry=header.geometry, dtype=dtype, oriented=header.oriented)


def _unpack(data: bytes, limit: int, path: Path) -> bytes:
    """The first `limit` bytes of a file's content, decompressed if it is gzip."""
    from zlib_ng import zlib_ng  # three times as fast as zlib; not needed to train

    if not data.startswith(GZIP_MARK):
        return data
    parts: list[bytes] = []
    left = limit
    try:
        while left > 0 and data.startswith(GZIP_MARK):  # a gzip file may have several members
            member = zlib_ng.decompressobj(GZIP_WINDOW)
            parts.append(member.decompress(data, left))
            left -= len(parts[-1])
            data = member.unused_data
    except zlib_ng.error:  # type: ignore[misc]
        raise DatasetError(
            "The compressed content is damaged", where=str(path), remedy=CUT_OFF
        ) from None
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _read_with_itk(path: Path) -> tuple[np.ndarray, ImageInfo]:
    import SimpleITK as sitk

    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError:
        raise DatasetError(
            "Not an MHA or NRRD image, or its header is damaged",
            where=str(path),
            remedy="Copy it again, or save it again as a plain 3D image.",
        ) from None
    _check_kind(reader, path, sitk)
    geometry = _itk_geometry(reader, path)
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


def _check_kind(reader: Any, path: Path, sitk: Any) -> None:
    kind = sitk.GetPixelIDValueAsString(reader.GetPixelID())
    if "complex" in kind:
        raise kind_error("complex", path)
    if reader.GetNumberOfComponents() != 1 or "vector" in kind:
        raise kind_error(f"{reader.GetNumberOfComponents()} of them", path)
    size = reader.GetSize()
    if len(size) != 3:
        raise DatasetError(
            f"The image is {len(size)}D ({' x '.join(map(str, size))}), expected 3D",
            where=str(path),
            remedy="Split it: one 3D file per channel or time point."
            if len(size) > 3
            else "Stack the slices to one 3D file.",
        )


def _itk_geometry(reader: Any, path: Path) -> Geometry:
    i, j, k = reader.GetSize()
    sx, sy, sz = reader.GetSpacing()
    x, y, z = reader.GetOrigin()
    d = reader.GetDirection()
    if not all(math.isfinite(n) for n in (sx, sy, sz, x, y, z, *d)) or min(sx, sy, sz) <= 0:
        raise GeometryError(
            f"The header gives no usable grid: spacing ({sx:g}, {sy:g}, {sz:g}) mm",
            where=str(path),
            remedy="Correct the header (spacing must be positive, the directions finite).",
        )
    axes = np.reshape(d, (3, 3))
    if not np.allclose(axes.T @ axes, np.eye(3), atol=1e-3):  # as Geometry.differs
        raise GeometryError(
            "The axes are sheared",
            where=str(path),
            remedy="Resample it onto a grid without shear.",
        )
    columns = [(d[axis], d[axis + 3], d[axis + 6]) for axis in (2, 1, 0)]
    return Geometry(
        shape=(k, j, i),
        spacing_mm=(sz, sy, sx),
        origin_mm=(x, y, z),
        direction=(columns[0], columns[1], columns[2]),
    )


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
                where=f"{where}, {path.name}",
                remedy="Replace them (usually by 0), or remove the case.",
            )
        arrays.append(array)
        dtypes[name] = info.dtype
    if first is None:
        raise DatasetError("The case has no image", where=where)
    return Volume(np.stack(arrays), first[1]), dtypes
