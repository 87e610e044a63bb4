"""The augmentation of one batch: draw the parameters, move everything, change the source."""

from __future__ import annotations

from typing import overload

import torch
from torch import Tensor

from liftnet.augment import intensity, spatial
from liftnet.augment.ranges import IntensityParameters, draw_intensity, draw_spatial
from liftnet.core.plan import AugmentationSpec


@overload
def augment(
    source: Tensor, target: Tensor, spec: AugmentationSpec, generator: torch.Generator
) -> tuple[Tensor, Tensor]: ...


@overload
def augment(
    source: Tensor,
    target: Tensor,
    spec: AugmentationSpec,
    generator: torch.Generator,
    *,
    weight: Tensor,
) -> tuple[Tensor, Tensor, Tensor]: ...


@overload
def augment(
    source: Tensor,
    target: Tensor,
    spec: AugmentationSpec,
    generator: torch.Generator,
    *,
    weight: None,
) -> tuple[Tensor, Tensor]: ...


def augment(
    source: Tensor,
    target: Tensor,
    spec: AugmentationSpec,
    generator: torch.Generator,
    *,
    weight: Tensor | None = None,
) -> tuple[Tensor, Tensor] | tuple[Tensor, Tensor, Tensor]:
    """Returns source and target (and weight) of a batch of slabs, augmented together.

    All share one geometry per item; intensities change in the source only. The work is done in
    float32 on the device, without a wait for it, and comes back in the dtypes that went in.

    Args:
        source: (B, C, D, H, W), C may be zero (unconditional synthesis); zero is background.
        target: (B, K, D, H, W).
        spec: Probabilities and ranges from the plan.
        generator: Randomness, on the device of the tensors.
        weight: (B, 1, D, H, W) weight or mask that follows the geometry by nearest neighbour.

    Raises:
        ValueError: If shapes or devices do not go together.
    """
    _check(source, target, weight, generator)
    batch_size, num_channels = source.shape[:2]
    with torch.no_grad(), torch.autocast(source.device.type, enabled=False):
        images = torch.cat((source.float(), target.float()), dim=1)
        moved_weight = None if weight is None else weight.float()
        if _moves(spec):
            geometry = draw_spatial(spec, batch_size, generator)
            if _worth(~spatial.is_neutral(geometry) | geometry.flip[:, 0]):
                where = spatial.coordinates(geometry, images.shape[-2], images.shape[-1])
                images = spatial.transform(images, geometry, where=where)
                if moved_weight is not None:
                    moved_weight = spatial.transform(
                        moved_weight, geometry, where=where, mode="nearest"
                    )
        moved_source, moved_target = images[:, :num_channels], images[:, num_channels:]
        if num_channels > 0:
            parameters = draw_intensity(spec, batch_size, num_channels, generator)
            moved_source = _change_intensity(moved_source, parameters, spec, generator)
        result = moved_source.to(source.dtype), moved_target.to(target.dtype)
    if weight is None or moved_weight is None:
        return result
    return *result, moved_weight.to(weight.dtype)


def _moves(spec: AugmentationSpec) -> bool:
    """Returns whether the plan moves anything at all."""
    return (
        max(
            *spec.flip_probability,
            spec.rotation_probability,
            spec.scale_probability,
            spec.shear_probability,
            spec.elastic_probability,
        )
        > 0
    )


def _worth(changed: Tensor) -> bool:
    """Returns False if no item is changed and it costs nothing to know: on the processor.

    On another device the answer would have to be waited for; neutral parameters are applied.
    """
    return changed.device.type != "cpu" or bool(changed.any())


def _change_intensity(
    image: Tensor,
    parameters: IntensityParameters,
    spec: AugmentationSpec,
    generator: torch.Generator,
) -> Tensor:
    """Returns `image` (B, C, D, H, W) changed in the order in which a scanner would do it.

    Tissue contrast comes first, then the coil, the resolution, and the noise of the measurement.
    """
    # ours: nnU-Net starts with the noise, so that its blur and gamma also bend the noise
    if spec.gamma_probability > 0 and _worth(parameters.gamma != 1):
        image = intensity.change_gamma(image, parameters.gamma)
    if spec.contrast_probability > 0 and _worth(parameters.contrast != 1):
        image = intensity.change_contrast(image, parameters.contrast)
    if spec.brightness_probability > 0 and _worth(parameters.brightness != 1):
        image = intensity.change_brightness(image, parameters.brightness)
    if spec.bias_field_probability > 0 and _worth(parameters.bias_strength != 0):
        image = intensity.apply_bias_field(
            image, parameters.bias_strength, parameters.bias_control_points
        )
    softened = (parameters.blur_sigma != 0) | (parameters.zoom != 1)
    if spec.blur_probability + spec.low_resolution_probability > 0 and _worth(softened):
        image = intensity.soften(image, parameters.blur_sigma, parameters.zoom)
    if spec.noise_probability > 0 and _worth(parameters.noise_std != 0):
        noise = torch.randn(image.shape, generator=generator, device=image.device)
        image = intensity.add_noise(image, parameters.noise_std, noise)
    return image


def _check(
    source: Tensor, target: Tensor, weight: Tensor | None, generator: torch.Generator
) -> None:
    """Checks that the tensors form one batch on the device of the generator."""
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
        if image.device.type != generator.device.type:
            raise ValueError(
                f"expected a generator on the device of {name}, {image.device}, "
                f"got {generator.device}"
            )
