"""Distances between feature sets, against scipy, loops over samples and closed forms."""

import math

import numpy as np
import pytest
from scipy import linalg, stats
from scipy.spatial.distance import cdist

from liftnet.metrics.distribution import (
    NeighbourDistances,
    diversity,
    energy_distance,
    frechet_distance,
    kernel_distance,
    memorization,
    precision_recall_coverage,
    spread_ratios,
    trace_of_covariance,
)


def features(count: int, width: int, *, seed: int = 0, shift: float = 0.0) -> np.ndarray:
    """Correlated features (count, width) in float32, as an encoder gives them."""
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(99).standard_normal((width, width)) + np.eye(width)
    return (rng.standard_normal((count, width)) @ mixing + shift).astype(np.float32)


@pytest.mark.parametrize(("first", "second"), [(40, 31), (6, 31), (5, 7)])
def test_frechet_distance_is_that_of_the_matrix_square_root(first, second):
    """Covariances by numpy; the root by eigenvalues at any rank, and by sqrtm at full rank."""
    one, other = features(first, 9, seed=1), features(second, 9, seed=2, shift=0.7)
    c1, c2 = (np.cov(x.astype(float), rowvar=False) for x in (one, other))
    values, vectors = np.linalg.eigh(c1)
    root = (vectors * np.sqrt(values.clip(min=0))) @ vectors.T
    shared = np.sqrt(np.linalg.eigvalsh(root @ c2 @ root).clip(min=0)).sum()
    shift = np.square(one.mean(axis=0, dtype=float) - other.mean(axis=0, dtype=float)).sum()
    expected = shift + np.trace(c1) + np.trace(c2) - 2 * shared
    assert frechet_distance(one, other) == pytest.approx(expected, rel=1e-6)
    if min(first, second) > 9:
        by_sqrtm = shift + np.trace(c1 + c2 - 2 * linalg.sqrtm(c1 @ c2).real)
        assert frechet_distance(one, other) == pytest.approx(by_sqrtm, rel=1e-6)


def test_frechet_distance_of_numbers_is_the_closed_form():
    """In one dimension (m1 - m2)^2 + (s1 - s2)^2; symmetric; 0 for the same set in any order."""
    one, other = features(50, 1, seed=1), features(70, 1, seed=2, shift=3.0) * 2
    means = (one.mean(dtype=float) - other.mean(dtype=float)) ** 2
    stds = (one.std(ddof=1, dtype=float) - other.std(ddof=1, dtype=float)) ** 2
    assert frechet_distance(one, other) == pytest.approx(means + stds)
    assert frechet_distance(one, other) == pytest.approx(frechet_distance(other, one))
    assert 0 <= frechet_distance(one, one[::-1]) < 1e-6


def test_frechet_distance_of_given_gaussians():
    """Samples made to have exactly a mean and a diagonal covariance give that Gaussian's value."""
    raw = np.random.default_rng(0).standard_normal((80, 4))
    white = np.linalg.qr(raw - raw.mean(axis=0))[0] * math.sqrt(79)
    stds, means = np.array([1.0, 2.0, 0.5, 3.0]), np.array([0.0, 1.0, -2.0, 0.5])
    expected = np.square(means).sum() + np.square(stds - 1).sum()
    assert frechet_distance(white * stds + means, white[:, ::-1]) == pytest.approx(expected)


def test_frechet_distance_is_biased_at_few_samples():
    """Two samples of one distribution are far apart at N < F and near at N well above F."""
    far = frechet_distance(features(10, 30, seed=1), features(10, 30, seed=2))
    near = frechet_distance(features(2000, 30, seed=1), features(2000, 30, seed=2))
    assert far > 10 * near


def test_kernel_distance_is_that_of_a_loop():
    """The unbiased estimate, pair by pair."""
    one, other = features(7, 5, seed=1), features(9, 5, seed=2, shift=0.4)

    def kernel(x, y):
        return (float(x.astype(float) @ y.astype(float)) / 5 + 1) ** 3

    def within(x):
        return np.mean([kernel(a, b) for i, a in enumerate(x) for j, b in enumerate(x) if i != j])

    between = np.mean([kernel(a, b) for a in one for b in other])
    expected = within(one) + within(other) - 2 * between
    assert kernel_distance(one, other) == pytest.approx(expected, rel=1e-9)


def test_energy_distance_is_that_of_a_loop_and_of_scipy():
    """Pair by pair; in one dimension scipy's, which counts a sample as a pair with itself."""
    one, other = features(7, 5, seed=1), features(9, 5, seed=2, shift=0.4)

    def between(x, y):
        return [float(np.linalg.norm(a.astype(float) - b.astype(float))) for a in x for b in y]

    def within(x):
        return np.sum(between(x, x)) / (len(x) * (len(x) - 1))

    expected = 2 * np.mean(between(one, other)) - within(one) - within(other)
    assert energy_distance(one, other) == pytest.approx(expected)
    one, other = one[:, :1], other[:, :1]
    biased = stats.energy_distance(one[:, 0], other[:, 0]) ** 2
    selves = sum(np.mean(between(x, x)) / (len(x) - 1) for x in (one, other))
    assert energy_distance(one, other) == pytest.approx(biased - selves)


