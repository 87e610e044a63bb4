"""MHA files (MetaImage): their voxels, grid and stored type.

liftnet reads them by itself because ITK's reader does not survive some damaged headers, opens
other files that a header names, and takes what happens to lie in memory for voxels where
compressed ones end too early.
"""

import math
import re
import zlib
from pathlib import Path

import numpy as np

from liftnet.core.errors import DatasetError
from liftnet.core.geometry import Geometry
from liftnet.imageio.limits import (
    CUT_OFF,
    MAX_DEFLATE_RATIO,
    ImageInfo,
    dimension_error,
    grid,
    kind_error,
    refuse_too_many,
    too_short,
)

__all__ = ["field_contradiction", "read_mha"]

HEADER_BYTES = 2**16  # ours: a header of lines is far shorter
ZLIB_OR_GZIP = 47  # zlib: largest window, either wrapping
TYPES = {  # metaTypes.h; a long has 4 bytes
    "CHAR": "i1",
    "UCHAR": "u1",
    "SHORT": "i2",
    "USHORT": "u2",
    "INT": "i4",
    "UINT": "u4",
    "LONG": "i4",
    "ULONG": "u4",
    "LONG_LONG": "i8",
    "ULONG_LONG": "u8",
    "FLOAT": "f4",
    "DOUBLE": "f8",
}
NAMES = {  # a field -> the names that it has had
    "spacing": ("ElementSpacing", "ElementSize"),
    "origin": ("Offset", "Position", "Origin"),
    "axes": ("TransformMatrix", "Rotation", "Orientation"),
    "centre": ("CenterOfRotation",),
    "big": ("BinaryDataByteOrderMSB", "ElementByteOrderMSB"),
}


def read_mha(path: Path) -> tuple[np.ndarray, ImageInfo]:
    """The voxels (D, H, W) as float32, and the header's facts.

    Raises:
        DatasetError: If the file is not a readable 3D scalar image with its voxels inside.
        GeometryError: If its header places it nowhere.
    """
    fields, start = _header(path)
    words = fields.get("DimSize", "").split()
    if not all(re.fullmatch(r"[1-9]\d{0,9}", word, re.ASCII) for word in words) or (
        fields.get("NDims") != str(len(words))
    ):
        raise _damaged("DimSize and NDims", path)
    size = [int(word) for word in words]
    channels = fields.get("ElementNumberOfChannels", "1")
    if channels != "1":
        raise kind_error(f"{channels[:20]} of them", path)
    if len(size) != 3:
        raise dimension_error(size, path)
    _field(fields, "centre", (0.0, 0.0, 0.0), path)  # of no use here, but it must be whole
    if fields.get("HeaderSize", "0") != "0":
        raise _damaged("HeaderSize: the voxels do not follow the header", path)
    geometry = grid(
        size,
        _field(fields, "spacing", (1.0, 1.0, 1.0), path),
        _field(fields, "origin", (0.0, 0.0, 0.0), path),
        _field(fields, "axes", (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0), path),
        path,
    )
    refuse_too_many(geometry.shape, path)
    name = fields.get("ElementType", "").removeprefix("MET_").removesuffix("_ARRAY")
    if name not in TYPES:
        raise _damaged("ElementType", path)
    big = any(_true(fields.get(name, "False"), path) for name in NAMES["big"])
    dtype = np.dtype(TYPES[name]).newbyteorder(">" if big else "<")
    content = _voxels(path, start, fields, geometry, dtype.itemsize)
    with np.errstate(over="ignore", invalid="ignore"):  # inf and NaN are for the checks to report
        array = np.frombuffer(content, dtype).astype(np.float32).reshape(geometry.shape)
    return array, ImageInfo(geometry, dtype.name)


