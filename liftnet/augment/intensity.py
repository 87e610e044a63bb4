"""Intensity changes of a batch of slabs, for source channels only.

Each function is pure, takes one number per item and channel, and leaves voxels that are exactly
zero (the background of a skull-stripped volume) exactly zero.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

SMALLEST_SIGMA = 1e-2  # ours: a Gaussian this narrow is exactly one voxel in float32
SMALLEST_PEAK = 1e-12  # ours: keeps an empty channel from dividing by zero


def _per_channel(parameter: Tensor) -> Tensor:
    """Returns (B, C) numbers as (B, C, 1, 1, 1)."""
    return parameter[:, :, None, None, None]


def change_brightness(image: Tensor, factor: Tensor) -> Tensor:
    """Returns `image` (B, C, D, H, W) times `factor` (B, C).

    Source: nnU-Net, multiplicative brightness: p 0.15, factor in (0.75, 1.25).
    """
    return image * _per_channel(factor)


def change_contrast(image: Tensor, factor: Tensor) -> Tensor:
    """Returns `image` (B, C, D, H, W) spread about its foreground mean by `factor` (B, C).

    The result is clipped to the range the foreground had.

    Source: nnU-Net, contrast: p 0.15, factor in (0.75, 1.25).
    Differs: mean and range are taken over voxels that are not zero, or the size of the
        background would decide how much a change of contrast is a change of brightness.
    """
    foreground = image != 0
    axes = (2, 3, 4)
    mean = image.sum(axes, keepdim=True) / foreground.sum(axes, keepdim=True)
    low = torch.where(foreground, image, math.inf).amin(axes, keepdim=True)
    high = torch.where(foreground, image, -math.inf).amax(axes, keepdim=True)
    spread = torch.lerp(mean, image, _per_channel(factor)).clamp(low, high)
    return torch.where(foreground & (_per_channel(factor) != 1), spread, image)


def change_gamma(image: Tensor, gamma: Tensor) -> Tensor:
    """Returns `image` (B, C, D, H, W) to the power `gamma` (B, C) after division by its peak.

    The peak is the largest magnitude of an item's channel and is multiplied back. Negative
    voxels keep their sign.

    Source: nnU-Net, gamma: p 0.3, gamma in (0.7, 1.5).
    Differs: no inverted variant and no restored mean, both would lift the background.
    """
    magnitude = image.abs()
    peak = magnitude.amax((2, 3, 4), keepdim=True).clamp_min(SMALLEST_PEAK)
    bent = (magnitude / peak).pow(_per_channel(gamma)) * peak
    return torch.where(_per_channel(gamma) != 1, torch.copysign(bent, image), image)


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
    field = torch.einsum("bcijk,di->bcdjk", control_points, along_d)
    field = torch.einsum("bcdjk,hj->bcdhk", field, along_h)
    field = torch.einsum("bcdhk,wk->bcdhw", field, along_w)
    return field / field.abs().amax((2, 3, 4), keepdim=True).clamp_min(SMALLEST_PEAK)


def apply_bias_field(image: Tensor, strength: Tensor, control_points: Tensor) -> Tensor:
    """Returns `image` (B, C, D, H, W) under a smooth gain exp(strength * field).

    Args:
        image: Slabs.
        strength: (B, C) largest |log gain|.
        control_points: (B, C, i, j, k), see `bias_field`.
    """
    depth, height, width = image.shape[2:]
    field = bias_field(control_points, (depth, height, width))
    return image * (field * _per_channel(strength)).exp()


def blur_matrix(num_voxels: int, sigma: Tensor) -> Tensor:
    """Returns (B, C, N, N) matrices that blur N voxels with a Gaussian of `sigma` (B, C) voxels.

    Each row sums to one: at the border the voxels that exist share the weight.
    """
    position = torch.arange(num_voxels, device=sigma.device)
    distance = (position[:, None] - position[None, :]) / sigma.clamp_min(SMALLEST_SIGMA)[
        :, :, None, None
    ]
    weight = (-0.5 * distance.square()).exp()
    return weight / weight.sum(dim=-1, keepdim=True)


def low_resolution_matrix(num_voxels: int, zoom: Tensor) -> Tensor:
    """Returns (B, C, N, N) matrices that take N voxels down to round(N * zoom) and up again.

    Down picks the nearest voxel, up is linear, both with voxel edges aligned.

    Source: nnU-Net, simulation of low resolution.
    """
    index = torch.arange(num_voxels, device=zoom.device)
    num_low = (num_voxels * zoom).round().clamp_min(1)[:, :, None]
    position = ((index + 0.5) * num_low / num_voxels - 0.5).clamp_min(0)
    position = torch.minimum(position, num_low - 1)
    left = position.floor()
    right = torch.minimum(left + 1, num_low - 1)
    share = (position - left)[..., None]
    picked_left = ((left + 0.5) * num_voxels / num_low).floor()[..., None]
    picked_right = ((right + 0.5) * num_voxels / num_low).floor()[..., None]
    return (1 - share) * (picked_left == index) + share * (picked_right == index)


def _multiply_in_plane(image: Tensor, along_h: Tensor, along_w: Tensor) -> Tensor:
    """Returns `image` (B, C, D, H, W) multiplied by (B, C, H, H) along H and (B, C, W, W) along W.

    Each product leaves the axis it has summed over in front, so that both are plain batched
    products without a copy of the matrices per slice.
    """
    batch, channels, depth, height, width = image.shape
    rows = image.reshape(batch * channels, depth * height, width)
    product = along_w.flatten(0, 1) @ rows.transpose(1, 2)  # (BC, W, D H)
    columns = product.reshape(batch * channels, width * depth, height)
    product = along_h.flatten(0, 1) @ columns.transpose(1, 2)  # (BC, H, W D)
    return product.view(batch, channels, height, width, depth).permute(0, 1, 4, 2, 3)


def soften(image: Tensor, sigma: Tensor, zoom: Tensor) -> Tensor:
    """Returns `image` (B, C, D, H, W) blurred in-plane and then seen at a lower resolution.

    Both are linear along H and along W, so one matrix per axis does both.

    Args:
        image: Slabs.
        sigma: (B, C) of the Gaussian in voxels; 0 does not blur.
        zoom: (B, C) resolution that is left; 1 keeps it.

    Source: nnU-Net: blur p 0.2 with sigma in (0.5, 1), low resolution p 0.25 with zoom in
        (0.5, 1), each channel with p 0.5.
    """
    height, width = image.shape[-2:]
    along_h = low_resolution_matrix(height, zoom) @ blur_matrix(height, sigma)
    along_w = low_resolution_matrix(width, zoom) @ blur_matrix(width, sigma)
    softened = _multiply_in_plane(image, along_h, along_w)
    changed = _per_channel((sigma > 0) | (zoom != 1))
    return torch.where(changed & (image != 0), softened, image)


def add_noise(image: Tensor, std: Tensor, unit_noise: Tensor) -> Tensor:
    """Returns `image` (B, C, D, H, W) plus `std` (B,) times `unit_noise`, outside the background.

    Args:
        image: Slabs.
        std: Standard deviation per item, the same for all channels.
        unit_noise: Standard normal numbers of the shape of `image`.

    Source: nnU-Net, Gaussian noise: p 0.1, std up to 0.1.
    """
    noise = std[:, None, None, None, None] * unit_noise
    return image + noise * (image != 0)