@pytest.mark.parametrize("distance", [kernel_distance, energy_distance])
def test_distances_are_unbiased(distance):
    """Over many pairs of samples of one distribution the mean is 0 within three errors."""
    values = [
        distance(features(8, 3, seed=2 * i), features(11, 3, seed=2 * i + 1)) for i in range(300)
    ]
    assert abs(np.mean(values)) < 3 * np.std(values) / math.sqrt(len(values))
    assert distance(features(40, 3), features(40, 3, seed=1, shift=2.0)) > 3 * np.std(values)


@pytest.mark.parametrize("k", [1, 3])
def test_precision_and_coverage_are_those_of_loops(k):
    """Ball by ball, for sets of different sizes that overlap in part."""
    generated, real = features(23, 4, seed=1, shift=0.8) * 0.9, features(17, 4, seed=2)

    def radius(samples, i):
        among = sorted(math.dist(samples[i], x) for j, x in enumerate(samples) if j != i)
        return among[k - 1]

    real_radii = [radius(real, i) for i in range(17)]
    generated_radii = [radius(generated, i) for i in range(23)]
    inside = [[math.dist(g, r) <= real_radii[j] for j, r in enumerate(real)] for g in generated]
    expected = {
        "precision": sum(any(row) for row in inside) / 23,
        "recall": sum(
            any(math.dist(g, r) <= generated_radii[i] for i, g in enumerate(generated))
            for r in real
        )
        / 17,
        "density": sum(map(sum, inside)) / (k * 23),
        "coverage": sum(any(row[j] for row in inside) for j in range(17)) / 17,
    }
    found = precision_recall_coverage(generated, real, k=k)
    assert found == pytest.approx(expected)
    assert 0 < min(found.values()) < 1


def test_expected_coverage_and_density_of_equal_distributions():
    """The closed forms of Naeem et al.: coverage does not depend on the distribution."""
    rng, count, k = np.random.default_rng(0), 30, 3
    found = [
        precision_recall_coverage(
            np.exp(rng.standard_normal((count, 2))), np.exp(rng.standard_normal((count, 2))), k=k
        )
        for _ in range(400)
    ]
    missed = math.prod((count - i) / (2 * count - i) for i in range(1, k + 1))
    assert np.mean([f["coverage"] for f in found]) == pytest.approx(1 - missed, abs=0.015)
    assert np.mean([f["density"] for f in found]) == pytest.approx(1, abs=0.03)


def test_copies_of_one_sample_are_precise_but_cover_nothing():
    """A collapse: precision and density stay high, recall, coverage and both ratios fall."""
    real = features(60, 6, seed=1)
    copies = real[:1] + 1e-3 * features(60, 6, seed=2)
    found = precision_recall_coverage(copies, real)
    assert found["precision"] == 1
    assert max(found["recall"], found["coverage"]) < 0.2
    ratios = spread_ratios(copies, real)
    assert max(ratios.values()) < 0.01
    assert spread_ratios(real * 2, real) == pytest.approx({"diversity_ratio": 2, "trace_ratio": 4})


@pytest.mark.parametrize("with_held_out", [True, False])
def test_copies_are_counted(with_held_out):
    """Three near copies among ten samples are three tenths.

    Held-out samples decide what is near: one subject scanned twice in training would hide copies.
    """
    training, held_out = features(40, 20, seed=1), features(15, 20, seed=2)
    if with_held_out:
        training[20] = training[21] + 1e-5
    generated = features(10, 20, seed=3, shift=9.0)
    generated[[2, 5, 8]] = training[[7, 0, 31]] + 1e-3
    given = held_out if with_held_out else None
    between, among = cdist(generated, training), cdist(training, training)
    np.fill_diagonal(among, np.inf)
    found = NeighbourDistances(
        generated=between.min(axis=1),
        training=among.min(axis=1),
        held_out=None if given is None else cdist(given, training).min(axis=1),
    )
    summary = memorization(found)
    assert summary["copied_fraction"] == pytest.approx(0.3)
    assert summary["nearest_generated_min"] == pytest.approx(1e-3 * math.sqrt(20), rel=1e-2)
    assert summary["nearest_training_mean"] == pytest.approx(found.training.mean())
    assert ("nearest_held_out_min" in summary) == with_held_out


def test_diversity_and_trace_are_those_of_loops():
    """The mean over pairs, and half the mean squared distance over pairs."""
    samples = features(9, 4, seed=3)
    pairs = [math.dist(samples[i], samples[j]) for i in range(9) for j in range(i)]
    assert diversity(samples) == pytest.approx(np.mean(pairs))
    assert trace_of_covariance(samples) == pytest.approx(np.mean(np.square(pairs)) / 2)


def test_features_that_do_not_fit_are_errors():
    """Shapes, single samples, NaN and k are checked, and named."""
    good = features(6, 4)
    for bad in (features(6, 3), good[:1], good[0]):
        with pytest.raises(ValueError, match=r"expected features \(N, F\) of at least two samples"):
            frechet_distance(good, bad)
    with pytest.raises(ValueError, match="expected finite features"):
        kernel_distance(good, np.full((3, 4), np.nan))
    with pytest.raises(ValueError, match="got k = 6 with 9 generated and 6 real samples"):
        precision_recall_coverage(features(9, 4), good, k=6)
    with pytest.raises(ValueError, match="expected real samples that differ"):
        spread_ratios(good, np.ones((3, 4)))
