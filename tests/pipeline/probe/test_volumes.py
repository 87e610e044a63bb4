"""The common grid of a probe: shifts, gains, orientations and spacings make no copy unlike."""

import numpy as np
import pytest
from scipy import ndimage

from liftnet.core.errors import DatasetError
from liftnet.metrics.memorization import HU_LIMITS
from liftnet.pipeline.probe.volumes import CommonGrid, Frame, find_frame, find_grid, on_grid

SPACING = (4.0, 2.0, 3.0)


def ball(shape: tuple[int, int, int] = (14, 24, 18), shift: tuple[int, int, int] = (0, 0, 0)):
    """A smooth ellipsoid with structure, on zeros, moved by whole voxels."""
    rng = np.random.default_rng(0)
    grids = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    inside = sum(g * g for g in grids) < 0.4
    texture = ndimage.gaussian_filter(rng.standard_normal(shape), 1.5)
    return np.roll(np.where(inside, 100 + 300 * texture, 0), shift, axis=(0, 1, 2)).astype("f4")


def placed(image: np.ndarray, grid: CommonGrid | None = None) -> np.ndarray:
    """The volume on its own or another common grid."""
    frame = find_frame(image, SPACING, "MR")
    return on_grid(image, frame, grid or find_grid([frame], [frame]))


def test_frame_by_hand():
    """A box of ones: centre of mass, reach to the outer side of the voxels, and the range."""
    image = np.zeros((12, 20, 16), dtype=np.float32)
    image[3:8, 4:15, 5:12] = 10
    frame = find_frame(image, SPACING, "MR")
    np.testing.assert_allclose(frame.centre, (5, 9, 8), atol=1e-6)
    np.testing.assert_allclose(frame.reach_mm, (2.5 * 4, 5.5 * 2, 3.5 * 3))
    assert (frame.low, frame.high) == pytest.approx((0, 10), abs=0.1)
    assert find_frame(image, SPACING, "CT")[3:] == HU_LIMITS


def test_grid_by_hand():
    """The longest reach of real volumes on each axis, the median voxel; at most 128^3 of them."""
    one = Frame((0, 0, 0), (10.0, 12.0, 7.0), (2.0, 2.0, 2.0), 0, 1)
    other = one._replace(reach_mm=(8.0, 15.0, 3.0), spacing_mm=(1.0, 1.0, 1.0))
    assert find_grid([one, one, other], [other]) == CommonGrid((10, 15, 7), 2.0)
    large = one._replace(reach_mm=(256.0, 256.0, 128.0))
    grid = find_grid([large], [one])
    assert grid.spacing_mm == pytest.approx((512 * 512 * 256 / 128**3) ** (1 / 3))
    assert np.prod(grid.shape) <= 1.05 * 128**3


def test_interpolation_is_linear_in_mm():
    """Values of a ramp on the common grid are those of its formula about the centre."""
    z, y, x = np.meshgrid(*(np.arange(n, dtype=float) for n in (9, 12, 10)), indexing="ij")
    ramp = 1 * z * 4 + 2 * y * 2 + 3 * x * 3  # mm along each axis times 1, 2, 3
    frame = Frame((4.0, 5.0, 4.5), (0, 0, 0), SPACING, 0.0, 200.0)
    found = on_grid(ramp, frame, CommonGrid((3, 5, 4), 2.0))
    middle = 4 * 4 + 2 * 5 * 2 + 3 * 4.5 * 3
    steps = [2.0 * (np.arange(n) - (n - 1) / 2) for n in (3, 5, 4)]
    a, b, c = np.meshgrid(*steps, indexing="ij")
    np.testing.assert_allclose(found, (middle + a + 2 * b + 3 * c) / 200, atol=1e-5)


def test_gain_offset_shift_and_noise_hardly_matter():
    """The same volume brighter, moved or noisy is nearer to itself than any change of shape."""
    image = ball()
    grid = find_grid(*[[find_frame(image, SPACING, "MR")]] * 2)
    own = placed(image, grid)
    assert np.ptp(own) == pytest.approx(1, abs=0.02)
    np.testing.assert_allclose(placed(3 * image + 20, grid), own, atol=1e-4)
    np.testing.assert_allclose(placed(ball(shift=(2, -3, 1)), grid), own, atol=1e-4)
    noisy = image + np.random.default_rng(1).normal(0, 3, image.shape).astype("f4")
    mirrored = np.abs(placed(image[:, :, ::-1].copy(), grid) - own).mean()
    assert np.abs(placed(noisy, grid) - own).mean() < mirrored / 2


def test_coarser_voxels_are_averaged():
    """Where voxels get larger, fine stripes vanish instead of turning into coarse ones."""
    stripes = np.zeros((16, 16, 48), dtype=np.float32)
    stripes[..., ::2] = 1
    frame = Frame((7.5, 7.5, 23.5), (0, 0, 0), (1.0, 1.0, 1.0), 0.0, 1.0)
    found = on_grid(stripes, frame, CommonGrid((4, 4, 9), 4.0))
    assert np.abs(found - 0.5).max() < 0.05


def test_empty_image_is_refused():
    """A constant image has no foreground."""
    with pytest.raises(DatasetError, match="The image is empty: every voxel is 7"):
        find_frame(np.full((4, 5, 6), 7.0, dtype=np.float32), SPACING, "MR")
