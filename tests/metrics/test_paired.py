"""Paired statistics against scipy and an example computed by hand."""

import math

import numpy as np
import pytest
from scipy import stats

from liftnet.metrics import paired

# Hand-computed: sizes 1 to 6 are the ranks, of which 2 and 1 are negative: W+ = 18, W- = 3.
BY_HAND = (3.0, -2.0, 5.0, 4.0, -1.0, 6.0)


def changes(n=31, seed=0, shift=0.4):
    """One difference per case."""
    return np.random.default_rng(seed).normal(shift, 1, size=n)


def test_an_example_by_hand():
    """W+ = 18 and W- = 3 of 21; 10 of 64 sign patterns have a sum of at most 3 in either tail."""
    found = paired.summarize_differences(BY_HAND, better="higher")
    assert found.mean == pytest.approx(15 / 6)
    # Subsets of {1..6} with a sum of at most 3: {}, {1}, {2}, {3}, {1, 2}. Twice 5 of 64.
    assert found.p == pytest.approx(10 / 64) == found.p_holm
    assert found.rank_biserial == pytest.approx((18 - 3) / 21)
    # Squares sum to 91, minus 6 * 2.5 squared is 53.5; over 5 it is 10.7.
    assert found.cohens_dz == pytest.approx(2.5 / math.sqrt(10.7))
    assert (found.wins, found.ties, found.losses, found.n, found.infinite) == (4, 0, 2, 6, 0)


@pytest.mark.parametrize("seed", range(3))
def test_statistics_are_those_of_scipy(seed):
    """Wilcoxon's p and statistic, the t value behind d_z, and the percentile bootstrap."""
    sample = changes(seed=seed)
    found = paired.summarize_differences(sample, better="higher")
    test = stats.wilcoxon(sample)
    assert found.p == pytest.approx(test.pvalue)
    total = len(sample) * (len(sample) + 1) / 2
    assert abs(found.rank_biserial) == pytest.approx(1 - 2 * test.statistic / total)
    t = stats.ttest_1samp(sample, 0).statistic
    assert found.cohens_dz == pytest.approx(t / math.sqrt(len(sample)))
    expected = stats.bootstrap(
        (sample,), np.mean, method="percentile", n_resamples=10_000, rng=1, batch=1000
    ).confidence_interval
    width = expected.high - expected.low
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.05 * width)


def test_ties_count_for_no_side():
    """Pairs without a difference enter neither ranks nor test, only mean, n and ties."""
    with_ties = paired.summarize_differences([*BY_HAND, 0, 0], better="higher")
    without = paired.summarize_differences(BY_HAND, better="higher")
    assert (with_ties.p, with_ties.rank_biserial) == (without.p, without.rank_biserial)
    assert (with_ties.n, with_ties.ties, with_ties.wins) == (8, 2, 4)
    assert with_ties.mean == pytest.approx(15 / 8)


def test_identical_values_claim_nothing():
    """Difference 0, interval [0, 0], p 1, no effect, no wins."""
    values = [*changes().tolist(), math.inf]
    same = paired.differ(values, values, "higher")
    found = paired.summarize_differences(same, better="lower")
    assert (found.mean, found.low, found.high, found.p) == (0, 0, 0, 1)
    assert (found.rank_biserial, found.cohens_dz) == (0, 0)
    assert (found.wins, found.ties, found.losses) == (0, len(values), 0)
    assert not paired.is_shown(found)


def test_swapping_flips_signs():
    """Baseline and method exchanged: everything signed changes sign, wins are losses."""
    one, other = 28 + changes(seed=1), 28 + changes(seed=2, shift=0)
    found, swapped = (
        paired.summarize_differences(paired.differ(*pair, "lower"), better="lower")
        for pair in ((one, other), (other, one))
    )
    assert swapped.mean == pytest.approx(-found.mean)
    assert (swapped.low, swapped.high) == pytest.approx((-found.high, -found.low))
    assert swapped.rank_biserial == pytest.approx(-found.rank_biserial)
    assert swapped.cohens_dz == pytest.approx(-found.cohens_dz)
    assert swapped.p == pytest.approx(found.p)
    assert (swapped.wins, swapped.losses) == (found.losses, found.wins) != (0, 0)
    assert found.wins == sum(one < other)  # lower is better


