"""What the methods of this family share: their recipes, their sizes and their synthesis."""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, Literal, TypeVar

import torch
from torch import Tensor

from liftnet.core.network_specs import TimeUNetSpec
from liftnet.core.plan import Plan
from liftnet.core.recipe import Inference, MemoryEstimate, Sampling
from liftnet.data.example import Example
from liftnet.methods.base import Stage
from liftnet.methods.denoising.processes import sample
from liftnet.methods.denoising.recipes import (
    PROCESSES,
    DenoisingRecipe,
    Objective,
    process_of,
)
from liftnet.methods.denoising.training import (
    Denoiser,
    Given,
    code_size,
    rows_of,
)
from liftnet.methods.paired import Paired
from liftnet.ops.compute.precision import autocast
from liftnet.ops.item_random import item_bits, item_normal
from liftnet.ops.wavelet import BANDS
from liftnet.planning.augmentation import AUGMENTATION_REASON, plan_augmentation
from liftnet.planning.consistency import check_recipe, refuse
from liftnet.planning.schedule import VALIDATION_REASON, make_schedule

__all__ = ["Release", "Released", "Sampled", "refined", "target_seeds"]

AnyRecipe = TypeVar("AnyRecipe", bound=DenoisingRecipe)
MAX_RATE = 1e-3  # ours: as for LiFT-C, the usual rate of small U-Nets
OUTSIDE = 0.1  # ours: the weight of voxels outside the mask, as in the other methods
TARGET_STREAM = 9100  # of a case's random numbers; one for each target


class Sampled(Paired[AnyRecipe]):
    """Images drawn in some steps; those of one step are the mean of what may be."""

    objective: ClassVar[Objective]
    levels: ClassVar[int] = 1000
    num_steps: ClassVar[int]  # of the sampler
    rate: ClassVar[float]
    steps: ClassVar[int]  # of training, unless the plan has a number
    volumes: ClassVar[int]  # of a training step

    def common(self, plan: Plan, inputs: int, outputs: int, dimensions: int) -> dict[str, Any]:
        """The fields that all recipes of this family have; the network as it is published."""
        budget = plan.budget
        steps = budget.num_steps or self.steps
        rate = min(self.rate * max(1.0, self.steps / steps), MAX_RATE)
        sampling = None
        if self.objective != "regression":
            first, *_ = PROCESSES[self.objective].samplers
            sampling = Sampling(first, self.num_steps, validation_steps=min(self.num_steps, 2))
        recipe = {
            "objective": self.objective,
            "levels": self.levels,
            "network": TimeUNetSpec(
                dimensions=3 if dimensions == 3 else 2,
                inputs=inputs * (len(rows_of(plan)) + 1),
                outputs=outputs,
                condition_size=code_size(plan),
                width=64,
                multipliers=(1, 2, 2, 4, 4),
                blocks=2,
            ),
            "losses": {"mse": 1.0, "outside_mask": OUTSIDE},
            "denoising": make_schedule(
                steps,
                volumes=self.volumes,
                slices=1,
                rates={"unet": rate},
            ),
            "augmentation": plan_augmentation(plan.grid.slice_axis),
            "memory": MemoryEstimate(budget.memory_gib, budget.bytes_per_number, 0.0, 0.0),
            "sampling": sampling,
            "reasons": {
                "objective": f"{self.paper}",
                "denoising.learning_rates": f"AdamW {self.rate:g} for {self.steps} steps, more for "
                f"fewer, at most {MAX_RATE:g} (ours: 80 steps of 1e-3 had 18.2 dB, of 3e-4 17.6)",
                "denoising.validation_cases": VALIDATION_REASON,
                "sampling.validation_steps": "one or two: more give the same PSNR (measured)",
                "losses.outside_mask": "weight of voxels outside the mask (ours)",
                "augmentation": AUGMENTATION_REASON,
            },
        }
        return recipe | {"inference": Inference(8 if dimensions == 2 else 1, "one")}

    def check(self, plan: Plan, recipe: AnyRecipe) -> None:
        """Refuse what its way does not know, and a network that does not fit the channels."""
        check_recipe(recipe, ("unet",), recipe.losses)
        sampling, network = recipe.sampling, recipe.network
        known = self.common(plan, 1, 1, network.dimensions)["network"]
        bands = BANDS if network.dimensions == 3 else 1
        refuse(
            {
                **_sampling_problems(recipe),
                f"levels {recipe.levels} must be 2 to 1000": not 2 <= recipe.levels <= 1000,
                "a case has one result, of which sampling.samples cannot be more than 1": (
                    sampling is not None and sampling.samples > 1 and not recipe.draws
                ),
                "denoising.decoded_slices and windows_per_volume must be 1": (
                    recipe.denoising.decoded_slices * recipe.denoising.windows_per_volume != 1
                ),
                f"losses are {', '.join(recipe.losses)}; expected mse, outside_mask": set(
                    recipe.losses
                )
                != {"mse", "outside_mask"},
                "network does not fit the plan's channels": (
                    network.inputs,
                    network.outputs,
                    network.condition_size,
                )
                != (bands * known.inputs, bands, known.condition_size),
                "network.width must be even, multipliers and blocks 1 or more": network.width % 2
                > 0
                or min(network.width, network.blocks, *network.multipliers, 1) < 1,
            },
            "recipe",
        )

    @abstractmethod
    def stages(self, plan: Plan, recipe: AnyRecipe) -> tuple[Stage[Any], ...]:
        """One."""


