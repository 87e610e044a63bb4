"""Writing images, read back with nibabel."""

import nibabel as nib
import numpy as np
import pytest

from liftnet.core.errors import LiftnetError
from liftnet.core.geometry import Geometry
from liftnet.imageio import write_image

GEOMETRY = Geometry(
    (4, 5, 6), (3.0, 2.0, 1.5), (10.0, -20.0, 30.0), ((0, 0, 1), (0, -1, 0), (-1, 0, 0))
)


def test_array_and_affine(tmp_path):
    """Voxels and world positions are where nibabel expects them."""
    data = np.arange(120, dtype=np.float32).reshape(4, 5, 6)
    write_image(tmp_path / "sub" / "x.nii.gz", data, GEOMETRY, dtype="float32")
    image = nib.load(tmp_path / "sub" / "x.nii.gz")
    np.testing.assert_array_equal(np.asarray(image.dataobj), data.T)
    for index in [(0, 0, 0), (3, 4, 5), (1, 2, 4)]:
        x, y, z = GEOMETRY.world(index)
        np.testing.assert_allclose(image.affine @ [*index[::-1], 1], [-x, -y, z, 1], atol=1e-5)


@pytest.mark.parametrize(
    ("dtype", "values", "expected"),
    [
        ("int16", [-4e4, -1.5, 0.4, 2.6, 4e4], [-32768, -2, 0, 3, 32767]),
        ("uint8", [-3, 0.5, 1.5, 254.6, 999], [0, 0, 2, 255, 255]),
        ("int32", [-3e9, -1, 0, 1, 3e9], [-(2**31), -1, 0, 1, 2**31 - 1]),
        ("uint32", [-3e9, -1, 0, 1, 9e9], [0, 0, 0, 1, 2**32 - 1]),
        ("int64", [-1e30, -1, 0, 1, 1e30], [-(2**63), -1, 0, 1, 2**63 - 1024]),
    ],
)
def test_integers_are_rounded_and_limited(tmp_path, dtype, values, expected):
    """Integer types round to the nearest and stop at their limits instead of wrapping."""
    geometry = Geometry((1, 1, 5), (1, 1, 1), (0, 0, 0), GEOMETRY.direction)
    voxels = np.array(values, dtype=np.float32).reshape(1, 1, 5)
    write_image(tmp_path / "x.nii", voxels, geometry, dtype=dtype)
    image = nib.load(tmp_path / "x.nii")
    assert image.get_data_dtype() == dtype
    assert np.asarray(image.dataobj).ravel().tolist() == expected


def test_whole_or_not_at_all(tmp_path, monkeypatch):
    """A failing write leaves the old file and no temporary one."""
    import SimpleITK as sitk

    path = tmp_path / "x.nii"
    write_image(path, np.ones(GEOMETRY.shape), GEOMETRY, dtype="float32")
    before = path.read_bytes()

    def fail(image, name, **options):
        with open(name, "wb") as file:  # noqa: PTH123
            file.write(b"half")
        raise RuntimeError("no space")

    monkeypatch.setattr(sitk, "WriteImage", fail)
    with pytest.raises(LiftnetError, match="could not be written"):
        write_image(path, np.zeros(GEOMETRY.shape), GEOMETRY, dtype="float32")
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["x.nii"]


def test_wrong_calls(tmp_path):
    """A wrong shape and an unknown type are wrong calls."""
    with pytest.raises(ValueError, match="expected voxels of shape"):
        write_image(tmp_path / "x.nii", np.ones((5, 4, 6)), GEOMETRY, dtype="float32")
    with pytest.raises(ValueError, match="expected an integer type"):
        write_image(tmp_path / "x.nii", np.ones(GEOMETRY.shape), GEOMETRY, dtype="float16")


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("dtype", ["int16", "float32"])
def test_no_image_holds_nan(tmp_path, value, dtype):
    """One voxel is enough for a refusal, in every type, and nothing is left."""
    voxels = np.ones(GEOMETRY.shape, np.float32)
    voxels[0, 1, 2] = value
    with pytest.raises(LiftnetError, match="of the image to be written are NaN or infinite"):
        write_image(tmp_path / "x.nii.gz", voxels, GEOMETRY, dtype=dtype)
    assert list(tmp_path.iterdir()) == []
