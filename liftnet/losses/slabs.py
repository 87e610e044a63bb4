"""The terms of LiFT Eq. (9) for slabs of volumes, under weights of their voxels."""

from collections.abc import Mapping

import torch
from torch import Tensor

from liftnet.losses.reconstruction import l1, ms_ssim_loss
from liftnet.losses.through_plane import delta_z_l1
from liftnet.ops.compute.transfer import to_device

__all__ = ["slab_loss", "voxel_weights"]


def voxel_weights(mask: Tensor, made: Tensor, outside: float) -> Tensor:
    """Weights (B, T, D, H, W): 1 inside the mask, less outside, 0 for targets not asked for.

    Args:
        mask: (B, 1, D, H, W); (B, 0, D, H, W) without one, where the weights are (B, T, 1, 1, 1).
        made: (B, T), on the processor.
        outside: the weight outside.
    """
    asked = to_device(made, mask.device).float()[:, :, None, None, None]
    return (outside + (1 - outside) * mask) * asked if mask.shape[1] else asked


def slab_loss(
    predicted: Tensor, target: Tensor, losses: Mapping[str, float], weights: Tensor | None = None
) -> dict[str, Tensor]:
    """The weighted terms of LiFT Eq. 9 for slabs (B, C, n, H, W) in [0, 1], float32.

    Args:
        predicted: the slabs.
        target: of the same shape.
        losses: weights of the terms "l1", "ms_ssim" and "delta_z"; what has 0 is left out.
        weights: of voxels, broadcastable to the slabs. Where they are below 1, a prediction is
            taken as right by MS-SSIM, which has no weights.
    """
    terms = {}
    if losses["l1"] > 0:
        terms["l1"] = l1(predicted, target, weights)
    if losses["ms_ssim"] > 0:
        compared = predicted if weights is None else torch.where(weights >= 1, predicted, target)
        terms["ms_ssim"] = ms_ssim_loss(compared, target)
    if losses["delta_z"] > 0:
        # A single slice has no neighbours; the term stays, for processes that share a step.
        single = target.shape[2] == 1
        terms["delta_z"] = (
            predicted.new_zeros(()) if single else delta_z_l1(predicted, target, weights)
        )
    return {name: losses[name] * term for name, term in terms.items()}
