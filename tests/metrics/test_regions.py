"""Regions of a CT against scikit-image, and by hand."""

import runpy
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from liftnet.core.errors import DatasetError
from liftnet.metrics.regions import NAMES, find_regions

REFERENCE = runpy.run_path(str(Path(__file__).with_name("ct_reference.py")))


def phantom(seed: int = 0, shape: tuple[int, int, int] = (19, 23, 29)) -> np.ndarray:
    """A CT with soft tissue, bones, closed air, air open to the outside, and a table."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij"))
    texture = ndimage.gaussian_filter(rng.standard_normal(shape), 1.2)
    image = np.where((grid**2).sum(0) < 0.7, 40 + 4000 * texture, -1000.0)
    image[0] = np.where(image[0] > -1000, 10.0, image[0])
    image[8:11, 10:13, 12:17] = -990  # a sinus
    image[8:11, 16:, 14:16] = -1000  # an airway that is open
    image[:, -1, 3:-3] = 150  # a table
    return image.astype(np.float32)


@pytest.mark.parametrize("seed", [0, 1])
def test_regions_are_those_of_scikit_image(seed):
    """Every mask, voxel by voxel; and all regions are there."""
    image = phantom(seed)
    found, wanted = find_regions(image), REFERENCE["regions"](image)
    assert tuple(found) == NAMES
    for name in NAMES:
        assert found[name].dtype == np.bool_
        assert found[name].any(), name
        np.testing.assert_array_equal(found[name], wanted[name], err_msg=name)


def test_limits_and_holes():
    """Bounds of soft tissue count, those of bone and air do not; a hole is body, a notch is not."""
    image = np.full((9, 11, 13), -1000.0)
    image[1:8, 1:10, 1:12] = 0
    image[2, 2, 2:8] = (-100, 200, 201, 300, 301, -101)
    image[4, 4, 4] = -501
    image[4, 8, 4] = -500
    image[4, 0:3, 8] = -1000  # a notch, open to the outside
    found = find_regions(image)
    assert list(found["soft"][2, 2, 2:8]) == [True, True, False, False, False, False]
    assert list(found["bone"][2, 2, 2:8]) == [False, False, False, False, True, False]
    assert np.argwhere(found["air"]).tolist() == [[4, 4, 4]]
    assert found["body"][4, 8, 4]
    assert found["body"][4, 4, 4]
    assert not found["body"][4, 1:3, 8].any()
    around = np.abs(np.indices((9, 11, 13)) - np.array([4, 4, 4]).reshape(3, 1, 1, 1)).sum(0)
    near = found["boundary"][3:6, 3:6, 3:6]
    np.testing.assert_array_equal(near, (around <= 2)[3:6, 3:6, 3:6])


def test_empty_regions_and_no_body():
    """A water phantom has no bone, air or boundary; an image of air has no body: an error."""
    water = np.full((7, 8, 9), -1000.0)
    water[2:5, 2:6, 2:7] = 0
    found = find_regions(water)
    assert {name for name, mask in found.items() if mask.any()} == {"body", "soft"}
    with pytest.raises(DatasetError, match="no voxel above -500 HU") as caught:
        find_regions(np.full((7, 8, 9), -1000.0))
    assert "Hounsfield units" in str(caught.value)
