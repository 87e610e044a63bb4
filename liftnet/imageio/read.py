"""NIfTI, MHA and NRRD files -> arrays (D, H, W) and their geometry."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from liftnet.core.dataset import FILE_ENDINGS
from liftnet.core.errors import DatasetError, GeometryError
from liftnet.core.geometry import Geometry, Volume
from liftnet.core.names import check_name
from liftnet.core.storage.files import missing_file
from liftnet.imageio.limits import CUT_OFF, MAX_DEFLATE_RATIO, refuse_too_many, too_short
from liftnet.imageio.mha import read_mha
from liftnet.imageio.nifti_header import HEADER_BYTES, NiftiHeader, parse_header
from liftnet.imageio.nrrd import read_nrrd

__all__ = ["ImageInfo", "read_case", "read_image", "stored_bytes"]

GZIP_MARK = b"\x1f\x8b"  # RFC 1952
GZIP_WINDOW = 31  # zlib: largest window, gzip wrapping
CHUNK_BYTES = 2**17  # ours: what is behind a member is copied once for each, so not too much
PART_BYTES = 2**20  # ours: that are converted at once; a bomb needs no more
MAX_MEMBERS = 100_000  # ours: of 64 KiB each in files by bgzip; more of them take minutes
MAX_TRAILING = 2**26  # ours: bytes behind the voxels that are decompressed for the checksum


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
        DatasetError: If the file is not a readable 3D scalar image, or its name is not UTF-8.
        GeometryError: If its header places it nowhere (zero or non-finite spacing, shear, ...).
    """
    check_name(path)
    if not path.is_file():
        raise missing_file(path)
    name = path.name.lower()
    if not name.endswith(FILE_ENDINGS):
        raise DatasetError(
            f"Not a supported kind of file: {path.name}",
            where=str(path),
            remedy=f"Save it as one of {', '.join(FILE_ENDINGS)}.",
        )
    try:
        if name.endswith((".nii", ".nii.gz")):
            return _read_nifti(path)
        array, geometry, dtype = (read_mha if name.endswith(".mha") else read_nrrd)(path)
        return array, ImageInfo(geometry, dtype)
    except MemoryError:
        raise DatasetError(
            f"There is not enough memory for the image ({path.stat().st_size} bytes in its file)",
            where=str(path),
            remedy="Give the machine more memory, work on fewer files at a time (-np 1), or leave "
            "the image out.",
        ) from None


def _read_nifti(path: Path) -> tuple[np.ndarray, ImageInfo]:
    header = parse_header(stored_bytes(path, HEADER_BYTES), path)
    shape = header.geometry.shape
    refuse_too_many(shape, path)
    end = header.offset + math.prod(shape) * header.dtype.itemsize
    if end > path.stat().st_size * _most_expansion(path):  # before memory is taken for it
        raise too_short(shape, end, path)
    with np.errstate(over="ignore", invalid="ignore"):  # inf and NaN are for the checks to report
        array = _voxels(path, header, end)
    dtype = header.dtype.name
    if header.scale and header.dtype.kind in "iu":
        dtype = "float32"
    return array, ImageInfo(geometry=header.geometry, dtype=dtype, oriented=header.oriented)


def _voxels(path: Path, header: NiftiHeader, end: int) -> np.ndarray:
    """The voxels (D, H, W) as float32, converted piece by piece: nothing else of their size."""
    shape, width = header.geometry.shape, header.dtype.itemsize
    array = np.zeros(math.prod(shape), np.float32)  # takes memory only where it is written
    skipped, filled, left = header.offset, 0, b""
    for part in _parts(path, end, checked=True):
        skipped, data = max(0, skipped - len(part)), left + part[skipped:]
        piece = np.frombuffer(data, header.dtype, count=len(data) // width)
        left = data[len(piece) * width :]
        if header.scale:
            slope, intercept = header.scale
            piece = piece.astype(np.float64) * slope + intercept
        if header.scale or piece.any():
            array[filled : filled + len(piece)] = piece
        filled += len(piece)
    if filled < array.size:
        raise too_short(shape, end, path)
    return array.reshape(shape)


def _most_expansion(path: Path) -> int:
    """How many bytes one byte of the file can hold at most."""
    with path.open("rb") as file:
        return MAX_DEFLATE_RATIO if file.read(2) == GZIP_MARK else 1


def stored_bytes(path: Path, limit: int) -> bytes:
    """The first `limit` bytes of a file's content, or all there are; decompressed if it is gzip."""
    return b"".join(_parts(path, limit, checked=False))


def _parts(path: Path, limit: int, *, checked: bool) -> Iterator[bytes]:
    """The same in parts that are not large.

    `checked` compares the checksum of what is compressed too; the file is read to its end for it.
    """
    with path.open("rb") as file:
        start = file.read(len(GZIP_MARK))
        file.seek(0)
        if start == GZIP_MARK:
            yield from _unpacked(file, limit, path, checked=checked)
            return
        while part := file.read(min(PART_BYTES, limit)):
            limit -= len(part)
            yield part


def _unpacked(file: BinaryIO, limit: int, path: Path, *, checked: bool) -> Iterator[bytes]:
    """The first `limit` bytes that a gzip file holds, in parts; it may have several members."""
    from zlib_ng import zlib_ng  # three times as fast as zlib; not needed to train

    filled = members = 0
    data, member = b"", None
    try:
        while filled < limit and (data := data or file.read(CHUNK_BYTES)):
            if member is None:
                data += file.read(1) if len(data) < len(GZIP_MARK) else b""
                members += 1
                if not data.startswith(GZIP_MARK) or members > MAX_MEMBERS:
                    break
                member = zlib_ng.decompressobj(GZIP_WINDOW)
            part = member.decompress(data, min(PART_BYTES, limit - filled))
            yield part
            filled += len(part)
            data = member.unconsumed_tail
            if member.eof:
                data, member = member.unused_data, None
        left = MAX_TRAILING if checked and filled == limit and member is not None else 0
        while left > 0 and member is not None and not member.eof:
            if not (data := data or file.read(CHUNK_BYTES)):
                raise _damaged(path)
            left -= len(member.decompress(data, min(PART_BYTES, left)))
            data = member.unconsumed_tail
    except zlib_ng.error:  # type: ignore[misc]
        raise _damaged(path) from None


def _damaged(path: Path) -> DatasetError:
    return DatasetError("The compressed content is damaged", where=str(path), remedy=CUT_OFF)


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
