"""The augmentation of one batch: draw the parameters, move everything, change the source."""

from __future__ import annotations

from functools import partial
from typing import overload

import torch
from torch import Tensor

from liftnet.augment import intensity, spatial
from liftnet.augment.applied import Group, Rows, applied, grouped
from liftnet.augment.ranges import (
    IntensityParameters,
    draw_bias_points,
    draw_intensity,
    draw_noise,
    draw_spatial,
)
from liftnet.core.recipe import AugmentationSpec
from liftnet.ops.compute.precision import without_autocast

# ours: what fits the cache of a processor; a device is fastest with the whole batch
AT_ONCE = {"cpu": 1}


@overload
def augment(
    source: Tensor,
    target: Tensor,
    spec: AugmentationSpec,
    seeds: Tensor,
    *,
    weight: Tensor,
) -> tuple[Tensor, Tensor, Tensor]: ...


@overload
def augment(
    source: Tensor,
    target: Tensor,
    spec: AugmentationSpec,
    seeds: Tensor,
    *,
    weight: None = None,
) -> tuple[Tensor, Tensor]: ...


def augment(
    source: Tensor,
    target: Tensor,
    spec: AugmentationSpec,
    seeds: Tensor,
    *,
    weight: Tensor | None = None,
) -> tuple[Tensor, Tensor] | tuple[Tensor, Tensor, Tensor]:
    """Returns source and target (and weight) of a batch of slabs, augmented together.

    All share one geometry per item; intensities change in the source only. The work is done in
    float32 on the device, without a wait for it, and comes back in the dtypes that went in.

    Args:
        source: (B, C, D, H, W), C may be zero (unconditional synthesis); zero is background, and
            tissue is about 1.
        target: (B, K, D, H, W).
        spec: Probabilities and ranges from the plan.
        seeds: (B,) int64 on the processor; an item's numbers follow from its own.
        weight: (B, 1, D, H, W) weight or mask that follows the geometry by nearest neighbour.

    Raises:
        ValueError: If shapes or devices do not go together.
    """
    _check(source, target, weight, seeds)
    given = [source, target] if weight is None else [source, target, weight]
    # made outside: what is made in inference mode, which costs less per step, cannot be trained on
    results = [torch.empty(image.shape, dtype=image.dtype, device=image.device) for image in given]
    count = AT_ONCE.get(source.device.type, len(seeds))
    with torch.inference_mode(), without_autocast(source.device):
        geometry = draw_spatial(spec, seeds)
        changes = draw_intensity(spec, seeds, source.shape[1])
        lines = spatial.lines(geometry, *source.shape[-2:])
        groups = grouped(applied(geometry, changes), count)
        parts = (zip(*(i.split(count) for i in images), strict=True) for images in (given, results))
        for group, images, filled in zip(groups, *parts, strict=True):
            changed = [image.float() for image in images]
            for axes, flipped in group.flips.items():
                flip = partial(torch.flip, dims=axes)
                changed = [flipped.change(image, flip) for image in changed]
            if "turn" in group.rows:
                points = geometry.control_points if "elastic" in group.rows else None
                changed = _turn(changed, group.rows["turn"], lines, points)
            if source.shape[1] > 0:
                changed[0] = _change(changed[0], group, changes, seeds, spec)
            for image, result in zip(changed, filled, strict=True):
                result.copy_(image)
    if weight is None:
        return results[0], results[1]
    return results[0], results[1], results[2]


def _turn(
    images: list[Tensor], turned: Rows, lines: tuple[Tensor, Tensor], points: Tensor | None
) -> list[Tensor]:
    """Returns source, target and, by nearest neighbour, the weight if there is one, resampled.

    Args:
        images: of a group.
        turned: items of the group.
        lines: of all items of the batch, see `spatial.lines`.
        points: of all items of the batch, see `spatial.displacement`; None: no elastic field.
    """
    source, target, *weights = images
    column, row = (turned.of(line, source.device) for line in lines)
    bent = None if points is None else turned.of(points, source.device)
    where = spatial.coordinates(column, row, bent)
    linear = partial(spatial.resample, where=where)
    nearest = partial(spatial.resample, where=where, mode="nearest")
    both = turned.change(torch.cat((source, target), dim=1), linear)
    return [
        *both.split((source.shape[1], target.shape[1]), dim=1),
        *(turned.change(weight, nearest) for weight in weights),
    ]


def _change(
    image: Tensor,
    group: Group,
    changes: IntensityParameters,
    seeds: Tensor,
    spec: AugmentationSpec,
) -> Tensor:
    """Returns `image` (n, C, D, H, W) of a group changed in the order in which a scanner would.

    Tissue contrast comes first, then the coil, the resolution, and the noise of the measurement.
    """
    # ours: nnU-Net starts with the noise, so that its blur and gamma also bend the noise
    items = group.items
    image = items("gamma").change(image, intensity.change_gamma, changes.gamma)
    image = items("contrast").change(image, intensity.change_contrast, changes.contrast)
    image = items("brightness").change(image, intensity.change_brightness, changes.brightness)
    image = items("bias_field").change(image, _bend, changes.bias_strength, seeds)
    if {"blur", "low_resolution"} & group.rows.keys():
        image = _soften(image, group, changes, largest_sigma=max(spec.blur_sigma))
    return items("noise").change(image, _add_noise, changes.noise_std, seeds)


def _bend(image: Tensor, strength: Tensor, seeds: Tensor) -> Tensor:
    """Returns `image` under the bias fields of its `seeds`."""
    return intensity.apply_bias_field(image, strength, draw_bias_points(seeds, image.shape[1]))


def _add_noise(image: Tensor, std: Tensor, seeds: Tensor) -> Tensor:
    """Returns `image` with the noise of its `seeds`."""
    return intensity.add_noise(image, std, draw_noise(seeds, image.shape[1:]))


def _soften(
    image: Tensor, group: Group, changes: IntensityParameters, *, largest_sigma: float
) -> Tensor:
    """Returns `image` (n, C, D, H, W) blurred and then at a lower resolution, channel by channel.

    A channel is blurred, lowered, or both at once: what was background before stays so.
    """
    channels = image.flatten(0, 1)[:, None]
    blurred, lowered = changes.blur_sigma > 0, changes.zoom != 1
    sigma, zoom = changes.blur_sigma.reshape(-1, 1), changes.zoom.reshape(-1, 1)
    soften = partial(intensity.soften, largest_sigma=largest_sigma)
    for transform, chosen, values in (
        (soften, blurred & lowered, (sigma, zoom)),
        (lambda part, sigma: soften(part, sigma, None), blurred & ~lowered, (sigma,)),
        (lambda part, zoom: soften(part, None, zoom), lowered & ~blurred, (zoom,)),
    ):
        channels = group.channels(chosen).change(channels, transform, *values)
    return channels.view(image.shape)


def _check(source: Tensor, target: Tensor, weight: Tensor | None, seeds: Tensor) -> None:
    """Checks that the images form one batch on one device, with a seed for each item."""
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
        if image.device != source.device:
            raise ValueError(
                f"expected {name} on the device of source, {source.device}, got {image.device}"
            )
    if seeds.device.type != "cpu":
        raise ValueError(f"expected seeds on the processor, got them on {seeds.device}")
    if seeds.shape != source.shape[:1] or seeds.dtype != torch.int64:
        raise ValueError(
            f"expected ({len(source)},) int64 seeds, got {tuple(seeds.shape)} {seeds.dtype}"
        )
