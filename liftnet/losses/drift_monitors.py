"""Whether generated features vary as real ones do: what the value of the drift loss hides.

Shapes as in `liftnet.losses.drift`: (..., N, F) generated and (..., M, F) real features of any
number of problems, one number per problem. Nothing here has a gradient. Where a bank does not vary
a ratio is NaN: pool problems with `torch.nanmedian`.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from liftnet.losses.drift import TEMPERATURES, log_affinities
from liftnet.losses.feature_scale import FeatureScale, mean_distance, pairwise_distances
from liftnet.losses.reconstruction import full_precision
from liftnet.ops.compute.precision import without_autocast

__all__ = [
    "collapsed",
    "diversity_ratio",
    "effective_neighbours",
    "nearest_ratio",
    "trace_ratio",
]

# ours: samples that had collapsed had at most 0.07 of the real diversity (0.12 when sampled at 1.5
# times the spread), samples that had not at least 0.73.
COLLAPSED_DIVERSITY = 0.2
# ours: a trace goes with the square of a distance, so 0.04 belongs to 0.2; a few outliers among
# many equal samples raise the trace first. The worst sound run had 0.72.
COLLAPSED_TRACE = 0.1
NUM_CHECKS = 5  # ours: one check is noisy with 8 volumes
# ours: a run that starts near a constant has a low diversity too, but leaves it: a quarter more
# over five checks is beyond noise.
RECOVERY = 1.25


@torch.no_grad()
def effective_neighbours(
    generated: Tensor,
    positives: Tensor,
    *,
    scale: FeatureScale,
    temperatures: Sequence[float] = TEMPERATURES,
) -> Tensor:
    """How many real samples attract a generated one, (..., T): 1 / sum w^2, mean over samples.

    The weights w of the real samples are those of the drift field, with a sum of 1. About 1 means
    that single training samples are copied, about M that the temperature is too wide to tell the
    samples apart.

    Source: Kish's effective sample size. Raises: as `log_affinities`.
    """
    counts = []
    for logs in log_affinities(generated, positives, scale=scale, temperatures=temperatures):
        weights = logs[..., generated.shape[-2] :].softmax(dim=-1)
        counts.append((1 / weights.square().sum(dim=-1)).mean(dim=-1, keepdim=True))
    return torch.cat(counts, dim=-1)


@torch.no_grad()
def diversity_ratio(generated: Tensor, positives: Tensor) -> Tensor:
    """The mean distance between two generated samples over that between two real ones, (...).

    Raises:
        ValueError: a set has fewer than 2 samples, or the sets do not fit together.
    """
    _check(generated, positives)
    return _ratio(mean_distance(generated), mean_distance(positives))


@torch.no_grad()
def trace_ratio(generated: Tensor, positives: Tensor) -> Tensor:
    """The trace of the covariance of generated over that of real samples, (...).

    Above 1 where the field inflates the samples, which the drift alone hardly stops.

    Raises:
        ValueError: a set has fewer than 2 samples, or the sets do not fit together.
    """
    _check(generated, positives)
    with without_autocast(generated.device):
        traces = [full_precision(s).var(dim=-2).sum(dim=-1) for s in (generated, positives)]
        return _ratio(*traces)


@torch.no_grad()
def nearest_ratio(generated: Tensor, positives: Tensor) -> Tensor:
    """How near generated samples are to the bank, over how near real ones are to the others, (...).

    Means of the distance to the nearest sample of the bank. Well below 1 the training samples are
    copied, well above 1 samples lie where no real one does.

    Raises:
        ValueError: a set has fewer than 2 samples, or the sets do not fit together.
    """
    _check(generated, positives)
    among = pairwise_distances(positives, positives)
    among.diagonal(dim1=-2, dim2=-1).fill_(torch.inf)
    nearest = [
        distances.amin(dim=-1).mean(dim=-1)
        for distances in (pairwise_distances(generated, positives), among)
    ]
    return _ratio(*nearest)


def collapsed(diversity: Sequence[float], trace: Sequence[float]) -> str | None:
    """Why generated samples are certainly all alike, or None.

    The rule: at each of the last five checks the diversity ratio was below 0.2 and the
    trace ratio below 0.1, and the diversity has not risen by a quarter in that time.

    Args:
        diversity: The diversity ratios of all checks so far, the latest last.
        trace: The trace ratios of the same checks.

    Source: ours; the thresholds lie between what collapsed and what sound runs show.

    Raises:
        ValueError: there is not one trace ratio per diversity ratio.
    """
    if len(diversity) != len(trace):
        raise ValueError(
            f"expected as many trace as diversity ratios, got {len(trace)} and {len(diversity)}"
        )
    if len(diversity) < NUM_CHECKS:
        return None
    recent, traces = diversity[-NUM_CHECKS:], trace[-NUM_CHECKS:]
    alike = all(value < COLLAPSED_DIVERSITY for value in recent)
    flat = all(value < COLLAPSED_TRACE for value in traces)
    if not (alike and flat) or recent[-1] > RECOVERY * recent[0]:
        return None
    return (
        f"generated samples are all alike: in the last {NUM_CHECKS} checks they varied by at most "
        f"{max(recent):.3f} of the real distance between samples (limit {COLLAPSED_DIVERSITY:g}) "
        f"and {max(traces):.4f} of the real variance (limit {COLLAPSED_TRACE:g}), without recovery"
    )


def _check(generated: Tensor, positives: Tensor) -> None:
    together = generated.ndim == positives.ndim >= 2
    if (
        not together
        or generated.shape[:-2] != positives.shape[:-2]
        or generated.shape[-1] != positives.shape[-1]
        or min(generated.shape[-2], positives.shape[-2]) < 2
    ):
        raise ValueError(
            "expected (..., N, F) and (..., M, F) with N, M >= 2, "
            f"got {tuple(generated.shape)} and {tuple(positives.shape)}"
        )


def _ratio(generated: Tensor, real: Tensor) -> Tensor:
    """The quotient, NaN where the real value is 0."""
    return torch.where(real > 0, generated / real, torch.nan)
