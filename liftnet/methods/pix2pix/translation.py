"""What the methods of this family share: their stage, their synthesis, their sizes."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar, cast

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
from liftnet.methods.pix2pix.networks import initialize_
from liftnet.networks.critic import PatchCritic
from liftnet.ops.chunks import Chunk, over_slices
from liftnet.ops.compute.precision import autocast
from liftnet.ops.compute.transfer import to_device
from liftnet.ops.depth import fold_slices, unfold_slices
from liftnet.ops.in_plane import pad_in_plane
from liftnet.planning.augmentation import AUGMENTATION_REASON, plan_augmentation
from liftnet.planning.consistency import check_recipe, refuse
from liftnet.planning.schedule import make_schedule

__all__ = ["Pix2Pix", "SliceGan", "SliceGanRecipe"]

WIDTHS = (64, 48, 32, 16, 8)  # pix2pix: 64; narrower (ours) for small memories
SLICES = 8  # ours: of as many volumes; pix2pix takes one, in whose place others average gradients
STEPS = 100_000  # ours: pix2pix counts epochs, 200
RATE = 2e-4  # pix2pix
BETAS = (0.5, 0.999)  # pix2pix
NO_CLIP = 1e9  # pix2pix limits no gradient
LOSSES = {"l1": 100.0, "adversarial": 1.0}  # pix2pix


@dataclass(frozen=True, kw_only=True)
class SliceGanRecipe(Recipe):
    """A generator, its critic and how they are trained."""

    width: Size  # of the first maps of both
    losses: dict[str, Weight]
    slice_gan: Schedule


AnyGan = TypeVar("AnyGan", bound=SliceGanRecipe)


@dataclass(frozen=True)
class SliceGan(Stage[None]):
    """Generator and critic step together, on single slices of several volumes."""

    plan: Plan
    recipe: SliceGanRecipe
    generator: Callable[[int, int], nn.Module]  # inputs and outputs to a network
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
        generator = self.generator(2 * sources, targets)
        critic = PatchCritic(2 * sources + 2 * targets, self.recipe.width)
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


class Pix2Pix(Paired[AnyGan]):
    """Slices one by one, along the plan's slice axis."""

    paper = "Isola et al. 2017"

    @abstractmethod
    def generator(self, recipe: AnyGan, inputs: int, outputs: int) -> nn.Module:
        """The network that makes slices, with random weights."""

    @abstractmethod
    def stride(self, recipe: AnyGan) -> int:
        """Of what the sides of slices are multiples."""

    @abstractmethod
    def sized(self, plan: Plan, **decided: Any) -> AnyGan:
        """The recipe with its own decisions beside those of the family."""

    def sizes(self, plan: Plan) -> list[AnyGan]:
        """The widest first."""
        budget, steps = plan.budget, plan.budget.num_steps or STEPS
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
            "losses": "100 L1 and binary cross-entropy (pix2pix)",
            "slice_gan.learning_rates": "Adam 2e-4, betas (0.5, 0.999), constant and from half of "
            "the steps on linearly to 0 (pix2pix)",
            "slice_gan.volumes_per_step": "8 slices of as many volumes (ours; pix2pix takes 1)",
            "augmentation": AUGMENTATION_REASON,
        }
        return [
            self.sized(
                plan,
                augmentation=plan_augmentation(plan.grid.slice_axis),
                inference=Inference(SLICES, "one"),
                memory=MemoryEstimate(budget.memory_gib, budget.bytes_per_number, 0.0, 0.0),
                reasons=reasons,
                width=width,
                losses=dict(LOSSES),
                slice_gan=schedule,
            )
            for width in WIDTHS
        ]

    def published(self, plan: Plan, recipe: AnyGan) -> AnyGan:
        """One slice a step, no limit to the gradient, the last weights, not averaged."""
        schedule = replace(
            recipe.slice_gan,
            volumes_per_step=1,
            gradient_clip=NO_CLIP,
            ema_half_life=0,
            keep="last",
        )
        reasons = recipe.reasons | {
            "slice_gan.volumes_per_step": "1 (pix2pix)",
            "slice_gan.num_steps": f"{schedule.num_steps}: of the budget, or ours; pix2pix counts "
            "epochs, 200",
            "slice_gan.gradient_clip": "no limit (pix2pix)",
            "slice_gan.keep": "the last weights, not averaged (pix2pix)",
            "augmentation": "of this plan, as for every method; pix2pix enlarges, crops and flips",
        }
        return replace(recipe, slice_gan=schedule, reasons=reasons)

    def check(self, plan: Plan, recipe: AnyGan) -> None:
        """Refuse sizes that do not divide the slices, and losses that are not its own."""
        check_recipe(recipe, ("generator", "critic"), recipe.losses)
        stride = self.stride(recipe)
        refuse(
            {
                "width must be 1 or more": recipe.width < 1,
                f"grid.in_plane {plan.grid.in_plane} is not a multiple of {stride}, by which the "
                "generator makes slices smaller": any(n % stride for n in plan.grid.in_plane),
                f"losses are {', '.join(recipe.losses)}; expected {', '.join(LOSSES)}": set(
                    recipe.losses
                )
                != set(LOSSES),
            },
            "recipe",
        )

    def stages(self, plan: Plan, recipe: AnyGan) -> tuple[Stage[Any], ...]:
        """One."""
        return (SliceGan(plan, recipe, partial(self.generator, recipe)),)

    def synthesize(
        self,
        plan: Plan,
        recipe: AnyGan,
        network: nn.Module,
        example: Example,
        generator: torch.Generator,
        chunk: Chunk,
    ) -> Tensor:
        """Slice by slice, each padded with air as in training."""
        assert isinstance(network, nn.ModuleDict)
        number, stride = example.source.shape[1], self.stride(recipe)
        padded, (rows, columns) = pad_in_plane(
            example.source[0], plan.grid.in_plane, stride, example.air[0, :number]
        )
        whole = inputs_of(plan, replace(example, source=padded[None]))

        def made(part: Tensor, _: slice) -> Tensor:
            slices = fold_slices(part[None])
            with autocast(slices.device):
                return cast(Tensor, network["generator"](slices).float())

        slices = over_slices(made, whole[0], chunk, chunk.reached)
        volume = from_unit(plan, unfold_slices(slices, 1))[0]
        return volume[:, :, rows, columns]
