"""Reading images, against nibabel and SimpleITK."""

import gzip
import os
import struct
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from liftnet.core.errors import DatasetError, GeometryError
from liftnet.core.geometry import Geometry, Volume, axis_order, turn
from liftnet.imageio import read_case, read_image, write_image

SHAPE = (5, 6, 7)  # (i, j, k) as nibabel counts; three different sides
AFFINE = np.array([[-1.5, 0, 0, 11], [0, 2, 0, -7], [0, 0, 3.0, 4], [0, 0, 0, 1]])


def ras_affine(geometry: Geometry) -> np.ndarray:
    """The affine of a geometry as nibabel writes it: (i, j, k) to RAS."""
    affine = np.eye(4)
    for axis in range(3):
        affine[:3, axis] = np.multiply(geometry.direction[2 - axis], geometry.spacing_mm[2 - axis])
    affine[:3, 3] = geometry.origin_mm
    return np.diag([-1.0, -1, 1, 1]) @ affine


def voxels(dtype: str = "int16", seed: int = 0) -> np.ndarray:
    """Random voxels (i, j, k) that fill the range of small types."""
    return np.random.default_rng(seed).integers(0, 120, SHAPE).astype(dtype)


def save(path: Path, data: np.ndarray, affine: np.ndarray = AFFINE, kind=nib.Nifti1Image) -> Path:
    """Write with nibabel and return the path."""
    nib.save(kind(data, affine, dtype=data.dtype), path)
    return path


TYPES = (
    "uint8",
    "int8",
    "uint16",
    "int16",
    "uint32",
    "int32",
    "uint64",
    "int64",
    "float32",
    "float64",
)


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("dtype", TYPES)
def test_types(tmp_path, dtype, kind):
    """Every voxel type of NIfTI-1 and NIfTI-2 is read right and named."""
    data = voxels(dtype)
    data.flat[0] = 120
    array, info = read_image(save(tmp_path / "x.nii.gz", data, kind=kind))
    assert array.dtype == np.float32
    assert info.dtype == dtype
    np.testing.assert_array_equal(array, data.T)
    np.testing.assert_allclose(ras_affine(info.geometry), AFFINE, atol=1e-5)


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
def test_big_endian(tmp_path, kind):
    """A big-endian file gives the same voxels and grid as a little-endian one."""
    header = kind.header_class(endianness=">")
    header.set_data_dtype(">i2")
    image = kind(voxels(), AFFINE, header)
    nib.save(image, tmp_path / "x.nii")
    array, info = read_image(tmp_path / "x.nii")
    assert nib.load(tmp_path / "x.nii").header.endianness == ">"
    np.testing.assert_array_equal(array, voxels().T)
    np.testing.assert_allclose(ras_affine(info.geometry), AFFINE, atol=1e-5)
    assert info.dtype == "int16"


def test_slope_and_intercept(tmp_path):
    """Scaled integers come out in their units, and the file's type counts as float32."""
    image = nib.Nifti1Image(voxels(), AFFINE)
    image.header.set_slope_inter(0.037, -1024.5)
    nib.save(image, tmp_path / "x.nii.gz")
    array, info = read_image(tmp_path / "x.nii.gz")
    expected = nib.load(tmp_path / "x.nii.gz").get_fdata().T
    assert expected.min() < -1000
    np.testing.assert_allclose(array, expected, rtol=1e-6)
    assert info.dtype == "float32"


def test_nan_and_inf_stay(tmp_path):
    """NaN and inf are not turned to 0 (as ITK does for NIfTI), so that checks can see them."""
    data = voxels("float32")
    data[1, 2, 3], data[0, 0, 1] = np.nan, np.inf
    array, _ = read_image(save(tmp_path / "x.nii", data))
    np.testing.assert_array_equal(array, data.T)


def test_trailing_axes_of_size_one(tmp_path):
    """A 4D file with one time point is a 3D image."""
    array, info = read_image(save(tmp_path / "x.nii", voxels()[..., None]))
    np.testing.assert_array_equal(array, voxels().T)
    assert info.geometry.shape == SHAPE[::-1]


def test_several_gzip_members(tmp_path):
    """A gzip file written in blocks (bgzip) is read to its end."""
    content = save(tmp_path / "x.nii", voxels()).read_bytes()
    parts = [content[:100], content[100:400], content[400:]]
    (tmp_path / "y.nii.gz").write_bytes(b"".join(gzip.compress(part) for part in parts))
    np.testing.assert_array_equal(read_image(tmp_path / "y.nii.gz")[0], voxels().T)


