"""Volumes from trained networks, finished as the task wants them."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from liftnet.core.plan import Plan
from liftnet.core.recipe import Recipe
from liftnet.data.example import Example
from liftnet.methods.base import Method, Synthesizes
from liftnet.ops.chunks import Chunk
from liftnet.tasks.base import SynthesisTask, Task

__all__ = ["Training", "chunk_of", "make_volumes"]

NEXT_SAMPLE = 0x1B873593_CC9E2D51  # ours: between the seeds of two samples of a case, odd


class Training(NamedTuple):
    """What is trained, or was: a method under a plan of a task."""

    task: Task
    method: Method[Any]
    plan: Plan
    recipe: Recipe


def chunk_of(recipe: Recipe) -> Chunk:
    """How much of a volume is taken at a time, as the recipe has it."""
    return Chunk(recipe.inference.slice_batch, recipe.inference.passes)


@torch.no_grad()
def make_volumes(
    of: Training, networks: Sequence[nn.Module], example: Example, chunk: Chunk | None = None
) -> Tensor:
    """All targets (T, D, H, W), finished, in network units: the mean over networks and samples.

    What is random about them follows from the seed of the example alone.
    """
    task, method, plan, recipe = of
    assert isinstance(task, SynthesisTask) and isinstance(method, Synthesizes)
    chunk = chunk or chunk_of(recipe)
    samples = recipe.sampling.samples if recipe.sampling else 1
    total, done = None, 0
    for network in networks:
        for sample in range(samples):
            seeds = (example.seeds + sample * NEXT_SAMPLE) % 2**63
            own = replace(example, seeds=seeds)
            generator = torch.Generator(example.source.device).manual_seed(int(seeds[0]))
            part = replace(chunk, watch=_part_of(chunk.watch, done, len(networks) * samples))
            volume = method.synthesize(plan, recipe, network, own, generator, part)
            chunk.size, chunk.passes = part.size, part.passes
            finished = task.finish(plan, volume, example)
            total = finished if total is None else total + finished
            done += 1
    assert total is not None
    return total / done


def _part_of(
    watch: Callable[[float], None] | None, done: int, number: int
) -> Callable[[float], None] | None:
    """The same watch for one of several volumes whose mean is wanted."""
    if watch is None or number == 1:
        return watch
    told = watch  # for the type checker
    return lambda share: told((done + share) / number)