def field_contradiction(path: Path) -> str | None:
    """Which field of a header that is readable is there under two names with other numbers.

    A size of an element other than the spacing may be meant: slices with gaps.
    """
    fields, _ = _header(path)
    for what in ("origin", "axes"):
        found = [(name, _numbers(fields[name], path)) for name in NAMES[what] if name in fields]
        for name, numbers in found[1:]:
            if len(numbers) != len(found[0][1]) or not np.allclose(numbers, found[0][1], atol=1e-3):
                first = found[0][0]
                return f"{first} and {name} contradict each other; {first} is used"
    return None


def _header(path: Path) -> tuple[dict[str, str], int]:
    """The fields of the header, and where the voxels start."""
    with path.open("rb") as file:
        begin = file.read(HEADER_BYTES)
    fields: dict[str, str] = {}
    place = 0
    while "ElementDataFile" not in fields:
        stop = begin.find(b"\n", place)
        line = begin[place:stop].decode("latin-1").replace("\t", " ").rstrip("\r")
        name, mark, value = line.partition("=")
        if stop < 0 or not mark or name.strip() in fields or not line.isprintable():
            raise _damaged("a line is not NAME = VALUE, or is there twice", path)
        fields[name.strip()] = value.strip()
        place = stop + 1
    if fields["ElementDataFile"].upper() != "LOCAL":
        raise DatasetError(
            "The header names another file for the voxels",
            where=str(path),
            remedy="Save header and voxels as one .mha file.",
        )
    if fields.get("ObjectType", "Image") != "Image" or not _true(
        fields.get("BinaryData", "True"), path
    ):
        raise _damaged("it is no image, or its voxels are written as text", path)
    return fields, place


def _voxels(
    path: Path, start: int, fields: dict[str, str], geometry: Geometry, width: int
) -> bytes:
    """The bytes of all voxels, decompressed."""
    end = math.prod(geometry.shape) * width
    packed = _true(fields.get("CompressedData", "False"), path)
    held = path.stat().st_size - start
    if packed and (length := fields.get("CompressedDataSize")) is not None:
        if not re.fullmatch(r"\d{1,18}", length, re.ASCII):
            raise _damaged("CompressedDataSize", path)
        held = min(held, int(length))
    if end > held * (MAX_DEFLATE_RATIO if packed else 1):  # refused before memory is taken for it
        raise too_short(geometry.shape, end, path)
    with path.open("rb") as file:
        file.seek(start)
        content = file.read(held if packed else end)
    if packed:
        reader = zlib.decompressobj(ZLIB_OR_GZIP)
        try:
            content = reader.decompress(content, end)
            reader.decompress(reader.unconsumed_tail, 1)  # the checksum behind
        except zlib.error:
            raise DatasetError(
                "The compressed content is damaged", where=str(path), remedy=CUT_OFF
            ) from None
    if len(content) < end or (packed and not reader.eof):
        raise too_short(geometry.shape, end, path)
    return content


def _field(fields: dict[str, str], what: str, usual: tuple[float, ...], path: Path) -> list[float]:
    """The numbers of a field under one of its names, as many as are usual."""
    text = next((fields[name] for name in NAMES[what] if name in fields), None)
    values = list(usual) if text is None else _numbers(text, path)
    if len(values) != len(usual):
        raise _damaged(NAMES[what][0], path)
    return values


def _numbers(text: str, path: Path) -> list[float]:
    if not re.fullmatch(r"[-+.0-9eE \t]*", text):
        raise _damaged(f"'{text[:40]}' are no numbers", path)
    try:
        return [float(word) for word in text.split()]
    except ValueError:
        raise _damaged(f"'{text[:40]}' are no numbers", path) from None


def _true(text: str, path: Path) -> bool:
    if text.lower() not in ("true", "false"):  # MetaIO takes 1 for one field and not for another
        raise _damaged(f"'{text[:40]}' is neither True nor False", path)
    return text.lower() == "true"


def _damaged(what: str, path: Path) -> DatasetError:
    return DatasetError(
        f"Not an MHA image, or its header is damaged ({what})",
        where=str(path),
        remedy="Copy it again, or save it again as a plain 3D image.",
    )
