"""Foreground, Otsu, boxes."""

import numpy as np
import pytest
from skimage.filters import threshold_otsu

from liftnet.ops import mask
from liftnet.ops.mask import bounding_box, foreground, otsu_threshold


def two_classes(seed: int = 0) -> np.ndarray:
    """An image with dark background and a bright box."""
    rng = np.random.default_rng(seed)
    image = rng.normal(20, 8, (7, 11, 13))
    image[2:5, 3:9, 4:11] += 90
    return image.astype(np.float32)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_otsu_equals_skimage(seed):
    """The threshold is scikit-image's, to float32."""
    image = two_classes(seed)
    assert otsu_threshold(image) == pytest.approx(threshold_otsu(image), rel=1e-5)


def test_otsu_of_a_large_image_is_sampled(monkeypatch):
    """From every n-th voxel the threshold stays between the classes."""
    image = two_classes()
    monkeypatch.setattr(mask, "MAX_OTSU_VOXELS", 300)
    assert abs(otsu_threshold(image) - threshold_otsu(image)) < 0.1 * np.ptp(image)


def test_otsu_of_a_constant_image_finds_nothing():
    """No voxel of a constant image is foreground."""
    image = np.full((1, 3, 4, 5), 7.0, dtype=np.float32)
    assert not foreground(image, "otsu").any()


def test_foreground_is_the_union_of_channels():
    """Any channel counts; negatives do not; an unknown rule is refused."""
    voxels = np.zeros((2, 3, 4, 5), dtype=np.float32)
    voxels[0, 1, 1, 1], voxels[1, 2, 3, 4], voxels[1, 0, 0, 0] = 1, 2, -3
    assert np.argwhere(foreground(voxels, "nonzero")).tolist() == [[1, 1, 1], [2, 3, 4]]
    both = np.stack([two_classes(), np.roll(two_classes(1), 2, axis=2)])
    expected = (both[0] > threshold_otsu(both[0])) | (both[1] > threshold_otsu(both[1]))
    np.testing.assert_array_equal(foreground(both, "otsu"), expected)
    with pytest.raises(ValueError, match="expected the rule 'nonzero' or 'otsu', got 'brain'"):
        foreground(voxels, "brain")


def test_bounding_box():
    """The smallest half-open box; the whole grid if nothing is inside."""
    inside = np.zeros((4, 6, 8), dtype=bool)
    assert bounding_box(inside) == ((0, 0, 0), (4, 6, 8))
    inside[1, 2, 3] = inside[2, 5, 3] = True
    assert bounding_box(inside) == ((1, 2, 3), (3, 6, 4))
