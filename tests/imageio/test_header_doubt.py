"""Headers that say two things: each is told, and what is meant to differ is not."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from liftnet.core.errors import GeometryError
from liftnet.core.geometry import Geometry
from liftnet.imageio import header_doubt, read_image, write_image

SHAPE = (5, 6, 7)  # (i, j, k)
HALF = np.sqrt(0.5)


def nifti(
    path: Path,
    sform: np.ndarray,
    *,
    codes: tuple[int, int] = (1, 1),  # of qform and sform
    pixdim: tuple[float, float, float] = (2.0, 2.5, 3.0),
    quaternion: tuple[float, float, float] = (0.0, 0.0, 0.0),
    qoffset: tuple[float, float, float] = (0.0, 0.0, 0.0),
) -> Path:
    """A NIfTI-1 file whose two placements are written field by field (nifti1.h)."""
    header = bytearray(352)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, 3, *SHAPE, 1, 1, 1, 1)
    struct.pack_into("<hh", header, 70, 4, 16)
    struct.pack_into("<4f", header, 76, 1.0, *pixdim)
    struct.pack_into("<f", header, 108, 352)
    header[123] = 2
    struct.pack_into("<2h", header, 252, *codes)
    struct.pack_into("<6f", header, 256, *quaternion, *qoffset)
    struct.pack_into("<12f", header, 280, *np.asarray(sform, float).reshape(-1))
    header[344:348] = b"n+1\0"
    voxels = np.arange(np.prod(SHAPE), dtype=np.int16)
    path.write_bytes(gzip.compress(bytes(header) + voxels.tobytes()))
    return path


def form(sides=(2.0, 2.5, 3.0), offset=(0.0, 0.0, 0.0), turn=None) -> np.ndarray:
    """A 3 x 4 matrix of voxel sides in mm, turned."""
    axes = np.eye(3) if turn is None else np.asarray(turn)
    return np.column_stack([axes * np.asarray(sides), offset])


@pytest.mark.parametrize(
    ("sform", "options", "said"),
    [
        (form(), {}, None),
        (form((2.005, 2.5, 3.0)), {}, None),  # rounding
        (form((1, 1, 1)), {}, "The sform says voxels of 1 x 1 x 1 mm, pixdim 2 x 2.5 x 3 mm"),
        (form((1, 1, 1)), {"codes": (0, 1)}, "pixdim 2 x 2.5 x 3 mm; the sform is used"),
        (form((1, 1, 1)), {"codes": (1, 0)}, None),  # no sform
        (form((1, 1, 1)), {"pixdim": (0.0, 0.0, 0.0)}, None),  # not set
        (form(turn=np.diag([-1, 1, 1])), {}, "axes point to L, A, S, the qform's to R, A, S"),
        (form(turn=np.diag([-1, 1, 1])), {"codes": (1, 4)}, "axes point to L, A, S"),
        (form(offset=(9, 0, 0)), {}, "Sform and qform place the image 9 mm apart"),
        (form(offset=(9, 0, 0)), {"codes": (1, 4)}, None),  # scanner and atlas
        (form(offset=(9, 0, 0)), {"codes": (0, 1)}, None),
        (form(offset=(0.1, 0, 0)), {}, None),
        (form(offset=(9, 0, 0)), {"qoffset": (9.0, 0.0, 0.0)}, None),
        (
            form(turn=[[HALF, -HALF, 0], [HALF, HALF, 0], [0, 0, 1]]),
            {"quaternion": (0.0, 0.0, float(np.sin(np.pi / 8)))},
            None,  # 45 degrees about z, in both
        ),
    ],
)
def test_nifti(tmp_path, sform, options, said):
    """What contradicts is told with both values; spaces that may differ are not."""
    path = nifti(tmp_path / "a.nii.gz", sform, **options)
    read_image(path)
    found = header_doubt(path)
    assert (found is None) if said is None else (said in str(found)), found


@pytest.mark.parametrize("ending", [".nii.gz", ".nii", ".mha", ".nrrd"])
def test_own_files_contradict_nothing(tmp_path, ending):
    """What liftnet writes, oblique too, is one story."""
    path = tmp_path / f"a{ending}"
    turned = ((0.0, 0.0, 1.0), (HALF, HALF, 0.0), (-HALF, HALF, 0.0))
    grid = Geometry((4, 5, 6), (5.0, 0.9, 1.1), (3.0, -7.0, 2.0), turned)
    write_image(path, np.ones((4, 5, 6), np.int16), grid, dtype="int16")
    assert header_doubt(path) is None


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("Position = 3 -7 2", None),
        ("Position = 0 0 0", "Offset and Position contradict each other; Offset is used"),
        ("Rotation = 0 1 0 1 0 0 0 0 1", "TransformMatrix and Rotation contradict each other"),
        ("ElementSize = 1 1 9", None),  # slices thicker than they are apart
    ],
)
def test_mha(tmp_path, line, said):
    """One field under two names."""
    path = tmp_path / "a.mha"
    lines = [
        "ObjectType = Image", "NDims = 3", "BinaryData = True", "CompressedData = False",
        "Offset = 3 -7 2", "TransformMatrix = 1 0 0 0 1 0 0 0 1", "ElementSpacing = 1 1 4", line,
        "DimSize = 2 3 4", "ElementType = MET_UCHAR", "ElementDataFile = LOCAL",
    ]  # fmt: skip
    path.write_bytes("\n".join(lines).encode() + b"\n" + bytes(range(24)))
    read_image(path)
    found = header_doubt(path)
    assert (found is None) if said is None else (said in str(found)), found


@pytest.mark.parametrize(
    "line",
    [
        "space directions: none (0,2,0) (0,0,3)", "space directions: none none none",
        "space directions: (1,0,0) (0,2,0) (0,0,3)\nspace origin: none", "spacings: 2 nan 3",
    ],
)  # fmt: skip
def test_nrrd_that_leaves_its_grid_open(tmp_path, line):
    """ITK would take 1 mm along an axis of the world, without a word."""
    path = tmp_path / "a.nrrd"
    space = "" if line.startswith("spacings") else "space: left-posterior-superior\n"
    text = f"NRRD0004\ntype: uint8\ndimension: 3\n{space}{line}\nsizes: 2 3 4\nencoding: raw\n\n"
    path.write_bytes(text.encode() + bytes(range(24)))
    with pytest.raises(GeometryError, match="The header leaves the grid open: spac"):
        read_image(path)


@pytest.mark.parametrize(("spacings", "wrong"), [("1 1 4", False), ("1 1 1", True)])
def test_nrrd(tmp_path, spacings, wrong):
    """Spacings beside space directions."""
    path = tmp_path / "a.nrrd"
    lines = [
        "NRRD0004", "type: uint8", "dimension: 3", "space: left-posterior-superior",
        "sizes: 2 3 4", "space directions: (1,0,0) (0,1,0) (0,0,4)", f"spacings: {spacings}",
        "encoding: raw", "space origin: (0,0,0)",
    ]  # fmt: skip
    path.write_bytes("\n".join(lines).encode() + b"\n\n" + bytes(range(24)))
    said = "Space directions say voxels of 1 x 1 x 4 mm, spacings 1 x 1 x 1 mm"
    assert (said in str(header_doubt(path))) == wrong
