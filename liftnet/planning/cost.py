"""What a training step, and a synthesis, of any method takes, measured on tensors without values.

A stage is built on PyTorch's "meta" device, its own loss is called and its gradient taken; so is
the method's own synthesis. No formula can drift away from the code. Condition: neither reads a
tensor on the host, but which targets are made.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from math import inf
from typing import Any, Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor, nn

from liftnet.core.plan import Plan
from liftnet.core.recipe import Recipe, Schedule
from liftnet.data.crops import Crop, Nothing, Patch, Planes, Slab, Whole
from liftnet.data.example import Example
from liftnet.networks.blocks import set_recompute
from liftnet.ops.chunks import Chunk
from liftnet.ops.compute.precision import in_meta_autocast
from liftnet.ops.planes import plane_size
from liftnet.planning.memory import GIB, Flops, LiveBytes, OneStepRecurrence, num_parameters

__all__ = [
    "TRAINING_SHARE",
    "TooLargeError",
    "estimated",
    "first_that_fits",
    "flops_of",
    "largest_that_fits",
    "synthesis_flops",
    "synthesis_gib",
    "training_flops",
    "training_gib",
]

AnyRecipe = TypeVar("AnyRecipe", bound=Recipe)
MEASURED: dict[str, float] = {}  # of one plan, recipe and stage; the planner asks for some again
MEASURED_STEPS = 3  # ours: of a sampler, whose steps are alike but for the first and the last
TRAINING_SHARE = 0.9  # ours: the rest is for the allocator and cuDNN


class TooLargeError(Exception):
    """No size of a method fits the memory on this grid; a coarser one may do."""


class Measurable(Protocol):
    """What of a stage is needed to measure it."""

    @property
    def name(self) -> str:
        """That of its schedule."""

    @property
    def schedule(self) -> Schedule:
        """How it is trained."""

    @property
    def crop(self) -> Crop:
        """What of a case a step sees."""

    def build(self, previous: nn.Module | None = None) -> nn.Module:
        """A new network."""

    def loss(
        self, network: nn.Module, memory: Any, batch: Sequence[Example], generator: Any
    ) -> dict[str, Tensor]:
        """Named terms."""


@runtime_checkable
class Supposes(Protocol):
    """Stages whose loss needs what a survey of all cases finds."""

    def supposed(self) -> Any:
        """The same without values."""


def training_gib(
    plan: Plan, recipe: Recipe, stages: Iterable[Measurable], limit_gib: float = inf
) -> float:
    """The peak of a training step of the hungriest stage, or of the first beyond a limit."""
    largest = 0.0
    for stage in stages:
        step = partial(_step_gib, plan, recipe, stage)
        largest = max(largest, _once("training", plan, recipe, stage, step))
        if largest > limit_gib:
            break
    return largest


def synthesis_gib(plan: Plan, recipe: Recipe, stage: Measurable, synthesize: Any) -> float:
    """The peak of one volume of the plan's grid.

    Args:
        plan: whose grid it is.
        recipe: with how many slices at a time.
        stage: the last one, whose network makes volumes.
        synthesize: that of the method (plan, recipe, network, example, generator, chunk).
    """
    if recipe.sampling is not None:
        recipe = _of_steps(recipe, min(recipe.sampling.num_steps, MEASURED_STEPS))

    def measure() -> float:
        network, number = _without_values(stage), recipe.memory.bytes_per_number
        with OneStepRecurrence(), LiveBytes(number) as live:
            _synthesize(plan, recipe, network, synthesize, targets=1)
        return (_held(network, number) + live.peak) / GIB

    return _once("synthesis", plan, recipe, stage, measure)


def synthesis_flops(
    plan: Plan, recipe: Recipe, stage: Measurable, synthesize: Any, targets: int
) -> int:
    """The floating-point operations of the same volume, of so many of the plan's targets.

    A sampler is counted with one step and with two: each further one costs what the second does.
    """

    def counted(steps: int | None) -> int:
        some = _of_steps(recipe, steps)
        return flops_of(stage, lambda own: _synthesize(plan, some, own, synthesize, targets))

    steps = recipe.sampling.num_steps if recipe.sampling else 1
    if steps <= 2:
        return counted(None)
    first, second = counted(1), counted(2)
    return second + (steps - 2) * (second - first)


def _of_steps(recipe: AnyRecipe, steps: int | None) -> AnyRecipe:
    """The recipe with another number of steps of its sampler, if it has one."""
    if recipe.sampling is None or steps is None:
        return recipe
    return replace(recipe, sampling=replace(recipe.sampling, num_steps=steps))


@torch.no_grad()
def flops_of(stage: Measurable, work: Callable[[nn.Module], object]) -> int:
    """The floating-point operations of some work with a stage's network, without values."""
    network = _without_values(stage)
    with Flops() as counter:
        work(network)
    return counter.total