def _sampling_problems(recipe: DenoisingRecipe) -> dict[str, bool]:
    """What may be wrong with how a recipe samples."""
    known, sampling, objective = PROCESSES[recipe.objective], recipe.sampling, recipe.objective
    if sampling is None or objective == "regression":
        wrong = (sampling is None) != (objective == "regression")
        return {"sampling is null for objective regression, and for no other": wrong}
    steps = sampling.num_steps
    least = min(steps, sampling.samples, sampling.validation_steps)
    return {
        f"sampler {sampling.sampler} does not go with objective {objective}, which has "
        f"{' and '.join(known.samplers)}": sampling.sampler not in known.samplers,
        "sampling.num_steps, samples and validation_steps must be 1 or more": least < 1,
        f"a sampler of {steps} steps needs as many levels, and there are {recipe.levels}": (
            steps > recipe.levels and objective not in ("flow", "flow_from_source")
        ),
    }


@dataclass(frozen=True)
class Release:
    """How others have trained a method."""

    num_steps: int
    rate: float
    volumes: int  # of a step
    decay: Literal["none", "linear"] = "none"
    ema_half_life: int = 0


class Released(Sampled[AnyRecipe]):
    """Methods whose training others have published."""

    release: ClassVar[Release]

    def published(self, plan: Plan, recipe: AnyRecipe) -> AnyRecipe:
        """Their rates and batches, without augmentation or masks; the last weights predict."""
        release = self.release
        schedule = replace(
            recipe.denoising,
            num_steps=plan.budget.num_steps or release.num_steps,
            volumes_per_step=release.volumes,
            learning_rates={"unet": release.rate},
            weight_decay=0.0,
            warmup_steps=1,
            decay=release.decay,
            final_rate=0.0,
            ema_half_life=release.ema_half_life,
            keep="last",
        )
        return replace(
            recipe,
            denoising=schedule,
            augmentation=None,
            losses={**recipe.losses, "outside_mask": 1.0},
            reasons={**recipe.reasons, "denoising": f"as published ({self.paper})"},
        )


def target_seeds(example: Example, target: int) -> Tensor:
    """The seeds (B,) of what is random about one target, on the example's device."""
    seeds = example.seeds.to(example.source.device)
    return item_bits(seeds, TARGET_STREAM + target, 1)[:, 0]


def refined(
    recipe: DenoisingRecipe,
    network: Denoiser,
    given: Given,
    seeds: Tensor,
    reached: Callable[[float], None],
) -> Tensor:
    """Items (N, C, ...) as they are refined, drawn with seeds (N,)."""
    space, process = network.space(), process_of(recipe)
    sampling = recipe.sampling or Sampling("ddim", 1)  # a regression answers at once
    shape = tuple(given.mean.shape[1:])

    def said(x: Tensor, time: float) -> Tensor:
        times = torch.full((len(x),), time, device=x.device)
        with autocast(x.device):
            answer = network(x, given.sources, times, given.code).float()
        return space.bounded(answer) if process.says == "image" else answer

    return sample(
        process,
        said,
        given.mean,
        partial(item_normal, seeds, shape=shape),
        sampler=sampling.sampler,
        steps=sampling.num_steps,
        reached=reached,
    )
