"""Random parameters of the augmentation, one row per item of the batch, drawn on the device.

What is not applied to an item is drawn as its neutral value (angle 0, scale 1, sigma 0, ...), so
no decision ever has to travel from the device to the host.

nnU-Net v2's 2D defaults, for orientation; the numbers in use are in the plan:
rotation p 0.2 (+-180 degrees, +-15 for elongated slices), scale p 0.2 in (0.7, 1.4), no elastic
deformation, noise p 0.1 with std up to 0.1, blur p 0.2 with sigma in (0.5, 1), brightness and
contrast p 0.15 in (0.75, 1.25), low resolution p 0.25 with zoom in (0.5, 1), gamma p 0.3 in
(0.7, 1.5), flips p 0.5 along each in-plane axis.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from liftnet.core.plan import AugmentationSpec

CHANNEL_PROBABILITY = 0.5  # nnU-Net: blur and low resolution touch each channel with p 0.5
BIAS_CONTROL_POINTS = (
    2,
    4,
    4,
)  # ours: cubic in-plane as TorchIO; a slab is thin, so linear along D


@dataclass(frozen=True)
class SpatialParameters:
    """The geometry of each item, shared by source, target and weight."""

    flip: Tensor  # (B, 3) bool: along D, H, W
    angle: Tensor  # (B,) radians, in-plane; positive turns the H axis towards the W axis
    scale: Tensor  # (B,) above 1 enlarges what is shown
    shear: Tensor  # (B,) voxels moved along W per voxel along H
    control_points: Tensor  # (B, 2, N, N) displacement along H and W as a fraction of H and W


@dataclass(frozen=True)
class IntensityParameters:
    """The intensity changes of each item and source channel."""

    gamma: Tensor  # (B, C)
    contrast: Tensor  # (B, C)
    brightness: Tensor  # (B, C)
    bias_strength: Tensor  # (B, C) largest |log gain|
    bias_control_points: Tensor  # (B, C, 2, 4, 4), see BIAS_CONTROL_POINTS
    blur_sigma: Tensor  # (B, C) voxels, in-plane
    zoom: Tensor  # (B, C) in-plane, 1 keeps the resolution
    noise_std: Tensor  # (B,)


def draw_applied(shape: tuple[int, ...], probability: float, generator: torch.Generator) -> Tensor:
    """Returns booleans of `shape` that are True with `probability`."""
    return torch.rand(shape, generator=generator, device=generator.device) < probability


def draw_uniform(
    shape: tuple[int, ...], low: float, high: float, generator: torch.Generator
) -> Tensor:
    """Returns numbers of `shape` spread evenly over [low, high)."""
    return low + (high - low) * torch.rand(shape, generator=generator, device=generator.device)


def draw_log_uniform(
    shape: tuple[int, ...], low: float, high: float, generator: torch.Generator
) -> Tensor:
    """Returns numbers of `shape` whose logarithms are spread evenly over [log low, log high)."""
    return draw_uniform(shape, math.log(low), math.log(high), generator).exp()


def draw_factor(
    shape: tuple[int, ...], low: float, high: float, generator: torch.Generator
) -> Tensor:
    """Returns factors of `shape`: below 1 half of the time, above 1 the other half.

    On either side of 1 they are spread evenly; a range that does not contain 1 is one side.

    Source: nnU-Net, the law of brightness, contrast and gamma.
    """
    if not low < 1 < high:
        return draw_uniform(shape, low, high, generator)
    position = draw_uniform(shape, -1.0, 1.0, generator)
    return 1 + torch.where(position < 0, position * (1 - low), position * (high - 1))


def draw_spatial(
    spec: AugmentationSpec, batch_size: int, generator: torch.Generator
) -> SpatialParameters:
    """Returns the geometry of `batch_size` items, on the device of `generator`."""
    item = (batch_size,)
    flip = [draw_applied(item, probability, generator) for probability in spec.flip_probability]
    rotated = draw_applied(item, spec.rotation_probability, generator)
    angle_limit = math.radians(spec.rotation_degrees)
    angle = draw_uniform(item, -angle_limit, angle_limit, generator)
    scaled = draw_applied(item, spec.scale_probability, generator)
    # ours: log-uniform, so that (1/s, s) enlarges as often as it shrinks (nnU-Net: uniform)
    scale = draw_log_uniform(item, *spec.scale_range, generator)
    sheared = draw_applied(item, spec.shear_probability, generator)
    shear = draw_uniform(item, -spec.shear_range, spec.shear_range, generator)
    deformed = draw_applied((batch_size, 1, 1, 1), spec.elastic_probability, generator)
    points = (batch_size, 2, spec.elastic_control_points, spec.elastic_control_points)
    limit = spec.elastic_displacement
    control_points = draw_uniform(points, -limit, limit, generator)
    return SpatialParameters(
        flip=torch.stack(flip, dim=1),
        angle=torch.where(rotated, angle, 0.0),
        scale=torch.where(scaled, scale, 1.0),
        shear=torch.where(sheared, shear, 0.0),
        control_points=torch.where(deformed, control_points, 0.0),
    )


def draw_intensity(
    spec: AugmentationSpec, batch_size: int, num_channels: int, generator: torch.Generator
) -> IntensityParameters:
    """Returns the intensity changes of `batch_size` items, on the device of `generator`.

    An item is changed with the plan's probability; its channels then get numbers of their own.
    Noise alone has one strength per item (nnU-Net).
    """
    item, each = (batch_size, 1), (batch_size, num_channels)

    def applied(probability: float) -> Tensor:
        return draw_applied(item, probability, generator)

    def applied_per_channel(probability: float) -> Tensor:
        return applied(probability) & draw_applied(each, CHANNEL_PROBABILITY, generator)

    gamma = draw_factor(each, *spec.gamma_range, generator)
    contrast = draw_factor(each, *spec.contrast_range, generator)
    brightness = draw_factor(each, *spec.brightness_range, generator)
    bias_strength = draw_uniform(each, 0.0, spec.bias_field_strength, generator)
    blur_sigma = draw_uniform(each, *spec.blur_sigma, generator)
    zoom = draw_uniform(each, *spec.low_resolution_range, generator)
    noise_std = draw_uniform(item, 0.0, spec.noise_std, generator)
    return IntensityParameters(
        gamma=torch.where(applied(spec.gamma_probability), gamma, 1.0),
        contrast=torch.where(applied(spec.contrast_probability), contrast, 1.0),
        brightness=torch.where(applied(spec.brightness_probability), brightness, 1.0),
        bias_strength=torch.where(applied(spec.bias_field_probability), bias_strength, 0.0),
        bias_control_points=draw_uniform((*each, *BIAS_CONTROL_POINTS), -1.0, 1.0, generator),
        blur_sigma=torch.where(applied_per_channel(spec.blur_probability), blur_sigma, 0.0),
        zoom=torch.where(applied_per_channel(spec.low_resolution_probability), zoom, 1.0),
        noise_std=torch.where(applied(spec.noise_probability), noise_std, 0.0).squeeze(1),
    )