def _synthesize(
    plan: Plan, recipe: Recipe, network: nn.Module, synthesize: Any, targets: int | None = None
) -> None:
    chunk = Chunk(recipe.inference.slice_batch, recipe.inference.passes)
    with torch.no_grad():
        (example,) = _empty(plan, Whole())
        if targets is not None:
            example.made[:, targets:] = False
        synthesize(plan, recipe, network, example, torch.Generator(), chunk)


def estimated(recipe: AnyRecipe, training: float, prediction: float) -> AnyRecipe:
    """The recipe with these estimates, in GiB."""
    memory = replace(
        recipe.memory, training_gib=round(training, 3), prediction_gib=round(prediction, 3)
    )
    return replace(recipe, memory=memory)


def largest_that_fits(
    plan: Plan,
    candidates: Sequence[AnyRecipe],
    stages: Callable[[AnyRecipe], Iterable[Measurable]],
) -> AnyRecipe:
    """The first recipe whose training steps fit the plan's memory budget.

    Args:
        plan: whose grid and budget it is for.
        candidates: best first; from the third on, none needs more than the one before.
        stages: those of a recipe.

    Raises:
        TooLargeError: If none fits.
    """
    limit = TRAINING_SHARE * plan.budget.memory_gib
    recipe, needed = first_that_fits(
        candidates, lambda recipe: training_gib(plan, recipe, stages(recipe), limit), limit
    )
    if needed <= limit:
        return recipe
    height, width = plan.grid.in_plane
    raise TooLargeError(
        f"The smallest network needs {needed:.2g} GiB for slices of {height}x{width}"
    )


def first_that_fits(
    candidates: Sequence[AnyRecipe], needed: Callable[[AnyRecipe], float], limit_gib: float
) -> tuple[AnyRecipe, float]:
    """The first recipe whose need (GiB) is within a limit, else the last; and what it needs.

    From the third on, none needs more than the one before.
    """
    known: dict[int, float] = {}

    def fits(number: int) -> bool:
        if number not in known:
            known[number] = needed(candidates[number])
        return known[number] <= limit_gib

    low, high = 0, len(candidates) - 1
    if not fits(low) and fits(high) and not fits(1):
        low = 2
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if fits(middle) else (middle + 1, high)
    first = next((n for n in sorted(known) if known[n] <= limit_gib), high)
    return candidates[first], known[first]


def training_flops(plan: Plan, stage: Measurable) -> int:
    """The floating-point operations of a training step, forward and backward."""
    network, batch = _without_values(stage), _batch(plan, stage)
    with Flops() as counter:
        _loss(stage, network, batch).backward()
    return counter.total


def _without_values(stage: Measurable) -> nn.Module:
    """A stage's network, in which what is not trained is frozen."""
    with torch.device("meta"), LiveBytes():
        network = stage.build()
    for name, child in network.named_children():
        if name not in stage.schedule.learning_rates:
            child.requires_grad_(False)
    return network


def _batch(plan: Plan, stage: Measurable) -> list[Example]:
    """What a step sees."""
    volumes = range(stage.schedule.volumes_per_step)
    return [example for _ in volumes for example in _empty(plan, stage.crop)]


