"""How much memory training and generation take, from what networks keep of a slice.

By formula: sizes are searched among grids, numbers of slices and widths at once, for which the
measurement of `planning.cost`, a second or two for all stages, is too slow.
"""

from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor, nn

from liftnet.core.network_specs import (
    CriticSpec,
    FeatureSpec,
    GeneratorSpec,
    MapperSpec,
    ResNetSpec,
)
from liftnet.core.plan import Plan
from liftnet.core.recipe import Schedule
from liftnet.methods.lift_u.batches import PLANES
from liftnet.methods.lift_u.recipe import LiftURecipe
from liftnet.networks.depth_mapper import DepthMapper
from liftnet.networks.features import ResNet18, pooled_parts
from liftnet.networks.masked_autoencoder import MaskedAutoencoder
from liftnet.networks.slice_generator import PatchDiscriminator, SliceGenerator
from liftnet.networks.volume_generator import FEATURE_GRIDS, feature_maps, make_features
from liftnet.planning.memory import GIB, num_parameters

__all__ = ["prediction_gib", "training_gib"]

DRIFT_COPIES = 4  # of the real features of a step: drawn, centred, scaled, joined
BLOCK_MAPS = 6  # of the finest stage as it runs: enlarged, joined (two), convolved, activated, left
SliceSpec = FeatureSpec | ResNetSpec | GeneratorSpec | CriticSpec


def training_gib(plan: Plan, recipe: LiftURecipe) -> float:
    """The peak of one step of the hungriest stage."""
    sizes = [_slice_bytes(plan, recipe), _code_bytes(plan, recipe), _depth_bytes(plan, recipe)]
    if recipe.slice_features is not None:
        sizes.append(_feature_bytes(plan, recipe, recipe.slice_features))
    return max(sizes) / GIB


def prediction_gib(plan: Plan, recipe: LiftURecipe) -> float:
    """The peak of generating one volume, a few slices at a time, in float32."""
    features, generator, mapper = recipe.features, recipe.generator, recipe.mapper
    weights = sum(_held_bytes(_network(spec)) for spec in (features, generator))
    weights += _held_bytes(_mapper(mapper))
    depth, height, width = _box(plan)
    skips = sum(w * (height >> i) * (width >> i) for i, w in enumerate(generator.widths))
    maps = skips + BLOCK_MAPS * generator.widths[0] * height * width
    volume = depth * height * width
    return (weights + 4 * (maps * recipe.inference.slice_batch + 2 * volume)) / GIB


def _feature_bytes(plan: Plan, recipe: LiftURecipe, schedule: Schedule) -> float:
    """Stage 0: slices of three planes, and what the encoder keeps of them."""
    features = recipe.features
    count = schedule.volumes_per_step * schedule.windows_per_volume // len(PLANES)
    kept = sum(_kept(features, size, True) * count for size in _plane_sizes(plan))
    return _trained_bytes(_network(features)) + kept * recipe.memory.bytes_per_number / 4


def _slice_bytes(plan: Plan, recipe: LiftURecipe) -> float:
    """Stage 1: generator, features and critic in one graph, the critic on real slices too."""
    features, generator, critic = recipe.features, recipe.generator, recipe.critic
    schedule = recipe.slice_generation
    count = schedule.volumes_per_step * schedule.windows_per_volume
    size = plan.grid.in_plane
    weights = sum(map(_trained_bytes, (_network(generator), _network(critic))))
    kept = _kept(generator, size, True) * count + 3 * _kept(critic, size, True) * count
    if recipe.losses["features"] > 0:
        kept += _kept(features, size, False) * count
    largest = 4 * count * generator.widths[0] * size[0] * size[1]
    frozen = 2 * _held_bytes(_network(features))
    return weights + frozen + (kept + largest) * recipe.memory.bytes_per_number / 4


def _code_bytes(plan: Plan, recipe: LiftURecipe) -> float:
    """Stage 2: the mapper over frozen networks, and codes of real volumes."""
    features, generator, mapper = recipe.features, recipe.generator, recipe.mapper
    volumes, depth = recipe.code_trajectories.volumes_per_step, plan.grid.num_slices
    frozen = 2 * sum(_held_bytes(_network(spec)) for spec in (features, generator))
    codes = 4 * DRIFT_COPIES * depth * mapper.code_size * (recipe.drift.positives + volumes)
    graph = _mapper_kept(mapper, volumes, depth)
    return frozen + _trained_bytes(_mapper(mapper)) + graph + codes


def _depth_bytes(plan: Plan, recipe: LiftURecipe) -> float:
    """Stage 3: whole volumes and their gradient, features of some slices, a chunk's maps."""
    features, generator, mapper = recipe.features, recipe.generator, recipe.mapper
    volumes = recipe.depth_mapping.volumes_per_step
    depth, height, width = _box(plan)
    sampled, positives = recipe.drift.slices_per_plane, recipe.drift.positives
    frozen = 2 * sum(_held_bytes(_network(spec)) for spec in (features, generator))
    weights = frozen + _trained_bytes(_mapper(mapper))
    kept = sum(_kept(features, size, False) * (volumes * sampled) for size in _plane_sizes(plan))
    numbers = len(PLANES) * sampled * _feature_size(features, plan.grid.in_plane)
    banks = 4 * DRIFT_COPIES * numbers * (positives + volumes)
    chunk = _kept(generator, plan.grid.in_plane, False) * recipe.inference.slice_batch
    voxels = 4 * 2 * volumes * depth * height * width
    graph = _mapper_kept(mapper, volumes, depth)
    share = recipe.memory.bytes_per_number / 4
    return weights + voxels + graph + max(share * kept + banks, share * chunk)


