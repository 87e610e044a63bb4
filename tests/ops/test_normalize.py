"""Intensities to [0, 1] and back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from liftnet.core.plan import ClipAndScale, PercentileScale
from liftnet.ops.normalize import apply, intensity_range, invert, quantile, typical_range

GRID = PercentileScale("grid", 0.001, 0.999, 3.0, 800.0)
FOREGROUND = PercentileScale("foreground", 0.0, 0.998, 0.0, 800.0)


def head(shape: tuple[int, int, int] = (11, 23, 17)) -> np.ndarray:
    """A head whose background is exactly 0, with a few negative voxels."""
    rng = np.random.default_rng(3)
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij"))
    image = np.where((grid**2).sum(0) < 0.9, rng.gamma(4, 100, shape), 0)
    image[0, 0, :4] = -5
    return image.astype(np.float32)


@given(st.integers(1, 60), st.floats(0, 1), st.integers(0, 9))
def test_quantile_equals_numpy(size, q, seed):
    """Linear interpolation between order statistics, as np.quantile."""
    values = np.random.default_rng(seed).normal(0, 50, size)
    assert quantile(values, q) == pytest.approx(float(np.quantile(values, q)), abs=1e-9)


def test_grid_range_is_the_percentile_of_clamped_voxels():
    """Over the grid with negatives as 0, as cWDM does it."""
    image = head()
    expected = np.percentile(np.maximum(image, 0).astype(np.float64), (0.1, 99.9))
    assert intensity_range(image, GRID) == pytest.approx(tuple(expected), rel=1e-6)


def test_foreground_range_does_not_depend_on_the_field_of_view():
    """Zeros around the head change the grid's percentile and leave the foreground's alone."""
    image = head()
    wide = np.pad(image, [(3, 0), (9, 5), (4, 6)])
    assert intensity_range(wide, FOREGROUND) == intensity_range(image, FOREGROUND)
    assert intensity_range(wide, GRID)[1] != intensity_range(image, GRID)[1]


def test_foreground_quantile_meets_the_grid_percentile():
    """At the reference share of foreground, 1 - 0.001 / share is the grid's 99.9 percentile."""
    image = head((31, 43, 37))
    share = float((image > 0).mean())
    matched = PercentileScale("foreground", 0.0, 1 - 0.001 / share, 0.0, 1.0)
    high = intensity_range(image, matched)[1]
    assert high == pytest.approx(intensity_range(image, GRID)[1], rel=2e-3)


@pytest.mark.parametrize("rule", [GRID, FOREGROUND])
def test_odd_images_have_a_range(rule):
    """Empty, negative and constant images give a range of positive length."""
    for value in (0, -3, 7):
        image = np.full((3, 4, 5), value, dtype=np.float32)
        low, high = intensity_range(image, rule)
        assert high > low >= 0
        assert np.isfinite(apply(image, low, high)).all()


def test_round_trip():
    """Inside the range, invert undoes apply; outside it clips; the image itself is not changed."""
    image = head()
    copy = image.copy()
    low, high = intensity_range(image, FOREGROUND)
    scaled = apply(image, low, high)
    assert scaled.dtype == np.float32
    assert (scaled.min(), scaled.max()) == (0, 1)
    np.testing.assert_allclose(invert(scaled, low, high), image.clip(low, high), atol=1e-3)
    np.testing.assert_array_equal(image, copy)


def test_ct_is_fixed():
    """CT has the plan's range, whatever the image holds."""
    ct = ClipAndScale(-1000.0, 2000.0, (0.0, 1.0))
    image = np.array([[[-1024.0, -1000.0, 500.0, 2000.0, 3071.0]]], dtype=np.float32)
    assert intensity_range(image, ct) == typical_range(ct) == (-1000.0, 2000.0)
    np.testing.assert_allclose(apply(image, -1000.0, 2000.0), [[[0, 0, 0.5, 1, 1]]], atol=1e-6)
    assert typical_range(GRID) == (3.0, 800.0)
