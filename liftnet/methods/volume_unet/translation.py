"""What the methods of this family share: their stage, their sizes, their sliding windows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor, nn

from liftnet.core.plan import Plan
from liftnet.core.recipe import Inference, MemoryEstimate, Recipe, Schedule
from liftnet.core.storage.jsonable import Between
from liftnet.core.storage.ranges import Share, Weight, Widths
from liftnet.data.crops import Crop, Patch
from liftnet.data.example import Example, joined
from liftnet.data.scaling import from_unit, inputs_of, to_unit
from liftnet.losses.slabs import slab_loss, voxel_weights
from liftnet.methods.base import Stage
from liftnet.methods.paired import Paired
from liftnet.networks.unet import UNet3d
from liftnet.ops.chunks import Chunk
from liftnet.ops.compute.precision import autocast
from liftnet.ops.in_plane import pad_to
from liftnet.ops.windows import over_windows
from liftnet.planning.augmentation import AUGMENTATION_REASON, plan_augmentation
from liftnet.planning.boxes import boxes, step_of, strides_of
from liftnet.planning.consistency import check_recipe, refuse
from liftnet.planning.schedule import make_schedule

__all__ = ["PatchTranslation", "VolumeUNet", "VolumeUNetRecipe", "as_text"]

WIDTH = 32  # nnU-Net: of the first level
NARROWER = (24, 16, 8)  # ours: for small memories
USEFUL_SIDE = 64  # ours: a network is made narrower rather than its boxes smaller than this
LEAST_SIDE = 16  # ours: what a box may have at least
LOSSES = {"l1": 1.0, "ms_ssim": 0.0, "delta_z": 0.0}
AIR = -1.0  # the lower end of every target
OUTSIDE_MASK = 0.1  # ours: as for LiFT-C


@dataclass(frozen=True, kw_only=True)
class VolumeUNetRecipe(Recipe):
    """A 3D U-Net, the boxes that it sees, and how it is trained."""

    widths: Widths  # of each level
    strides: tuple[Annotated[tuple[int, int, int], Between(1, 2)], ...]  # from level to level
    patch: Annotated[tuple[int, int, int], Between(1, 2**16)]  # voxels along (D, H, W)
    losses: dict[str, Weight]
    outside_mask: Share  # the weight of voxels outside the mask, where the plan has one
    patch_translation: Schedule


@dataclass(frozen=True)
class PatchTranslation(Stage[None]):
    """The network alone, on boxes at random places."""

    plan: Plan
    recipe: VolumeUNetRecipe
    attention: bool
    name: str = "patch_translation"

    @property
    def schedule(self) -> Schedule:  # type: ignore[override]
        """The recipe's."""
        return self.recipe.patch_translation

    @property
    def crop(self) -> Crop:  # type: ignore[override]
        """A box."""
        return Patch(self.recipe.patch)

    def build(self, previous: nn.Module | None = None) -> nn.Module:
        """The network with random weights, which begins near air everywhere."""
        inputs, outputs = 2 * len(self.plan.sources), len(self.plan.targets)
        widths, strides = self.recipe.widths, self.recipe.strides
        unet = UNet3d(inputs, outputs, widths, strides, attention=self.attention)
        assert unet.head.bias is not None
        nn.init.constant_(unet.head.bias, AIR)
        return nn.ModuleDict({"unet": unet})

    def loss(
        self,
        network: nn.Module,
        memory: None,
        batch: Sequence[Example],
        generator: torch.Generator,
    ) -> dict[str, Tensor]:
        """L1, and the other terms of LiFT Eq. 9 if they have weights, over what is asked for."""
        patches = joined(batch)
        made = _made(network, inputs_of(self.plan, patches))
        real = to_unit(self.plan, patches.target)
        weights = voxel_weights(patches.mask, patches.made, self.recipe.outside_mask)
        return slab_loss((made + 1) / 2, (real + 1) / 2, self.recipe.losses, weights)


