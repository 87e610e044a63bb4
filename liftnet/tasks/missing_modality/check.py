"""What a plan of this task must fulfil, beyond what paired tasks share."""

from liftnet.core.plan import MixerSpec, Plan, TranslatorSpec
from liftnet.planning.consistency import check_paired, refuse

__all__ = ["check"]

LOSSES = ("l1", "ms_ssim", "delta_z")


def check(plan: Plan, translator: TranslatorSpec, mixer: MixerSpec) -> None:
    """Refuse a plan whose parts contradict each other.

    Raises:
        PlanError: Naming the first contradiction.
    """
    check_paired(plan, translator, mixer, LOSSES)
    windows = max(schedule.windows_per_volume for schedule in plan.stages.values())
    refuse(
        {
            "every channel must be a source of this task": plan.sources != plan.channel_names,
            f"windows_per_volume is {windows}; this task decodes one slab per volume": windows > 1,
            "grid.mask must be none and grid.box null: this task finds the subject in the "
            "sources": plan.grid.mask != "none" or plan.grid.box is not None,
            "networks.mixer.inject is none: the context would go nowhere": mixer.inject == "none",
        }
    )
