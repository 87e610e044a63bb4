"""The scale of features: where real ones lie, how far apart they are, and distances of both.

Shapes as in `liftnet.losses.drift`: (..., M, F) real features of any number of problems.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from liftnet.losses.reconstruction import full_precision
from liftnet.ops.compute.precision import without_autocast

__all__ = ["FeatureScale", "mean_distance", "pairwise_distances", "scale_of", "stack_scales"]

LEAST_CV = 0.016  # ours: the spread in 2048 independent dimensions; real features vary more
# ours: near-empty slices hardly vary, and the gradient goes with 1 / S: without a floor they would
# drown the other problems. A tenth keeps every slice that shows something as it is.
LEAST_DISTANCE = 0.1


@dataclass(frozen=True, eq=False)
class FeatureScale:
    """Where the real features of every problem lie and how far apart they are.

    Attributes:
        mean: (..., F), the mean of the bank.
        distance: (...), the mean distance between two real samples.
        cv: (...), the spread of the distances from one real sample to the others, as a share of
            `distance`.
    """

    mean: Tensor
    distance: Tensor
    cv: Tensor

    @property
    def unit(self) -> Tensor:
        """S = distance / sqrt(F), (...): features are divided by it. Source: Deng et al. Eq. 21."""
        return self.distance / math.sqrt(self.mean.shape[-1])

    def at(self, index: Any) -> "FeatureScale":
        """The scale of some of the problems: their index in the leading dimensions."""
        return FeatureScale(self.mean[index], self.distance[index], self.cv[index])

    def centred(self, features: Tensor) -> Tensor:
        """The features (..., N, F) less the mean of the bank, in float32 (float64 stays)."""
        return full_precision(features) - self.mean.unsqueeze(-2)


def scale_of(real: Tensor) -> FeatureScale:
    """The scale of banks of real features (..., M, F), from distances among real samples only.

    A scale that also counted generated samples would shrink with them, and so hold a collapsed
    generator where it is. To be computed once, from the whole bank; with few samples `cv` is rough.
    Where several problems are given, none has less than a tenth of their mean distance.

    Source: Deng et al. 2026, Eq. 18-22. Differs: they scale by all pairs, with fixed temperatures.

    Raises:
        ValueError: a bank has fewer than 2 samples, or no bank varies.
    """
    if real.ndim < 2 or real.shape[-2] < 2:
        raise ValueError(f"expected real features (..., M, F) with M >= 2, got {tuple(real.shape)}")
    with torch.no_grad(), without_autocast(real.device):
        features = full_precision(real)
        mean = features.mean(dim=-2)
        num_real = features.shape[-2]
        between = pairwise_distances(features - mean.unsqueeze(-2), features - mean.unsqueeze(-2))
        # Without the diagonal: the last of each run of M + 1, if the first number is left out.
        runs = between.flatten(-2)[..., 1:].unflatten(-1, (num_real - 1, num_real + 1))
        rows = runs[..., :-1].reshape(*between.shape[:-1], num_real - 1)
        distance = rows.mean(dim=(-2, -1))
        if real.device.type != "meta" and not distance.mean() > 0:
            raise ValueError(
                "expected real features that differ from sample to sample, "
                f"got a mean distance of {float(distance.mean())}"
            )
        spread = rows.std(dim=-1, correction=0).mean(dim=-1)
        return _with_floor(mean, distance, spread)


def stack_scales(scales: Sequence[FeatureScale]) -> FeatureScale:
    """The scales of single problems as one; none has less than a tenth of their mean distance.

    A problem of distance 0 is allowed: one whose bank does not vary.
    """
    mean, distance, cv = (
        torch.stack([getattr(scale, name) for scale in scales])
        for name in ("mean", "distance", "cv")
    )
    return _with_floor(mean, distance, cv * distance)


def _with_floor(mean: Tensor, distance: Tensor, spread: Tensor) -> FeatureScale:
    floored = torch.maximum(distance, LEAST_DISTANCE * distance.mean())
    return FeatureScale(mean, floored, (spread / floored).clamp_min(LEAST_CV))


def pairwise_distances(a: Tensor, b: Tensor) -> Tensor:
    """The Euclidean distances (..., N, M) between (..., N, F) and (..., M, F), in float32.

    From differences, not from products: nothing cancels, TF32 has no part in it, and equal samples
    have distance 0 with gradient 0.
    """
    with without_autocast(a.device):
        return torch.cdist(
            full_precision(a), full_precision(b), compute_mode="donot_use_mm_for_euclid_dist"
        )


def mean_distance(features: Tensor) -> Tensor:
    """The mean distance between two different samples of (..., N, F), (...)."""
    count = features.shape[-2]
    return pairwise_distances(features, features).sum(dim=(-2, -1)) / (count * (count - 1))