class VolumeUNet(Paired[VolumeUNetRecipe]):
    """Boxes of sources to boxes of targets, joined in sliding windows."""

    recipe = VolumeUNetRecipe
    attention: ClassVar[bool]
    most_levels: ClassVar[int]
    largest: ClassVar[tuple[int, int, int]]  # box
    most_width: ClassVar[int]
    batch: ClassVar[int]
    steps: ClassVar[int]
    rate: ClassVar[float]
    size_source: ClassVar[str]  # of width and box
    schedule_reasons: ClassVar[Mapping[str, str]]

    def sizes(self, plan: Plan) -> list[VolumeUNetRecipe]:
        """Blocks recomputed before boxes get smaller, boxes before the network gets narrower."""
        shape = (plan.grid.num_slices, *plan.grid.in_plane)
        whole = [min(pair) for pair in zip(shape, self.largest, strict=True)]
        step = step_of(whole)
        useful = boxes(whole, step, USEFUL_SIDE)
        small = boxes(useful[-1], step, LEAST_SIDE)
        tried = [
            (WIDTH, useful[0], False),
            *((WIDTH, box, True) for box in useful),
            *((width, useful[-1], True) for width in NARROWER),
            *((NARROWER[-1], box, True) for box in small[1:]),
        ]
        return [self.sized(plan, *size) for size in tried]

    def sized(
        self, plan: Plan, width: int, patch: tuple[int, int, int], recompute: bool
    ) -> VolumeUNetRecipe:
        """The recipe of this base width on boxes of this size."""
        budget, steps = plan.budget, plan.budget.num_steps or self.steps
        strides = strides_of(patch, plan.grid.spacing_mm, self.most_levels - 1)
        here = f"width {width}, boxes of {as_text(patch)}"
        if recompute:
            here += f", blocks recomputed, to fit {budget.memory_gib:g} GiB"
        elif patch != self.largest:
            here += ", as large as the volumes"
        reasons = {
            "size": f"{self.size_source}: width {WIDTH}, boxes of {as_text(self.largest)}; "
            f"here {here}",
            "strides": "an axis is halved while its voxels are less than twice the finest and an "
            "edge of 4 is left (nnU-Net)",
            "losses": "L1 alone (nnU-Net translation); with weights, 1 - MS-SSIM and delta-z L1 "
            "of LiFT Eq. 9, too",
            "augmentation": AUGMENTATION_REASON,
            **{f"patch_translation.{key}": why for key, why in self.schedule_reasons.items()},
        }
        if budget.num_steps:
            reasons["patch_translation.num_steps"] = "of the budget (--steps)"
        if plan.grid.mask != "none":
            reasons["outside_mask"] = "CT shows table and fixation there, which MR has not (ours)"
        return VolumeUNetRecipe(
            augmentation=plan_augmentation(plan.grid.slice_axis),
            inference=Inference(self.batch, "one"),
            memory=MemoryEstimate(budget.memory_gib, budget.bytes_per_number, 0.0, 0.0),
            reasons=reasons,
            recompute=recompute,
            widths=tuple(min(width * 2**i, self.most_width) for i in range(len(strides) + 1)),
            strides=strides,
            patch=patch,
            losses=dict(LOSSES),
            outside_mask=OUTSIDE_MASK,
            patch_translation=make_schedule(
                steps, volumes=self.batch, slices=patch[0], rates={"unet": self.rate}
            ),
        )

    def check(self, plan: Plan, recipe: VolumeUNetRecipe) -> None:
        """Refuse levels that do not fit the boxes, and losses that are not its own."""
        check_recipe(recipe, ("unet",), recipe.losses)
        levels = len(recipe.widths)
        whole = [prod(axis) for axis in zip((1, 1, 1), *recipe.strides, strict=True)]
        coarsest = [n // stride for n, stride in zip(recipe.patch, whole, strict=True)]
        losses = recipe.losses
        refuse(
            {
                "widths must be 1 or more, and one for each level": not levels
                or min(recipe.widths) < 1,
                f"there are {levels} widths and {len(recipe.strides)} strides; expected one "
                "stride less than widths": len(recipe.strides) != levels - 1,
                f"patch {as_text(recipe.patch)} is not a multiple of {as_text(whole)}, the "
                "product of the strides": any(
                    n % stride for n, stride in zip(recipe.patch, whole, strict=True)
                ),
                f"patch {as_text(recipe.patch)} leaves a single voxel at the coarsest level, "
                "which instance norm would make 0": prod(coarsest) == 1,
                f"losses are {', '.join(losses)}; expected {', '.join(LOSSES)}": set(losses)
                != set(LOSSES),
            },
            "recipe",
        )
        refuse(
            {
                "losses.l1 and losses.ms_ssim are both 0: differences between slices alone leave "
                "the intensities free": not losses["l1"] + losses["ms_ssim"]
            },
            "recipe",
        )

    def stages(self, plan: Plan, recipe: VolumeUNetRecipe) -> tuple[Stage[Any], ...]:
        """One."""
        return (PatchTranslation(plan, recipe, self.attention),)

    def synthesize(
        self,
        plan: Plan,
        recipe: VolumeUNetRecipe,
        network: nn.Module,
        example: Example,
        generator: torch.Generator,
        chunk: Chunk,
    ) -> Tensor:
        """Windows of the boxes' size, half of each in the next, the middle of each counting most.

        Source: nnU-Net.
        """
        number = example.source.shape[1]
        padded, place = pad_to(example.source[0], recipe.patch, example.air[0, :number])
        whole = inputs_of(plan, replace(example, source=padded[None]))[0]
        volume = over_windows(lambda each: _made(network, each), whole, recipe.patch, chunk)
        return from_unit(plan, volume[None])[0][(slice(None), *place)]


def as_text(sizes: Sequence[int]) -> str:
    """As reasons and messages write them.

    >>> as_text((128, 160, 128))
    '128x160x128'
    """
    return "x".join(map(str, sizes))


def _made(network: nn.Module, inputs: Tensor) -> Tensor:
    """Targets (B, T, D, H, W) in about [-1, 1], float32, of inputs (B, 2 S, D, H, W)."""
    assert isinstance(network, nn.ModuleDict)
    with autocast(inputs.device):
        made: Tensor = network["unet"](inputs)
    return made.float()
