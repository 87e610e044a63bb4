"""How generated features should move to be distributed like real ones: the loss of LiFT-U.

A problem is a set of generated features (N, F) and a set of real ones (M, F), say those of one
slice index in one plane. Every function takes any number of problems at once, in leading
dimensions: (..., N, F) and (..., M, F).
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from liftnet.losses.feature_scale import FeatureScale, mean_distance, pairwise_distances
from liftnet.ops.compute.precision import without_autocast

__all__ = [
    "TEMPERATURES",
    "DriftMode",
    "drift_field",
    "drift_loss",
    "energy_distance",
    "log_affinities",
]

DriftMode = Literal["attract", "attract_repel"]

# ours: 0.35 times the spread of real distances gives about 16 neighbours in a bank of 1024 in any
# dimension; the three were the best of the lists tried.
TEMPERATURES = (0.35, 0.7, 1.5)
BANDWIDTH = 0.2  # ours: LiFT does not give R; the widest temperature of Deng et al. 2026
# ours: a difference of two means of features of size 1 has a rounding error of 1e-7 in float32;
# smaller fields than this are rounding, and are not blown up to size 1.
LEAST_FIELD = 1e-4


def drift_field(
    generated: Tensor,
    positives: Tensor,
    *,
    scale: FeatureScale,
    temperatures: Sequence[float] = TEMPERATURES,
    negatives: Tensor | None = None,
) -> Tensor:
    """Where each generated sample should move, (..., N, F) in units of S, without gradient.

    The difference of two weighted means, one of real and one of generated samples, with the same
    total weight, brought to a root mean square of 1 per problem and temperature and summed over
    temperatures. Exchanging positives and negatives turns its sign.

    Args:
        generated: (..., N, F).
        positives: (..., M, F), real features.
        scale: Of the banks the positives were drawn from.
        temperatures: In units of the spread of real distances, `scale.cv * scale.distance`.
        negatives: (..., K, F) to move away from; by default the other generated samples (N >= 2).

    Source: Deng et al. 2026, Algorithm 2 and Eq. 23-25. Differs: weights are kept as logarithms, so
        that a far start has a field too; temperatures are relative to the spread of distances.

    Raises:
        ValueError: the shapes do not fit together, or a temperature is not positive.
    """
    with torch.no_grad(), without_autocast(generated.device), _exact_products():
        repelling = generated if negatives is None else negatives
        num_negatives = repelling.shape[-2]
        logs = log_affinities(
            generated, positives, scale=scale, temperatures=temperatures, negatives=negatives
        )
        unit = scale.unit[..., None, None]
        ends = torch.cat([-scale.centred(repelling), scale.centred(positives)], dim=-2) / unit
        field = torch.zeros_like(scale.centred(generated))
        for log_affinity in logs:
            away, toward = log_affinity.tensor_split([num_negatives], dim=-1)
            mass_away = away.logsumexp(dim=-1, keepdim=True)
            mass_toward = toward.logsumexp(dim=-1, keepdim=True)
            weights = torch.cat([away + mass_toward, toward + mass_away], dim=-1)
            # Divided by the largest row: far from the data all weights would underflow to 0.
            largest = (mass_away + mass_toward).amax(dim=-2, keepdim=True)
            moves = (weights - largest).exp() @ ends
            size = moves.square().mean(dim=(-2, -1), keepdim=True).sqrt()
            field += moves / size.clamp_min(LEAST_FIELD)
        return field


def log_affinities(
    generated: Tensor,
    positives: Tensor,
    *,
    scale: FeatureScale,
    temperatures: Sequence[float] = TEMPERATURES,
    negatives: Tensor | None = None,
) -> list[Tensor]:
    """The logarithm of how much each pair counts, (..., N, K + M) per temperature, no gradient.

    The root of the softmax over rows times the softmax over columns; the negatives (K; by default
    the generated samples, each without itself) come first, then the positives.

    Source: Deng et al. 2026, Algorithm 2.

    Raises:
        ValueError: the shapes do not fit together, or a temperature is not positive.
    """
    _check_sets(generated, positives, scale, negatives)
    if not temperatures or min(temperatures) <= 0:
        raise ValueError(f"expected positive temperatures, got {tuple(temperatures)}")
    with torch.no_grad(), without_autocast(generated.device):
        x, real = scale.centred(generated), scale.centred(positives)
        if negatives is None:
            among = pairwise_distances(x, x)
            among.diagonal(dim1=-2, dim2=-1).fill_(math.inf)
        else:
            among = pairwise_distances(x, scale.centred(negatives))
        distances = torch.cat([among, pairwise_distances(x, real)], dim=-1)
        spread = (scale.cv * scale.distance)[..., None, None]
        logits = [-distances / (temperature * spread) for temperature in temperatures]
        return [(each.log_softmax(dim=-1) + each.log_softmax(dim=-2)) / 2 for each in logits]


def drift_loss(
    generated: Tensor,
    positives: Tensor,
    *,
    scale: FeatureScale,
    mode: DriftMode = "attract_repel",
    temperatures: Sequence[float] = TEMPERATURES,
    bandwidth: float = BANDWIDTH,
    negatives: Tensor | None = None,
) -> Tensor:
    """The mean over samples and problems of how far features are from where they should move.

    "attract_repel" compares phi / S with phi / S + V, where V is the `drift_field`: its gradient is
    -2 V / (S x number of values). Its value is nearly constant and says nothing about quality: see
    `liftnet.losses.drift_monitors`.
    "attract" is the paper's letter, |g - mu|^2 with mu the mean of the real features weighted by
    the Laplacian kernel exp(-|g - r| / R), in the features' own units. It makes all samples alike.
    The gradient through mu is stopped, which the paper leaves open.

    Args:
        generated: (..., N, F); N >= 2, unless attracted only or `negatives` are given.
        positives: (..., M, F), real features.
        scale: Of the banks the positives were drawn from.
        mode: "attract_repel" or "attract".
        temperatures: For "attract_repel", see `drift_field`.
        bandwidth: For "attract", R in units of the mean distance between real samples.
        negatives: For "attract_repel", see `drift_field`.

    Source: Deng et al. 2026, Eq. 6 and 26; "attract": LiFT Eq. (5) and (6).

    Raises:
        ValueError: the mode is unknown, the shapes do not fit together, or an option is not
            positive.
    """
    if mode not in ("attract", "attract_repel"):
        raise ValueError(f"expected the mode 'attract' or 'attract_repel', got {mode!r}")
    with without_autocast(generated.device):
        if mode == "attract":
            local = _local_mean(generated, positives, scale, bandwidth)
            return (scale.centred(generated) - local).square().sum(dim=-1).mean()
        field = drift_field(
            generated, positives, scale=scale, temperatures=temperatures, negatives=negatives
        )
        features = scale.centred(generated) / scale.unit[..., None, None]
        return F.mse_loss(features, (features + field).detach())


def energy_distance(
    generated: Tensor, positives: Tensor, *, scale: FeatureScale | None = None
) -> Tensor:
    """2 E|g - r| - E|g - g'| - E|r - r'| of every problem, (...), differentiable.

    Unbiased (a U-statistic: no sample is paired with itself), so two sets of one law have a mean of
    0 and single values below 0. The gradient of a distance of 0 is 0.

    Args:
        generated: (..., N, F), N >= 2.
        positives: (..., M, F), M >= 2.
        scale: If given, the result is in units of the mean distance between real samples, and that
            distance stands for the last term: its gradient is of the size of that of `drift_loss`,
            and M^2 distances a step are spared.

    Source: Székely and Rizzo 2013.

    Raises:
        ValueError: the shapes do not fit together.
    """
    if not _fit(generated, positives) or min(generated.shape[-2], positives.shape[-2]) < 2:
        raise ValueError(
            "expected (..., N, F) and (..., M, F) with N, M >= 2, "
            f"got {tuple(generated.shape)} and {tuple(positives.shape)}"
        )
    with without_autocast(generated.device):
        between = pairwise_distances(generated, positives).mean(dim=(-2, -1))
        attraction = 2 * between - mean_distance(generated)
        if scale is None:
            return attraction - mean_distance(positives)
        return attraction / scale.distance - 1


@torch.no_grad()
def _local_mean(
    generated: Tensor, positives: Tensor, scale: FeatureScale, bandwidth: float
) -> Tensor:
    """The mean mu of Eq. (5) less the mean of the bank, (..., N, F)."""
    _check_sets(generated, positives, scale, generated)  # one sample is enough to be attracted
    if not bandwidth > 0:
        raise ValueError(f"expected a positive bandwidth, got {bandwidth}")
    real = scale.centred(positives)
    radius = (bandwidth * scale.distance)[..., None, None]
    logits = -pairwise_distances(scale.centred(generated), real) / radius
    with _exact_products():
        return logits.softmax(dim=-1) @ real


@contextmanager
def _exact_products() -> Iterator[None]:
    """Matrix products of float32 in float32, not in TF32; the setting is restored after."""
    products = torch.backends.cuda.matmul
    # torch 2.9 renamed it, and refuses some readings of the old name after the new one was set
    renamed = hasattr(products, "fp32_precision")
    name = "fp32_precision" if renamed else "allow_tf32"
    before = getattr(products, name)
    setattr(products, name, "ieee" if renamed else False)
    try:
        yield
    finally:
        setattr(products, name, before)


def _fit(a: Tensor, b: Tensor) -> bool:
    return a.ndim >= 2 and a.ndim == b.ndim and a[..., :1, :].shape == b[..., :1, :].shape


def _check_sets(
    generated: Tensor, positives: Tensor, scale: FeatureScale, negatives: Tensor | None
) -> None:
    """Refuse sets of different problems or widths, and a sample with nothing to move away from."""
    others = generated if negatives is None else negatives
    expected = (*generated.shape[:-2], generated.shape[-1])
    if not (_fit(generated, positives) and _fit(generated, others)) or (
        tuple(scale.mean.shape) != expected
    ):
        raise ValueError(
            "expected generated (..., N, F), positives (..., M, F), negatives (..., K, F) and the "
            f"scale of the same problems, got {tuple(generated.shape)}, {tuple(positives.shape)}, "
            f"{tuple(others.shape)} and a mean of shape {tuple(scale.mean.shape)}"
        )
    if negatives is None and generated.shape[-2] < 2:
        raise ValueError("expected at least 2 generated samples, or negatives, got 1")
