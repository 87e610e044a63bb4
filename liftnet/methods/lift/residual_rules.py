"""From grid and memory to a recipe of the residual form. Each number names its source."""

from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from liftnet.core.network_specs import ResidualSpec
from liftnet.core.plan import Plan
from liftnet.core.recipe import Inference, MemoryEstimate, Schedule
from liftnet.methods.base import Stage
from liftnet.methods.lift.recipes import ResidualRecipe, SliceRecipe
from liftnet.methods.lift.residual import STAGE as RESIDUAL_STAGE
from liftnet.methods.lift.residual import ResidualContext
from liftnet.methods.lift.slices import STAGE as SLICE_STAGE
from liftnet.methods.lift.slices import SliceTranslation
from liftnet.methods.lift.synthesis import synthesize, with_estimate
from liftnet.methods.lift.translator_check import check_translator
from liftnet.planning.augmentation import AUGMENTATION_REASON, plan_augmentation
from liftnet.planning.consistency import refuse
from liftnet.planning.cost import synthesis_gib, training_gib
from liftnet.planning.schedule import VALIDATION_REASON, make_schedule
from liftnet.planning.sizing import fit_to_memory, plan_inference, plan_mixer, plan_translator

__all__ = ["decide", "refresh", "stages_of"]

AnyForm = TypeVar("AnyForm", ResidualRecipe, SliceRecipe)
PAPER_STEPS = 100_000  # ours: LiFT gives none; 170 passes over SynthRAD2023's 18,000 brain slices
PAPER_RATE = 2e-4  # LiFT Tab. 10, both stages
MAX_RATE = 1e-3  # ours: the usual rate of small U-Nets; beyond it training is unstable
SLICE_SHARE = 0.7  # ours: of the steps; the residual has far fewer weights to learn
SLICES = 32  # LiFT Tab. 10
WINDOWS, WINDOW_SLICES = 32, 3  # LiFT Tab. 10
RESIDUAL_VOLUMES = 4  # ours: each one costs an encoding of all its slices
LOSSES = {
    "l1": 1.0,
    "ms_ssim": 0.2,
    "charbonnier": 1.0,
    "residual": 0.1,
    "gradient": 2.0,
    "outside_mask": 0.1,
}


