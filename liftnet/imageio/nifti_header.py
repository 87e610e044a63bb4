"""The facts of a NIfTI-1 or NIfTI-2 header, checked before any voxel is touched.

liftnet reads NIfTI by itself because ITK sets NaN to 0, replaces a sheared sform by the qform
without a word, does not know NIfTI-2, and prints to the terminal.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from liftnet.core.errors import DatasetError, GeometryError
from liftnet.core.geometry import Geometry
from liftnet.imageio.limits import LARGEST_MM, SMALLEST_MM, dimension_error, kind_error

__all__ = ["HEADER_BYTES", "NiftiHeader", "form_contradiction", "parse_header"]

HEADER_BYTES = 540  # the longer of the two headers, NIfTI-2
DAMAGED = "The file is damaged or is something else: copy it again, or leave it out."
RESAVE = "Save it again as a plain 3D NIfTI-1 image."
LAST_FORM_CODE = 5  # nifti2.h: NIFTI_XFORM_TEMPLATE_OTHER
SHEAR_TOLERANCE_VOXELS = 0.1  # ours: the same share of a voxel as Geometry.differs allows
SAME_SIDE = 0.01  # ours: the same share as Geometry.differs allows
OTHER_AXIS = 0.7  # ours: the cosine of 45 degrees; further apart, axes are exchanged or mirrored
MOST_APART = 0.5  # ours: of a voxel; quaternions in float32 are exact to a thousandth of one

_FIELDS: dict[int, dict[str, tuple[str, int]]] = {  # size of the header -> field: type, offset
    348: {  # nifti1.h
        "dim": ("8i2", 40),
        "datatype": ("i2", 70),
        "pixdim": ("8f4", 76),
        "vox_offset": ("f4", 108),
        "slope": ("f4", 112),
        "intercept": ("f4", 116),
        "units": ("u1", 123),
        "qform_code": ("i2", 252),
        "sform_code": ("i2", 254),
        "quaternion": ("3f4", 256),
        "qoffset": ("3f4", 268),
        "sform": ("(3,4)f4", 280),
        "magic": ("S3", 344),
    },
    540: {  # nifti2.h
        "magic": ("S3", 4),
        "datatype": ("i2", 12),
        "dim": ("8i8", 16),
        "pixdim": ("8f8", 104),
        "vox_offset": ("i8", 168),
        "slope": ("f8", 176),
        "intercept": ("f8", 184),
        "qform_code": ("i4", 344),
        "sform_code": ("i4", 348),
        "quaternion": ("3f8", 352),
        "qoffset": ("3f8", 376),
        "sform": ("(3,4)f8", 400),
        "units": ("i4", 500),
    },
}
_TYPES = {  # datatype codes of nifti1.h
    2: "u1",
    4: "i2",
    8: "i4",
    16: "f4",
    64: "f8",
    256: "i1",
    512: "u2",
    768: "u4",
    1024: "i8",
    1280: "u8",
}
# Built once: numpy parses type codes with Python's ast, which breaks when threads do it at once
# (SystemError: AST constructor recursion depth mismatch, CPython issue 106905).
_KINDS = {
    size: np.dtype(
        {
            "names": list(fields),
            "formats": [code for code, _ in fields.values()],
            "offsets": [offset for _, offset in fields.values()],
            "itemsize": size,
        }
    )
    for size, fields in _FIELDS.items()
}
_UNITS_MM = {1: 1000.0, 3: 0.001}  # metres and micrometres; anything else counts as mm


@dataclass(frozen=True)
class NiftiHeader:
    """Where the voxels are in the file, what they mean, and the grid they lie on."""

    geometry: Geometry
    oriented: bool  # False: neither sform nor qform says where the axes point
    dtype: np.dtype  # with the byte order of the file
    offset: int
    scale: tuple[float, float] | None  # slope and intercept, unless they change nothing


def parse_header(start: bytes, path: Path) -> NiftiHeader:
    """The header facts in the first bytes of an (uncompressed) NIfTI file.

    Raises:
        DatasetError: If this is not a NIfTI file, or not one 3D scalar image.
        GeometryError: If the header gives no usable grid, or a sheared one.
    """
    size, order = _size_and_order(start, path)
    header = np.frombuffer(start, _KINDS[size].newbyteorder(order), count=1)[0]
    magic = bytes(header["magic"])
    if magic not in (b"n+1", b"n+2"):
        problem = (
            "The file is one half of a .hdr and .img pair"
            if magic in (b"ni1", b"ni2")
            else "Not a NIfTI file (no NIfTI mark in the header; perhaps ANALYZE)"
        )
        raise DatasetError(problem, where=str(path), remedy=RESAVE)
    offset = float(header["vox_offset"])
    if offset != 0 and not size + 4 <= offset < 2**40:
        raise DatasetError(
            f"The header is damaged: voxels start at byte {offset:g}",
            where=str(path),
            remedy=DAMAGED,
        )
    slope, intercept = float(header["slope"]), float(header["intercept"])
    scaled = slope != 0 and not math.isnan(slope)  # NaN: nibabel's mark that none is given
    if scaled and not (math.isfinite(slope) and math.isfinite(intercept)):
        raise DatasetError(
            f"The header is damaged: slope {slope:g}, intercept {intercept:g}",
            where=str(path),
            remedy="Write the slope and the intercept into the header, or a slope of 0 for none.",
        )
    scaled = scaled and (slope, intercept) != (1.0, 0.0)
    dtype = _voxel_type(int(header["datatype"]), path).newbyteorder(order)
    shape = _shape([int(n) for n in header["dim"]], path)
    with np.errstate(all="ignore"):  # absurd numbers are refused below
        affine, oriented = _affine(header, shape, path)
    return NiftiHeader(
        geometry=_geometry(affine, shape, path),
        oriented=oriented,
        dtype=dtype,
        offset=max(int(offset), size + 4),
        scale=(slope, intercept) if scaled else None,
    )


def _size_and_order(start: bytes, path: Path) -> tuple[int, Literal["little", "big"]]:
    """The size of the header and the byte order in which it makes sense."""
    orders: tuple[Literal["little", "big"], ...] = ("little", "big")
    for order in orders:
        size = int.from_bytes(start[:4], order)
        if size in _FIELDS and len(start) >= size:
            return size, order
    raise DatasetError(
        "Not a NIfTI file, or its header is damaged", where=str(path), remedy=DAMAGED
    )


def _voxel_type(code: int, path: Path) -> np.dtype:
    if code in _TYPES:
        return np.dtype(_TYPES[code])
    if code in (32, 1792, 2048):
        raise kind_error("complex", path)
    if code in (128, 2304):
        raise kind_error("RGB" if code == 128 else "RGBA", path)
    raise DatasetError(f"Unknown NIfTI voxel type {code}", where=str(path), remedy=RESAVE)


def _shape(dim: list[int], path: Path) -> tuple[int, int, int]:
    """The sizes (i, j, k); trailing axes of size 1 are dropped."""
    count, sizes = dim[0], dim[1 : 1 + max(0, dim[0])]
    if not 1 <= count <= 7 or min(sizes) < 1:
        raise DatasetError(
            f"The header is damaged: dimensions {dim}", where=str(path), remedy=DAMAGED
        )
    while len(sizes) > 3 and sizes[-1] == 1:
        sizes.pop()
    if len(sizes) != 3:
        raise dimension_error(sizes, path)
    return (sizes[0], sizes[1], sizes[2])


def _affine(header: Any, shape: tuple[int, int, int], path: Path) -> tuple[np.ndarray, bool]:
    """The 3 x 4 matrix from (i, j, k) to mm (x right, y anterior, z superior); is it given?

    The sform counts before the qform, as in nibabel and FSL. ITK differs: it falls back on the
    qform where the sform is sheared (CT with a tilted gantry), and so moves the voxels. With
    neither, axes and centre are those of ANALYZE, as in nibabel.
    """
    for name in ("sform_code", "qform_code"):
        if not 0 <= int(header[name]) <= LAST_FORM_CODE:  # readers differ in what they make of it
            raise DatasetError(
                f"The header is damaged: {name} is {int(header[name])}",
                where=str(path),
                remedy=DAMAGED,
            )
    units = _UNITS_MM.get(int(header["units"]) & 7, 1.0)
    spacing = np.asarray(header["pixdim"], dtype=np.float64)[1:4]
    if header["sform_code"] > 0:
        return np.asarray(header["sform"], dtype=np.float64) * units, True
    if not np.isfinite(spacing).all() or min(spacing) <= 0:
        raise _no_grid(spacing, path)
    if header["qform_code"] > 0:
        return _qform(header) * units, True
    matrix = np.diag(spacing * [-1, 1, 1])
    centre = matrix @ ((np.array(shape) - 1) / 2)
    return np.column_stack([matrix, -centre]) * units, False


def _qform(header: Any) -> np.ndarray:
    """The 3 x 4 matrix of quaternion, pixdim and offset, in the header's unit."""
    rotation = _rotation(np.asarray(header["quaternion"], dtype=np.float64))
    if header["pixdim"][0] < 0:  # qfac: the third axis is mirrored
        rotation[:, 2] *= -1
    spacing = np.asarray(header["pixdim"], dtype=np.float64)[1:4]
    return np.column_stack([rotation * spacing, np.asarray(header["qoffset"], dtype=np.float64)])


