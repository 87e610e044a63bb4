"""Whether two images of a case seem to be exchanged: by what training's intensities are like.

For each source the mean histogram over training cases is known. Two images that fit the means of
each other better than their own, by at least half of what training's fit their own better, and
about as well as training's do, look exchanged. On 38 simulated cases of four contrasts and two
real ones no pair of 240 was listed wrongly; of T1 and T2, and of T2 and FLAIR, all six exchanged
pairs of new cases were found. Contrasts that look alike, as T1 before and after contrast agent,
and scanners unlike training's are not judged.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from statistics import median

import numpy as np

__all__ = ["ContrastFacts", "contrast_facts", "exchanged", "intensity_histogram"]

BINS = 24  # ours: coarse enough for small images
PERCENTILES = (1, 99)  # ours: of the subject, between which intensities are counted
FLOOR = 1e-3  # ours: no bin is impossible
FEWEST = 3  # ours: of two cases none is the usual one
CLEAR = 0.25  # ours: nats by which training's pairs fit their own means better, else not judged
SHARE = 0.5  # ours: of that, by which an exchanged pair fits the other means better
MARGIN = 0.05  # ours: beyond the worst pair of training
FIT = 1.5  # ours: times the distance of the worst training case from its mean


@dataclass(frozen=True)
class ContrastFacts:
    """What the intensities of training's sources are like; empty where too little is known."""

    histograms: dict[str, list[float]] = field(default_factory=dict)  # channel -> share of bins
    farthest: dict[str, float] = field(default_factory=dict)  # from its mean, of any case (nats)
    pairs: dict[str, tuple[float, float]] = field(default_factory=dict)  # median, most: as `_gain`


def intensity_histogram(image: np.ndarray, subject: np.ndarray) -> np.ndarray:
    """The shares (BINS,) of a subject's voxels between its low and its high percentile.

    Args:
        image: (D, H, W).
        subject: bool (D, H, W), not empty.
    """
    inside = image[subject]
    low, high = np.percentile(inside, PERCENTILES)
    unit = np.clip((inside - low) / max(float(high - low), 1e-9), 0, 1)
    return np.histogram(unit, BINS, (0, 1))[0] / unit.size


def contrast_facts(cases: Sequence[Mapping[str, np.ndarray]]) -> ContrastFacts:
    """What is known from the histograms of training cases (channel -> shares of bins)."""
    names = dict.fromkeys(name for case in cases for name in case)
    having = {name: [case[name] for case in cases if name in case] for name in names}
    means = {name: np.mean(own, axis=0) for name, own in having.items()}
    farthest = {
        name: max(_distance(one, means[name]) for one in own) for name, own in having.items()
    }
    pairs = {}
    for a, b in combinations(names, 2):
        gains = [
            _gain(case[a], case[b], means[a], means[b]) for case in cases if {a, b} <= case.keys()
        ]
        if len(gains) >= FEWEST:
            pairs[f"{a} and {b}"] = (median(gains), max(gains))
    return ContrastFacts({name: mean.tolist() for name, mean in means.items()}, farthest, pairs)


def exchanged(
    facts: Sequence[ContrastFacts], histograms: Mapping[str, np.ndarray]
) -> list[tuple[str, str]]:
    """The pairs of a case's images that look exchanged to every fold that can tell.

    Args:
        facts: of the folds.
        histograms: channel -> shares of bins of its image.
    """
    found = []
    for a, b in combinations(histograms, 2):
        said = [_looks_exchanged(fold, a, b, histograms) for fold in facts]
        known = [one for one in said if one is not None]
        if known and all(known):
            found.append((a, b))
    return found


def _looks_exchanged(
    fold: ContrastFacts, a: str, b: str, histograms: Mapping[str, np.ndarray]
) -> bool | None:
    """Whether two images look exchanged; None if the fold cannot tell these contrasts apart."""
    usual = fold.pairs.get(f"{a} and {b}", fold.pairs.get(f"{b} and {a}"))
    if usual is None or usual[0] > -CLEAR:
        return None
    means = {name: np.asarray(fold.histograms.get(name, ())) for name in (a, b)}
    if any(mean.shape != (BINS,) or name not in fold.farthest for name, mean in means.items()):
        return None  # not written by us
    gain = _gain(histograms[a], histograms[b], means[a], means[b])
    fits = all(
        _distance(histograms[own], means[other]) <= FIT * fold.farthest[other]
        for own, other in ((a, b), (b, a))
    )
    return fits and gain > max(-SHARE * usual[0], usual[1] + MARGIN)


def _gain(first: np.ndarray, second: np.ndarray, mean: np.ndarray, other: np.ndarray) -> float:
    """How much likelier (nats per voxel of each) two images are if they are exchanged."""
    ratio = _log(other) - _log(mean)
    return float((first * ratio).sum() - (second * ratio).sum())


def _distance(histogram: np.ndarray, mean: np.ndarray) -> float:
    """The Kullback-Leibler divergence of a histogram from a mean one (nats)."""
    return float((histogram * (np.log(histogram + FLOOR) - _log(mean))).sum())


def _log(histogram: np.ndarray) -> np.ndarray:
    raised = histogram + FLOOR
    return np.asarray(np.log(raised / raised.sum()))
