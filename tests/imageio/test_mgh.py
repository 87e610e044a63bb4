"""MGH images against nibabel, and refusals."""

import nibabel as nib
import numpy as np
import pytest

from liftnet.core.errors import DatasetError, GeometryError
from liftnet.imageio import header_doubt, read_image

AXES = nib.eulerangles.euler2mat(0.5, 0.1, -0.7) * [1.5, 2.0, 3.0]
AFFINE = nib.affines.from_matvec(AXES, [11.0, -7.0, 4.0])
SHAPE = (5, 6, 7)  # (i, j, k)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int32", "float32"])
def test_it_is_read_as_its_nifti(tmp_path, dtype):
    """The same voxels, grid and type as nibabel writes to NIfTI."""
    data = np.random.default_rng(0).integers(0, 120, SHAPE).astype(dtype)
    nib.save(nib.MGHImage(data, AFFINE), tmp_path / "a.mgh")
    nib.save(nib.Nifti1Image(data, AFFINE, dtype=data.dtype), tmp_path / "a.nii")
    (array, info), (wanted, other) = (read_image(tmp_path / f"a.{e}") for e in ("mgh", "nii"))
    np.testing.assert_array_equal(array, wanted)
    assert info.dtype == other.dtype == dtype
    assert info.geometry.differs(other.geometry) is None
    assert header_doubt(tmp_path / "a.mgh") is None


def test_refusals(tmp_path):
    """What is cut off, is something else, has several frames or no grid."""
    path = tmp_path / "a.mgh"
    nib.save(nib.MGHImage(np.zeros(SHAPE, np.float32), AFFINE), path)
    whole = path.read_bytes()
    # nibabel writes a footer of 20 bytes, which may lack.
    path.write_bytes(whole[:-20])
    assert read_image(path)[0].shape == SHAPE[::-1]
    for content, message in (
        (whole[:-21], "shorter than its header says: 5 x 6 x 7 voxels"),
        (whole[:100], "Not an MGH image"),
        (b"hello" * 99, "Not an MGH image"),
        (whole[:16] + b"\0\0\0\2" + whole[20:], "expected 3D"),
    ):
        path.write_bytes(content)
        with pytest.raises(DatasetError, match=message):
            read_image(path)
    path.write_bytes(whole[:30] + b"\0" * 12 + whole[42:])
    with pytest.raises(GeometryError, match="no usable grid"):
        read_image(path)
