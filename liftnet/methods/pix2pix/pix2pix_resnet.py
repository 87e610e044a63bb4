"""pix2pix with its residual network."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import nn

from liftnet.core.plan import Plan
from liftnet.core.storage.ranges import Size
from liftnet.methods.pix2pix.networks import ResNetGenerator
from liftnet.methods.pix2pix.translation import Pix2Pix, SliceGanRecipe
from liftnet.planning.consistency import refuse

__all__ = ["METHOD"]

STRIDE = 4  # pix2pix: two halvings
BLOCKS = 9  # pix2pix


@dataclass(frozen=True, kw_only=True)
class Pix2PixResNetRecipe(SliceGanRecipe):
    """A residual network, its critic and how they are trained."""

    blocks: Size


class Pix2PixResNet(Pix2Pix[Pix2PixResNetRecipe]):
    """11 million parameters as published, and seven times the operations of the U-Net."""

    label = "pix2pix (ResNet)"
    summary = "slices by a residual network against a critic of patches"
    recipe = Pix2PixResNetRecipe
    figures: ClassVar[Mapping[str, str]] = {
        "psnr": "28.43 dB (MR to CT, LiFT Tab. 3)",
        "mae_hu": "59.30 HU (LiFT Tab. 3)",
    }

    def generator(self, recipe: Pix2PixResNetRecipe, inputs: int, outputs: int) -> nn.Module:
        """The residual network."""
        return ResNetGenerator(inputs, outputs, recipe.width, recipe.blocks)

    def stride(self, recipe: Pix2PixResNetRecipe) -> int:
        """Two halvings, whatever the slices."""
        return STRIDE

    def sized(self, plan: Plan, **decided: Any) -> Pix2PixResNetRecipe:
        """With nine blocks."""
        decided["reasons"] = decided["reasons"] | {"blocks": "9 (pix2pix)"}
        return Pix2PixResNetRecipe(blocks=BLOCKS, **decided)

    def check(self, plan: Plan, recipe: Pix2PixResNetRecipe) -> None:
        """Refuse slices whose borders cannot be reflected, too."""
        refuse(
            {
                "blocks must be 1 or more": recipe.blocks < 1,
                f"grid.in_plane {plan.grid.in_plane} is below 8 pixels, too small to reflect "
                "borders of": min(plan.grid.in_plane) < 2 * STRIDE,
            },
            "recipe",
        )
        super().check(plan, recipe)


METHOD = Pix2PixResNet()
