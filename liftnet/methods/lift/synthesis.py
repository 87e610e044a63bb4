"""Whole target volumes from the sources that a case has."""

from collections.abc import Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from liftnet.core.plan import Plan
from liftnet.core.recipe import Recipe
from liftnet.data.example import Example
from liftnet.methods.base import Stage
from liftnet.networks.synthesis import synthesize_volume
from liftnet.ops.chunks import Chunk
from liftnet.planning.cost import estimated, synthesis_gib, training_gib

__all__ = ["SliceSynthesis", "synthesize", "with_estimate"]

AnyRecipe = TypeVar("AnyRecipe", bound=Recipe)


def synthesize(
    plan: Plan,
    recipe: Recipe,
    network: nn.Module,
    example: Example,
    generator: torch.Generator,
    chunk: Chunk,
) -> Tensor:
    """Targets (T, D, H, W) in network units.

    Source: LiFT Algorithm 2, Sec. 5.3.
    """
    number = example.source.shape[1]
    return synthesize_volume(
        network,
        example.source[0],
        example.given[0],
        example.air[0, :number],
        in_plane=plan.grid.in_plane,
        chunk=chunk,
    )


class SliceSynthesis:
    """How all methods of this family make volumes."""

    synthesize = staticmethod(synthesize)


def with_estimate(plan: Plan, recipe: AnyRecipe, stages: Sequence[Stage[Any]]) -> AnyRecipe:
    """The recipe with what its stages, and its synthesis, take."""
    training = training_gib(plan, recipe, stages)
    return estimated(recipe, training, synthesis_gib(plan, recipe, stages[-1], synthesize))
