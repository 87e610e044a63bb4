"""What the 2D translator holds while it is trained on slabs, and while it makes slices."""

from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor, nn

from liftnet.core.network_specs import MixerSpec, TranslatorSpec
from liftnet.core.plan import Plan
from liftnet.core.recipe import Recipe, Schedule
from liftnet.networks.blocks import set_recompute
from liftnet.networks.volume_translator import VolumeTranslator
from liftnet.planning.memory import (
    KeptBytes,
    meta_slices,
    num_parameters,
    recomputed_bytes,
    weight_bytes,
)

__all__ = ["decoded_per_slice", "kept_per_slice", "meta_translator", "slab_bytes", "stored_weights"]


@lru_cache(maxsize=8)
def meta_translator(spec: TranslatorSpec, mixer: MixerSpec | None = None) -> VolumeTranslator:
    """The network of a slab, without values."""
    with torch.device("meta"):
        return VolumeTranslator(spec, mixer)


def slab_bytes(
    network: VolumeTranslator,
    plan: Plan,
    recipe: Recipe,
    schedule: Schedule,
    *,
    inputs: int,
    loss: Callable[[Tensor], object],
    context: Tensor | None = None,
) -> float:
    """The peak of a training step: weights, optimizer, inputs, and all that autograd keeps.

    Args:
        network: without values, on the device "meta".
        plan: the plan.
        recipe: of the method.
        schedule: of the stage.
        inputs: bytes of the volumes that the step holds.
        loss: takes what was decoded, (volumes, targets, slices, H, W).
        context: of the slices (volumes, slices, features), if they have any.
    """
    count = min(schedule.decoded_slices, plan.grid.num_slices)
    volumes, size = schedule.volumes_per_step, plan.grid.in_plane
    translator = network.translator.spec
    set_recompute(network, recipe.recompute)
    kept = KeptBytes(network)
    with torch.autograd.graph.saved_tensors_hooks(kept.count, lambda tensor: tensor):
        slices, condition = meta_slices(translator.source_channels, size, volumes * count)
        decoded = network.decode(network.encode(slices, condition), condition, context)
        activations = kept.total
        loss(decoded.unflatten(0, (volumes, count)).transpose(1, 2))
    losses = kept.total - activations
    if recipe.recompute:
        activations += recomputed_bytes(network.translator.decoder, volumes * count, size)
    largest = 4 * volumes * count * size[0] * size[1] * translator.widths[0]
    numbers = activations * recipe.memory.bytes_per_number / 4
    return weight_bytes(network) + inputs + numbers + losses + largest


def kept_per_slice(spec: TranslatorSpec, in_plane: tuple[int, int]) -> int:
    """How many numbers the features of an encoded slice are: the bottleneck and all skips."""
    height, width = in_plane
    return sum(w * (height >> i) * (width >> i) for i, w in enumerate(spec.widths))


def decoded_per_slice(spec: TranslatorSpec, in_plane: tuple[int, int]) -> int:
    """How many numbers a slice takes while the finest decoder stage makes it.

    The maps of the stage before, those enlarged and joined to the skip (twice a map), a
    convolution's input and its result. The skips themselves are gone by then.
    """
    height, width = in_plane
    coarser = spec.widths[min(1, len(spec.widths) - 1)] * (height // 2) * (width // 2)
    return coarser + 4 * spec.widths[0] * height * width


def stored_weights(network: nn.Module, bytes_per_number: int) -> int:
    """Bytes of the weights in float32, and of their copies that autocast computes with."""
    copies = bytes_per_number if bytes_per_number < 4 else 0
    return (4 + copies) * num_parameters(network)
