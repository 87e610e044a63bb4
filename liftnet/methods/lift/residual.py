"""The residual form: z-context and a residual on top of the frozen translator."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from liftnet.core.recipe import Schedule
from liftnet.data.crops import Crop, Windows
from liftnet.data.example import Example
from liftnet.losses.slabs import voxel_weights
from liftnet.methods.base import Stage
from liftnet.methods.lift.recipes import ResidualRecipe
from liftnet.methods.lift.residual_losses import residual_loss
from liftnet.methods.lift.slab_groups import mean_of_groups
from liftnet.networks.residual_translator import ResidualTranslator
from liftnet.networks.volume_translator import VolumeTranslator
from liftnet.ops.compute.precision import autocast

__all__ = ["STAGE", "ResidualContext"]

STAGE = "residual_context"


@dataclass(frozen=True)
class ResidualContext(Stage[None]):
    """All slices give context, three-slice windows are decoded, corrected and supervised.

    Source: LiFT Sec. 5.3, App. F.
    """

    recipe: ResidualRecipe
    name: str = STAGE

    @property
    def schedule(self) -> Schedule:  # type: ignore[override]
        """The recipe's schedule of this stage."""
        return self.recipe.residual_context

    @property
    def crop(self) -> Crop:  # type: ignore[override]
        """The whole volume, and windows of it."""
        return Windows(self.schedule.decoded_slices, self.schedule.windows_per_volume)

    def build(self, previous: nn.Module | None = None) -> nn.Module:
        """Mixer and head anew, the best translator of stage 1, frozen.

        It is the one that predicts without the mapper, so the two differ by the context alone.
        """
        recipe = self.recipe
        network = ResidualTranslator(recipe.translator, recipe.mixer, recipe.residual)
        if previous is not None:
            assert isinstance(previous, VolumeTranslator)
            network.translator.load_state_dict(previous.translator.state_dict())
        return network

    def loss(
        self,
        network: nn.Module,
        memory: None,
        batch: Sequence[Example],
        generator: torch.Generator,
    ) -> dict[str, Tensor]:
        """Charbonnier, residual magnitude and spatial-gradient L1 of the windows."""
        return mean_of_groups(batch, lambda group: self._group_loss(network, group))

    def _group_loss(self, network: nn.Module, batch: Sequence[Example]) -> dict[str, Tensor]:
        """The terms of volumes whose slabs have equally many slices."""
        assert isinstance(network, ResidualTranslator)
        count = batch[0].count
        with autocast(batch[0].source.device):
            baseline, correction = network(
                [example.source for example in batch],
                torch.cat([example.given for example in batch]),
                starts=[example.windows for example in batch],
                count=count,
                slice_batch=self.recipe.inference.slice_batch,
            )
        targets, weights = [], []
        for example in batch:
            weight = voxel_weights(example.mask, example.made, self.recipe.losses["outside_mask"])
            targets.append(take_windows(example.target, example.windows, count))
            weights.append(take_windows(weight, example.windows, count))
        return residual_loss(
            baseline.float(),
            correction.float(),
            torch.cat(targets),
            torch.cat(weights),
            self.recipe.losses,
        )


def take_windows(volume: Tensor, starts: Sequence[int], count: int) -> Tensor:
    """Windows (W, C, count, H, W') of a volume (1, C, D, H, W')."""
    return torch.cat([volume[:, :, start : start + count] for start in starts])
