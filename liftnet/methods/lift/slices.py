"""Slices alone: an axial 2D translator, the first stage of the residual form."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from liftnet.core.plan import Plan
from liftnet.core.recipe import Schedule
from liftnet.data.crops import Crop, Slab
from liftnet.data.example import Example, joined
from liftnet.losses.slabs import voxel_weights
from liftnet.methods.base import Stage
from liftnet.methods.lift.recipes import ResidualRecipe, SliceRecipe
from liftnet.methods.lift.residual_losses import slice_loss
from liftnet.methods.lift.slab_groups import mean_of_groups
from liftnet.networks.volume_translator import VolumeTranslator
from liftnet.ops.compute.precision import autocast

__all__ = ["STAGE", "SliceTranslation"]

STAGE = "slice_translation"


@dataclass(frozen=True)
class SliceTranslation(Stage[None]):
    """Single slices of many volumes; the paper's "no mapper" network.

    Source: LiFT Sec. 5.3, Tab. 10.
    """

    plan: Plan
    recipe: ResidualRecipe | SliceRecipe
    name: str = STAGE

    @property
    def schedule(self) -> Schedule:  # type: ignore[override]
        """The recipe's schedule of this stage."""
        return self.recipe.slice_translation

    @property
    def crop(self) -> Crop:  # type: ignore[override]
        """A slice (or a thin slab)."""
        return Slab(self.schedule.decoded_slices)

    def build(self, previous: nn.Module | None = None) -> nn.Module:
        """The 2D translator with random weights."""
        return VolumeTranslator(self.recipe.translator, None)

    def loss(
        self,
        network: nn.Module,
        memory: None,
        batch: Sequence[Example],
        generator: torch.Generator,
    ) -> dict[str, Tensor]:
        """L1 and 1 - MS-SSIM, the mean over volumes."""
        return mean_of_groups(batch, lambda group: self._group_loss(network, joined(group)))

    def _group_loss(self, network: nn.Module, slabs: Example) -> dict[str, Tensor]:
        """The terms of slabs of equally many slices."""
        assert isinstance(network, VolumeTranslator)
        items = len(slabs.source)
        with autocast(slabs.source.device):
            predicted = network(
                list(slabs.source.split(1)),
                slabs.given,
                starts=[0] * items,
                count=slabs.count,
                slice_batch=items,
            )
        weights = voxel_weights(slabs.mask, slabs.made, self.recipe.losses["outside_mask"])
        return slice_loss(predicted.float(), slabs.target, weights, self.plan, self.recipe.losses)
