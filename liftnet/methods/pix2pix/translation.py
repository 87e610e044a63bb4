"""What the methods of this family share: their stage, their synthesis, their sizes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import log2
from typing import Any

import torch
from torch import Tensor, nn

from liftnet.core.plan import Plan
from liftnet.core.recipe import Inference, MemoryEstimate, Recipe, Schedule
from liftnet.core.storage.ranges import Size, Weight
from liftnet.data.crops import Crop, Slab
from liftnet.data.example import Example, joined
from liftnet.data.scaling import from_unit, inputs_of, to_unit
from liftnet.losses.adversarial import bce_terms
from liftnet.losses.reconstruction import weighted_mean
from liftnet.methods.base import Stage
from liftnet.methods.paired import Paired
from liftnet.methods.pix2pix.networks import PatchCritic, initialize_
from liftnet.ops.chunks import Chunk
from liftnet.ops.compute.host_memory import is_out_of_memory
from liftnet.ops.compute.precision import autocast
from liftnet.ops.compute.transfer import to_device
from liftnet.ops.depth import fold_slices, unfold_slices
from liftnet.ops.in_plane import pad_in_plane
from liftnet.planning.augmentation import AUGMENTATION_REASON, plan_augmentation
from liftnet.planning.consistency import check_recipe, refuse
from liftnet.planning.grid import stride_of
from liftnet.planning.schedule import make_schedule

__all__ = ["Pix2Pix", "Pix2PixRecipe", "SliceGan"]

WIDTHS = (64, 48, 32, 16, 8)  # pix2pix: 64; narrower (ours) for small memories
SLICES = 8  # ours: of as many volumes; pix2pix takes one, in whose place others average gradients
STEPS = 100_000  # ours: pix2pix counts epochs, 200
RATE = 2e-4  # pix2pix
BETAS = (0.5, 0.999)  # pix2pix
LOSSES = {"l1": 100.0, "adversarial": 1.0}  # pix2pix
Z_SCALE = 4.0  # ours: z-scores from air to bright tissue, brought to about [-1, 1]


@dataclass(frozen=True, kw_only=True)
class Pix2PixRecipe(Recipe):
    """A generator, its critic and how they are trained."""

    width: Size  # of the first maps of both
    halvings: Size
    losses: dict[str, Weight]
    slice_gan: Schedule


@dataclass(frozen=True)
class SliceGan(Stage[None]):
    """Generator and critic step together, on single slices of several volumes."""

    plan: Plan
    recipe: Pix2PixRecipe
    generator: Any  # a class of networks: (inputs, outputs, width, halvings)
    name: str = "slice_gan"

    @property
    def schedule(self) -> Schedule:  # type: ignore[override]
        """The recipe's."""
        return self.recipe.slice_gan

    @property
    def crop(self) -> Crop:  # type: ignore[override]
        """A slice."""
        return Slab(self.schedule.decoded_slices)

    def build(self, previous: nn.Module | None = None) -> nn.Module:
        """Both networks with random weights."""
        sources, targets = len(self.plan.sources), len(self.plan.targets)
        recipe = self.recipe
        generator = self.generator(2 * sources, targets, recipe.width, recipe.halvings)
        critic = PatchCritic(2 * sources + 2 * targets, recipe.width)
        return initialize_(nn.ModuleDict({"generator": generator, "critic": critic}))

    def loss(
        self,
        network: nn.Module,
        memory: None,
        batch: Sequence[Example],
        generator: torch.Generator,
    ) -> dict[str, Tensor]:
        """100 L1, and the binary cross-entropy of both sides.

        Source: Isola et al. 2017, Eq. 4. Differs: where a step makes some of the targets, the
        others are 0 on both sides, and the critic is told which they are.
        """
        assert isinstance(network, nn.ModuleDict)
        slabs, losses = joined(batch), self.recipe.losses
        given = fold_slices(inputs_of(self.plan, slabs))
        asked = to_device(slabs.made, given.device).float()[:, :, None, None, None]
        asked = fold_slices(asked.expand_as(slabs.target))
        real = fold_slices(to_unit(self.plan, slabs.target)) * asked
        with autocast(given.device):
            made = network["generator"](given).float() * asked
            believed, judged = bce_terms(
                network["critic"],
                torch.cat([given, asked, made], dim=1),
                torch.cat([given, asked, real], dim=1),
            )
        return {
            "l1": losses["l1"] * weighted_mean((made - real).abs(), asked),
            "adversarial": losses["adversarial"] * believed,
            "critic": judged,
        }