def form_contradiction(start: bytes, path: Path) -> str | None:
    """How the sform, which is used, contradicts pixdim or the qform; None if it does not.

    Sizes of voxels must be equal. Forms with different codes speak of different spaces (a scanner
    and an atlas), so that only axes that are exchanged or mirrored contradict each other; forms
    with one code must place the image alike.

    Args:
        start: the first bytes of a NIfTI file that `parse_header` takes.
        path: of the file.
    """
    size, order = _size_and_order(start, path)
    header = np.frombuffer(start, _KINDS[size].newbyteorder(order), count=1)[0]
    pixdim = np.asarray(header["pixdim"], dtype=np.float64)[1:4]
    if header["sform_code"] <= 0 or not np.isfinite(pixdim).all() or min(pixdim) <= 0:
        return None
    sform = np.asarray(header["sform"], dtype=np.float64)
    sides = np.linalg.norm(sform[:, :3], axis=0)
    if not np.allclose(sides, pixdim, rtol=SAME_SIDE):
        said = [" x ".join(f"{side:.4g}" for side in each) for each in (sides, pixdim)]
        return f"The sform says voxels of {said[0]} mm, pixdim {said[1]} mm; the sform is used"
    if header["qform_code"] <= 0:
        return None
    with np.errstate(all="ignore"):
        qform = _qform(header)
        cosines = (sform[:, :3] * qform[:, :3]).sum(axis=0) / (sides * pixdim)
    if np.isfinite(cosines).all() and min(cosines) < OTHER_AXIS:
        own, other = _axes(sform), _axes(qform)
        return f"The sform's axes point to {own}, the qform's to {other}; the sform is used"
    if header["sform_code"] != header["qform_code"]:
        return None
    corners = np.array([[0, 0, 0], np.array(_shape(list(map(int, header["dim"])), path)) - 1])
    apart = np.linalg.norm((sform - qform) @ np.column_stack([corners, [1, 1]]).T, axis=0).max()
    if apart > MOST_APART * min(sides):
        return f"Sform and qform place the image {apart:.3g} mm apart; the sform is used"
    return None


