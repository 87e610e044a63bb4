"""The weighted terms of LiFT Eq. 9 for translation, under the case's mask."""

from collections.abc import Mapping

import torch
from torch import Tensor

from liftnet.core.plan import Plan
from liftnet.losses.gradient import gradient_l1
from liftnet.losses.reconstruction import charbonnier, l1, ms_ssim_loss, weighted_mean
from liftnet.ops import normalize

__all__ = ["residual_loss", "slice_loss"]

Weights = Mapping[str, float]


def slice_loss(
    predicted: Tensor, target: Tensor, weights: Tensor, plan: Plan, losses: Weights
) -> dict[str, Tensor]:
    """Stage 1: L1 and 1 - MS-SSIM of slabs (B, T, D, H, W) in network units."""
    terms = {"l1": l1(predicted, target, weights)}
    if losses["ms_ssim"] > 0:
        limits = [normalize.limits(plan.channel(name).normalization) for name in plan.targets]
        low, high = (
            torch.tensor(ends, device=target.device).view(1, -1, 1, 1, 1)
            for ends in zip(*limits, strict=True)
        )
        # Outside the mask the prediction is taken as right: similarity has no weights.
        compared = torch.where(weights >= 1, predicted, target)
        terms["ms_ssim"] = ms_ssim_loss(
            (compared - low) / (high - low), (target - low) / (high - low)
        )
    return {name: losses[name] * term for name, term in terms.items() if losses[name] > 0}


def residual_loss(
    baseline: Tensor, correction: Tensor, target: Tensor, weights: Tensor, losses: Weights
) -> dict[str, Tensor]:
    """Stage 2: Charbonnier, residual magnitude and spatial-gradient L1 of windows.

    Source: LiFT Sec. 5.3.
    """
    predicted = baseline + correction
    terms = {
        "charbonnier": charbonnier(predicted, target, weights),
        # Squared: an absolute magnitude would hold every small correction at exactly zero.
        "residual": weighted_mean(correction.square(), weights),
        "gradient": gradient_l1(predicted, target, weights),
    }
    return {name: losses[name] * term for name, term in terms.items() if losses[name] > 0}
