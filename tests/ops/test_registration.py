"""How far two images lie apart."""

import numpy as np
import pytest
from scipy import ndimage

from liftnet.core.geometry import AxisOrder, Geometry, Volume, axis_order, turn
from liftnet.ops.registration import (
    REACH_MM,
    find_shift,
    normalized_mutual_information,
    own_information,
    working_spacing,
)

SIZE_MM = (70.0, 84.0, 98.0)


def head(
    spacing_mm: tuple[float, float, float], shift_mm: tuple[float, float, float] = (0, 0, 0)
) -> tuple[np.ndarray, np.ndarray]:
    """MR-like and CT-like images (D, H, W) of one object, the CT moved by a shift.

    The object is a formula of the position in mm, so that a shift needs no interpolation.
    """
    shape = [round(size / s) for size, s in zip(SIZE_MM, spacing_mm, strict=True)]
    middles = [(np.arange(n) - (n - 1) / 2) * s for n, s in zip(shape, spacing_mm, strict=True)]

    def tissue(offset: tuple[float, float, float]) -> tuple[np.ndarray, np.ndarray]:
        grid = [m - o for m, o in zip(middles, offset, strict=True)]
        z, y, x = np.meshgrid(*grid, indexing="ij")
        radius = np.sqrt((z / 24) ** 2 + (y / 29) ** 2 + (x / 36) ** 2)
        soft = np.sin(x / 4) + np.cos(y / 5 + 1) * np.sin(z / 3.5 + x / 9)
        return radius, soft

    radius, soft = tissue((0, 0, 0))
    mr = np.select([radius > 1, radius > 0.85], [0, 60], 500 + 150 * soft)
    radius, soft = tissue(shift_mm)
    ct = np.select([radius > 1, radius > 0.85], [-1000, 900], 40 - 30 * soft)
    rng = np.random.default_rng(0)
    noisy = np.where(mr > 0, np.abs(mr + rng.normal(0, 20, mr.shape)), 0)
    return noisy.astype(np.float32), (ct + rng.normal(0, 10, ct.shape)).astype(np.float32)


@pytest.mark.parametrize("spacing_mm", [(2.0, 2.0, 2.0), (2.5, 1.0, 1.0), (1.5, 3.0, 2.2)])
@pytest.mark.parametrize(
    "shift_mm", [(0.0, 0.0, 0.0), (0.0, 4.0, 0.0), (3.1, -1.7, 0.6), (-2.4, 5.5, -8.0)]
)
def test_a_known_shift_is_recovered(spacing_mm, shift_mm):
    """Within half a working voxel along each axis, whatever the voxels' shape; signs included."""
    mr, ct = head(spacing_mm, shift_mm)
    found = find_shift(mr, ct, mr > 0, spacing_mm)
    step = np.maximum(2.0, spacing_mm)
    assert (np.abs(np.subtract(found, shift_mm)) < 0.5 * step).all(), found


def test_a_rolled_image_is_found_exactly():
    """A roll by whole voxels along each axis, which numpy defines: not off by a tenth."""
    mr, ct = head((2.0, 2.0, 2.0))
    found = find_shift(mr, np.roll(ct, (1, -3, 2), axis=(0, 1, 2)), mr > 0, (2.0, 2.0, 2.0))
    np.testing.assert_allclose(found, (2.0, -6.0, 4.0), atol=0.2)


def test_further_than_the_search():
    """A pair 17 mm apart is measured at the end of the search, not somewhere inside."""
    mr, ct = head((2.0, 2.0, 2.0), (0.0, 0.0, 17.0))
    _, _, along = find_shift(mr, ct, mr > 0, (2.0, 2.0, 2.0))
    assert along == REACH_MM


def test_stored_orientation_does_not_matter():
    """The same to the last bit for a turned file, as everything is measured in canonical axes."""
    mr, ct = head((2.5, 2.0, 1.6), (0.0, 4.0, -3.0))
    vectors = ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0))
    grid = Geometry(mr.shape, (2.5, 2.0, 1.6), (0.0, 0.0, 0.0), vectors)
    found = []
    for order, flip in [((0, 1, 2), (False,) * 3), ((2, 0, 1), (True, False, True))]:
        stored = turn(Volume(np.stack([mr, ct]), grid), AxisOrder(order, flip))
        volume = turn(stored, axis_order(stored.geometry, "axial"))
        images = np.ascontiguousarray(volume.voxels)
        found.append(find_shift(*images, images[0] > 0, volume.geometry.spacing_mm))
    assert found[0] == found[1]


