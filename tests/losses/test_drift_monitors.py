"""The monitors of the drifting loss in closed form, and the rule that calls a collapse."""

import math

import numpy as np
import pytest
import torch

from liftnet.losses.drift_monitors import (
    collapsed,
    diversity_ratio,
    effective_neighbours,
    nearest_ratio,
    trace_ratio,
)
from liftnet.losses.feature_scale import FeatureScale, scale_of

SQUARE = torch.tensor([[0.0, 0.0], [0.0, 2.0], [2.0, 0.0], [2.0, 2.0]])


def test_ratios_of_a_square():
    """Against the corners of a square: two points, and the square itself at half its size."""
    pair = torch.tensor([[0.0, 1.0], [0.0, 2.0]])
    mean = (4 * 2 + 2 * math.sqrt(8)) / 6  # four sides, two diagonals
    assert float(diversity_ratio(pair, SQUARE)) == pytest.approx(1 / mean)
    assert float(trace_ratio(pair, SQUARE)) == pytest.approx(0.5 / (2 * 4 / 3))
    assert float(nearest_ratio(pair, SQUARE)) == pytest.approx((1 + 0) / 2 / 2)
    assert float(diversity_ratio(SQUARE / 2, SQUARE)) == pytest.approx(0.5)
    assert float(trace_ratio(SQUARE / 2, SQUARE)) == pytest.approx(0.25)
    half = (0 + 1 + 1 + math.sqrt(2)) / 4
    assert float(nearest_ratio(SQUARE / 2, SQUARE)) == pytest.approx(half / 2)


def test_many_problems_and_types():
    """One number per problem as if alone, in float32 from bfloat16, NaN for a constant bank."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 3, 4, 5, generator=generator).bfloat16().requires_grad_()
    y = torch.randn(2, 3, 6, 5, generator=generator).bfloat16()
    for monitor in (diversity_ratio, trace_ratio, nearest_ratio):
        got = monitor(x, y)
        assert got.shape == (2, 3)
        assert got.dtype == torch.float32
        assert not got.requires_grad
        torch.testing.assert_close(got[1, 2], monitor(x[1, 2].double(), y[1, 2].double()).float())
        assert math.isnan(float(monitor(SQUARE, torch.zeros(3, 2))))
        for a, b in ((SQUARE[:1], SQUARE), (SQUARE, SQUARE[:1]), (SQUARE, SQUARE[None])):
            with pytest.raises(ValueError, match="N, M >= 2"):
                monitor(a, b)


def test_effective_neighbours_in_closed_form():
    """Two far samples and three real ones: weights from kernels, normalized over both axes."""
    x = torch.tensor([[0.0], [5.0]], dtype=torch.float64)
    y = torch.tensor([[1.0], [2.0], [4.0]], dtype=torch.float64)
    scale = FeatureScale(y.mean(0), torch.tensor(2.0).double(), torch.tensor(0.5).double())
    got = effective_neighbours(x, y, scale=scale, temperatures=(0.5, 2.0))
    assert got.shape == (2,)
    for value, temperature in zip(got, (0.5, 2.0), strict=True):
        kernel = np.exp(-np.abs(x.numpy() - y.numpy().T) / temperature)  # spread 0.5 x 2
        weights = np.sqrt(kernel / kernel.sum(0))  # a row's own sum cancels in 1 / sum w^2
        weights = np.sqrt(kernel) * weights
        weights /= weights.sum(1, keepdims=True)
        assert float(value) == pytest.approx(float((1 / (weights**2).sum(1)).mean()))


def test_effective_neighbours_between_one_and_all():
    """A narrow temperature leaves one neighbour, a wide one all; problems stay apart."""
    generator = torch.Generator().manual_seed(1)
    y = torch.randn(2, 64, 8, generator=generator)
    x = y[:, :5] + 0.01
    got = effective_neighbours(x, y, scale=scale_of(y), temperatures=(0.01, 0.5, 100.0))
    assert got.shape == (2, 3)
    torch.testing.assert_close(got[:, 0], torch.ones(2), rtol=0, atol=1e-2)
    torch.testing.assert_close(got[:, 2], torch.full((2,), 64.0), rtol=1e-2, atol=0)
    assert bool((got[:, 0] < got[:, 1]).all() and (got[:, 1] < got[:, 2]).all())
    alone = effective_neighbours(x[1], y[1], scale=scale_of(y[1]), temperatures=(0.5,))
    torch.testing.assert_close(got[1, 1:2], alone)


def test_a_collapse_is_called():
    """Both ratios low at five checks without a rise; the text has the numbers."""
    diversity, trace = [0.9, 0.5, 0.1, 0.08, 0.07, 0.07, 0.066], [0.8, 0.2] + [0.01] * 5
    reason = collapsed(diversity, trace)
    assert reason is not None
    assert "all alike" in reason
    assert "0.100" in reason
    assert "0.0100" in reason


@pytest.mark.parametrize(
    ("diversity", "trace"),
    [
        ([0.05] * 4, [0.01] * 4),  # too early
        ([0.05] * 4 + [0.2], [0.01] * 5),  # one check at the limit
        ([0.05] * 5, [0.01] * 4 + [0.1]),  # outliers hold the trace
        ([0.02, 0.02, 0.03, 0.04, 0.05], [0.01] * 5),  # leaving a constant start
        ([0.05] * 4 + [math.nan], [0.01] * 5),  # not a number
        ([0.05] * 5 + [0.83] * 5, [0.01] * 5 + [0.7] * 5),  # long past
        ([0.73] * 9, [0.72] * 9),
    ],
)
def test_no_collapse_is_called_before_it_is_certain(diversity, trace):
    """A short, noisy, rising, mixed or sound history gives no verdict."""
    assert collapsed(diversity, trace) is None


def test_wrong_histories():
    """A diversity without its trace is refused."""
    with pytest.raises(ValueError, match="as many trace as diversity"):
        collapsed([0.1, 0.1], [0.1])
