"""The scale of features against scipy's distances; of all problems at once and of single ones."""

import math

import numpy as np
import pytest
import torch
from scipy.spatial import distance

from liftnet.losses.drift import drift_field
from liftnet.losses.feature_scale import (
    FeatureScale,
    mean_distance,
    pairwise_distances,
    scale_of,
    stack_scales,
)

M, WIDTH = 6, 3
PARTS = ("mean", "distance", "cv")


def banks(*sizes: float) -> torch.Tensor:
    """Real features (P, M, F), float64, of one problem per size."""
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randn(len(sizes), M, WIDTH, generator=generator, dtype=torch.float64)
    return drawn * torch.tensor(sizes)[:, None, None] + 5


def test_scale_equals_scipy():
    """Mean, mean distance and spread of a bank, from pairs of different samples."""
    (bank,) = banks(2.0)
    scale = scale_of(bank)
    between = distance.squareform(distance.pdist(bank.numpy()))
    rows = between[~np.eye(M, dtype=bool)].reshape(M, M - 1)
    np.testing.assert_allclose(scale.mean, bank.numpy().mean(0))
    assert float(scale.distance) == pytest.approx(rows.mean(), rel=1e-12)
    assert float(scale.unit) == pytest.approx(rows.mean() / math.sqrt(WIDTH), rel=1e-12)
    assert float(scale.cv) == pytest.approx(rows.std(axis=1).mean() / rows.mean(), rel=1e-12)
    assert float(mean_distance(bank)) == pytest.approx(rows.mean(), rel=1e-12)
    np.testing.assert_allclose(
        pairwise_distances(bank, bank[:4]), distance.cdist(bank, bank[:4]), atol=1e-12
    )


def test_scale_of_banks_that_hardly_vary():
    """Equal slices get a tenth of the mean scale, two samples a spread; all equal is an error."""
    real = banks(1.0, 0.0, 1.0)
    scale = scale_of(real)
    assert float(scale.distance[1]) == pytest.approx(
        0.1 * float(scale.distance[[0, 2]].sum() / 3), rel=1e-6
    )
    generated = torch.randn(3, 4, WIDTH, generator=torch.Generator().manual_seed(1))
    assert bool(drift_field(generated.double(), real, scale=scale).isfinite().all())
    assert 0 < float(scale_of(real[0, :2]).cv) < 0.1
    with pytest.raises(ValueError, match="expected real features that differ"):
        scale_of(real[1])
    with pytest.raises(ValueError, match="M >= 2"):
        scale_of(real[0, :1])


@pytest.mark.parametrize("sizes", [(1.0, 2.0, 0.5, 3.0), (1.0, 0.01, 2.0, 1.0)])
def test_single_scales_stack_to_that_of_all(sizes):
    """Problem after problem, the numbers are those of all at once, the floor of small ones too."""
    real = banks(*sizes)
    got, expected = stack_scales([scale_of(bank) for bank in real]), scale_of(real)
    for part in PARTS:
        torch.testing.assert_close(getattr(got, part), getattr(expected, part))
        torch.testing.assert_close(getattr(got.at([2, 0]), part), getattr(expected, part)[[2, 0]])
    small = float(scale_of(real[1]).distance)
    assert (float(got.distance[1]) > 2 * small) == (min(sizes) < 0.1)


def test_a_problem_may_not_vary():
    """A bank of equal samples has a distance of 0, which becomes the floor, as in `scale_of`."""
    real = banks(1.0, 0.0, 2.0)
    zero = torch.zeros((), dtype=real.dtype)
    single = [scale_of(real[0]), FeatureScale(real[1].mean(0), zero, zero), scale_of(real[2])]
    got, expected = stack_scales(single), scale_of(real)
    for part in PARTS:
        torch.testing.assert_close(getattr(got, part), getattr(expected, part))
    assert float(got.distance.min()) > 0
