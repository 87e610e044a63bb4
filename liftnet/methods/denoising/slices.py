"""Slices drawn one by one."""

from dataclasses import replace
from math import log2
from typing import Any

import torch
from torch import Tensor, nn

from liftnet.core.plan import Plan
from liftnet.data.example import Example
from liftnet.data.scaling import from_unit
from liftnet.methods.base import Stage
from liftnet.methods.denoising.recipes import SliceRecipe
from liftnet.methods.denoising.sampled import Sampled, refined, target_seeds
from liftnet.methods.denoising.training import Denoiser, Denoising, given_of
from liftnet.ops.chunks import Chunk, over_slices
from liftnet.ops.in_plane import pad_in_plane
from liftnet.ops.item_random import item_bits
from liftnet.planning.consistency import refuse
from liftnet.planning.grid import stride_of

__all__ = ["SliceBySlice"]

MULTIPLIERS = (1, 2, 2, 4, 4)  # as the 3D network of this family (ours)
WIDTHS = (64, 48, 32, 16, 8)  # ours


class SliceBySlice(Sampled[SliceRecipe]):
    """The time-conditioned U-Net in two dimensions, along the plan's slice axis."""

    recipe = SliceRecipe

    def sizes(self, plan: Plan) -> list[SliceRecipe]:
        """The widest first."""
        count = min(int(log2(stride_of(plan.grid))) + 1, len(MULTIPLIERS))
        common = self.common(plan, 1, 1, 2)
        return [
            SliceRecipe(
                **common
                | {
                    "network": replace(
                        common["network"], width=width, multipliers=MULTIPLIERS[:count]
                    ),
                    "recompute": recompute,
                    "reasons": common["reasons"] | {"size": _said(plan, width, recompute)},
                }
            )
            for width, recompute in [(WIDTHS[0], False), *((width, True) for width in WIDTHS)]
        ]

    def check(self, plan: Plan, recipe: SliceRecipe) -> None:
        """Refuse slices that the network cannot halve."""
        super().check(plan, recipe)
        stride = 2 ** (len(recipe.network.multipliers) - 1)
        uneven = any(side % stride for side in plan.grid.in_plane)
        problem = f"grid.in_plane {plan.grid.in_plane} is not a multiple of {stride}"
        refuse({problem: uneven}, "recipe")

    def stages(self, plan: Plan, recipe: SliceRecipe) -> tuple[Stage[Any], ...]:
        """One."""
        return (Denoising(plan, recipe),)

    def synthesize(
        self,
        plan: Plan,
        recipe: SliceRecipe,
        network: nn.Module,
        example: Example,
        generator: torch.Generator,
        chunk: Chunk,
    ) -> Tensor:
        """The targets that are asked for, slice by slice; others are 0."""
        assert isinstance(network, Denoiser)
        stride = 2 ** (len(recipe.network.multipliers) - 1)
        air = example.air[0, : example.source.shape[1]]
        padded, (rows, columns) = pad_in_plane(example.source[0], plan.grid.in_plane, stride, air)
        made = torch.zeros(1, len(plan.targets), *padded.shape[1:], device=padded.device)
        asked, space = example.made[0].nonzero()[:, 0].tolist(), network.space()
        for number, target in enumerate(asked):
            seeds = item_bits(target_seeds(example, target), 0, padded.shape[1])[0]

            def drawn(
                part: Tensor, span: slice, target: int = target, seeds: Tensor = seeds
            ) -> Tensor:
                alone = replace(example, source=part[None])
                given = given_of(plan, alone, space, [target])
                given = replace(given, code=given.code.expand(part.shape[1], -1))
                return refined(recipe, network, given, seeds[span], lambda share: None)

            def reached(share: float, number: int = number) -> None:
                chunk.reached((number + share) / len(asked))

            slices = over_slices(drawn, padded, chunk, reached)
            made[:, target] = space.leave(slices)[:, 0]
        return from_unit(plan, made)[0, :, :, rows, columns]


def _said(plan: Plan, width: int, recompute: bool) -> str:
    again = ", blocks recomputed" if recompute else ""
    return f"width {width}{again}: the widest of 64 to 8 that fits {plan.budget.memory_gib:g} GiB"
