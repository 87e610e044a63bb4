"""Random parameters of the augmentation, one row per item of the batch.

They follow from each item's own seed: neither the batch nor the process an item is in matters.
What is not applied to an item is drawn as its neutral value (angle 0, scale 1, sigma 0, ...).

nnU-Net v2's 2D defaults, for orientation; the numbers in use are in the plan:
rotation p 0.2 (+-180 degrees, +-15 for elongated slices), scale p 0.2 in (0.7, 1.4), no elastic
deformation, noise p 0.1 with std up to 0.1, blur p 0.2 with sigma in (0.5, 1), brightness and
contrast p 0.15 in (0.75, 1.25), low resolution p 0.25 with zoom in (0.5, 1), gamma p 0.3 in
(0.7, 1.5), flips p 0.5 along each in-plane axis.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum, auto

import torch
from torch import Tensor

from liftnet.core.recipe import AugmentationSpec
from liftnet.ops.item_random import item_normal, item_uniform

CHANNEL_PROBABILITY = 0.5  # nnU-Net: blur and low resolution touch each channel with p 0.5
BIAS_CONTROL_POINTS = (
    2,
    4,
    4,
)  # ours: cubic in-plane as TorchIO; a slab is thin, so linear along D


class Stream(IntEnum):
    """Names of the random streams of an item's seed, apart from those that a task may use."""

    ITEM = 1000  # ours: far from the small numbers of the tasks
    CHANNEL = auto()
    ELASTIC = auto()
    BIAS_FIELD = auto()
    NOISE = auto()


class _Item(IntEnum):
    """Position of each number of an item in its stream; append only, or seeds change meaning."""

    FLIP_DEPTH = 0
    FLIP_HEIGHT = auto()
    FLIP_WIDTH = auto()
    ROTATED = auto()
    ANGLE = auto()
    SCALED = auto()
    SCALE = auto()
    SHEARED = auto()
    SHEAR = auto()
    DEFORMED = auto()
    GAMMA = auto()
    CONTRAST = auto()
    BRIGHTNESS = auto()
    BIAS_FIELD = auto()
    BLURRED = auto()
    LOWERED = auto()
    NOISY = auto()
    NOISE_STD = auto()


class _Channel(IntEnum):
    """Position of each number of a channel in its item's stream; append only."""

    GAMMA = 0
    CONTRAST = auto()
    BRIGHTNESS = auto()
    BIAS_STRENGTH = auto()
    BLURRED = auto()
    BLUR_SIGMA = auto()
    LOWERED = auto()
    ZOOM = auto()


@dataclass(frozen=True)
class SpatialParameters:
    """The geometry of each item, shared by source, target and weight."""

    flip: Tensor  # (B, 3) bool: along D, H, W
    angle: Tensor  # (B,) radians, in-plane; positive turns the H axis towards the W axis
    scale: Tensor  # (B,) above 1 enlarges what is shown
    shear: Tensor  # (B,) voxels moved along W per voxel along H
    # (B, 2, N, N) displacement along H and W as a fraction of H and W; None: the plan has none
    control_points: Tensor | None


@dataclass(frozen=True)
class IntensityParameters:
    """The intensity changes of each item and source channel."""

    gamma: Tensor  # (B, C)
    contrast: Tensor  # (B, C)
    brightness: Tensor  # (B, C)
    bias_strength: Tensor  # (B, C) largest |log gain|
    blur_sigma: Tensor  # (B, C) voxels, in-plane
    zoom: Tensor  # (B, C) in-plane, 1 keeps the resolution
    noise_std: Tensor  # (B,)


def to_range(unit: Tensor, low: float, high: float) -> Tensor:
    """Returns numbers spread evenly over [low, high) from `unit` ones over [0, 1)."""
    return low + (high - low) * unit


def to_log_range(unit: Tensor, low: float, high: float) -> Tensor:
    """Returns numbers whose logarithms are spread evenly over [log low, log high)."""
    return to_range(unit, math.log(low), math.log(high)).exp()


def to_factor(unit: Tensor, low: float, high: float) -> Tensor:
    """Returns factors: below 1 half of the time, above 1 the other half.

    On either side of 1 they are spread evenly; a range that does not contain 1 is one side.

    Source: nnU-Net, the law of brightness, contrast and gamma.
    """
    if not low < 1 < high:
        return to_range(unit, low, high)
    position = 2 * unit - 1
    return 1 + torch.where(position < 0, position * (1 - low), position * (high - 1))


