"""How much memory training and synthesis take."""

from functools import lru_cache

import torch
from torch import Tensor, nn

from liftnet.core.network_specs import MixerSpec, ResidualSpec, TranslatorSpec
from liftnet.core.plan import Plan
from liftnet.methods.lift.recipes import ResidualRecipe, SliceRecipe
from liftnet.methods.lift.residual_losses import residual_loss, slice_loss
from liftnet.networks.residual_translator import ResidualTranslator
from liftnet.planning.memory import GIB, KeptBytes, weight_bytes
from liftnet.planning.slice_memory import (
    decoded_per_slice,
    kept_per_slice,
    meta_translator,
    slab_bytes,
    stored_weights,
)

__all__ = ["synthesis_gib", "training_gib"]


def training_gib(plan: Plan, recipe: ResidualRecipe | SliceRecipe) -> float:
    """The peak of one step of the hungrier stage."""
    largest = _slice_bytes(plan, recipe)
    if isinstance(recipe, ResidualRecipe):
        largest = max(largest, _residual_bytes(plan, recipe))
    return largest / GIB


def _slice_bytes(plan: Plan, recipe: ResidualRecipe | SliceRecipe) -> float:
    """Stage 1: weights, their optimizer state, and all kept activations."""
    schedule, (height, width) = recipe.slice_translation, plan.grid.in_plane
    count = min(schedule.decoded_slices, plan.grid.num_slices)
    voxels = schedule.volumes_per_step * count * height * width

    def loss(predicted: Tensor) -> object:
        target, mask = (torch.empty_like(predicted) for _ in range(2))
        return slice_loss(predicted, target, mask, plan, recipe.losses)

    return slab_bytes(
        meta_translator(recipe.translator),
        plan,
        recipe,
        schedule,
        inputs=2 * 4 * (len(plan.channels) + 1) * voxels,
        loss=loss,
    )


def _residual_bytes(plan: Plan, recipe: ResidualRecipe) -> float:
    """Stage 2: whole volumes, the frozen maps of all windows, and the head's graph."""
    network = _meta_residual_network(recipe.translator, recipe.mixer, recipe.residual)
    schedule, (height, width) = recipe.residual_context, plan.grid.in_plane
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
        residual_loss(target, correction, target, torch.empty_like(target), recipe.losses)
    losses = kept.total - activations
    voxels = schedule.volumes_per_step * depth * height * width
    inputs = 2 * 4 * (len(plan.channels) + 1) * voxels
    largest = 4 * windows * given * height * width * max(head.spec.width, channels)
    numbers = (
        (activations + 4 * _working(plan, recipe, min(recipe.inference.slice_batch, depth)))
        * recipe.memory.bytes_per_number
        / 4
    )
    return weight_bytes(network) + inputs + numbers + losses + largest


def synthesis_gib(plan: Plan, recipe: ResidualRecipe) -> float:
    """The peak of synthesizing one volume of the plan's grid with both stages."""
    network = _meta_residual_network(recipe.translator, recipe.mixer, recipe.residual)
    depth, (height, width) = plan.grid.num_slices, plan.grid.in_plane
    spec, base, voxels = network.residual.spec, recipe.translator.widths[0], height * width
    numbers, batch = recipe.memory.bytes_per_number, min(recipe.inference.slice_batch, depth)
    # The head reads a batch, holds it with its neighbours, and sets them side by side to join them.
    beside = (2 * spec.neighbours + 1) * spec.width
    joining = (batch + 2 * spec.neighbours) * spec.width + batch * (beside + spec.width)
    head = max(batch * (base + network.residual.enter.in_channels), joining) * voxels
    # One pass keeps the maps of all slices; the last batch is still decoded when all others are.
    kept = (depth - batch) * base * voxels if recipe.inference.passes == "one" else 0
    volumes = 4 * depth * voxels
    volumes *= len(plan.channels) + 2 * len(plan.sources) + len(plan.targets)
    waiting = 2 * spec.neighbours * spec.width * voxels
    most = kept + waiting + max(_working(plan, recipe, batch), head)
    return (stored_weights(network, numbers) + volumes + numbers * most) / GIB


def _working(plan: Plan, recipe: ResidualRecipe, batch: int) -> int:
    """How many numbers a batch of slices needs on its way through the frozen translator."""
    translator, size = recipe.translator, plan.grid.in_plane
    return batch * (kept_per_slice(translator, size) + decoded_per_slice(translator, size))


@lru_cache(maxsize=4)
def _meta_residual_network(
    translator: TranslatorSpec, mixer: MixerSpec, residual: ResidualSpec
) -> ResidualTranslator:
    with torch.device("meta"):
        network: nn.Module = ResidualTranslator(translator, mixer, residual)
    assert isinstance(network, ResidualTranslator)
    return network
