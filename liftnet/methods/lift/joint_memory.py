"""How much memory training and synthesis of the joint form take."""

import torch
from torch import Tensor

from liftnet.core.plan import Plan
from liftnet.core.recipe import schedules
from liftnet.methods.lift.joint import STAGE, slab_loss
from liftnet.methods.lift.recipes import JointRecipe
from liftnet.networks.volume_translator import VolumeTranslator
from liftnet.planning.memory import GIB
from liftnet.planning.slice_memory import (
    decoded_per_slice,
    kept_per_slice,
    meta_translator,
    slab_bytes,
    stored_weights,
)

__all__ = ["synthesis_gib", "training_gib"]


def training_gib(plan: Plan, recipe: JointRecipe) -> float:
    """The peak of a training step of any stage: weights, optimizer, and all kept activations.

    The GRU is left out: over 155 slices it keeps less than 1 MB.
    """
    return max(_stage_bytes(plan, recipe, name) for name in schedules(recipe)) / GIB


def _stage_bytes(plan: Plan, recipe: JointRecipe, name: str) -> float:
    """One stage; without context it holds slabs, with context whole volumes."""
    network = meta_translator(recipe.translator, recipe.mixer if name == STAGE else None)
    schedule, (height, width) = schedules(recipe)[name], plan.grid.in_plane
    volumes, depth = schedule.volumes_per_step, plan.grid.num_slices
    count = min(schedule.decoded_slices, depth)
    held = volumes * (count if network.mixer is None else depth) * height * width

    def loss(decoded: Tensor) -> object:
        predicted = decoded[:, :1]
        return slab_loss(predicted, torch.empty_like(predicted), recipe.losses)

    return slab_bytes(
        network,
        plan,
        recipe,
        schedule,
        inputs=2 * 4 * len(plan.channels) * held,
        loss=loss,
        context=_meta_context(network, volumes, count),
    )


def synthesis_gib(plan: Plan, recipe: JointRecipe) -> float:
    """The peak of synthesizing one volume of the plan's grid."""
    network = meta_translator(recipe.translator, recipe.mixer)
    depth, (height, width) = plan.grid.num_slices, plan.grid.in_plane
    batch = min(recipe.inference.slice_batch, depth)
    translator, numbers = network.translator.spec, recipe.memory.bytes_per_number
    finest = translator.widths[0] * height * width
    per_slice = kept_per_slice(translator, plan.grid.in_plane)
    described = 4 * batch * finest if network.mixer is not None else 0  # float32
    if network.mixer is None:
        kept = 0
    elif recipe.inference.passes == "one":
        kept = (depth - batch) * per_slice
    else:  # each stage lags behind the one before it, and holds its last slices
        lag = network.mixer.reach * (len(translator.widths) + 1)
        kept = min(lag, depth - batch) * per_slice
    encoding = numbers * batch * per_slice + described
    decoding = numbers * batch * decoded_per_slice(translator, plan.grid.in_plane)
    volumes = 4 * depth * height * width * (2 * len(plan.channels) + len(plan.targets))
    weights = stored_weights(network, numbers)
    return (weights + volumes + numbers * kept + max(encoding, decoding)) / GIB


def _meta_context(network: VolumeTranslator, volumes: int, count: int) -> Tensor | None:
    if network.mixer is None:
        return None
    size = 2 * network.mixer.spec.hidden_size
    return torch.empty((volumes, count, size), device="meta", requires_grad=torch.is_grad_enabled())
