"""Intensity changes of a batch of slabs, for source channels only.

Each function is pure, takes one number per item and channel, and leaves voxels that are exactly
zero (the background of a skull-stripped volume) exactly zero.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from liftnet.augment.spatial import blend

SMALLEST_SIGMA = 1e-2  # ours: a Gaussian this narrow is exactly one voxel in float32
BLUR_REACH = 5  # ours: in sigma; a millionth of the weight lies beyond, float32 loses as much
LARGEST = 1e38  # ours: no voxel is beyond; finite, since infinity times zero is not a number
SMALLEST_PART = 1e-30  # ours: of the peak; far below what float32 can add to it
SMALLEST_PEAK = 1e-12  # ours: keeps an empty channel from dividing by zero


def _per_channel(parameter: Tensor) -> Tensor:
    """Returns (B, C, ...) numbers as (B, C, 1, 1, 1, ...)."""
    return parameter[:, :, None, None, None]


def change_brightness(image: Tensor, factor: Tensor) -> Tensor:
    """Returns `image` (B, C, D, H, W) times `factor` (B, C).

    Source: nnU-Net, multiplicative brightness: p 0.15, factor in (0.75, 1.25).
    """
    return image * _per_channel(factor)


def _is_zero(image: Tensor) -> Tensor:
    """Returns ones where `image` is zero and zeros elsewhere, as float32 like the image.

    Products with numbers are several times faster on a processor than choices by booleans.
    """
    return torch.eq(image, 0, out=torch.empty_like(image))


def _clear_background(changed: Tensor, image: Tensor) -> Tensor:
    """Returns finite `changed` with zeros where `image` is zero."""
    return changed.mul(torch.ne(image, 0, out=torch.empty_like(image)))


def _total(image: Tensor) -> Tensor:
    """Returns the (B, C, 1, 1, 1) sums of (B, C, D, H, W)."""
    # axis by axis: rounded alike for any batch and any number of threads
    return image.sum(4, keepdim=True).sum(3, keepdim=True).sum(2, keepdim=True)


def change_contrast(image: Tensor, factor: Tensor) -> Tensor:
    """Returns `image` (B, C, D, H, W) spread about its foreground mean by `factor` (B, C).

    The result is clipped to the range the foreground had.

    Source: nnU-Net, contrast: p 0.15, factor in (0.75, 1.25).
    Differs: mean and range are taken over voxels that are not zero, or the size of the
        background would decide how much a change of contrast is a change of brightness.
    """
    background = _is_zero(image)
    num_voxels = image[0, 0].numel()
    mean = _total(image) / (num_voxels - _total(background)).clamp_min(1)
    low = torch.add(image, background, alpha=LARGEST).amin((2, 3, 4), keepdim=True)
    high = torch.sub(image, background, alpha=LARGEST).amax((2, 3, 4), keepdim=True)
    spread = torch.lerp(mean, image, _per_channel(factor))
    spread = torch.minimum(torch.maximum(spread, low, out=spread), high, out=spread)
    return spread.mul_(background.neg_().add_(1))


def change_gamma(image: Tensor, gamma: Tensor) -> Tensor:
    """Returns `image` (B, C, D, H, W) to the power `gamma` (B, C) after division by its peak.

    The peak is the largest magnitude of an item's channel and is multiplied back. Negative
    voxels keep their sign.

    Source: nnU-Net, gamma: p 0.3, gamma in (0.7, 1.5).
    Differs: no inverted variant and no restored mean, both would lift the background.
    """
    peak = torch.maximum(image.amax((2, 3, 4)), -image.amin((2, 3, 4))).clamp_min(SMALLEST_PEAK)
    magnitude = (image / _per_channel(peak)).abs_()
    # x m^(gamma - 1) with m = |x| / peak keeps sign and peak, and needs no case for gamma 1; by
    # logarithms to base two it takes half as long as a power, and a logarithm of zero is slow
    gain = magnitude.clamp_min_(SMALLEST_PART).log2_().mul_(_per_channel(gamma - 1)).exp2_()
    return gain.mul_(image)


def _bernstein(num_points: int, num_voxels: int, device: torch.device) -> Tensor:
    """Returns the (num_voxels, num_points) Bernstein polynomials over the voxels of one axis."""
    t = (torch.arange(num_voxels, device=device) + 0.5) / num_voxels
    degree = num_points - 1
    columns = [math.comb(degree, k) * t**k * (1 - t) ** (degree - k) for k in range(num_points)]
    return torch.stack(columns, dim=1)


def bias_field(control_points: Tensor, size: tuple[int, int, int]) -> Tensor:
    """Returns smooth fields (B, C, D, H, W) of `size` whose largest magnitude is 1.

    Args:
        control_points: (B, C, i, j, k) coefficients of the Bernstein polynomials along D, H, W.
        size: D, H, W.
    """
    along_d, along_h, along_w = (
        _bernstein(num_points, num_voxels, control_points.device)
        for num_points, num_voxels in zip(control_points.shape[2:], size, strict=True)
    )
    field = control_points
    for axis, weight in ((2, along_d), (3, along_h), (4, along_w)):
        field = blend(field, weight, axis)
    return field.div_(field.abs().amax((2, 3, 4), keepdim=True).clamp_min(SMALLEST_PEAK))


def apply_bias_field(image: Tensor, strength: Tensor, control_points: Tensor) -> Tensor:
    """Returns `image` (B, C, D, H, W) under a smooth gain exp(strength * field).

    Args:
        image: Slabs.
        strength: (B, C) largest |log gain|.
        control_points: (B, C, i, j, k), see `bias_field`.
    """
    depth, height, width = image.shape[2:]
    field = bias_field(control_points, (depth, height, width))
    return field.mul_(_per_channel(strength)).exp_().mul_(image)


def _smooth(image: Tensor, weights: Sequence[Tensor], axis: int) -> Tensor:
    """Returns `image` (B, C, D, H, W) summed along `axis` with one (B, C, 1, 1, 1) weight per tap.

    The axis becomes shorter by the number of taps less one.
    """
    length = image.shape[axis] - len(weights) + 1
    smoothed = image.narrow(axis, 0, length) * weights[0]
    for tap, weight in enumerate(weights[1:], start=1):
        smoothed.addcmul_(image.narrow(axis, tap, length), weight)
    return smoothed


def blur(image: Tensor, sigma: Tensor, *, largest_sigma: float) -> Tensor:
    """Returns `image` (B, C, D, H, W) under an in-plane Gaussian of `sigma` (B, C) voxels.

    At the border the voxels that exist share the weight.

    Args:
        image: Slabs.
        sigma: One per channel; 0 does not blur.
        largest_sigma: No sigma is larger; it sets how many neighbours are summed.

    Source: nnU-Net, blur: p 0.2, each channel with p 0.5, sigma in (0.5, 1).
    """
    radius = math.ceil(BLUR_REACH * largest_sigma)
    offset = torch.arange(-radius, radius + 1, device=sigma.device)
    distance = offset / sigma.clamp_min(SMALLEST_SIGMA)[..., None]
    weight = distance.square_().mul_(-0.5).exp_()
    weights = _per_channel(weight).unbind(-1)
    smoothed = F.pad(image, (radius, radius, radius, radius))
    height, width = image.shape[-2:]
    along_h = _share_inside(weight, offset, height)
    along_w = along_h if width == height else _share_inside(weight, offset, width)
    smoothed = _smooth(smoothed, weights, 4).div_(along_w[:, :, None, None, :])
    return _smooth(smoothed, weights, 3).div_(along_h[:, :, None, :, None])


def _share_inside(weight: Tensor, offset: Tensor, num_voxels: int) -> Tensor:
    """Returns the sum (B, C, N) of the (B, C, taps) `weight` whose neighbours exist."""
    neighbour = torch.arange(num_voxels, device=offset.device) + offset[:, None]
    inside = (neighbour >= 0) & (neighbour < num_voxels)
    return (weight[..., None] * inside).sum(dim=2)


def lower_resolution(image: Tensor, zoom: Tensor) -> Tensor:
    """Returns `image` (B, C, D, H, W) taken down to round(N * zoom) voxels in-plane and up again.

    Down picks the nearest voxel, up is linear, both with voxel edges aligned.

    Args:
        image: Slabs.
        zoom: (B, C) resolution that is left; 1 keeps it.

    Source: nnU-Net, low resolution: p 0.25, each channel with p 0.5, zoom in (0.5, 1).
    """
    batch, channels, depth, height, width = image.shape
    # lines along W are whole pieces of memory: pick them by their number in the batch
    along_h = _picked(height, zoom)
    along_w = along_h if width == height else _picked(width, zoom)
    left, right, share = along_h
    first = torch.arange(0, image.numel() // width, height, device=image.device)
    first = first.view(batch, channels, depth, 1)
    lines = image.reshape(-1, width)
    lowered = torch.lerp(
        lines.index_select(0, (first + left[:, :, None]).flatten()).view(image.shape),
        lines.index_select(0, (first + right[:, :, None]).flatten()).view(image.shape),
        share[:, :, None, :, None],
    )
    left, right, share = (values[:, :, None, None] for values in along_w)
    return torch.lerp(
        lowered.gather(4, left.expand(image.shape)),
        lowered.gather(4, right.expand(image.shape)),
        share,
    )


def _picked(num_voxels: int, zoom: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Returns which two of N voxels (B, C, N) each voxel mixes, and the share of the second."""
    index = torch.arange(0.5, num_voxels, device=zoom.device)
    num_low = (zoom * num_voxels).round_().clamp_min_(1)[..., None]
    position = (index * num_low).div_(num_voxels).sub_(0.5).clamp_min_(0)
    position = torch.minimum(position, num_low - 1)
    left = position.floor()
    share = position.sub_(left)
    low = torch.stack((left, torch.minimum(left + 1, num_low - 1)))
    picked = low.add_(0.5).mul_(num_voxels).div_(num_low).long()
    return picked[0], picked[1], share


def soften(
    image: Tensor, sigma: Tensor | None, zoom: Tensor | None, *, largest_sigma: float
) -> Tensor:
    """Returns `image` (B, C, D, H, W) blurred in-plane and then seen at a lower resolution.

    Args:
        image: Slabs.
        sigma: (B, C) of the Gaussian in voxels, see `blur`; None: none is blurred.
        zoom: (B, C) resolution that is left, see `lower_resolution`; None: all is left.
        largest_sigma: See `blur`.
    """
    softened = image
    if sigma is not None:
        softened = blur(softened, sigma, largest_sigma=largest_sigma)
    if zoom is not None:
        softened = lower_resolution(softened, zoom)
    return _clear_background(softened, image)


def add_noise(image: Tensor, std: Tensor, unit_noise: Tensor) -> Tensor:
    """Returns `image` (B, C, D, H, W) plus `std` (B,) times `unit_noise`, outside the background.

    Args:
        image: Slabs.
        std: Standard deviation per item, the same for all channels.
        unit_noise: Standard normal numbers of the shape of `image`.

    Source: nnU-Net, Gaussian noise: p 0.1, std up to 0.1.
    """
    noise = std[:, None, None, None, None] * unit_noise
    return _clear_background(noise, image).add_(image)
