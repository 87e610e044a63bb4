"""How far synthesized voxels are from the reference: pixel and similarity terms of Eq. (9)."""

import torch
from torch import Tensor

from liftnet.ops.compute.precision import without_autocast
from liftnet.ops.compute.processes import mean_over_ranks
from liftnet.ops.depth import fold_slices
from liftnet.ops.ssim import ms_ssim

__all__ = ["charbonnier", "full_precision", "l1", "ms_ssim_loss", "weighted_mean"]

CHARBONNIER_EPSILON = 1e-3  # Lai et al. 2017 (LapSRN); LiFT names the loss, not the value


def l1(predicted: Tensor, reference: Tensor, weight: Tensor | None = None) -> Tensor:
    """The mean absolute difference, a float32 scalar.

    Args:
        predicted: (B, C, D, H, W), or any shape.
        reference: Of the same shape.
        weight: Not negative, broadcastable to `predicted`; turns the mean into a weighted mean.
            All-zero weights give 0.

    Source: LiFT Eq. (9), pixel term, task B (Sec. 5.2).
    """
    with without_autocast(predicted.device):
        return weighted_mean(_difference(predicted, reference).abs(), weight)


def charbonnier(
    predicted: Tensor,
    reference: Tensor,
    weight: Tensor | None = None,
    *,
    epsilon: float = CHARBONNIER_EPSILON,
) -> Tensor:
    """The mean of sqrt(difference^2 + epsilon^2), a float32 scalar: L1 without a kink at 0.

    Shapes and `weight` as in `l1`. Two equal images score epsilon, not 0.

    Source: LiFT Eq. (9), pixel term, task C (Sec. 5.3); Charbonnier et al. 1994.

    Raises:
        ValueError: `epsilon` is not positive, which would make the gradient at 0 undefined.
    """
    if not epsilon > 0:
        raise ValueError(f"expected a positive epsilon, got {epsilon}")
    with without_autocast(predicted.device):
        error = (_difference(predicted, reference).square() + epsilon**2).sqrt()
        return weighted_mean(error, weight)


def ms_ssim_loss(predicted: Tensor, reference: Tensor, *, data_range: float = 1.0) -> Tensor:
    """1 - MS-SSIM, the mean over all slices of all volumes (B, C, D, H, W), a float32 scalar.

    Slices are compared in 2D, as the translator makes them; sides below 176 use fewer scales
    (see `liftnet.ops.ssim.ms_ssim`). Intensities should not be negative, or the luminance term
    of SSIM loses its meaning.

    Source: LiFT Eq. (9), similarity term, task B (Sec. 5.2).
    """
    for volume in (predicted, reference):
        if volume.ndim != 5:
            raise ValueError(f"expected volumes (B, C, D, H, W), got {tuple(volume.shape)}")
    similarity = ms_ssim(fold_slices(predicted), fold_slices(reference), data_range=data_range)
    return 1 - similarity.mean()


def _difference(predicted: Tensor, reference: Tensor) -> Tensor:
    """The difference in float32 (float64 stays); shapes must be equal, not just broadcastable."""
    if predicted.shape != reference.shape:
        raise ValueError(
            "expected predicted and reference of one shape, "
            f"got {tuple(predicted.shape)} and {tuple(reference.shape)}"
        )
    return full_precision(predicted) - full_precision(reference)


def full_precision(image: Tensor) -> Tensor:
    """The image in float32, or as it is in float64."""
    return image if image.dtype == torch.float64 else image.float()


def weighted_mean(error: Tensor, weight: Tensor | None) -> Tensor:
    """The mean of an error under weights that are broadcastable to it; all-zero ones give 0.

    Where several processes train together, the weights of all of them are in the denominator.
    """
    if weight is None:
        return error.mean()
    weight = weight.to(error.dtype).expand_as(error)
    total = mean_over_ranks(weight.sum())
    # All-zero weights: 0 / 1 keeps the graph, where 0 / 0 would stop training with NaN.
    return (error * weight).sum() / torch.where(total > 0, total, 1)