@lru_cache(maxsize=256)
def _kept(spec: SliceSpec, size: tuple[int, int], trained: bool) -> int:
    """The bytes that autograd keeps of a slice.

    A network that is not trained is used as in later stages: a generator makes slices from codes
    that have a gradient, features are pooled.
    """
    network = _network(spec)
    return _count(network, _forward(network, size, trained), trained)


def _forward(network: nn.Module, size: tuple[int, int], trained: bool) -> Callable[[], object]:
    slices = torch.empty((1, 1, *size), device="meta", requires_grad=not trained)
    if isinstance(network, SliceGenerator):
        codes = (1, network.spec.code_size)
        return lambda: network(torch.empty(codes, device="meta", requires_grad=not trained))
    if isinstance(network, MaskedAutoencoder) and trained:
        hidden = torch.empty(slices.shape, dtype=torch.bool, device="meta")
        return lambda: network(slices, hidden)
    if isinstance(network, MaskedAutoencoder | ResNet18):
        return lambda: _pooled(network, slices)
    return lambda: network(slices)


def _count(network: nn.Module, forward: Callable[[], object], trained: bool) -> int:
    kept = KeptBytes(network)
    wanted = [p.requires_grad for p in network.parameters()]
    network.requires_grad_(trained)
    with torch.autograd.graph.saved_tensors_hooks(kept.count, lambda tensor: tensor):
        forward()
    for parameter, flag in zip(network.parameters(), wanted, strict=True):
        parameter.requires_grad_(flag)
    return kept.total


@lru_cache(maxsize=16)
def _mapper_kept(spec: MapperSpec, volumes: int, depth: int) -> int:
    network = _mapper(spec)
    latents = torch.empty((volumes, spec.latent_size), device="meta")
    positions = torch.empty(depth, device="meta")
    return _count(network, lambda: network(latents, positions), True)


@lru_cache(maxsize=16)
def _feature_size(spec: FeatureSpec | ResNetSpec, size: tuple[int, int]) -> int:
    with torch.no_grad():
        parts = _pooled(_network(spec), torch.empty((1, 1, *size), device="meta"))
    return sum(part[0].numel() for part in parts)


def _pooled(network: nn.Module, slices: Tensor) -> list[Tensor]:
    """The features of slices as the drift takes them, without autocast, which meta has not."""
    return pooled_parts(feature_maps(network, slices), grids=FEATURE_GRIDS)


class KeptBytes:
    """Counts the bytes of tensors that autograd keeps, each storage once, weights not at all."""

    def __init__(self, network: nn.Module):
        self.total = 0
        self._known = {p.untyped_storage()._cdata for p in network.parameters()}
        self._alive: list[torch.UntypedStorage] = []

    def count(self, tensor: Tensor) -> Tensor:
        """The tensor's values; a hook for `torch.autograd.graph.saved_tensors_hooks`.

        Without its graph: a graph that keeps what leads back to itself is never freed.
        """
        storage = tensor.untyped_storage()
        if storage._cdata not in self._known:
            self._known.add(storage._cdata)
            self._alive.append(storage)  # so that no later storage gets the same address
            self.total += storage.nbytes()
        return tensor.detach()


def _held_bytes(network: nn.Module) -> int:
    """Float32 weights, and what else a network holds."""
    return 4 * num_parameters(network) + sum(b.nbytes for b in network.buffers())


def _trained_bytes(network: nn.Module) -> int:
    """Those of a network, its average, its gradients and two Adam moments."""
    trained = sum(p.numel() for p in network.parameters() if p.requires_grad)
    buffers = sum(b.nbytes for b in network.buffers())
    return 4 * (2 * num_parameters(network) + 3 * trained) + 2 * buffers


@lru_cache(maxsize=64)
def _network(spec: SliceSpec) -> nn.Module:
    with torch.device("meta"):
        if isinstance(spec, GeneratorSpec):
            return SliceGenerator(spec)
        if isinstance(spec, CriticSpec):
            return PatchDiscriminator(spec.widths, spectral=False)
        return make_features(spec)


@lru_cache(maxsize=8)
def _mapper(spec: MapperSpec) -> DepthMapper:
    with torch.device("meta"):
        return DepthMapper(spec)


def _plane_sizes(plan: Plan) -> tuple[tuple[int, int], ...]:
    """Sizes of slices in the three planes."""
    d, h, w = _box(plan)
    return ((h, w), (d, w), (d, h))


def _box(plan: Plan) -> tuple[int, int, int]:
    assert plan.grid.box is not None
    return plan.grid.box