def _loss(stage: Measurable, network: nn.Module, batch: list[Example]) -> Tensor:
    memory = stage.supposed() if isinstance(stage, Supposes) else None
    terms = stage.loss(network, memory, batch, torch.Generator())
    return torch.stack(list(terms.values())).sum()


def _once(
    what: str, plan: Plan, recipe: Recipe, stage: Measurable, measure: Callable[[], float]
) -> float:
    """A measurement, done once for each grid, recipe and stage."""
    sizes = replace(estimated(recipe, 0.0, 0.0), reasons={}, feeding="read")
    key = f"{what} {type(stage)} {stage.name} {replace(plan, reasons={})} {sizes}"
    if key not in MEASURED:
        MEASURED[key] = measure()
    return MEASURED[key]


def _step_gib(plan: Plan, recipe: Recipe, stage: Measurable) -> float:
    """Of a step that is not the first.

    Weights, their average, two moments and the gradient of the step before; what the step sees,
    once as it comes and once augmented; all that is alive at a time of its loss and its gradient.
    """
    network, number = _without_values(stage), recipe.memory.bytes_per_number
    set_recompute(network, recipe.recompute)
    with OneStepRecurrence(), LiveBytes(number) as live:
        batch = _batch(plan, stage)
        inputs = live.now
        loss = _loss(stage, network, batch)
        forward = live.peak
        with in_meta_autocast(True):
            loss.backward()
    average = 4 * num_parameters(network)
    trained = 4 * sum(p.numel() for p in network.parameters() if p.requires_grad)
    gradient = trained * (1 - number / 4)  # is in float32 for weights
    again = inputs if recipe.augmentation is not None else 0
    step = max(forward + trained, live.peak + gradient)
    return (_held(network, number) + average + 2 * trained + again + step) / GIB


def _held(network: nn.Module, bytes_per_number: int) -> int:
    """Bytes of a network in float32, and of the weights as autocast computes with them."""
    copies = bytes_per_number if bytes_per_number < 4 else 0
    return (4 + copies) * num_parameters(network) + sum(b.nbytes for b in network.buffers())


def _empty(plan: Plan, crop: Crop) -> list[Example]:
    """What a step sees of a volume of the plan's grid, without values."""
    grid = plan.grid
    depth, shape = grid.num_slices, (grid.num_slices, *grid.in_plane)
    if isinstance(crop, Nothing):
        return [_example(plan, 1, (0, 0, 0), 0, ())]
    if isinstance(crop, Planes):
        sizes = {p: plane_size(shape, p, slice_axis=grid.slice_axis)[1:] for p in crop.counts}
        return [
            replace(_example(plan, n, (1, *sizes[plane]), 1, (0,) * n), plane=plane)
            for plane, n in crop.counts.items()
        ]
    if isinstance(crop, Patch):
        return [_example(plan, 1, crop.size, crop.size[0], (0,))]
    if isinstance(crop, Whole):
        return [_example(plan, 1, shape, depth, (0,))]
    count = min(crop.count, depth)
    if isinstance(crop, Slab):
        return [_example(plan, 1, (count, *grid.in_plane), count, (0,))]
    last = max(crop.number - 1, 1)
    windows = tuple(i * (depth - count) // last for i in range(crop.number))
    return [_example(plan, 1, shape, count, windows)]


def _example(
    plan: Plan, items: int, shape: tuple[int, ...], count: int, windows: tuple[int, ...]
) -> Example:
    sources, targets = len(plan.sources), len(plan.targets)
    channels = (sources, targets, int(plan.grid.mask != "none"))
    source, target, mask = (torch.empty(items, n, *shape, device="meta") for n in channels)
    return Example(
        case="",
        source=source,
        target=target,
        mask=mask,
        air=torch.empty(items, sources + targets, device="meta"),
        given=torch.empty(items, sources, device="meta"),
        made=torch.ones(items, targets, dtype=torch.bool),
        seeds=torch.zeros(items, dtype=torch.int64),
        windows=windows,
        count=count,
    )
