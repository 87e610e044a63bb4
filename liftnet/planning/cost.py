"""The memory of a training step of any stage, measured on tensors without values.

A stage is built on PyTorch's "meta" device and its own loss is called; what autograd keeps is
counted. No formula can drift away from the code. Condition: the loss reads no tensor on the host.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor, nn

from liftnet.core.plan import Plan
from liftnet.core.recipe import Recipe, Schedule
from liftnet.data.crops import Crop, Patch, Slab, Windows
from liftnet.data.example import Example
from liftnet.networks.blocks import set_recompute
from liftnet.planning.memory import GIB, KeptBytes, weight_bytes

__all__ = ["TRAINING_SHARE", "first_that_fits", "training_flops", "training_gib"]

AnyRecipe = TypeVar("AnyRecipe", bound=Recipe)
TRAINING_SHARE = 0.9  # ours: the rest is for the allocator and cuDNN


class Measurable(Protocol):
    """What of a stage is needed to measure it."""

    schedule: Schedule
    crop: Crop

    def build(self, previous: nn.Module | None = None) -> nn.Module:
        """A new network."""

    def loss(
        self, network: nn.Module, memory: Any, batch: Sequence[Example], generator: Any
    ) -> dict[str, Tensor]:
        """Named terms."""


def training_gib(plan: Plan, recipe: Recipe, stages: Iterable[Measurable]) -> float:
    """The peak of a training step of the hungriest stage.

    Weights, their average, gradients and two moments; what a step sees, once as it comes and once
    augmented; what autograd keeps, in the type of the device; and the largest map beside it.
    """
    return max(_step_bytes(plan, recipe, stage) for stage in stages) / GIB


def first_that_fits(
    candidates: Iterator[AnyRecipe], needed: Any, limit_gib: float
) -> tuple[AnyRecipe, float]:
    """The first recipe whose need (GiB) is within a limit, else the last; and what it needs."""
    found = None
    for recipe in candidates:
        gib = needed(recipe)
        found = recipe, gib
        if gib <= limit_gib:
            break
    assert found is not None
    return found


def training_flops(plan: Plan, stage: Measurable) -> int:
    """The floating-point operations of a training step, forward and backward.

    Source: torch.utils.flop_counter, which counts products of matrices and convolutions.
    """
    from torch.utils.flop_counter import FlopCounterMode

    network, batch = _without_values(plan, stage)
    with FlopCounterMode(display=False) as counter:
        terms = stage.loss(network, None, batch, torch.Generator())
        torch.stack(list(terms.values())).sum().backward()
    return int(counter.get_total_flops())


def _without_values(plan: Plan, stage: Measurable) -> tuple[nn.Module, list[Example]]:
    """A stage's network, in which what is not trained is frozen, and what a step sees."""
    with torch.device("meta"):
        network = stage.build()
    for name, child in network.named_children():
        if name not in stage.schedule.learning_rates:
            child.requires_grad_(False)
    return network, [_empty(plan, stage) for _ in range(stage.schedule.volumes_per_step)]


def _step_bytes(plan: Plan, recipe: Recipe, stage: Measurable) -> float:
    network, batch = _without_values(plan, stage)
    set_recompute(network, recipe.recompute)
    kept = KeptBytes(network)
    with torch.autograd.graph.saved_tensors_hooks(kept.count, lambda tensor: tensor):
        stage.loss(network, None, batch, torch.Generator())
    inputs = sum(tensor.nbytes for example in batch for tensor in example.tensors())
    numbers = kept.total * recipe.memory.bytes_per_number / 4
    return weight_bytes(network) + 2 * inputs + numbers


def _empty(plan: Plan, stage: Measurable) -> Example:
    """What a step sees of a volume of the plan's grid, without values."""
    crop, depth = stage.crop, plan.grid.num_slices
    shape = (depth, *plan.grid.in_plane)
    count = depth
    windows: tuple[int, ...] = (0,)
    if isinstance(crop, Patch):
        shape, count = crop.size, crop.size[0]
    elif isinstance(crop, Slab):
        count = min(crop.count, depth)
        shape = (count, *shape[1:])
    elif isinstance(crop, Windows):
        count, windows = min(crop.count, depth), (0,) * crop.number
    sources, targets = len(plan.sources), len(plan.targets)

    def empty(*size: int) -> Tensor:
        return torch.empty(size, device="meta")

    return Example(
        case="",
        source=empty(1, sources, *shape),
        target=empty(1, targets, *shape),
        mask=empty(1, int(plan.grid.mask != "none"), *shape),
        air=empty(1, sources + targets),
        given=empty(1, sources),
        made=torch.ones(1, targets, dtype=torch.bool),
        seeds=torch.zeros(1, dtype=torch.int64),
        windows=windows,
        count=count,
    )