@pytest.mark.parametrize("codes", [(0, 1), (1, 0), (2, 1), (1, 4), (0, 0)])
def test_qform_and_sform(tmp_path, codes):
    """Sform counts before qform, and neither means unoriented: nibabel's rule."""
    q = nib.affines.from_matvec(nib.eulerangles.euler2mat(0.2, -0.3, 0.4) @ np.diag([-2, 1, 1.5]))
    image = nib.Nifti1Image(voxels(), None)
    image.set_qform(q, code=codes[0])
    image.set_sform(AFFINE, code=codes[1])
    nib.save(image, tmp_path / "x.nii")
    _, info = read_image(tmp_path / "x.nii")
    np.testing.assert_allclose(
        ras_affine(info.geometry), nib.load(tmp_path / "x.nii").affine, atol=1e-5
    )
    assert info.oriented == any(codes)


def test_units(tmp_path):
    """A header in micrometres gives the same grid as ITK reads."""
    image = nib.Nifti1Image(voxels(), AFFINE)
    image.header.set_xyzt_units("micron")
    nib.save(image, tmp_path / "x.nii")
    geometry = read_image(tmp_path / "x.nii")[1].geometry
    np.testing.assert_allclose(
        geometry.spacing_mm, sitk.ReadImage(str(tmp_path / "x.nii")).GetSpacing()[::-1], rtol=1e-5
    )


def test_oblique_grid_as_itk_reads_it(tmp_path):
    """Origin, spacing and directions of an oblique NIfTI equal SimpleITK's, in array order."""
    matrix = nib.eulerangles.euler2mat(0.2, -0.3, 0.4) @ np.diag([1.5, 2, 3])
    path = save(tmp_path / "x.nii.gz", voxels(), nib.affines.from_matvec(matrix, [9, -8, 7]))
    image = sitk.ReadImage(str(path))
    geometry = read_image(path)[1].geometry
    for index in [(0, 0, 0), (6, 5, 4), (1, 3, 2)]:
        np.testing.assert_allclose(
            geometry.world(index),
            image.TransformIndexToPhysicalPoint(index[::-1]),
            atol=1e-4,
        )


def test_all_orders_turn_to_one_array(tmp_path):
    """All 48 voxel orders read and turned to axial axes equal nibabel's canonical array."""
    image = nib.load(save(tmp_path / "x.nii", voxels()))
    canonical = nib.as_closest_canonical(image)  # i, j, k point to R, A, S
    expected = np.asarray(canonical.dataobj).T[:, ::-1, ::-1]  # S, P, L
    count = 0
    for order in np.stack(np.meshgrid(*[range(3)] * 3), -1).reshape(-1, 3):
        if len(set(order)) < 3:
            continue
        for flips in np.stack(np.meshgrid(*[(1, -1)] * 3), -1).reshape(-1, 3):
            path = tmp_path / "y.nii"
            nib.save(image.as_reoriented(np.column_stack([order, flips])), path)
            array, info = read_image(path)
            volume = Volume(array[None], info.geometry)
            turned = turn(volume, axis_order(info.geometry, "axial"))
            np.testing.assert_array_equal(turned.voxels[0], expected)
            assert turned.geometry.direction == ((0, 0, 1), (0, 1, 0), (1, 0, 0))
            np.testing.assert_allclose(turned.geometry.spacing_mm, (3, 2, 1.5))
            np.testing.assert_allclose(turned.geometry.origin_mm, (-11, -3, 4), atol=1e-5)
            count += 1
    assert count == 48


def test_slight_shear_is_rounded_away(tmp_path):
    """A sform perpendicular up to rounding is accepted, with exactly perpendicular axes."""
    affine = AFFINE.copy()
    affine[0, 1] = 1e-3
    geometry = read_image(save(tmp_path / "x.nii", voxels(), affine))[1].geometry
    axes = np.array(geometry.direction)
    np.testing.assert_allclose(axes @ axes.T, np.eye(3), atol=1e-12)


def test_shear_is_refused(tmp_path):
    """A sheared sform is refused even where the qform is valid (ITK would use the qform)."""
    affine = AFFINE.copy()
    affine[1, 2] = 0.6
    image = nib.Nifti1Image(voxels(), affine)
    image.set_qform(AFFINE, code=1)
    image.set_sform(affine, code=1)
    nib.save(image, tmp_path / "x.nii")
    with pytest.raises(GeometryError, match="sheared: 11 degrees"):
        read_image(tmp_path / "x.nii")


