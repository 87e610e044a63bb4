"""From grid and memory to a recipe of the joint form. Each number names its source."""

from dataclasses import replace

from liftnet.core.network_specs import MixerSpec, TranslatorSpec
from liftnet.core.plan import Plan
from liftnet.core.recipe import Inference, MemoryEstimate, schedules
from liftnet.methods.lift.joint import SLICE_STAGE, STAGE, ContextTranslation
from liftnet.methods.lift.joint_schedule import plan_stages
from liftnet.methods.lift.recipes import JointRecipe
from liftnet.methods.lift.synthesis import synthesize, with_estimate
from liftnet.methods.lift.translator_check import check_translator
from liftnet.planning.augmentation import AUGMENTATION_REASON, plan_augmentation
from liftnet.planning.consistency import refuse
from liftnet.planning.cost import synthesis_gib
from liftnet.planning.sizing import fit_to_memory, plan_inference, plan_mixer, plan_translator

__all__ = ["decide", "refresh", "stages_of"]

LOSSES = {"l1": 1.0, "ms_ssim": 0.2, "delta_z": 0.5}


def decide(plan: Plan) -> JointRecipe:
    """The recipe of the largest network that fits the plan's budget.

    Raises:
        PlanError: If none does.
    """
    depth, budget = plan.grid.num_slices, plan.budget
    reasons = {
        "losses": "L1, 1 - MS-SSIM and delta-z L1 (LiFT Eq. 9); weights ours: the three terms "
        "have gradients of like size",
        "augmentation": AUGMENTATION_REASON,
    }
    stages = plan_stages(budget.num_steps, reasons)

    def sized(widths: tuple[int, ...], slices: int, recompute: bool) -> JointRecipe:
        own = {
            name: replace(s, decoded_slices=min(max(slices // s.volumes_per_step, 1), depth))
            for name, s in stages.items()
        }
        return JointRecipe(
            augmentation=plan_augmentation(plan.grid.slice_axis),
            inference=Inference(slice_batch=min(slices, depth), passes="one"),
            memory=MemoryEstimate(budget.memory_gib, budget.bytes_per_number, 0.0, 0.0),
            reasons=reasons,
            recompute=recompute,
            translator=plan_translator(len(plan.sources), len(plan.targets), widths),
            mixer=plan_mixer(widths, "decoder"),
            losses=dict(LOSSES),
            slice_translation=own.get("slice_translation"),
            context_translation=own[STAGE],
        )

    recipe = fit_to_memory(plan, reasons, sized=sized, stages=stages_of)
    reasons[f"{STAGE}.decoded_slices"] = (
        "as many as the size of the network leaves; 48 at most (LiFT Tab. 10)"
    )
    recipe = replace(recipe, reasons=reasons)
    recipe = plan_inference(
        plan,
        recipe,
        needed=lambda r: synthesis_gib(plan, r, ContextTranslation(r), synthesize),
    )
    return refresh(plan, recipe, estimate=True)


def stages_of(recipe: JointRecipe) -> tuple[ContextTranslation, ...]:
    """The stages in order: of a short training the translator alone comes first."""
    first = () if recipe.slice_translation is None else (SLICE_STAGE,)
    return tuple(ContextTranslation(recipe, name) for name in (*first, STAGE))


def refresh(plan: Plan, recipe: JointRecipe, *, estimate: bool) -> JointRecipe:
    """The recipe with its number of outputs and its memory estimate brought up to date.

    Raises:
        PlanError: If channels, widths and sizes contradict each other.
    """
    _check(plan, recipe)
    recipe = replace(recipe, translator=_outputs(plan, recipe.translator))
    return with_estimate(plan, recipe, stages_of(recipe)) if estimate else recipe


def _outputs(plan: Plan, translator: TranslatorSpec) -> TranslatorSpec:
    return replace(translator, target_channels=len(plan.targets))


def _check(plan: Plan, recipe: JointRecipe) -> None:
    parts = ("translator",) if recipe.mixer is None else ("translator", "mixer")
    check_translator(plan, recipe, recipe.translator, recipe.mixer, parts, LOSSES, recipe.losses)
    windows = max(schedule.windows_per_volume for schedule in schedules(recipe).values())
    mixer: MixerSpec | None = recipe.mixer
    refuse(
        {
            "losses.l1 and losses.ms_ssim are both 0: differences between slices alone leave the "
            "intensities free": not recipe.losses["l1"] + recipe.losses["ms_ssim"],
            f"windows_per_volume is {windows}; one slab of a volume is decoded": windows > 1,
            "mixer.inject is none: the context would go nowhere": mixer is not None
            and mixer.inject == "none",
        },
        "recipe",
    )
