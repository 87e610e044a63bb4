"""What a plan of this task must fulfil, beyond what paired tasks share."""

from liftnet.core.plan import MixerSpec, Plan, TranslatorSpec
from liftnet.ops import normalize
from liftnet.planning.consistency import check_paired, refuse
from liftnet.tasks.missing_modality.context_translation import SLICE_STAGE, STAGE

__all__ = ["check"]

LOSSES = ("l1", "ms_ssim", "delta_z")


def check(plan: Plan, translator: TranslatorSpec, mixer: MixerSpec) -> None:
    """Refuse a plan whose parts contradict each other.

    Raises:
        PlanError: Naming the first contradiction.
    """
    check_paired(plan, translator, mixer, LOSSES)
    others = set(plan.stages) - {SLICE_STAGE, STAGE}
    ranges = {c.name: normalize.limits(c.normalization) for c in plan.channels}
    scaled = [name for name, limits in ranges.items() if limits != (0.0, 1.0)]
    windows = max(schedule.windows_per_volume for schedule in plan.stages.values())
    refuse(
        {
            f"stages are {SLICE_STAGE} and {STAGE}, not {', '.join(others)}": bool(others),
            f"{', '.join(scaled)} must be normalized to limits 0 and 1: 0 is the background of "
            "this task": bool(scaled),
            "losses.l1 and losses.ms_ssim are both 0: differences between slices alone leave the "
            "intensities free": not plan.losses["l1"] + plan.losses["ms_ssim"],
            "every channel must be a source of this task": plan.sources != plan.channel_names,
            f"windows_per_volume is {windows}; this task decodes one slab per volume": windows > 1,
            "grid.mask must be none and grid.box null: this task finds the subject in the "
            "sources": plan.grid.mask != "none" or plan.grid.box is not None,
            "networks.mixer.inject is none: the context would go nowhere": mixer.inject == "none",
        }
    )