def decide(plan: Plan) -> ResidualRecipe:
    """The recipe of the largest network that fits the plan's budget.

    Raises:
        PlanError: If none does.
    """
    budget = plan.budget
    reasons = {
        "losses": "stage 1: L1 and 1 - MS-SSIM (ours: LiFT gives none); stage 2: Charbonnier, "
        "residual magnitude, spatial-gradient L1 (LiFT Sec. 5.3); weights ours",
        "losses.outside_mask": "weight of voxels outside the mask, where CT shows table and "
        "masks that MR cannot know (ours)",
        "augmentation": AUGMENTATION_REASON,
    }
    stages = plan_stages(budget.num_steps, reasons)
    first, second = stages[SLICE_STAGE], stages[RESIDUAL_STAGE]

    def sized(widths: tuple[int, ...], slices: int, recompute: bool) -> ResidualRecipe:
        windows = max(1, min(WINDOWS, slices) // second.volumes_per_step)
        return ResidualRecipe(
            augmentation=plan_augmentation(plan.grid.slice_axis),
            inference=Inference(slice_batch=min(slices, plan.grid.num_slices), passes="one"),
            memory=MemoryEstimate(budget.memory_gib, budget.bytes_per_number, 0.0, 0.0),
            reasons=reasons,
            recompute=recompute,
            translator=plan_translator(len(plan.sources), len(plan.targets), widths),
            mixer=plan_mixer(widths, "none"),
            residual=ResidualSpec(width=widths[0], convolutions=2, neighbours=1),
            losses=dict(LOSSES),
            slice_translation=replace(first, volumes_per_step=min(SLICES, slices)),
            residual_context=replace(second, windows_per_volume=windows),
        )

    def synthesis(recipe: ResidualRecipe) -> float:
        # A step of stage 2 reads whole volumes in the same batches of slices.
        *_, last = stages_of(plan, recipe)
        made = synthesis_gib(plan, recipe, last, synthesize)
        return max(made, training_gib(plan, recipe, [last]))

    recipe = fit_to_memory(plan, reasons, sized=sized, stages=partial(stages_of, plan))
    reasons["residual"] = (
        "as wide as the finest stage; sees one neighbour on each side, as the paper's windows of "
        "three slices suggest (ours)"
    )
    recipe = plan_inference(plan, replace(recipe, reasons=reasons), needed=synthesis)
    return refresh(plan, recipe, estimate=True)


def stages_of(plan: Plan, recipe: ResidualRecipe | SliceRecipe) -> tuple[Stage[Any], ...]:
    """The translator, and then, unless it is to stay alone, its residual with context."""
    first = SliceTranslation(plan, recipe)
    return (first, ResidualContext(recipe)) if isinstance(recipe, ResidualRecipe) else (first,)


def plan_stages(num_steps: int | None, reasons: dict[str, str]) -> dict[str, Schedule]:
    """Both stages for a number of steps in all (by default the paper's form)."""
    steps = num_steps or PAPER_STEPS
    first = min(max(round(SLICE_SHARE * steps), 1), max(steps - 1, 1))
    factor = max(1.0, PAPER_STEPS / steps)
    rate = min(PAPER_RATE * factor, MAX_RATE)
    volumes = RESIDUAL_VOLUMES
    more = "" if factor == 1 else f"; for {steps} steps at most {MAX_RATE:g} (ours)"
    reasons |= {
        f"{SLICE_STAGE}.validation_cases": VALIDATION_REASON,
        f"{SLICE_STAGE}.num_steps": f"{100 * SLICE_SHARE:.0f} % of {steps} steps (ours)",
        f"{SLICE_STAGE}.learning_rates": f"Adam 2e-4 (LiFT Tab. 10){more}",
        f"{SLICE_STAGE}.volumes_per_step": "32 slices of as many volumes (LiFT Tab. 10), "
        "fewer in a small memory",
        f"{RESIDUAL_STAGE}.learning_rates": "AdamW 2e-4, translator frozen (LiFT Tab. 10)" + more,
        f"{RESIDUAL_STAGE}.windows_per_volume": "32 windows of three slices (LiFT Tab. 10) "
        f"from {volumes} volumes (ours), fewer in a small memory",
    }
    return {
        SLICE_STAGE: make_schedule(
            first, volumes=SLICES, slices=1, rates={"translator": rate}, weight_decay=0.0
        ),
        RESIDUAL_STAGE: make_schedule(
            max(steps - first, 1),
            volumes=volumes,
            windows=WINDOWS // volumes,
            slices=WINDOW_SLICES,
            rates={"mixer": rate, "residual": rate},
        ),
    }


def refresh(plan: Plan, recipe: AnyForm, *, estimate: bool) -> AnyForm:
    """The recipe with its number of outputs and its memory estimate brought up to date.

    Raises:
        PlanError: If channels, widths and sizes contradict each other.
    """
    _check(plan, recipe)
    translator = replace(recipe.translator, target_channels=len(plan.targets))
    recipe = replace(recipe, translator=translator)
    return with_estimate(plan, recipe, stages_of(plan, recipe)) if estimate else recipe


def _check(plan: Plan, recipe: ResidualRecipe | SliceRecipe) -> None:
    mixer = recipe.mixer if isinstance(recipe, ResidualRecipe) else None
    parts = ("translator", "mixer", "residual") if mixer is not None else ("translator",)
    check_translator(plan, recipe, recipe.translator, mixer, parts, LOSSES, recipe.losses)
    slices = recipe.slice_translation
    refuse(
        {
            f"windows_per_volume of {SLICE_STAGE} must be 1": slices.windows_per_volume != 1,
            f"learning_rates of {SLICE_STAGE} must be of the translator alone": set(
                slices.learning_rates
            )
            != {"translator"},
            "losses.outside_mask is above 1": recipe.losses["outside_mask"] > 1,
        },
        "recipe",
    )
    if isinstance(recipe, ResidualRecipe):
        _check_residual(recipe)


def _check_residual(recipe: ResidualRecipe) -> None:
    mixer, residual = recipe.mixer, recipe.residual
    refuse(
        {
            "mixer.inject must be none and through_plane_kernel 0: the residual head takes the "
            "context": mixer.inject != "none" or mixer.through_plane_kernel != 0,
            "residual needs a width of 1 or more": residual.width < 1,
            "residual.neighbours or convolutions is negative": min(
                residual.neighbours, residual.convolutions
            )
            < 0,
            f"the translator is frozen in {RESIDUAL_STAGE}; its learning rate must go": "translator"
            in recipe.residual_context.learning_rates,
        },
        "recipe",
    )