def patched(tmp_path: Path, offset: int, value: bytes) -> Path:
    """A NIfTI-1 file with some bytes of its header replaced."""
    path = save(tmp_path / "x.nii", voxels())
    content = bytearray(path.read_bytes())
    content[offset : offset + len(value)] = value
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("offset", "value", "text"),
    [
        (0, b"abcd", "Not a NIfTI file"),
        (40, struct.pack("<h", 0), "header is damaged: dimensions"),
        (40, struct.pack("<h", 9), "header is damaged: dimensions"),
        (42, struct.pack("<h", -5), "header is damaged: dimensions"),
        (42, struct.pack("<hhh", 30000, 30000, 30000), "claims 30000 x 30000 x 30000 voxels"),
        (42, struct.pack("<hhh", 500, 500, 500), "shorter than its header says"),
        (40, struct.pack("<h", 2), "2D .5 x 6., expected 3D"),
        (40, struct.pack("<hhhhh", 4, 5, 6, 1, 7), "4D .5 x 6 x 1 x 7., expected 3D"),
        (70, struct.pack("<h", 32), "complex"),
        (70, struct.pack("<h", 128), "several values per voxel .RGB."),
        (70, struct.pack("<h", 999), "Unknown NIfTI voxel type 999"),
        (108, struct.pack("<f", 10), "voxels start at byte 10"),
        (108, struct.pack("<f", float("nan")), "voxels start at byte nan"),
        (112, struct.pack("<ff", float("inf"), 0), "header is damaged: slope inf, intercept 0"),
        (112, struct.pack("<ff", 2, float("nan")), "header is damaged: slope 2, intercept nan"),
        (112, struct.pack("<ff", 1, float("-inf")), "header is damaged: slope 1, intercept -inf"),
        (344, b"ni1\0", "one half of a .hdr and .img pair"),
        (344, b"\0\0\0\0", "no NIfTI mark"),
    ],
)
def test_bad_headers(tmp_path, capfd, offset, value, text):
    """A damaged or unsuitable header is refused in our own words, without noise or allocation."""
    with pytest.raises(DatasetError, match=text) as caught:
        read_image(patched(tmp_path, offset, value))
    assert "x.nii" not in caught.value.problem
    assert caught.value.remedy
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("slope", [0.0, float("nan")])
@pytest.mark.parametrize("intercept", [0.0, 7.0, float("nan"), float("inf")])
def test_no_slope(tmp_path, slope, intercept):
    """0 (nifti1.h) and NaN (nibabel) say that values are as they are stored."""
    path = patched(tmp_path, 112, struct.pack("<ff", slope, intercept))
    np.testing.assert_array_equal(read_image(path)[0], nib.load(path).get_fdata().T)


@pytest.mark.parametrize("number", [float("nan"), 0.0])
def test_no_grid(tmp_path, number):
    """A header whose first axis has no length is refused."""
    row = struct.pack("<4f", number, 0, 0, 11)
    with pytest.raises(GeometryError, match="no usable grid"):
        read_image(patched(tmp_path, 280, row))


def test_cut_off_and_damaged(tmp_path, capfd):
    """Files that end too early or fail their checksum are refused."""
    plain = save(tmp_path / "x.nii", voxels()).read_bytes()
    (tmp_path / "x.nii").write_bytes(plain[:-1])
    with pytest.raises(DatasetError, match="shorter than its header says: 5 x 6 x 7 voxels"):
        read_image(tmp_path / "x.nii")
    (tmp_path / "x.nii").write_bytes(plain[:200])
    with pytest.raises(DatasetError, match="Not a NIfTI file"):
        read_image(tmp_path / "x.nii")
    packed = gzip.compress(plain)
    (tmp_path / "y.nii.gz").write_bytes(packed[:-60])
    with pytest.raises(DatasetError, match="shorter than its header says"):
        read_image(tmp_path / "y.nii.gz")
    (tmp_path / "y.nii.gz").write_bytes(packed[:-8] + b"\0\0\0\0" + packed[-4:])
    with pytest.raises(DatasetError, match="compressed content is damaged"):
        read_image(tmp_path / "y.nii.gz")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
def test_random_damage(tmp_path, kind):
    """Whatever bytes a header holds, the image is read or refused; nothing else happens."""
    path = save(tmp_path / "x.nii", voxels("float32"), kind=kind)
    content = path.read_bytes()
    size = 540 if kind is nib.Nifti2Image else 348
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(300):
        damaged = bytearray(content)
        for place in rng.integers(0, size, rng.integers(1, 30)):
            damaged[place] = rng.choice([0, 1, 127, 128, 255, rng.integers(256)])
        path.write_bytes(damaged)
        try:
            array, info = read_image(path)
        except (DatasetError, GeometryError):
            refused += 1
        else:
            assert array.shape == info.geometry.shape
    assert 0 < refused < 300


