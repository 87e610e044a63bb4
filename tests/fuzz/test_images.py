"""Damaged image files: what nibabel reads too, or a LiftnetError; never much memory."""

import gzip
import struct
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random

import numpy as np
import pytest
import SimpleITK as sitk
from fuzz.mutations import (
    compressed,
    damage_bytes,
    damage_nifti,
    damage_text_header,
    gzip_bomb,
    valid_nifti,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from liftnet.core.errors import DatasetError, LiftnetError
from liftnet.imageio import read_image

FEW = settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
VALUES = np.random.default_rng(0).normal(size=(5, 4, 3)).astype(np.float32)


def nifti(**how: object) -> bytes:
    """A valid file of VALUES."""
    return valid_nifti(VALUES.ravel().tolist(), (3, 4, 5), **how)  # type: ignore[arg-type]


@FEW
@given(st.integers(0, 2**32), st.sampled_from((1, 2)), st.sampled_from("<>"))
def test_nifti(tmp_path, seed, version, order):
    """Changed headers and bytes, plain and compressed: a finite grid or a LiftnetError."""
    rng = Random(seed)
    content = nifti(version=version, order=order)
    content = rng.choice((damage_nifti, damage_bytes))(rng, content)
    plain, packed = tmp_path / "x.nii", tmp_path / "x.nii.gz"
    plain.write_bytes(content)
    packed.write_bytes(compressed(rng, content))
    for path in (plain, packed):
        try:
            array, info = read_image(path)
        except LiftnetError as error:
            assert error.where and error.remedy
            continue
        assert array.shape == info.geometry.shape
        assert np.isfinite([*info.geometry.spacing_mm, *info.geometry.origin_mm]).all()


@FEW
@given(st.integers(0, 2**32))
def test_mha_and_nrrd_bytes(tmp_path, seed):
    """Changed header lines and bytes: an image or a LiftnetError."""
    rng = Random(seed)
    for ending, last in ((".mha", b"ElementDataFile"), (".nrrd", b"\n\n")):
        path = tmp_path / f"x{ending}"
        sitk.WriteImage(sitk.GetImageFromArray(VALUES), str(path), useCompression=seed % 2 == 0)
        content = path.read_bytes()
        if rng.random() < 0.5:
            content = damage_text_header(rng, content, end=last, fields=[b"x"])
        else:
            content = damage_bytes(rng, content)
        path.write_bytes(content)
        try:
            array, info = read_image(path)
        except LiftnetError as error:
            assert error.where and error.remedy
            continue
        assert array.shape == info.geometry.shape


@pytest.mark.parametrize("name", ["x.nii", "x.nii.gz"])
def test_a_claim_of_a_million_million_voxels(tmp_path, name):
    """It is refused with its size before any memory is taken, even where the file is as large."""
    header = bytearray(nifti()[:352])
    struct.pack_into("<4h", header, 40, 3, 10_000, 10_000, 10_000)
    struct.pack_into("<h", header, 70, 2)
    path = tmp_path / name
    path.write_bytes(gzip.compress(bytes(header)) if name.endswith("gz") else bytes(header))
    if not name.endswith("gz"):
        with path.open("r+b") as file:
            file.truncate(10**12 + 352)
    with pytest.raises(DatasetError, match=r"claims 10000 x 10000 x 10000 voxels \(1e\+12\)"):
        read_image(path)


@pytest.mark.parametrize("ending", [".mha", ".nrrd"])
def test_a_claim_in_lines(tmp_path, ending):
    """MHA and NRRD headers that claim as much are refused alike."""
    path = tmp_path / f"x{ending}"
    sitk.WriteImage(sitk.GetImageFromArray(VALUES), str(path), useCompression=True)
    for old in (b"DimSize = 3 4 5", b"sizes: 3 4 5"):
        path.write_bytes(path.read_bytes().replace(old, old[:-5] + b"10000 10000 10000"))
    with pytest.raises(DatasetError, match=r"10000 x 10000 x 10000 voxels \(1e\+12\)"):
        read_image(path)


@contextmanager
def peak_bytes() -> Iterator[list[int]]:
    """Yields a list that receives the most memory that Python and numpy held."""
    peak: list[int] = []
    tracemalloc.start()
    try:
        yield peak
        peak.append(tracemalloc.get_traced_memory()[1])
    finally:
        tracemalloc.stop()


def test_a_bomb_is_not_unpacked_beyond_its_claim(tmp_path):
    """Of 64 MiB of zeros behind a small image no more is kept than the image."""
    path = tmp_path / "x.nii.gz"
    path.write_bytes(gzip_bomb(nifti(), 2**26))
    with peak_bytes() as peak:
        np.testing.assert_array_equal(read_image(path)[0], VALUES)
    assert peak[0] < 8 * 2**20


@pytest.mark.parametrize("scale", [1.0, 0.5])
@pytest.mark.parametrize("name", ["x.nii", "x.nii.gz"])
def test_memory_is_that_of_the_image(tmp_path, name, scale):
    """Whatever the file holds, packed, as integers, scaled: only float32 has the image's size."""
    header = bytearray(nifti()[:352])
    struct.pack_into("<4h", header, 40, 3, 256, 256, 128)
    struct.pack_into("<h", header, 70, 4)  # int16
    struct.pack_into("<f", header, 112, scale)
    content = bytes(header) + bytes(2**24 - 2) + b"\x02\x00"
    path = tmp_path / name
    path.write_bytes(gzip.compress(content, 1) if name.endswith("gz") else content)
    del content
    with peak_bytes() as peak:
        voxels, _ = read_image(path)
    assert voxels.shape == (128, 256, 256)
    assert (np.count_nonzero(voxels), voxels[-1, -1, -1]) == (1, 2 * scale)
    assert voxels.nbytes == 2**25
    assert peak[0] < voxels.nbytes + 12 * 2**20


def test_a_flipped_bit_in_gzip_is_found(tmp_path):
    """The checksum behind the voxels is compared; nibabel leaves it out."""
    content = bytearray(gzip.compress(nifti(), 0))  # stored: a flip changes a voxel, no more
    content[-40] ^= 1
    path = tmp_path / "x.nii.gz"
    path.write_bytes(content)
    with pytest.raises(DatasetError, match="compressed content is damaged"):
        read_image(path)


def test_many_members(tmp_path):
    """Members of a few bytes are read; a hundred thousand empty ones end in a refusal."""
    content = nifti()
    path = tmp_path / "x.nii.gz"
    parts = [content[i : i + 7] for i in range(0, len(content), 7)]
    path.write_bytes(b"".join(gzip.compress(part) for part in parts))
    np.testing.assert_array_equal(read_image(path)[0], VALUES)
    path.write_bytes(gzip.compress(content[:400]) + gzip.compress(b"") * 100_001)
    with pytest.raises(DatasetError, match="shorter than its header says"):
        read_image(path)


@pytest.mark.parametrize(
    ("ending", "old", "new"),
    [
        (".mha", b"ElementDataFile = LOCAL", b"ElementDataFile = /etc/passwd"),
        (".nrrd", b"encoding: raw", b"encoding: raw\ndata file: /etc/passwd"),
    ],
)
def test_voxels_in_another_file(tmp_path, ending, old, new):
    """A header cannot make liftnet read another file."""
    path = tmp_path / f"x{ending}"
    sitk.WriteImage(sitk.GetImageFromArray(VALUES), str(path))
    assert old in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(old, new))
    with pytest.raises(DatasetError, match="names another file"):
        read_image(path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b"CompressedDataSize = ", b"CompressedDataSize = -0 ", "CompressedDataSize"),
        (b"BinaryDataByteOrderMSB = False", b"BinaryDataByteOrderMSB = 2", "neither True nor"),
        (b"CompressedData = True", b"CompressedData = 1", "neither True nor"),
        (b"NDims = 3", b"NDims = 3\nHeaderSize = -1", "HeaderSize"),
        (b"CenterOfRotation = 0 0 0", b"CenterOfRotation = 0 0", "CenterOfRotation"),
        (b"Offset = ", b"Offset\0= ", "a line is not NAME = VALUE"),
    ],
)
def test_mha_fields_are_taken_by_the_letter(tmp_path, old, new, message):
    """What MetaIO would guess, each in its own way, is refused."""
    path = tmp_path / "x.mha"
    sitk.WriteImage(sitk.GetImageFromArray(VALUES), str(path), useCompression=True)
    content = path.read_bytes()
    assert content.count(old) == 1
    path.write_bytes(content.replace(old, new))
    with pytest.raises(DatasetError, match=message):
        read_image(path)


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("dtype", ["int8", "uint16", "int32", "int64", "float64"])
def test_mha_equals_itk(tmp_path, big, packed, dtype):
    """Voxels, type and the grid of turned axes are those that ITK writes."""
    image = sitk.GetImageFromArray((50 * VALUES).astype(dtype))
    image.SetSpacing((1.5, 2.0, 2.5))
    image.SetOrigin((-3.0, 4.0, 5.5))
    turn = (0.6, 0.8, 0.0, 0.0, 0.0, 1.0, 0.8, -0.6, 0.0)
    image.SetDirection(turn)
    path = tmp_path / "x.mha"
    sitk.WriteImage(image, str(path), useCompression=packed)
    if big and not packed:
        head, mark, voxels = path.read_bytes().partition(b"ElementDataFile = LOCAL\n")
        swapped = np.frombuffer(voxels, dtype).byteswap().tobytes()
        head = head.replace(b"ByteOrderMSB = False", b"ByteOrderMSB = True")
        path.write_bytes(head + mark + swapped)
    array, info = read_image(path)
    np.testing.assert_array_equal(array, sitk.GetArrayFromImage(image).astype(np.float32))
    assert info.dtype == dtype
    assert info.geometry.world((4.0, 3.0, 2.0)) == pytest.approx(
        image.TransformIndexToPhysicalPoint((2, 3, 4))
    )


def test_a_cut_mha_is_refused(tmp_path):
    """Compressed voxels that end too early are no voxels; ITK gives what lies in its memory."""
    path = tmp_path / "x.mha"
    sitk.WriteImage(sitk.GetImageFromArray(VALUES), str(path), useCompression=True)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(DatasetError, match="shorter than its header says"):
        read_image(path)
