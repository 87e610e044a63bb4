"""Bootstrap, Wilcoxon and summaries against scipy and closed forms."""

import math

import numpy as np
import pytest
from scipy import stats

from liftnet.core.scores import MetricSummary
from liftnet.metrics import statistics
from liftnet.metrics.statistics import bootstrap_interval, summarize, wilcoxon


def scores(n=40, seed=0):
    """One value per case."""
    return np.random.default_rng(seed).normal(28, 2, size=n)


def test_interval_is_that_of_the_closed_form_and_of_scipy():
    """For many normal cases the bounds are mean +- 1.96 std / sqrt(n); scipy's bootstrap agrees."""
    values = scores(200)
    low, high = bootstrap_interval(values)
    half = 1.96 * values.std() / math.sqrt(len(values))
    assert low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert high == pytest.approx(values.mean() + half, abs=0.1 * half)
    expected = stats.bootstrap(
        (values,), np.mean, method="percentile", n_resamples=10_000, rng=1, batch=1000
    ).confidence_interval
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=0.1 * half)


def test_bounds_are_percentiles_of_the_resampled_means():
    """Two cases, 0 and 1: means are 0, 1/2, 1 with chances 1/4, 1/2, 1/4."""
    assert bootstrap_interval([0, 1]) == (0, 1)
    # Six cases, one of them 1: the mean is at most 3/6 with a chance of 99 %, 2/6 with 94 %.
    assert bootstrap_interval([0, 0, 0, 0, 0, 1]) == (0, 0.5)


def test_the_bounds_are_the_same_each_time(monkeypatch):
    """However many draws are held at once; another seed has others."""
    values = scores()
    monkeypatch.setattr(statistics, "NUM_RESAMPLES", 500)
    first = bootstrap_interval(values)
    for draws in (7 * 40, 1):
        monkeypatch.setattr(statistics, "DRAWS_AT_ONCE", draws)
        assert bootstrap_interval(values) == pytest.approx(first)
    monkeypatch.setattr(statistics, "SEED", 4)
    assert bootstrap_interval(values) != first


def test_one_case_and_infinite_values():
    """One case is its own interval; the PSNR of equal images is carried through."""
    assert bootstrap_interval([27.5]) == (27.5, 27.5)
    assert bootstrap_interval([math.inf, math.inf]) == (math.inf, math.inf)
    assert bootstrap_interval([1.0, math.inf])[1] == math.inf


@pytest.mark.parametrize("function", [bootstrap_interval, summarize])
def test_nan_and_nothing_are_errors(function):
    """No case is left out silently."""
    with pytest.raises(ValueError, match="got NaN at index 2"):
        function([1.0, 2.0, math.nan])
    with pytest.raises(ValueError, match=r"one value per case, got shape \(0,\)"):
        function([])


def test_wilcoxon_counts_sign_assignments():
    """Five differences of one sign: 2 of 32 assignments are as extreme; mixed signs by hand."""
    first = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    assert wilcoxon(first, np.zeros(5)) == pytest.approx(2 / 32)
    assert wilcoxon(np.zeros(5), first) == pytest.approx(2 / 32)
    # Rank sum 1 of the negative side: {} and {1} are as extreme, on two sides.
    assert wilcoxon(first * [-1, 1, 1, 1, 1], np.zeros(5)) == pytest.approx(4 / 32)


def test_wilcoxon_is_paired_and_that_of_scipy():
    """The pairing matters: the same values in another order give another p."""
    first = scores(30)
    second = first + np.random.default_rng(1).normal(0.3, 0.5, size=30)
    expected = stats.wilcoxon(first, second).pvalue
    assert wilcoxon(first, second) == pytest.approx(expected)
    assert wilcoxon(first, np.sort(second)) > 10 * expected


def test_wilcoxon_without_differences_is_one():
    """Equal scores, also infinite ones, and one-sided infinities."""
    assert wilcoxon([1.0, 2.0, math.inf], [1.0, 2.0, math.inf]) == 1.0
    assert wilcoxon([math.inf] * 5, [1.0, 2.0, 3.0, 4.0, 5.0]) < 0.1


def test_wilcoxon_names_what_does_not_fit():
    """Unpaired values and NaN."""
    with pytest.raises(ValueError, match="got 2 and 3 values"):
        wilcoxon([1.0, 2.0], [1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match="got NaN at index 1"):
        wilcoxon([1.0, 2.0], [1.0, math.nan])


def test_summary():
    """Mean, sample standard deviation, interval and count."""
    values = scores()
    got = summarize(values)
    low, high = bootstrap_interval(values)
    assert got == MetricSummary(values.mean(), values.std(ddof=1), low, high, 40)
    assert summarize([3.0]) == MetricSummary(3.0, 0.0, 3.0, 3.0, 1)
    assert summarize([3.0, math.inf]).mean == math.inf
    assert math.isnan(summarize([3.0, math.inf]).std)
