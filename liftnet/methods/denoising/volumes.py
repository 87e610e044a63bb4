"""Volumes drawn in the Haar sub-bands of whole volumes, by a network trained on boxes of them."""

from dataclasses import replace
from functools import partial
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from liftnet.core.plan import Plan
from liftnet.data.example import Example
from liftnet.data.scaling import from_unit
from liftnet.methods.base import Stage
from liftnet.methods.denoising.recipes import VolumeRecipe
from liftnet.methods.denoising.sampled import Sampled, refined, target_seeds
from liftnet.methods.denoising.training import Denoiser, Denoising, ScaledDenoising, given_of
from liftnet.ops.chunks import Chunk
from liftnet.ops.in_plane import pad_to
from liftnet.ops.wavelet import BANDS
from liftnet.planning.boxes import boxes
from liftnet.planning.consistency import refuse
from liftnet.planning.cost import largest_that_fits

__all__ = ["Wavelets"]

MULTIPLIERS = (1, 2, 2, 4, 4)  # cWDM
WIDTHS = (64, 48, 32, 16, 8)  # cWDM: 64; narrower (ours) for small memories
LEAST_EDGE = 4  # nnU-Net: voxels of the coarsest maps
LEAST_BOX = 64  # ours: voxels along a side of the smallest box; smaller ones show too little


class Wavelets(Sampled[VolumeRecipe]):
    """The network of cWDM on Haar sub-bands; prediction sees whole volumes."""

    recipe = VolumeRecipe
    bands: ClassVar[Literal["published", "scaled"]] = "published"

    def sizes(self, plan: Plan) -> list[VolumeRecipe]:
        """The widest network that fits the memory with a small box, on ever smaller boxes."""
        stages = partial(self.stages, plan)
        shape = (plan.grid.num_slices, *plan.grid.in_plane)
        stride = 2 ** len(multipliers_for(shape))
        all_boxes = boxes(shape, (stride,) * 3, LEAST_BOX)
        small = [self.sized(plan, width, all_boxes[-1], recompute=True) for width in WIDTHS]
        width = largest_that_fits(plan, small, stages).network.width
        whole = all_boxes[0]
        sizes = [self.sized(plan, width, whole, recompute=recompute) for recompute in (False, True)]
        sizes += [self.sized(plan, width, box, recompute=True) for box in all_boxes[1:]]
        return [replace(one, reasons=one.reasons | _said(plan, one, whole)) for one in sizes]

    def sized(
        self, plan: Plan, width: int, box: tuple[int, int, int], *, recompute: bool
    ) -> VolumeRecipe:
        """The recipe of a network of this width, trained on such boxes."""
        common = self.common(plan, BANDS, BANDS, 3)
        shape = (plan.grid.num_slices, *plan.grid.in_plane)
        network = replace(common["network"], width=width, multipliers=multipliers_for(shape))
        return VolumeRecipe(
            **common | {"network": network},
            crop=box,
            recompute=recompute,
            bands=self.bands,
        )

    def check(self, plan: Plan, recipe: VolumeRecipe) -> None:
        """Refuse boxes that the network cannot halve."""
        super().check(plan, recipe)
        stride = 2 ** len(recipe.network.multipliers)
        wrong = [side for side in recipe.crop if side < 1 or side % stride]
        refuse({f"crop {recipe.crop} is not of multiples of {stride}": bool(wrong)}, "recipe")

    def stages(self, plan: Plan, recipe: VolumeRecipe) -> tuple[Stage[Any], ...]:
        """One."""
        kind = ScaledDenoising if recipe.bands == "scaled" else Denoising
        return (kind(plan, recipe),)

    def synthesize(
        self,
        plan: Plan,
        recipe: VolumeRecipe,
        network: nn.Module,
        example: Example,
        generator: torch.Generator,
        chunk: Chunk,
    ) -> Tensor:
        """The targets that are asked for, each of the whole volume at once; others are 0."""
        assert isinstance(network, Denoiser)
        stride = 2 ** len(recipe.network.multipliers)
        size = tuple(-(-side // stride) * stride for side in example.source.shape[2:])
        air = example.air[0, : example.source.shape[1]]
        padded, place = pad_to(example.source[0], (size[0], size[1], size[2]), air)
        whole = replace(example, source=padded[None])
        made = example.source.new_zeros(1, len(plan.targets), *size)
        asked = example.made[0].nonzero()[:, 0].tolist()
        space = network.space()
        for number, target in enumerate(asked):

            def reached(share: float, number: int = number) -> None:
                chunk.reached((number + share) / len(asked))

            given = given_of(plan, whole, space, [target])
            seen = refined(recipe, network, given, target_seeds(example, target), reached)
            made[:, target] = space.leave(seen)[:, 0]
        return from_unit(plan, made)[0][:, *place]


def multipliers_for(shape: tuple[int, int, int]) -> tuple[int, ...]:
    """Those of cWDM, of as many sizes as leave the coarsest maps an edge of 4.

    >>> multipliers_for((155, 192, 160)), multipliers_for((70, 80, 64)), multipliers_for((8, 9, 9))
    ((1, 2, 2, 4, 4), (1, 2, 2, 4), (1,))
    """
    count = 1
    while count < len(MULTIPLIERS) and min(shape) >> (count + 1) >= LEAST_EDGE:
        count += 1
    return MULTIPLIERS[:count]


def _said(plan: Plan, recipe: VolumeRecipe, whole: tuple[int, int, int]) -> dict[str, str]:
    """What was changed to fit the memory."""
    width, box = recipe.network.width, recipe.crop
    if width == WIDTHS[0] and box == whole and not recipe.recompute:
        return {"size": f"as published: width {width}, whole volumes"}
    shape = "whole volumes" if box == whole else f"boxes of {'x'.join(map(str, box))}"
    again = ", blocks recomputed" if recipe.recompute else ""
    return {
        "size": f"published: width {WIDTHS[0]}, whole volumes; here width {width}, {shape}{again}, "
        f"to fit {plan.budget.memory_gib:g} GiB"
    }
