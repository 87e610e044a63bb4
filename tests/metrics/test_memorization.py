"""The memorization probe's distances and rule, against sorting, closed forms and simulation."""

import numpy as np
import pytest
from scipy import stats

from liftnet.core.probe import CopyRule
from liftnet.metrics.memorization import (
    DESCRIPTOR_SHAPE,
    Neighbours,
    are_copies,
    copy_rule,
    descriptor,
    held_out_outliers,
    nearest_others,
    nearest_two,
    pooled_distances,
    probe_measure,
    root_ratios,
)
from liftnet.tasks import load_task


def neighbours(first: list[float], second: list[float]) -> Neighbours:
    """Volumes with these distances to training volumes 0 and 1."""
    index = np.zeros(len(first), dtype=int)
    return Neighbours(index, np.array(first), index + 1, np.array(second))


def test_descriptor_is_block_means():
    """On a grid of whole blocks they are the means of a reshaped array, 8 along D."""
    volume = np.random.default_rng(0).random((16, 32, 48), dtype=np.float32)
    wanted = volume.reshape(8, 2, 16, 2, 16, 3).mean(axis=(1, 3, 5))
    assert wanted.shape == DESCRIPTOR_SHAPE
    np.testing.assert_allclose(descriptor(volume), wanted.reshape(-1), rtol=1e-5)
    assert descriptor(volume[:5, :9, :11]).shape == (2048,)  # fewer voxels than blocks


def test_pooled_distances_by_hand():
    """The mean of squares, and exactly 0 for equal descriptors."""
    rng = np.random.default_rng(1)
    one, other = rng.random((3, 20)), rng.random((4, 20))
    other[2] = one[1]
    wanted = np.array([[np.mean((a - b) ** 2) for b in other] for a in one])
    found = pooled_distances(one, other)
    np.testing.assert_allclose(found, wanted, rtol=1e-12)
    assert found[1, 2] == 0


def test_nearest_two_by_sorting():
    """Indices and distances are those of a full sort of each row."""
    distances = np.random.default_rng(2).random((5, 7))
    found = nearest_two(distances)
    for row, *own in zip(distances, *found, strict=True):
        ranked = sorted((value, i) for i, value in enumerate(row))
        assert own == [ranked[0][1], ranked[0][0], ranked[1][1], ranked[1][0]]
    with pytest.raises(
        ValueError, match=r"expected distances \(N >= 1, M >= 2\), got shape \(3, 1"
    ):
        nearest_two(np.ones((3, 1)))


def test_nearest_others_by_sorting():
    """No volume is its own neighbour, also where another one is equal to it."""
    points = np.random.default_rng(4).random((6, 3))
    points[4] = points[1]
    distances = pooled_distances(points, points)
    kept = distances.copy()
    found = nearest_others(distances)
    np.testing.assert_array_equal(distances, kept)  # the caller's distances stay
    assert (found.nearest[1], found.distance[1]) == (4, 0)
    assert (found.nearest[4], found.distance[4]) == (1, 0)
    for i, own in enumerate(zip(*found, strict=True)):
        ranked = sorted((value, j) for j, value in enumerate(distances[i]) if j != i)
        assert own == (ranked[0][1], ranked[0][0], ranked[1][1], ranked[1][0])
    for shape in ((2, 2), (4, 5)):
        with pytest.raises(ValueError, match=r"expected distances \(M, M\), M >= 3, got shape"):
            nearest_others(np.ones(shape))


def test_ratio_is_of_errors():
    """A squared distance gives the ratio of roots; two zeros give 1."""
    found = neighbours([1.0, 4.0, 0.0, 0.0], [4.0, 4.0, 2.0, 0.0])
    np.testing.assert_allclose(root_ratios(found, 1), [0.25, 1, 0, 1])
    np.testing.assert_allclose(root_ratios(found, 2), [0.5, 1, 0, 1])


def test_limits_by_hand():
    """Half the least distance; the mean gap times a quantile of F(2, 2 K)."""
    held_out = neighbours([9.0, 16.0, 25.0], [9.2, 16.1, 25.5])
    gaps = [1 - 9 / 9.2, 1 - 16 / 16.1, 1 - 25 / 25.5]
    rule = copy_rule(held_out, num_predicted=4, power=1)
    assert rule.distance_limit == 4.5
    # F(2, 2 K): the chance of more than f is (1 + f / K)^-K.
    factor = 3 * ((0.01 / 4) ** (-1 / 3) - 1)
    assert rule.ratio_limit == pytest.approx(1 - factor * np.mean(gaps))
    assert "below 4.5 (half the least error of 3 held-out" in rule.description
    assert copy_rule(held_out, num_predicted=4, power=2).distance_limit == 9 / 4  # (3 / 2)^2
    one = copy_rule(neighbours([9.0], [9.2]), num_predicted=4, power=1)
    assert "of 1 held-out volume)" in one.description
    wide = neighbours([1.0, 1.0], [2.0, 2.0])
    assert copy_rule(wide, num_predicted=4, power=1).ratio_limit == 0  # never below


def test_either_limit_makes_a_copy():
    """Near alone, or nearer than the second nearest alone, or neither."""
    rule = CopyRule(distance_limit=2.0, ratio_limit=0.6, description="")
    found = neighbours([1.9, 5.0, 5.0, 2.0], [2.0, 9.0, 6.0, 2.0])
    assert are_copies(found, rule, 1).tolist() == [True, True, False, False]


def test_false_alarms_are_as_rare_as_promised():
    """With exponential gaps 1 % of probes of 20 volumes raise one; of 2,000, within noise."""
    rng = np.random.default_rng(3)
    alarms = 0
    for _ in range(2000):
        gaps = rng.exponential(0.02, 32)
        first = rng.uniform(0.9, 1.1, 32)
        found = neighbours(list(first), list(first / (1 - gaps)))
        held_out, predicted = (
            Neighbours(*(v[s] for v in found)) for s in (slice(12), slice(12, 32))
        )
        rule = copy_rule(held_out, num_predicted=20, power=1)
        alarms += are_copies(predicted, rule, 1).any()
    assert stats.binomtest(int(alarms), 2000, 0.01).pvalue > 1e-4


def test_held_out_outlier_is_named():
    """One held-out volume that is far nearer than the others, and one with a lone neighbour."""
    first, second = list(np.linspace(5, 6, 12)), list(np.linspace(5.1, 6.1, 12))
    assert not held_out_outliers(neighbours(first, second), 1).any()
    near = held_out_outliers(neighbours([*first, 2.0], [*second, 2.01]), 1)
    lone = held_out_outliers(neighbours([*first, 5.5], [*second, 9.0]), 1)
    assert near.nonzero()[0].tolist() == lone.nonzero()[0].tolist() == [12]
    assert not held_out_outliers(neighbours([1.0], [9.0]), 1).any()  # nothing to compare with


def test_measures_are_those_of_the_paper():
    """Of every task; HU for CT only."""
    paper = {"unconditional": "voxels", "missing_modality": "blocks", "translation": "hu"}
    assert {name: load_task(name).probed_by for name in paper} == paper
    assert probe_measure("voxels", "MR").name == "voxel_l1"
    assert probe_measure("blocks", "MR").pooled
    assert probe_measure("hu", "CT").unit == "HU"
    assert probe_measure("hu", "MR").unit == "in [-1, 1]"
