"""Distances between all volumes of two cohorts."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from liftnet.metrics import voxel_distances
from liftnet.metrics.distribution import diversity, trace_of_covariance
from liftnet.metrics.voxel_distances import (
    mean_absolute_distances,
    mean_squared_distances,
    spread,
)


def cohorts(columns: int = 700) -> tuple[np.ndarray, np.ndarray]:
    """Two sets of volumes as float16 rows around one mean, of different numbers."""
    rng = np.random.default_rng(0)
    mean = rng.random(columns)
    first, second = (mean + 0.1 * rng.random((n, columns)) for n in (4, 6))
    return first.astype(np.float16), second.astype(np.float16)


def test_distances_are_those_of_scipy(monkeypatch):
    """Mean absolute and mean squared differences of all pairs, in parts of a few columns too."""
    first, second = cohorts()
    exact = [x.astype(np.float64) for x in (first, second)]
    for numbers in (2**17, 60):
        monkeypatch.setattr(voxel_distances, "NUMBERS_AT_ONCE", numbers)
        monkeypatch.setattr(voxel_distances, "MIN_COLUMNS", 7)
        got = mean_absolute_distances(first, second)
        np.testing.assert_allclose(got, cdist(*exact, "cityblock") / 700, rtol=1e-5)
    got = mean_squared_distances(first, second)
    assert got.shape == (4, 6)
    np.testing.assert_allclose(got, cdist(*exact, "sqeuclidean") / 700, rtol=1e-4)
    assert mean_squared_distances(first, first).diagonal().max() < 1e-8
    assert mean_absolute_distances(first, first).diagonal().max() == 0


def test_spread_is_diversity_and_trace():
    """Per voxel, the same as from the rows themselves."""
    _, rows = cohorts()
    mean, trace = spread(mean_squared_distances(rows, rows))
    np.testing.assert_allclose(mean, diversity(rows) / np.sqrt(700), rtol=1e-4)
    np.testing.assert_allclose(trace, trace_of_covariance(rows) / 700, rtol=1e-4)


def test_wrong_shapes():
    """Rows of different lengths and distances that are not square are refused."""
    first, second = cohorts()
    with pytest.raises(ValueError, match=r"rows \(N, V\) and \(M, V\) of the same V, got shapes"):
        mean_absolute_distances(first, second[:, :5])
    with pytest.raises(ValueError, match=r"distances \(N, N\) of two or more, got shape \(4, 6\)"):
        spread(mean_squared_distances(first, second))
