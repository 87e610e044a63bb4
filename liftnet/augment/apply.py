"""The augmentation of one batch: draw the parameters, move everything, change the source."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import overload

import torch
from torch import Tensor

from liftnet.augment import intensity, spatial
from liftnet.augment.applied import CHANGES, FLIPS, MOVES, applied, one_by_one, planned
from liftnet.augment.ranges import (
    IntensityParameters,
    SpatialParameters,
    draw_bias_points,
    draw_intensity,
    draw_noise,
    draw_spatial,
)
from liftnet.core.plan import AugmentationSpec
from liftnet.ops.precision import without_autocast


@overload
def augment(
    source: Tensor,
    target: Tensor,
    spec: AugmentationSpec,
    seeds: Tensor,
    *,
    weight: Tensor,
    select: bool | None = None,
) -> tuple[Tensor, Tensor, Tensor]: ...


@overload
def augment(
    source: Tensor,
    target: Tensor,
    spec: AugmentationSpec,
    seeds: Tensor,
    *,
    weight: None = None,
    select: bool | None = None,
) -> tuple[Tensor, Tensor]: ...


def augment(
    source: Tensor,
    target: Tensor,
    spec: AugmentationSpec,
    seeds: Tensor,
    *,
    weight: Tensor | None = None,
    select: bool | None = None,
) -> tuple[Tensor, Tensor] | tuple[Tensor, Tensor, Tensor]:
    """Returns source and target (and weight) of a batch of slabs, augmented together.

    All share one geometry per item; intensities change in the source only. The work is done in
    float32 on the device, without a wait for it, and comes back in the dtypes that went in.

    Args:
        source: (B, C, D, H, W), C may be zero (unconditional synthesis); zero is background.
        target: (B, K, D, H, W).
        spec: Probabilities and ranges from the plan.
        seeds: (B,) int64 on the device of the tensors; an item's numbers follow from its own.
        weight: (B, 1, D, H, W) weight or mask that follows the geometry by nearest neighbour.
        select: True takes item after item through what happens to it, which a device has to be
            waited for; False takes all at once through all that is planned. None: True on the
            processor. Both give the same within 1e-5; see `applied`.

    Raises:
        ValueError: If shapes or devices do not go together.
    """
    _check(source, target, weight, seeds)
    if select is None:
        select = source.device.type == "cpu"
    given = [source, target] if weight is None else [source, target, weight]
    # made outside: what is made in inference mode, which costs less per step, cannot be trained on
    results = [torch.empty(image.shape, dtype=image.dtype, device=image.device) for image in given]
    with torch.inference_mode(), without_autocast(source.device):
        geometry = draw_spatial(spec, seeds)
        changes = draw_intensity(spec, seeds, source.shape[1])
        augment_items = _augment_each if select else _augment_all
        augment_items(given, geometry, changes, spec, seeds, results)
    if weight is None:
        return results[0], results[1]
    return results[0], results[1], results[2]


def _augment_all(
    given: list[Tensor],
    geometry: SpatialParameters,
    changes: IntensityParameters,
    spec: AugmentationSpec,
    seeds: Tensor,
    results: list[Tensor],
) -> None:
    """Fill `results` with the images of the batch, all of them through all that is planned."""
    happens = planned(spec)
    images = [image.float() for image in given]
    if happens & MOVES:
        column, row = spatial.lines(geometry, *images[0].shape[-2:])
        where = spatial.coordinates(column, row, geometry.control_points)
        images = _together(images, partial(spatial.transform, parameters=geometry, where=where))
    if images[0].shape[1] > 0:
        images[0] = _change_intensity(
            images[0], changes, spec, seeds, happens, soften=intensity.soften
        )
    for image, result in zip(images, results, strict=True):
        result.copy_(image)


def _augment_each(
    given: list[Tensor],
    geometry: SpatialParameters,
    changes: IntensityParameters,
    spec: AugmentationSpec,
    seeds: Tensor,
    results: list[Tensor],
) -> None:
    """Fill `results` with the images of the batch, each item through what happens to it."""
    column, row = spatial.lines(geometry, *given[0].shape[-2:])
    points = geometry.control_points
    each_change = one_by_one(changes)
    for number, happens in enumerate(applied(geometry, changes)):
        item = slice(number, number + 1)
        images = [image[item].float() for image in given]
        if "turn" in happens:
            bent = points[item] if points is not None and "elastic" in happens else None
            where = spatial.coordinates(column[item], row[item], bent)
            if "flip along D" in happens:
                images = [image.flip(2) for image in images]
            images = _together(images, partial(spatial.resample, where=where))
        elif happens & MOVES:
            axes = [axis for axis, name in enumerate(FLIPS, start=2) if name in happens]
            images = [image.flip(axes) for image in images]
        if happens & CHANGES and images[0].shape[1] > 0:
            images[0] = _change_intensity(
                images[0],
                each_change[number],
                spec,
                seeds[item],
                happens,
                soften=_soften_channels,
            )
        for image, result in zip(images, results, strict=True):
            result[item].copy_(image)


def _together(images: list[Tensor], move: Callable[..., Tensor]) -> list[Tensor]:
    """Returns source, target and, by nearest neighbour, the weight if there is one, moved."""
    source, target, *weights = images
    moved = move(torch.cat((source, target), dim=1))
    return [
        *moved.split((source.shape[1], target.shape[1]), dim=1),
        *(move(weight, mode="nearest") for weight in weights),
    ]


def _change_intensity(
    image: Tensor,
    given: IntensityParameters,
    spec: AugmentationSpec,
    seeds: Tensor,
    happens: frozenset[str],
    *,
    soften: Callable[..., Tensor],
) -> Tensor:
    """Returns `image` (B, C, D, H, W) changed in the order in which a scanner would do it.

    Tissue contrast comes first, then the coil, the resolution, and the noise of the measurement.
    """
    # ours: nnU-Net starts with the noise, so that its blur and gamma also bend the noise
    if "gamma" in happens:
        image = intensity.change_gamma(image, given.gamma)
    if "contrast" in happens:
        image = intensity.change_contrast(image, given.contrast)
    if "brightness" in happens:
        image = intensity.change_brightness(image, given.brightness)
    if "bias_field" in happens:
        points = draw_bias_points(seeds, image.shape[1])
        image = intensity.apply_bias_field(image, given.bias_strength, points)
    if "blur" in happens or "low_resolution" in happens:
        sigma = given.blur_sigma if "blur" in happens else None
        zoom = given.zoom if "low_resolution" in happens else None
        image = soften(image, sigma, zoom, largest_sigma=max(spec.blur_sigma))
    if "noise" in happens:
        image = intensity.add_noise(image, given.noise_std, draw_noise(seeds, image.shape[1:]))
    return image


def _soften_channels(
    image: Tensor, sigma: Tensor | None, zoom: Tensor | None, *, largest_sigma: float
) -> Tensor:
    """Returns `image` (1, C, D, H, W) softened, the channels that stay as they are left out."""
    channels = list(image.split(1, dim=1))
    never = [False] * len(channels)
    blurred = never if sigma is None else (sigma > 0)[0].tolist()
    lowered = never if zoom is None else (zoom != 1)[0].tolist()
    for c, channel in enumerate(channels):
        if blurred[c] or lowered[c]:
            channels[c] = intensity.soften(
                channel,
                sigma[:, c : c + 1] if sigma is not None and blurred[c] else None,
                zoom[:, c : c + 1] if zoom is not None and lowered[c] else None,
                largest_sigma=largest_sigma,
            )
    return torch.cat(channels, dim=1)


def _check(source: Tensor, target: Tensor, weight: Tensor | None, seeds: Tensor) -> None:
    """Checks that the tensors form one batch on one device, with a seed for each item."""
    for name, image in (("source", source), ("target", target), ("weight", weight)):
        if image is None:
            continue
        if image.ndim != 5:
            raise ValueError(f"expected {name} of shape (B, C, D, H, W), got {tuple(image.shape)}")
        if image.shape[0] != source.shape[0] or image.shape[2:] != source.shape[2:]:
            raise ValueError(
                f"expected {name} with the B, D, H, W of source {tuple(source.shape)}, "
                f"got {tuple(image.shape)}"
            )
        if image.device != seeds.device:
            raise ValueError(
                f"expected seeds on the device of {name}, {image.device}, got {seeds.device}"
            )
    if seeds.shape != source.shape[:1] or seeds.dtype != torch.int64:
        raise ValueError(
            f"expected ({len(source)},) int64 seeds, got {tuple(seeds.shape)} {seeds.dtype}"
        )
