"""Volumes from trained networks, finished as the task wants them."""

from collections.abc import Sequence
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
    """All targets (T, D, H, W), finished, in network units: the mean over the networks.

    What is random about them follows from the seed of the example alone.
    """
    task, method, plan, recipe = of
    assert isinstance(task, SynthesisTask) and isinstance(method, Synthesizes)
    chunk = chunk or chunk_of(recipe)
    made = []
    for network in networks:
        generator = torch.Generator(example.source.device).manual_seed(int(example.seeds[0]))
        volume = method.synthesize(plan, recipe, network, example, generator, chunk)
        made.append(task.finish(plan, volume, example))
    return torch.stack(made).sum(dim=0) / len(made)
