"""pix2pix with its U-Net."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import log2
from typing import Any, ClassVar

from torch import nn

from liftnet.core.plan import Plan
from liftnet.core.storage.ranges import Size
from liftnet.methods.pix2pix.networks import UNetGenerator
from liftnet.methods.pix2pix.translation import Pix2Pix, SliceGanRecipe
from liftnet.planning.consistency import refuse
from liftnet.planning.grid import stride_of

__all__ = ["METHOD"]

MOST_HALVINGS = 8  # pix2pix: of 256 pixels


@dataclass(frozen=True, kw_only=True)
class Pix2PixRecipe(SliceGanRecipe):
    """A U-Net, its critic and how they are trained."""

    halvings: Size


class Pix2PixUNet(Pix2Pix[Pix2PixRecipe]):
    """54 million parameters at the published size of 256 pixels."""

    label = "pix2pix (U-Net)"
    summary = "slices by a U-Net against a critic of patches"
    recipe = Pix2PixRecipe
    figures: ClassVar[Mapping[str, str]] = {
        "psnr": "27.61 / 25.91 / 26.69 / 25.19 dB (T1n / T1c / T2w / T2f, LiFT Tab. 2); 26.41 dB "
        "(MR to CT, LiFT Tab. 3)",
        "mae_hu": "78.38 HU (LiFT Tab. 3)",
    }

    def generator(self, recipe: Pix2PixRecipe, inputs: int, outputs: int) -> nn.Module:
        """The U-Net."""
        return UNetGenerator(inputs, outputs, recipe.width, recipe.halvings)

    def stride(self, recipe: Pix2PixRecipe) -> int:
        """2 to the power of its halvings."""
        return 2**recipe.halvings

    def sized(self, plan: Plan, **decided: Any) -> Pix2PixRecipe:
        """With as many halvings as the slices allow."""
        halvings = max(1, min(int(log2(stride_of(plan.grid))), MOST_HALVINGS))
        why = "as many as the plan's slices allow (ours); 8 of 256 pixels (pix2pix)"
        decided["reasons"] = decided["reasons"] | {"halvings": why}
        return Pix2PixRecipe(halvings=halvings, **decided)

    def check(self, plan: Plan, recipe: Pix2PixRecipe) -> None:
        """Refuse a U-Net that would halve nothing, too."""
        refuse({"halvings must be 1 or more": recipe.halvings < 1}, "recipe")
        super().check(plan, recipe)


METHOD = Pix2PixUNet()
