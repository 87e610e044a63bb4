"""How much memory training and synthesis take."""

from functools import lru_cache

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from liftnet.core.plan import MixerSpec, Plan, TranslatorSpec
from liftnet.networks.volume_translator import VolumeTranslator
from liftnet.planning.memory import (
    GIB,
    KeptBytes,
    meta_slices,
    num_parameters,
    weight_bytes,
)
from liftnet.tasks.missing_modality.context_translation import STAGE, slab_loss

__all__ = ["synthesis_gib", "synthesis_gigaflop", "training_gib"]


def training_gib(plan: Plan, *, mapper: bool = True) -> float:
    """The peak of one training step: weights, their optimizer state, and all kept activations.

    The GRU is left out: over 155 slices it keeps less than 1 MB.
    """
    network = _meta_network(*_specs(plan, mapper=mapper))
    schedule, (height, width) = plan.stages[STAGE], plan.grid.in_plane
    volumes = schedule.volumes_per_step
    count = min(schedule.decoded_slices, plan.grid.num_slices)
    kept = KeptBytes(network)
    with torch.autograd.graph.saved_tensors_hooks(kept.count, lambda tensor: tensor):
        slices, condition = meta_slices(len(plan.channels), plan.grid.in_plane, volumes * count)
        features = network.encode(slices, condition)
        decoded = network.decode(features, condition, _meta_context(network, volumes, count))
        activations = kept.total
        predicted = decoded[:, :1].unflatten(0, (volumes, count)).transpose(1, 2)
        slab_loss(predicted, torch.empty_like(predicted), plan.losses)
    losses = kept.total - activations
    weights = weight_bytes(network)
    inputs = volumes * 2 * 4 * len(plan.channels) * plan.grid.num_slices * height * width
    largest = 4 * volumes * count * height * width * network.translator.spec.widths[0]
    total = weights + inputs + activations * plan.memory.bytes_per_number / 4 + losses + largest
    return total / GIB


def synthesis_gib(plan: Plan, *, mapper: bool = True) -> float:
    """The peak of synthesizing one volume of the plan's grid."""
    network = _meta_network(*_specs(plan, mapper=mapper))
    widths, numbers = network.translator.spec.widths, plan.memory.bytes_per_number
    depth, (height, width) = plan.grid.num_slices, plan.grid.in_plane
    batch = min(plan.inference.slice_batch + 2 * _halo(network), depth)
    per_slice = sum(w * (height >> i) * (width >> i) for i, w in enumerate(widths))
    kept = depth * per_slice if mapper and plan.inference.passes == "one" else 0
    # While the finest decoder stage runs: the skips of the batch, the enlarged maps, the joined
    # ones (twice as many), the result of a convolution and its activated copy.
    working = batch * (per_slice + 5 * widths[0] * height * width)
    inputs = 4 * depth * height * width * (2 * len(plan.channels) + len(plan.targets))
    return (4 * num_parameters(network) + inputs + (kept + working) * numbers) / GIB


def synthesis_gigaflop(plan: Plan, *, passes: str, mapper: bool = True) -> float:
    """The arithmetic of one volume of the plan's grid, counting a multiply-add as 2."""
    network = _meta_network(*_specs(plan, mapper=mapper))
    depth, batch = plan.grid.num_slices, plan.inference.slice_batch
    slices, condition = meta_slices(len(plan.channels), plan.grid.in_plane, depth)
    with torch.no_grad(), FlopCounterMode(display=False) as encoding:
        features = network.encode(slices, condition)
    with torch.no_grad(), FlopCounterMode(display=False) as decoding:
        network.decode(features, condition, _meta_context(network, 1, depth))
    # Chunks of the decoder overlap by the reach of the through-plane convolutions.
    overlap = min(batch + 2 * _halo(network), depth) / min(batch, depth)
    total = encoding.get_total_flops() + overlap * decoding.get_total_flops()
    if network.mixer is not None:
        gru = network.mixer.gru
        total += 2 * depth * sum(w.numel() for w in gru.parameters())
        total += overlap * encoding.get_total_flops() if passes == "two" else 0
    return float(total / 1e9)


def _specs(plan: Plan, *, mapper: bool) -> tuple[TranslatorSpec, MixerSpec | None]:
    translator, mixer = plan.networks["translator"], plan.networks["mixer"]
    assert isinstance(translator, TranslatorSpec) and isinstance(mixer, MixerSpec)
    return translator, mixer if mapper else None


@lru_cache(maxsize=4)
def _meta_network(translator: TranslatorSpec, mixer: MixerSpec | None) -> VolumeTranslator:
    with torch.device("meta"):
        return VolumeTranslator(translator, mixer)


def _meta_context(network: VolumeTranslator, volumes: int, count: int) -> Tensor | None:
    if network.mixer is None:
        return None
    size = 2 * network.mixer.spec.hidden_size
    return torch.empty((volumes, count, size), device="meta", requires_grad=torch.is_grad_enabled())


def _halo(network: VolumeTranslator) -> int:
    return network.mixer.halo if network.mixer is not None else 0
