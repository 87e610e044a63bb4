"""Intensities to [0, 1] and back."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from liftnet.core.plan import ClipAndScale, PercentileScale, ZScore
from liftnet.ops.intensities import quantile
from liftnet.ops.normalize import (
    apply,
    background,
    background_value,
    intensity_range,
    invert,
    limits,
    typical_range,
    written_range,
)

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
    for value in (0, -3, 7, 1e-43, 3e38):
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


Z_SCORE = ZScore("foreground", 420.0, 130.0)
CT = ClipAndScale(-1000.0, 2000.0, (-1.0, 1.0))
EVERY = [GRID, FOREGROUND, Z_SCORE, ZScore("grid", 5.0, 9.0), CT, replace(CT, limits=(0.0, 1.0))]


def test_z_score_equals_numpy():
    """Zero mean and unit spread of the grid, or of the foreground up to the 99.5 percentile."""
    image = head()
    steady = np.minimum(image, np.quantile(image, 0.995))
    subject = np.random.default_rng(0).random(image.shape) < 0.3
    low, high = intensity_range(image, Z_SCORE, subject)
    values = steady[subject].astype(np.float64)
    assert (low, high - low) == pytest.approx((values.mean(), values.std()), rel=1e-6)
    scaled = apply(image, low, high, limits(Z_SCORE))
    expected = (image - values.mean()) / values.std()
    np.testing.assert_allclose(scaled, expected, atol=1e-4)
    whole = intensity_range(image, ZScore("grid", 0.0, 1.0))
    assert whole[0] == pytest.approx(image.mean(dtype=np.float64), rel=1e-6)
    assert typical_range(Z_SCORE) == (420.0, 550.0)


def test_z_score_of_odd_images():
    """An empty foreground and a constant image have a range of length 1."""
    image = np.full((3, 4, 5), 7.0, dtype=np.float32)
    nothing = np.zeros(image.shape, dtype=bool)
    assert intensity_range(image, Z_SCORE, nothing) == (0.0, 1.0)
    assert intensity_range(image, Z_SCORE, ~nothing) == (7.0, 8.0)
    tiny = 1e-42 * np.arange(60, dtype=np.float32).reshape(3, 4, 5)
    for one in (tiny, image * 1e37):
        assert np.isfinite(apply(one, *intensity_range(one, Z_SCORE, ~nothing))).all()


@pytest.mark.parametrize("rule", EVERY)
def test_invert_undoes_apply(rule):
    """Within the limits, for every normalization; beyond them it clips to their ends."""
    image = head() * (2.5 if rule in (GRID, FOREGROUND) else 1) - (
        900 if "Clip" in repr(rule) else 0
    )
    low, high = intensity_range(image, rule, image > 0)
    bottom, top = limits(rule)
    scaled = apply(image, low, high, (bottom, top))
    assert scaled.min() >= bottom and scaled.max() <= top
    ends = [low + end * (high - low) if np.isfinite(end) else end for end in (bottom, top)]
    np.testing.assert_allclose(invert(scaled, low, high), image.clip(*ends), atol=2e-3)


@pytest.mark.parametrize(("bottom", "top"), [(-1.0, 1.0), (0.0, 1.0), (-3.0, 5.0)])
def test_ct_reaches_its_limits(bottom, top):
    """The fixed range becomes the limits exactly, and 0 and 1 are what lies between."""
    rule = ClipAndScale(-1000.0, 2000.0, (bottom, top))
    ends = np.array([[[-1024.0, -1000.0, 500.0, 2000.0, 3071.0]]], dtype=np.float32)
    low, high = intensity_range(ends, rule)
    middle = (bottom + top) / 2
    np.testing.assert_allclose(
        apply(ends, low, high, limits(rule)), [[[bottom, bottom, middle, top, top]]], atol=1e-5
    )
    assert written_range(rule) == pytest.approx((-1000.0, 2000.0))


def test_air():
    """Air is the bottom of CT, and zero signal in MR, in file units and in the network's."""
    assert background(CT) == -1000.0
    assert background(Z_SCORE) == 0.0
    assert background(FOREGROUND) == 0.0
    for rule, air in ((CT, -1024.0), (Z_SCORE, 0.0), (FOREGROUND, 0.0)):
        image = head()
        low, high = intensity_range(image, rule, image > 0)
        network = apply(np.array([air]), low, high, limits(rule))
        assert background_value(rule, low, high) == pytest.approx(float(network[0]), abs=1e-6)
    assert written_range(Z_SCORE) == (420.0, 550.0)  # of 0 and 1: it has no limits
    assert written_range(GRID) == (3.0, 800.0)
