"""Numbers that describe an image, on images whose numbers are known."""

import numpy as np
import pytest
from scipy import ndimage

from liftnet.metrics.plausibility import (
    LARGEST_STEP,
    allowed,
    describe_ct,
    describe_mr,
    outlier_slices,
    slice_steps,
)

SHAPE = (24, 15, 17)


def smooth(seed: int, shape: tuple[int, int, int] = SHAPE) -> np.ndarray:
    """An image (D, H, W) of about normal values, alike in neighbouring slices."""
    noise = np.random.default_rng(seed).standard_normal(shape)
    image = ndimage.gaussian_filter(noise, 2.0, mode="wrap")
    return (image / image.std()).astype(np.float32)


def subject(shape: tuple[int, int, int] = SHAPE) -> np.ndarray:
    """A mask (D, H, W) that leaves out a border."""
    mask = np.zeros(shape, bool)
    mask[1:-2, 2:-1, 3:-2] = True
    return mask


def test_fractions_and_range_of_a_ct():
    """240 soft, 100 bone, 60 air, 12 of fat in a mask of 412; what lies outside does not count."""
    values = np.repeat([40.0, 900.0, -950.0, -150.0], [240, 100, 60, 12])
    mask = np.zeros((8, 9, 10), bool)
    mask.reshape(-1)[150 : 150 + 412] = True
    image = np.full(mask.shape, 5000.0, np.float32)
    image[mask] = np.random.default_rng(0).permutation(values)
    found = describe_ct(image, mask)
    assert found["soft fraction"] == pytest.approx(240 / 412)
    assert found["bone fraction"] == pytest.approx(100 / 412)
    assert found["air fraction"] == pytest.approx(60 / 412)
    assert (found["low HU"], found["median HU"], found["high HU"]) == (-950, 40, 900)


def test_numbers_of_an_mr_image():
    """Mean, spread and quantile are numpy's over the mask; an empty mask stands for all."""
    image, mask = smooth(1), subject()
    found, whole = describe_mr(image, mask), describe_mr(image, np.zeros_like(mask))
    for numbers, values in ((found, image[mask]), (whole, image)):
        assert numbers["mean"] == pytest.approx(values.mean(), abs=1e-5)
        assert numbers["spread"] == pytest.approx(values.std(), rel=1e-5)
        assert numbers["high"] == pytest.approx(np.quantile(values, 0.999), rel=1e-5)
    assert whole[LARGEST_STEP] == 0.0


def test_steps_by_hand():
    """Slices that rise by one, but one by four: steps of 1 and one of 4, whatever lies outside."""
    rise = np.array([0, 1, 2, 3, 4, 5, 9, 10, 11, 12, 13, 14], float)
    image = np.broadcast_to(rise[:, None, None], (12, 7, 5)).copy()
    mask = np.zeros(image.shape, bool)
    mask[1:-1, 1:6, 1:4] = True
    image[~mask] = np.random.default_rng(0).normal(0, 99, (~mask).sum())
    steps = slice_steps(image, mask)
    assert np.isnan(steps[[0, 1, 9, 10]]).all()  # outside, and the outermost inside
    np.testing.assert_allclose(steps[2:9], [1, 1, 1, 4, 1, 1, 1])
    np.testing.assert_allclose(slice_steps(7 * image, mask)[2:9], steps[2:9])
    assert describe_mr(image, mask)[LARGEST_STEP] == pytest.approx(4)


@pytest.mark.parametrize("slices", [[2], [3], [10], [19], [20], [9, 10], [7, 13], [2, 20]])
def test_slices_with_an_offset_are_outliers_and_only_they(slices):
    """Inside, near either end of the subject, one or several."""
    image = smooth(2)
    steps = slice_steps(image, subject())
    assert outlier_slices(steps, 3.0) == []
    offsets = np.linspace(9, 13, len(slices))  # not the same, or there is no step between two
    image[slices] += offsets[:, None, None].astype(np.float32)
    assert outlier_slices(slice_steps(image, subject()), 3.0) == slices


def test_a_block_of_slices_and_a_volume_in_two_parts():
    """Three equal offsets are a block; beyond, the first slice of the other part is named."""
    block, parts = smooth(3), smooth(3)
    block[9:12] += 9
    assert outlier_slices(slice_steps(block, subject()), 3.0) == [9, 10, 11]
    parts[11:] += 9
    assert outlier_slices(slice_steps(parts, subject()), 3.0) == [11]


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_few_slices_and_constant_images(depth):
    """Nothing to compare with is no outlier, and no warning of numpy."""
    image = smooth(4, (depth, 15, 17))
    mask = np.ones(image.shape, bool)
    for one in (image, np.zeros_like(image)):
        steps = slice_steps(one, mask)
        assert steps.shape == (depth - 1,)
        assert outlier_slices(steps, 3.0) == []
        assert np.isfinite(list(describe_mr(one, mask).values())).all()


def test_allowed_by_hand():
    """Each of the three rules where it goes furthest."""
    assert allowed("mean", [1.0, 2.0, 3.0, 4.0]) == (-2.0, 7.0)  # the range and once the range
    values = [0.9, 0.9, 0.9, 0.9, 1.0, 1.1, 1.1, 1.1, 1.1, 1.1]
    low, high = allowed("number", values)
    assert high == pytest.approx(1.05 + 3 * 1.4826 * 0.05)
    assert low == pytest.approx(0.9 - 0.2 * (0.5 + 2 / 10))
    assert allowed("median HU", [30.0] * 9) == (10.0, 50.0)  # the least margin
    assert allowed(LARGEST_STEP, [1.1, 1.2, 1.3]) == (-np.inf, 3.0)
    assert allowed(LARGEST_STEP, [2.0, 2.25, 2.25, 99.0]) == (-np.inf, 4.5)  # twice the median


@pytest.mark.parametrize("count", [4, 12])
def test_normal_values_are_seldom_outside(count):
    """Of new values from the same distribution one in fifty at most; far ones all."""
    rng = np.random.default_rng(count)
    outside = 0
    for _ in range(400):
        low, high = allowed("mean", rng.normal(0.5, 0.05, count))
        outside += not low <= rng.normal(0.5, 0.05) <= high
        assert not low <= 3.0 <= high
    assert outside <= 8
