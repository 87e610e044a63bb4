"""Statistics over cases: mean with bootstrap interval, paired Wilcoxon test."""

import math
from collections.abc import Sequence

import numpy as np

from liftnet.core.scores import MetricSummary

__all__ = ["bootstrap_interval", "summarize", "wilcoxon"]

NUM_RESAMPLES = 10_000  # LiFT App. B.4
LEVEL = 0.95  # LiFT App. B.4
SEED = 0  # ours: the same interval each time
DRAWS_AT_ONCE = 2**20  # ours: 8 MiB of indices at a time, whatever the number of cases


def summarize(values: Sequence[float] | np.ndarray) -> MetricSummary:
    """Mean, spread and 95 % bootstrap interval of one value per case.

    Raises:
        ValueError: there is no value, or one is NaN.
    """
    sample = _sample(values)
    if len(sample) == 1:
        std = 0.0
    else:
        std = float(sample.std(ddof=1)) if np.isfinite(sample).all() else math.nan
    low, high = bootstrap_interval(sample)
    return MetricSummary(mean=float(sample.mean()), std=std, low=low, high=high, n=len(sample))


def bootstrap_interval(values: Sequence[float] | np.ndarray) -> tuple[float, float]:
    """The 95 % percentile bootstrap interval (low, high) of the mean over cases.

    Cases are drawn with replacement; the bounds are means that occurred, so an infinite value
    (the PSNR of two equal images) is carried through. One case gives (value, value).

    Source: LiFT App. B.4.

    Raises:
        ValueError: there is no value, or one is NaN.
    """
    sample = _sample(values)
    rng = np.random.default_rng(SEED)
    means = np.empty(NUM_RESAMPLES)
    step = max(1, DRAWS_AT_ONCE // len(sample))
    for start in range(0, NUM_RESAMPLES, step):
        count = min(step, NUM_RESAMPLES - start)
        drawn = rng.integers(len(sample), size=(count, len(sample)))
        means[start : start + count] = sample[drawn].mean(axis=1)
    tails = ((1 - LEVEL) / 2, (1 + LEVEL) / 2)
    low, high = np.quantile(means, tails, method="inverted_cdf")
    return float(low), float(high)


def wilcoxon(first: Sequence[float] | np.ndarray, second: Sequence[float] | np.ndarray) -> float:
    """The two-sided p value of the paired Wilcoxon signed-rank test, one pair per case.

    Pairs without a difference do not count; if no pair differs, p is 1.

    Source: LiFT App. B.4.

    Raises:
        ValueError: the numbers of values differ, or a value or difference is NaN.
    """
    # scipy.stats takes more than a second to import, which no other metric should pay.
    from scipy import stats

    one, other = _sample(first), _sample(second)
    if len(one) != len(other):
        raise ValueError(f"expected one pair per case, got {len(one)} and {len(other)} values")
    # Two infinite values (the PSNR of equal images, twice) do not differ.
    difference = np.subtract(one, other, out=np.zeros_like(one), where=one != other)
    if not difference.any():
        return 1.0
    return float(stats.wilcoxon(difference, alternative="two-sided").pvalue)


def _sample(values: Sequence[float] | np.ndarray) -> np.ndarray:
    """The values as a float64 vector, checked."""
    sample = np.asarray(values, dtype=np.float64)
    if sample.ndim != 1 or sample.size == 0:
        raise ValueError(f"expected one value per case, got shape {sample.shape}")
    if np.isnan(sample).any():
        raise ValueError(f"expected numbers, got NaN at index {int(np.isnan(sample).argmax())}")
    return sample
