"""Through-plane metrics against numpy and scipy."""

import numpy as np
import pytest
from image_pairs import pair_of
from scipy import ndimage, stats

from liftnet.metrics.coherence import delta_z_correlation, delta_z_mae

SHAPE = (13, 23, 17)


def volumes(shape=SHAPE):
    """A prediction with noisy slices, its reference, and a mask."""
    rng = np.random.default_rng(0)
    reference = ndimage.gaussian_filter(rng.random(shape), 1.5)
    reference = (reference - reference.min()) / np.ptp(reference)
    predicted = reference + 0.05 * rng.standard_normal(shape)
    predicted *= 1 + 0.3 * rng.standard_normal((shape[0], 1, 1))
    mask = ndimage.gaussian_filter(rng.random(shape), 2) > 0.5
    return predicted.astype(np.float32), reference.astype(np.float32), mask


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("use_mask", [False, True], ids=["whole", "masked"])
def test_delta_z_metrics_are_those_of_numpy_and_scipy(axis, use_mask):
    """Differences by numpy's diff; one counts if the mask's minimum over its two voxels is set."""
    predicted, reference, mask = volumes()
    p, r = (np.diff(volume.astype(float), axis=axis) for volume in (predicted, reference))
    pairs = np.lib.stride_tricks.sliding_window_view(mask, 2, axis=axis).all(-1)
    chosen = pairs if use_mask else np.ones_like(pairs)
    pair, place = pair_of(predicted, reference, mask, axis=axis), "brain" if use_mask else ""
    expected = np.abs(p - r)[chosen].mean()
    assert delta_z_mae(pair, place) == pytest.approx(expected)
    expected = stats.pearsonr(p[chosen], r[chosen]).statistic
    assert delta_z_correlation(pair, place) == pytest.approx(expected)


def test_a_ramp_along_z_costs_its_slope():
    """A constant gradient has no correlation."""
    reference = volumes()[1]
    ramp = np.arange(SHAPE[0], dtype=np.float32)[:, None, None]
    assert delta_z_mae(pair_of(reference + 0.5 * ramp, reference), "") == pytest.approx(
        0.5, abs=1e-5
    )
    assert delta_z_mae(pair_of(reference + 7, reference), "") == pytest.approx(0, abs=1e-5)
    assert delta_z_correlation(pair_of(np.broadcast_to(ramp, SHAPE), reference), "") == 0


def test_a_region_without_neighbours_has_no_value():
    """Single voxels hold no difference."""
    predicted, reference, _ = volumes()
    mask = np.zeros(SHAPE, dtype=bool)
    mask[::2] = True
    for metric in (delta_z_mae, delta_z_correlation):
        assert metric(pair_of(predicted, reference, mask), "brain") is None