class Pix2Pix(Paired[Pix2PixRecipe]):
    """Slices one by one, along the plan's slice axis."""

    paper = "Isola et al. 2017"
    recipe = Pix2PixRecipe
    generator: Any
    most_halvings: int

    def sizes(self, plan: Plan) -> list[Pix2PixRecipe]:
        """The widest first."""
        budget, steps = plan.budget, plan.budget.num_steps or STEPS
        halvings = min(int(log2(stride_of(plan.grid))), self.most_halvings)
        schedule = replace(
            make_schedule(
                steps, volumes=SLICES, slices=1, rates={"generator": RATE, "critic": RATE}
            ),
            betas=BETAS,
            weight_decay=0.0,
            decay="linear",
            decay_from=0.5,
            final_rate=0.0,
            warmup_steps=1,
            clip_each=True,
        )
        reasons = {
            "width": "64 (pix2pix), or the widest of some narrower that fits the memory (ours)",
            "halvings": "as many as the plan's slices allow (ours); 8 of 256 pixels (pix2pix)",
            "losses": "100 L1 and binary cross-entropy (pix2pix)",
            "slice_gan.learning_rates": "Adam 2e-4, betas (0.5, 0.999), constant and from half of "
            "the steps on linearly to 0 (pix2pix)",
            "slice_gan.volumes_per_step": "8 slices of as many volumes (ours; pix2pix takes 1)",
            "augmentation": AUGMENTATION_REASON,
        }
        return [
            Pix2PixRecipe(
                augmentation=plan_augmentation(plan.grid.slice_axis),
                inference=Inference(SLICES, "one"),
                memory=MemoryEstimate(budget.memory_gib, budget.bytes_per_number, 0.0, 0.0),
                reasons=reasons,
                width=width,
                halvings=max(halvings, 1),
                losses=dict(LOSSES),
                slice_gan=schedule,
            )
            for width in WIDTHS
        ]

    def check(self, plan: Plan, recipe: Pix2PixRecipe) -> None:
        """Refuse sizes that do not divide the slices, and losses that are not its own."""
        check_recipe(recipe, ("generator", "critic"), recipe.losses)
        stride = 2**recipe.halvings
        refuse(
            {
                "width and halvings must be 1 or more": min(recipe.width, recipe.halvings) < 1,
                f"grid.in_plane {plan.grid.in_plane} is not a multiple of {stride}, 2 to the "
                "power of halvings": any(n % stride for n in plan.grid.in_plane),
                f"losses are {', '.join(recipe.losses)}; expected {', '.join(LOSSES)}": set(
                    recipe.losses
                )
                != set(LOSSES),
            },
            "recipe",
        )

    def stages(self, plan: Plan, recipe: Pix2PixRecipe) -> tuple[Stage[Any], ...]:
        """One."""
        return (SliceGan(plan, recipe, self.generator),)

    def synthesize(
        self,
        plan: Plan,
        recipe: Pix2PixRecipe,
        network: nn.Module,
        example: Example,
        generator: torch.Generator,
        chunk: Chunk,
    ) -> Tensor:
        """Slice by slice, each padded with air as in training."""
        assert isinstance(network, nn.ModuleDict)
        number, stride = example.source.shape[1], 2**recipe.halvings
        padded, (rows, columns) = pad_in_plane(
            example.source[0], plan.grid.in_plane, stride, example.air[0, :number]
        )
        whole = inputs_of(plan, replace(example, source=padded[None]))
        made: list[Tensor] = []
        depth, done = padded.shape[1], 0
        while done < depth:
            part = fold_slices(whole[:, :, done : done + chunk.size])
            slices = None
            try:
                with autocast(part.device):
                    slices = network["generator"](part).float()
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error) or len(part) == 1:
                    raise
            if slices is None:  # outside of the handler, whose traceback holds what was made
                chunk.shrink(max(1, len(part) // 2), chunk.passes)
                continue
            made.append(slices)
            done += len(slices)
            chunk.reached(done / depth)
        volume = from_unit(plan, unfold_slices(torch.cat(made), 1))[0]
        return volume[:, :, rows, columns]