def test_unrelated_images_have_no_shift():
    """Noise against noise gives no answer instead of an arbitrary one; nor does a constant."""
    rng = np.random.default_rng(1)
    noise = rng.random((2, 40, 44, 38), dtype=np.float32)
    everywhere = np.ones(noise.shape[1:], dtype=bool)
    assert find_shift(*noise, everywhere, (2.0, 2.0, 2.0)) is None
    assert find_shift(noise[0], np.ones_like(noise[0]), everywhere, (2.0, 2.0, 2.0)) is None


@pytest.mark.parametrize("shape", [(1, 30, 41), (3, 25, 30), (2, 2, 2)])
def test_thin_stacks(shape):
    """A few slices are enough, and no axis is searched further than it reaches."""
    rng = np.random.default_rng(2)
    image = ndimage.gaussian_filter(rng.random(shape), (0, 1, 1)).astype(np.float32)
    found = find_shift(image, 1 - image, np.ones(shape, dtype=bool), (5.0, 2.0, 2.0))
    assert found is None or found == pytest.approx((0, 0, 0), abs=0.3)
    assert (found is None) == (shape == (2, 2, 2))


def test_working_voxels():
    """About 2 mm, never finer than the file, and coarser where the body is larger."""
    assert working_spacing((0, 0, 0), (60, 90, 80), (2.5, 1.0, 0.9)) == (2.5, 2.0, 1.8)
    assert working_spacing((9, 9, 9), (30, 30, 30), (5.0, 5.0, 5.0)) == (5.0, 5.0, 5.0)
    step = working_spacing((0, 0, 0), (500, 512, 512), (1.0, 1.0, 1.0))
    assert min(step) > 2 and np.prod(np.array((544, 556, 556)) / step) < 8e6


def test_mutual_information():
    """2 for images that determine each other, 1 for unrelated ones, by Studholme's formula."""
    rng = np.random.default_rng(2)
    a = rng.random(50_000)
    assert normalized_mutual_information(a, 1 - a) == pytest.approx(2.0, abs=0.02)
    assert normalized_mutual_information(a, rng.random(50_000)) == pytest.approx(1.0, abs=0.02)
    four = [np.tile(v, 50) for v in ([0.0, 0.0, 1.0, 1.0], [0.0, 1.0, 0.0, 0.0])]
    h = lambda *p: -sum(x * np.log(x) for x in p)  # noqa: E731
    expected = (h(0.5, 0.5) + h(0.25, 0.75)) / h(0.25, 0.25, 0.5)
    assert normalized_mutual_information(*four) == pytest.approx(expected)


@pytest.mark.parametrize("left", [0, 2])
def test_own_information(left):
    """Right pairs share something of their own; those of two subjects, or mirrored, do not."""
    rng = np.random.default_rng(4)
    shape = (38, 44, 50)
    axes = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    inside = sum(x**2 for x in axes) < 0.9

    def subject(seed: int) -> np.ndarray:
        noise = np.random.default_rng(seed).random(shape)
        return ndimage.gaussian_filter(noise, 2.0) * 20 + sum(x**2 for x in axes)

    def seen(tissue: np.ndarray, sign: float) -> np.ndarray:
        image = 100 + sign * 10 * tissue + rng.normal(0, 0.3, shape)
        return np.where(inside, image, 0).astype(np.float32)

    one, two = subject(0), subject(1)
    first, second = seen(one, 1.0), seen(one, -2.0)
    own = own_information(first, second, inside, left=left)
    assert 0.05 < own < 0.7
    for wrong in (seen(two, -2.0), seen(two, 1.0), np.flip(second, (0, 1, 2)).copy()):
        assert abs(own_information(first, wrong, inside, left=left)) < 0.015
    mirrored = np.flip(second, left).copy()
    assert own_information(first, mirrored, inside, left=left) == pytest.approx(-own, abs=0.02)
    assert own_information(first, 3 * first + 7, inside, left=left) > 0.9
    assert own_information(first[:3, :3, :3], first[:3, :3, :3], inside[:3, :3, :3], left=left) == 0
