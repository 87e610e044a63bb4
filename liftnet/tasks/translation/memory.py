"""How much memory training and synthesis take."""

from functools import lru_cache

import torch
from torch import Tensor, nn

from liftnet.core.plan import MixerSpec, Plan, ResidualSpec, TranslatorSpec
from liftnet.networks.residual_translator import ResidualTranslator
from liftnet.planning.memory import GIB, KeptBytes, weight_bytes
from liftnet.planning.slice_memory import (
    decoded_per_slice,
    kept_per_slice,
    meta_translator,
    slab_bytes,
    stored_weights,
)
from liftnet.tasks.translation import residual_context, slice_translation
from liftnet.tasks.translation.losses import residual_loss, slice_loss

__all__ = ["synthesis_gib", "training_gib"]


def training_gib(plan: Plan) -> float:
    """The peak of one step of the hungrier stage."""
    return max(_slice_bytes(plan), _residual_bytes(plan)) / GIB


def _slice_bytes(plan: Plan) -> float:
    """Stage 1: weights, their optimizer state, and all kept activations."""
    schedule, (height, width) = plan.stages[slice_translation.STAGE], plan.grid.in_plane
    count = min(schedule.decoded_slices, plan.grid.num_slices)
    voxels = schedule.volumes_per_step * count * height * width

    def loss(predicted: Tensor) -> object:
        target, mask = (torch.empty_like(predicted) for _ in range(2))
        return slice_loss(predicted, target, mask, plan)

    return slab_bytes(
        meta_translator(_translator(plan)),
        plan,
        schedule,
        inputs=2 * 4 * (len(plan.channels) + 1) * voxels,
        loss=loss,
    )


def _residual_bytes(plan: Plan) -> float:
    """Stage 2: whole volumes, the frozen maps of all windows, and the head's graph."""
    network = _meta_residual_network(*_specs(plan))
    schedule, (height, width) = plan.stages[residual_context.STAGE], plan.grid.in_plane
    head, depth = network.residual, plan.grid.num_slices
    windows = schedule.windows_per_volume * schedule.volumes_per_step
    count = min(schedule.decoded_slices, depth)
    given = count + 2 * head.spec.neighbours
    kept = KeptBytes(network)
    with torch.autograd.graph.saved_tensors_hooks(kept.count, lambda tensor: tensor):
        channels = head.enter.in_channels
        maps = torch.empty((windows, given, channels, height, width), device="meta")
        context = torch.empty((windows, given, 2 * network.mixer.spec.hidden_size), device="meta")
        correction = head(maps, context).transpose(1, 2)
        activations = kept.total
        target = torch.empty_like(correction)
        residual_loss(target, correction, target, torch.empty_like(target), plan)
    losses = kept.total - activations
    voxels = schedule.volumes_per_step * depth * height * width
    inputs = 2 * 4 * (len(plan.channels) + 1) * voxels
    largest = 4 * windows * given * height * width * max(head.spec.width, channels)
    numbers = (
        (activations + 4 * _working(plan, min(plan.inference.slice_batch, depth)))
        * plan.memory.bytes_per_number
        / 4
    )
    return weight_bytes(network) + inputs + numbers + losses + largest


def synthesis_gib(plan: Plan) -> float:
    """The peak of synthesizing one volume of the plan's grid with both stages."""
    network = _meta_residual_network(*_specs(plan))
    depth, (height, width) = plan.grid.num_slices, plan.grid.in_plane
    spec, base, voxels = network.residual.spec, _translator(plan).widths[0], height * width
    numbers, batch = plan.memory.bytes_per_number, min(plan.inference.slice_batch, depth)
    # The head reads a batch, holds it with its neighbours, and sets them side by side to join them.
    beside = (2 * spec.neighbours + 1) * spec.width
    joining = (batch + 2 * spec.neighbours) * spec.width + batch * (beside + spec.width)
    head = max(batch * (base + network.residual.enter.in_channels), joining) * voxels
    # One pass keeps the maps of all slices; the last batch is still decoded when all others are.
    kept = (depth - batch) * base * voxels if plan.inference.passes == "one" else 0
    volumes = 4 * depth * voxels
    volumes *= len(plan.channels) + 2 * len(plan.sources) + len(plan.targets)
    waiting = 2 * spec.neighbours * spec.width * voxels
    most = kept + waiting + max(_working(plan, batch), head)
    return (stored_weights(network, numbers) + volumes + numbers * most) / GIB


def _working(plan: Plan, batch: int) -> int:
    """How many numbers a batch of slices needs on its way through the frozen translator."""
    translator, size = _translator(plan), plan.grid.in_plane
    return batch * (kept_per_slice(translator, size) + decoded_per_slice(translator, size))


def _translator(plan: Plan) -> TranslatorSpec:
    spec = plan.networks["translator"]
    assert isinstance(spec, TranslatorSpec)
    return spec


def _specs(plan: Plan) -> tuple[TranslatorSpec, MixerSpec, ResidualSpec]:
    mixer, residual = plan.networks["mixer"], plan.networks["residual"]
    assert isinstance(mixer, MixerSpec) and isinstance(residual, ResidualSpec)
    return _translator(plan), mixer, residual


@lru_cache(maxsize=4)
def _meta_residual_network(
    translator: TranslatorSpec, mixer: MixerSpec, residual: ResidualSpec
) -> ResidualTranslator:
    with torch.device("meta"):
        network: nn.Module = ResidualTranslator(translator, mixer, residual)
    assert isinstance(network, ResidualTranslator)
    return network
