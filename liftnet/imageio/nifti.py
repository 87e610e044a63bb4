"""NIfTI files, compressed or not: their voxels, grid and stored type."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from liftnet.core.errors import DatasetError
from liftnet.imageio.limits import (
    CUT_OFF,
    MAX_DEFLATE_RATIO,
    ImageInfo,
    refuse_too_many,
    too_short,
)
from liftnet.imageio.nifti_header import (
    HEADER_BYTES,
    NiftiHeader,
    form_contradiction,
    parse_header,
)

__all__ = ["forms_contradiction", "read_nifti"]

GZIP_MARK = b"\x1f\x8b"  # RFC 1952
GZIP_WINDOW = 31  # zlib: largest window, gzip wrapping
CHUNK_BYTES = 2**17  # ours: what is behind a member is copied once for each, so not too much
PART_BYTES = 2**20  # ours: that are converted at once; a bomb needs no more
MAX_MEMBERS = 100_000  # ours: of 64 KiB each in files by bgzip; more of them take minutes
MAX_TRAILING = 2**26  # ours: bytes behind the voxels that are decompressed for the checksum


def read_nifti(path: Path) -> tuple[np.ndarray, ImageInfo]:
    """The voxels (D, H, W) as float32, with slope and intercept applied, and the header's facts.

    Raises:
        DatasetError: If the file is not a readable 3D scalar image.
        GeometryError: If its header places it nowhere.
    """
    header = parse_header(_stored_bytes(path, HEADER_BYTES), path)
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


def forms_contradiction(path: Path) -> str | None:
    """How the two grids of a readable header contradict each other, and which is used; or None."""
    return form_contradiction(_stored_bytes(path, HEADER_BYTES), path)


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


def _stored_bytes(path: Path, limit: int) -> bytes:
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
