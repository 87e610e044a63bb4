"""How much memory training and synthesis take, measured on tensors without storage.

The network is built and run on PyTorch's "meta" device, where tensors have shapes but no values,
and every tensor that autograd would keep is counted. No formula can drift away from the code.
"""

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from liftnet.core.plan import Plan, TranslatorSpec
from liftnet.networks.volume_translator import VolumeTranslator
from liftnet.tasks.missing_modality.context_translation import STAGE, build_network, slab_loss

__all__ = ["synthesis_gib", "synthesis_gigaflop", "training_gib"]

GIB = 2**30


def training_gib(plan: Plan, *, mapper: bool = True) -> float:
    """The peak of one training step: weights, their optimizer state, and all kept activations."""
    network = _meta_network(plan, mapper=mapper)
    parameters = sum(p.numel() for p in network.parameters())
    source, condition = _meta_source(plan)
    volumes = plan.stages[STAGE].volumes_per_step
    count = min(plan.stages[STAGE].decoded_slices, plan.grid.num_slices)
    kept = _KeptBytes(network)
    with torch.autograd.graph.saved_tensors_hooks(kept.count, lambda tensor: tensor):
        decoded = network(
            [source] * volumes,
            condition.expand(volumes, -1),
            starts=[0] * volumes,
            count=count,
            slice_batch=plan.inference.slice_batch,
        )
        activations = kept.total
        predicted = decoded[:, :1]
        slab_loss(predicted, torch.empty_like(predicted), plan.losses)
    losses = kept.total - activations
    # Weights, gradients, two Adam moments and the moving average are float32.
    weights = 5 * 4 * parameters
    inputs = volumes * 2 * 4 * source.numel()
    largest = 4 * volumes * count * plan.grid.in_plane[0] * plan.grid.in_plane[1] * _widths(plan)[0]
    total = weights + inputs + activations * plan.memory.bytes_per_number / 4 + losses + largest
    return total / GIB


def synthesis_gib(plan: Plan, *, mapper: bool = True) -> float:
    """The peak of synthesizing one volume of the plan's grid."""
    network = _meta_network(plan, mapper=mapper)
    parameters = sum(p.numel() for p in network.parameters())
    widths, numbers = _widths(plan), plan.memory.bytes_per_number
    depth, (height, width) = plan.grid.num_slices, plan.grid.in_plane
    halo = network.mixer.halo if network.mixer is not None else 0
    batch = min(plan.inference.slice_batch + 2 * halo, depth)
    per_slice = sum(w * (height >> i) * (width >> i) for i, w in enumerate(widths))
    kept = depth * per_slice if plan.inference.passes == "one" else 0
    # While the finest decoder stage runs: the skips of the batch, the joined maps, the result
    # of a convolution and its normalized copy.
    working = batch * (per_slice + 4 * widths[0] * height * width)
    inputs = 4 * depth * height * width * (2 * len(plan.channels) + len(plan.targets))
    return (4 * parameters + inputs + (kept + working) * numbers) / GIB


def synthesis_gigaflop(plan: Plan, *, passes: str, mapper: bool = True) -> float:
    """The arithmetic of one volume of the plan's grid, counting a multiply-add as 2."""
    network = _meta_network(plan, mapper=mapper)
    source, condition = _meta_source(plan)
    with FlopCounterMode(display=False) as flops:
        network.synthesize(
            source,
            condition,
            slice_batch=plan.inference.slice_batch,
            keep_features=passes == "one",
        )
    return float(flops.get_total_flops() / 1e9)


def _meta_network(plan: Plan, *, mapper: bool) -> VolumeTranslator:
    with torch.device("meta"):
        return build_network(plan, mapper=mapper)


def _meta_source(plan: Plan) -> tuple[Tensor, Tensor]:
    channels = len(plan.channels)
    shape = (1, channels, plan.grid.num_slices, *plan.grid.in_plane)
    return torch.empty(shape, device="meta"), torch.empty((1, channels), device="meta")


def _widths(plan: Plan) -> tuple[int, ...]:
    translator = plan.networks["translator"]
    assert isinstance(translator, TranslatorSpec)
    return translator.widths


class _KeptBytes:
    """Counts the bytes of tensors that autograd keeps, each storage once, weights not at all."""

    def __init__(self, network: torch.nn.Module):
        self.total = 0
        self._known = {p.untyped_storage()._cdata for p in network.parameters()}
        self._alive: list[Tensor] = []

    def count(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in self._known:
            self._known.add(storage._cdata)
            self._alive.append(tensor)  # so that no later storage gets the same address
            self.total += storage.nbytes()
        return tensor
