"""What a plan of this task must fulfil, beyond what paired tasks share."""

from liftnet.core.plan import MixerSpec, Plan, ResidualSpec, TranslatorSpec
from liftnet.ops import normalize
from liftnet.planning.consistency import check_paired, refuse
from liftnet.tasks.translation.losses import LOSSES
from liftnet.tasks.translation.residual_context import STAGE as RESIDUAL_STAGE
from liftnet.tasks.translation.slice_translation import STAGE as SLICE_STAGE

__all__ = ["check"]


def check(plan: Plan, translator: TranslatorSpec, mixer: MixerSpec, residual: ResidualSpec) -> None:
    """Refuse a plan whose parts contradict each other.

    Raises:
        PlanError: Naming the first contradiction.
    """
    check_paired(plan, translator, mixer, LOSSES)
    both = sorted(set(plan.sources) & set(plan.targets))
    free = [
        name
        for name in plan.targets
        if abs(normalize.limits(plan.channel(name).normalization)[0]) == float("inf")
    ]
    stages = (SLICE_STAGE, RESIDUAL_STAGE)
    slices = plan.stages[SLICE_STAGE]
    refuse(
        {
            f"{', '.join(both)} is both source and target": bool(both),
            f"target {', '.join(free)} is a z-score, which has no limits": bool(free),
            "grid.mask must be body": plan.grid.mask != "body",
            f"stages are {', '.join(plan.stages)}; expected {', '.join(stages)}": set(plan.stages)
            != set(stages),
            f"windows_per_volume of {SLICE_STAGE} must be 1": slices.windows_per_volume != 1,
            f"learning_rates of {SLICE_STAGE} must be of the translator alone": set(
                slices.learning_rates
            )
            != {"translator"},
            "networks.mixer.inject must be none and through_plane_kernel 0: the residual head "
            "takes the context": mixer.inject != "none" or mixer.through_plane_kernel != 0,
            "networks.residual needs a width of 1 or more": residual.width < 1,
            "networks.residual.neighbours or convolutions is negative": min(
                residual.neighbours, residual.convolutions
            )
            < 0,
            f"the translator is frozen in {RESIDUAL_STAGE}; its learning rate must go": "translator"
            in plan.stages[RESIDUAL_STAGE].learning_rates,
            "losses.outside_mask is above 1": plan.losses["outside_mask"] > 1,
        }
    )