def draw_spatial(spec: AugmentationSpec, seeds: Tensor) -> SpatialParameters:
    """Returns the geometry of the items with `seeds` (B,), on their device."""
    unit = item_uniform(seeds, Stream.ITEM, (len(_Item),)).unbind(1)
    flips = [
        unit[column] < probability
        for column, probability in zip(
            (_Item.FLIP_DEPTH, _Item.FLIP_HEIGHT, _Item.FLIP_WIDTH),
            spec.flip_probability,
            strict=True,
        )
    ]
    angle_limit = math.radians(spec.rotation_degrees)
    angle = to_range(unit[_Item.ANGLE], -angle_limit, angle_limit)
    # ours: log-uniform, so that (1/s, s) enlarges as often as it shrinks (nnU-Net: uniform)
    scale = to_log_range(unit[_Item.SCALE], *spec.scale_range)
    shear = to_range(unit[_Item.SHEAR], -spec.shear_range, spec.shear_range)
    control_points = None
    if spec.elastic_probability > 0:
        deformed = (unit[_Item.DEFORMED] < spec.elastic_probability)[:, None, None, None]
        points = (2, spec.elastic_control_points, spec.elastic_control_points)
        limit = spec.elastic_displacement
        displaced = to_range(item_uniform(seeds, Stream.ELASTIC, points), -limit, limit)
        control_points = torch.where(deformed, displaced, 0.0)
    return SpatialParameters(
        flip=torch.stack(flips, dim=1),
        angle=torch.where(unit[_Item.ROTATED] < spec.rotation_probability, angle, 0.0),
        scale=torch.where(unit[_Item.SCALED] < spec.scale_probability, scale, 1.0),
        shear=torch.where(unit[_Item.SHEARED] < spec.shear_probability, shear, 0.0),
        control_points=control_points,
    )


def draw_intensity(spec: AugmentationSpec, seeds: Tensor, num_channels: int) -> IntensityParameters:
    """Returns the intensity changes of the items with `seeds` (B,), on their device.

    An item is changed with the plan's probability; its channels then get numbers of their own.
    Noise alone has one strength per item (nnU-Net).
    """
    item = item_uniform(seeds, Stream.ITEM, (len(_Item),)).unbind(1)
    channel = item_uniform(seeds, Stream.CHANNEL, (len(_Channel), num_channels)).unbind(1)

    def applied(column: _Item, probability: float) -> Tensor:
        return (item[column] < probability)[:, None]

    gamma = to_factor(channel[_Channel.GAMMA], *spec.gamma_range)
    contrast = to_factor(channel[_Channel.CONTRAST], *spec.contrast_range)
    brightness = to_factor(channel[_Channel.BRIGHTNESS], *spec.brightness_range)
    bias_strength = spec.bias_field_strength * channel[_Channel.BIAS_STRENGTH]
    blurred = applied(_Item.BLURRED, spec.blur_probability)
    blurred = blurred & (channel[_Channel.BLURRED] < CHANNEL_PROBABILITY)
    blur_sigma = to_range(channel[_Channel.BLUR_SIGMA], *spec.blur_sigma)
    lowered = applied(_Item.LOWERED, spec.low_resolution_probability)
    lowered = lowered & (channel[_Channel.LOWERED] < CHANNEL_PROBABILITY)
    zoom = to_range(channel[_Channel.ZOOM], *spec.low_resolution_range)
    noisy = item[_Item.NOISY] < spec.noise_probability
    return IntensityParameters(
        gamma=torch.where(applied(_Item.GAMMA, spec.gamma_probability), gamma, 1.0),
        contrast=torch.where(applied(_Item.CONTRAST, spec.contrast_probability), contrast, 1.0),
        brightness=torch.where(
            applied(_Item.BRIGHTNESS, spec.brightness_probability), brightness, 1.0
        ),
        bias_strength=torch.where(
            applied(_Item.BIAS_FIELD, spec.bias_field_probability), bias_strength, 0.0
        ),
        blur_sigma=torch.where(blurred, blur_sigma, 0.0),
        zoom=torch.where(lowered, zoom, 1.0),
        noise_std=torch.where(noisy, spec.noise_std * item[_Item.NOISE_STD], 0.0),
    )


def draw_bias_points(seeds: Tensor, num_channels: int) -> Tensor:
    """Returns coefficients (B, C, 2, 4, 4) in [-1, 1) of the bias fields of items with `seeds`."""
    points = (num_channels, *BIAS_CONTROL_POINTS)
    return to_range(item_uniform(seeds, Stream.BIAS_FIELD, points), -1.0, 1.0)


def draw_noise(seeds: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Returns (B, *shape) standard normal numbers for the items with `seeds` (B,)."""
    return item_normal(seeds, Stream.NOISE, shape)