@pytest.mark.parametrize("ending", [".mha", ".nrrd"])
def test_mha_and_nrrd(tmp_path, ending):
    """MHA and NRRD give the same voxels and grid as NIfTI; wrong ones are refused."""
    save(tmp_path / "x.nii", voxels())
    image = sitk.ReadImage(str(tmp_path / "x.nii"))
    path = tmp_path / f"x{ending}"
    sitk.WriteImage(image, str(path), useCompression=True)
    array, info = read_image(path)
    np.testing.assert_array_equal(array, voxels().T)
    assert info.dtype == "int16"
    assert info.geometry.differs(read_image(tmp_path / "x.nii")[1].geometry) is None
    path.write_bytes(path.read_bytes()[:-90])
    with pytest.raises(DatasetError, match=r"voxels cannot be read|shorter than its header says"):
        read_image(path)
    path.write_bytes(b"hello" * 99)
    with pytest.raises(DatasetError, match=f"Not an {ending[1:].upper()} image"):
        read_image(path)
    colour = sitk.GetImageFromArray(np.zeros((3, 4, 5, 3), np.uint8), isVector=True)
    sitk.WriteImage(colour, str(path))
    with pytest.raises(DatasetError, match="several values per voxel"):
        read_image(path)


def test_other_files(tmp_path):
    """A missing file and an unsupported ending are refused."""
    with pytest.raises(DatasetError, match="File not found"):
        read_image(tmp_path / "no.nii")
    (tmp_path / "folder.nii.gz").mkdir()
    os.mkfifo(tmp_path / "pipe.nii.gz")
    for name, kind in (("folder", "a folder"), ("pipe", r"a pipe \(FIFO\)")):
        with pytest.raises(DatasetError, match=f"This is {kind}, not a file"):
            read_image(tmp_path / f"{name}.nii.gz")
    with pytest.raises(DatasetError, match="This is a device, not a file"):
        read_image(Path(os.devnull))
    (tmp_path / "x.png").write_bytes(b"")
    with pytest.raises(DatasetError, match=r"Not a supported kind of file: x\.png"):
        read_image(tmp_path / "x.png")


def test_read_case(tmp_path):
    """A case is stacked in the order of its images; other grids and NaN are refused."""
    a, b = voxels(seed=1), voxels("float32", seed=2)
    images = {"t2w": save(tmp_path / "b.nii", b), "t1n": save(tmp_path / "a.nii.gz", a)}
    volume, dtypes = read_case(images, where="Case1")
    np.testing.assert_array_equal(volume.voxels, np.stack([b.T, a.T]))
    assert dtypes == {"t2w": "float32", "t1n": "int16"}
    moved = AFFINE.copy()
    moved[2, 3] += 1
    images["t1n"] = save(tmp_path / "a.nii", a, moved)
    with pytest.raises(GeometryError, match=r"t2w and t1n, position \(1.00 mm apart\)"):
        read_case(images, where="Case1")
    b[0, 0, 0] = np.nan
    with pytest.raises(DatasetError, match="t2w holds NaN"):
        read_case({"t2w": save(tmp_path / "b.nii", b)}, where="Case1")
    with pytest.raises(DatasetError, match="no image"):
        read_case({}, where="Case1")


def test_geometry_written_is_geometry_read(tmp_path):
    """A grid in arbitrary orientation survives writing and reading in every format."""
    axes = nib.eulerangles.euler2mat(0.5, 0.1, -0.7)
    rows = tuple(tuple(row) for row in axes.tolist())
    geometry = Geometry((4, 5, 6), (3.3, 0.7, 1.1), (-12.5, 30.25, 7.0), rows)
    data = np.random.default_rng(0).normal(size=(4, 5, 6)).astype(np.float32)
    for ending in (".nii.gz", ".nii", ".mha", ".nrrd"):
        write_image(tmp_path / f"x{ending}", data, geometry, dtype="float32")
        array, info = read_image(tmp_path / f"x{ending}")
        np.testing.assert_array_equal(array, data)
        np.testing.assert_allclose(info.geometry.direction, rows, atol=1e-6)
        np.testing.assert_allclose(info.geometry.spacing_mm, geometry.spacing_mm, rtol=1e-6)
        np.testing.assert_allclose(info.geometry.origin_mm, geometry.origin_mm, rtol=1e-6)
        assert geometry.differs(info.geometry) is None


def test_headers_are_parsed_without_pythons_ast(tmp_path, monkeypatch):
    """Reading in threads must not parse type codes: CPython's ast is not safe there."""
    import ast

    path = tmp_path / "x.nii"
    sitk.WriteImage(sitk.GetImageFromArray(np.ones((2, 3, 4), np.int16)), str(path))
    monkeypatch.setattr(ast, "literal_eval", lambda text: 1 / 0)
    assert read_image(path)[0].shape == (2, 3, 4)
