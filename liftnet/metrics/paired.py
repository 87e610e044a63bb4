"""One method against another, case by case: differences, tests, effect sizes, wins."""

from collections.abc import Sequence

import numpy as np

from liftnet.core.comparison import Direction, PairedDifference
from liftnet.metrics.statistics import bootstrap_interval, wilcoxon

__all__ = [
    "LEVEL_OF_SIGNIFICANCE",
    "better_sign",
    "cohens_dz",
    "compared",
    "differ",
    "holm",
    "is_shown",
    "rank_biserial",
    "smallest_p",
    "summarize_differences",
]

LEVEL_OF_SIGNIFICANCE = 0.05  # LiFT App. B.4
ROUNDING = 1e-12  # ours: a spread below this share of the mean is that of float64 arithmetic


def differ(
    values: Sequence[float] | np.ndarray, baseline: Sequence[float] | np.ndarray, better: Direction
) -> np.ndarray:
    """Value minus baseline (n,), one per case; two infinite values do not differ.

    Of ratios that are best at 1 it is how much further from 1 the value lies, see `compared`.

    Raises:
        ValueError: the numbers of values differ.
    """
    one, other = (compared(sample, better) for sample in (values, baseline))
    if one.shape != other.shape or one.ndim != 1:
        raise ValueError(f"expected one pair per case, got shapes {one.shape} and {other.shape}")
    return np.subtract(one, other, out=np.zeros_like(one), where=one != other)


def compared(values: Sequence[float] | np.ndarray, better: Direction) -> np.ndarray:
    """What methods are compared by (n,): the values, or of ratios that are best at 1 their |log2|.

    A half and a double are equally far from 1, and 0 is infinitely far.

    >>> compared([1.0, 0.5, 2.0, 0.0], "nearest 1").tolist()
    [0.0, 1.0, 1.0, inf]
    """
    sample = np.asarray(values, dtype=np.float64)
    if better != "nearest 1":
        return sample
    with np.errstate(divide="ignore"):
        return np.abs(np.log2(sample))


def better_sign(better: Direction) -> int:
    """The sign of a difference by `differ` where the method is better; 0 if no sign says so.

    >>> [better_sign(one) for one in ("higher", "lower", "nearest 1", "nearest 0")]
    [1, -1, -1, 0]
    """
    return {"higher": 1, "lower": -1, "nearest 1": -1}.get(better, 0)


def summarize_differences(
    differences: Sequence[float] | np.ndarray, *, better: Direction
) -> PairedDifference:
    """What is to be said about one difference per case; `p_holm` is `p` until it is corrected.

    Source: LiFT App. B.4 (interval, test).

    Raises:
        ValueError: there is no difference, or one is NaN.
    """
    sample = np.asarray(differences, dtype=np.float64)
    p = wilcoxon(sample, np.zeros_like(sample))
    finite = sample[np.isfinite(sample)]
    mean = low = high = dz = None
    if finite.size:
        mean = float(finite.mean())
        low, high = bootstrap_interval(finite)
        dz = cohens_dz(finite)
    above, below = int((sample > 0).sum()), int((sample < 0).sum())
    sign = better_sign(better)
    wins, losses = (below, above) if sign < 0 else (above, below)
    return PairedDifference(
        mean=mean,
        low=low,
        high=high,
        n=len(sample),
        infinite=len(sample) - len(finite),
        p=p,
        p_holm=p,
        rank_biserial=rank_biserial(sample),
        cohens_dz=dz,
        wins=wins if sign else None,
        ties=len(sample) - above - below,
        losses=losses if sign else None,
    )


def rank_biserial(differences: Sequence[float] | np.ndarray) -> float:
    """The matched-pairs rank-biserial correlation, -1 (all below 0) to 1 (all above).

    The rank sum of positive differences minus that of negative ones, over the sum of both; ranks
    are those of the sizes, pairs without a difference do not count, and if none differs it is 0.

    Source: Kerby 2014, the simple difference formula.
    """
    from scipy import stats  # takes more than a second to import

    sample = np.asarray(differences, dtype=np.float64)
    sample = sample[sample != 0]
    if not sample.size:
        return 0.0
    ranks = stats.rankdata(np.abs(sample))
    return float((ranks * np.sign(sample)).sum() / ranks.sum())


def cohens_dz(differences: Sequence[float] | np.ndarray) -> float | None:
    """Mean over standard deviation (n - 1) of finite differences; None if they have no spread.

    If all are 0 it is 0.

    Source: Cohen 1988, Sec. 2.3.5.
    """
    sample = np.asarray(differences, dtype=np.float64)
    if not sample.any():
        return 0.0
    spread = float(sample.std(ddof=1)) if len(sample) > 1 else 0.0
    if spread <= ROUNDING * float(np.abs(sample).max()):
        return None
    return float(sample.mean()) / spread


def holm(p_values: Sequence[float]) -> list[float]:
    """The p values of several tests, corrected: the chance of one wrong finding among all of them.

    The k-th smallest of m is multiplied by m - k + 1, none becomes smaller than one before it.

    Source: Holm 1979.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    corrected = [0.0] * len(p_values)
    least = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        least = max(least, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = least
    return corrected


def smallest_p(n: int) -> float:
    """The smallest two-sided p that a signed-rank test of n differing pairs can have.

    >>> smallest_p(5), smallest_p(6)
    (0.0625, 0.03125)
    """
    return min(1.0, 2.0 ** (1 - n))


def is_shown(found: PairedDifference) -> bool:
    """Whether a difference may be claimed: test, interval and ranks agree.

    The corrected p is below 0.05, the interval excludes 0 on the side of the ranks, and the
    number of pairs allows it.
    """
    differing = found.n - found.ties
    if found.p_holm >= LEVEL_OF_SIGNIFICANCE or smallest_p(differing) >= LEVEL_OF_SIGNIFICANCE:
        return False
    if found.low is None or found.high is None:  # every difference is infinite
        return True
    return found.low > 0 < found.rank_biserial or found.high < 0 > found.rank_biserial