def test_infinite_values():
    """Equal infinite values tie; one-sided ones count for test and wins, not for the mean."""
    one = [math.inf, math.inf, 30.0, 31.0, 32.0, 33.5, 34.0]
    other = [math.inf, 28.0, 29.0, 29.5, 30.0, 30.5, 30.0]
    found = paired.summarize_differences(paired.differ(one, other, "higher"), better="higher")
    assert found.mean == pytest.approx(np.mean([0, 1, 1.5, 2, 3, 4]))
    assert (found.infinite, found.wins, found.ties) == (1, 6, 1)
    assert found.p == pytest.approx(2 / 64)
    assert paired.is_shown(found)
    endless = paired.summarize_differences([-math.inf] * 7, better="higher")
    assert endless.mean is endless.low is endless.cohens_dz is None
    assert (endless.losses, endless.rank_biserial) == (7, -1)
    assert paired.is_shown(endless)


def test_ratios_are_compared_by_their_distance_from_one():
    """A half is as far from 1 as a double; nearer is a win, and below 0; 0 is infinitely far."""
    found = paired.differ([0.5, 2.0, 0.25, 1.0, 0.0], [2.0, 1.0, 0.5, 4.0, 0.5], "nearest 1")
    np.testing.assert_allclose(found, [0, 1, 1, -2, np.inf])
    method = 2.0 ** np.linspace(-0.5, 0.4, 9)  # on both sides of 1, and nearer to it
    summary = paired.summarize_differences(
        paired.differ(method, np.full(9, 3.0), "nearest 1"), better="nearest 1"
    )
    assert summary.mean == pytest.approx(np.abs(np.linspace(-0.5, 0.4, 9)).mean() - np.log2(3))
    assert (summary.wins, summary.losses) == (9, 0)
    assert summary.rank_biserial == -1 and paired.is_shown(summary)
    assert np.ptp(paired.differ(method, np.full(9, 3.0), "higher")) > 0.5  # not the same numbers


def test_no_spread_has_no_dz():
    """The same difference everywhere, up to rounding, or one case: not a huge effect."""
    assert paired.cohens_dz(np.array([28.3, 29.1, 30.7]) - [28.1, 28.9, 30.5]) is None
    assert paired.cohens_dz([0.2]) is None


def test_holm():
    """Smallest of m times m, the next times m - 1, never falling, never above 1; order is kept."""
    assert paired.holm([0.04, 0.005, 0.9, 0.03]) == pytest.approx([0.09, 0.02, 0.9, 0.09])
    assert paired.holm([0.6, 0.7]) == [1.0, 1.0]
    assert paired.holm([0.2]) == [0.2]
    assert paired.holm([]) == []


def test_what_may_be_claimed():
    """Not without enough pairs, not where test, interval and ranks disagree."""
    assert not paired.is_shown(paired.summarize_differences([1.0] * 5, better="higher"))
    assert not paired.is_shown(paired.summarize_differences([1.0] * 5 + [0] * 9, better="higher"))
    assert paired.is_shown(paired.summarize_differences([1.0] * 6, better="higher"))
    # Many small gains and one great loss: the test sees gains, the mean does not.
    skewed = paired.summarize_differences([*np.linspace(0.1, 0.2, 15), -9.0], better="higher")
    assert skewed.p < 0.05 and skewed.mean < 0
    assert not paired.is_shown(skewed)
    for n in range(1, 12):
        assert paired.smallest_p(n) == pytest.approx(stats.wilcoxon(np.arange(n) + 1.0).pvalue)


def test_wrong_calls():
    """Values must pair."""
    with pytest.raises(ValueError, match="expected one pair per case"):
        paired.differ([1.0, 2.0], [1.0], "higher")
    with pytest.raises(ValueError, match="got NaN at index 1"):
        paired.summarize_differences([1.0, math.nan], better="higher")