def _axes(form: np.ndarray) -> str:
    """Where the axes (i, j, k) point to, such as "R, A, S"."""
    world = np.abs(form[:, :3]).argmax(axis=0)
    return ", ".join(("LR", "PA", "IS")[w][int(form[w, i] > 0)] for i, w in enumerate(world))


def _rotation(quaternion: np.ndarray) -> np.ndarray:
    """The rotation matrix of the quaternion (a, b, c, d) with a >= 0 left out (nifti1.h)."""
    b, c, d = quaternion
    a = math.sqrt(max(0.0, 1.0 - float(quaternion @ quaternion)))
    a, b, c, d = np.array([a, b, c, d]) / math.sqrt(a * a + b * b + c * c + d * d)
    return np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
        ]
    )


def _no_grid(spacing: np.ndarray, path: Path) -> GeometryError:
    shown = ", ".join(f"{s:g}" for s in spacing)
    return GeometryError(
        f"The header gives no usable grid: spacing ({shown}) mm",
        where=str(path),
        remedy="Correct the header (spacing must be positive, the affine finite).",
    )


def _geometry(affine: np.ndarray, shape: tuple[int, int, int], path: Path) -> Geometry:
    """The grid of an affine, with axes made exactly perpendicular if they nearly are."""
    with np.errstate(all="ignore"):
        lps = affine * np.array([[-1.0], [-1.0], [1.0]])
        steps, origin = lps[:, :3], lps[:, 3]
        spacing = np.linalg.norm(steps, axis=0)
    if not np.abs(lps).max() < LARGEST_MM or min(spacing) < SMALLEST_MM:  # NaN is not smaller
        raise _no_grid(spacing, path)
    axes = steps / spacing
    left, _, right = np.linalg.svd(axes)
    nearest = left @ right  # the perpendicular axes closest to the given ones
    moved = np.abs(steps - nearest * spacing) @ (np.array(shape) - 1.0)
    if np.linalg.norm(moved) > SHEAR_TOLERANCE_VOXELS * min(spacing):
        cosine = np.abs(axes.T @ axes - np.eye(3)).max()
        raise GeometryError(
            f"The axes are sheared: {math.degrees(math.asin(min(1.0, cosine))):.2g} degrees "
            "away from perpendicular",
            where=str(path),
            remedy="Resample it onto a grid without shear (CT with a tilted gantry: correct the "
            "tilt). If only the sform is wrong, set its code to 0.",
        )
    nearest += 0.0  # no -0.0
    (sx, sy, sz), (x, y, z) = spacing.tolist(), (origin + 0.0).tolist()
    columns = [tuple(column) for column in nearest.T[::-1].tolist()]
    return Geometry(
        shape=(shape[2], shape[1], shape[0]),
        spacing_mm=(sz, sy, sx),
        origin_mm=(x, y, z),
        direction=(columns[0], columns[1], columns[2]),
    )
