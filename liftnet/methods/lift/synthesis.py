"""Whole target volumes from the sources that a case has."""

from typing import Any

import torch
from torch import Tensor, nn

from liftnet.core.plan import Plan
from liftnet.data.example import Example
from liftnet.networks.synthesis import synthesize_volume
from liftnet.ops.chunks import Chunk

__all__ = ["SliceSynthesis"]


class SliceSynthesis:
    """How all methods of this family make volumes.

    Source: LiFT Algorithm 2, Sec. 5.3.
    """

    def synthesize(
        self,
        plan: Plan,
        recipe: Any,
        network: nn.Module,
        example: Example,
        generator: torch.Generator,
        chunk: Chunk,
    ) -> Tensor:
        """Targets (T, D, H, W) in network units."""
        number = example.source.shape[1]
        return synthesize_volume(
            network,
            example.source[0],
            example.given[0],
            example.air[0, :number],
            in_plane=plan.grid.in_plane,
            chunk=chunk,
        )
