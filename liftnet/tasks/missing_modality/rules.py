"""From fingerprint and memory to a plan. Each number names its source."""

from dataclasses import replace

from liftnet.core.dataset import Channel, Dataset
from liftnet.core.errors import DatasetError
from liftnet.core.fingerprint import Fingerprint
from liftnet.core.plan import (
    PLAN_VERSION,
    ChannelPlan,
    Inference,
    MemoryEstimate,
    MixerSpec,
    NetworkSpec,
    Normalization,
    Plan,
    TranslatorSpec,
)
from liftnet.planning.augmentation import AUGMENTATION_REASON, plan_augmentation
from liftnet.planning.consistency import contradiction
from liftnet.planning.grid import plan_grid
from liftnet.planning.normalization import fixed_range, percentile_scale
from liftnet.planning.sizing import (
    SLICE_BATCHES,
    fit_to_memory,
    plan_inference,
    plan_mixer,
    plan_translator,
)
from liftnet.tasks.base import Budget
from liftnet.tasks.missing_modality.check import check
from liftnet.tasks.missing_modality.context_translation import STAGE
from liftnet.tasks.missing_modality.memory import synthesis_gib, training_gib
from liftnet.tasks.missing_modality.schedule import plan_stages

__all__ = ["make_plan", "refresh"]


def make_plan(dataset: Dataset, fingerprint: Fingerprint, budget: Budget, name: str) -> Plan:
    """The plan of a missing-modality dataset.

    Raises:
        DatasetError: If it has fewer than two channels.
    """
    channels = dataset.channels
    if len(channels) < 2:
        raise DatasetError(
            "Missing-modality synthesis needs at least two channels",
            where=str(dataset.folder / "dataset.json"),
            remedy="List every contrast under 'channels'.",
        )
    if dataset.targets:
        raise DatasetError(
            "Missing-modality synthesis has no targets of its own",
            where=str(dataset.folder / "dataset.json"),
            remedy="List every contrast under 'channels', or make the task 'translation'.",
        )
    reasons: dict[str, str] = {}
    crop = fingerprint.foreground == "nonzero"
    grid = plan_grid(fingerprint, reasons, crop=crop, choice=budget.grid)
    plans = tuple(
        ChannelPlan(c.name, c.modality, plan_normalization(c, fingerprint, reasons))
        for c in channels
    )
    plan = Plan(
        version=PLAN_VERSION,
        task="missing_modality",
        dataset=fingerprint.dataset,
        name=name,
        channels=plans,
        sources=tuple(c.name for c in channels),
        targets=tuple(c.name for c in channels),
        source_dropout=0.25,
        grid=grid,
        networks={},
        losses={"l1": 1.0, "ms_ssim": 0.2, "delta_z": 0.5},
        augmentation=plan_augmentation(grid.slice_axis),
        stages=plan_stages(budget.num_steps, reasons),
        inference=Inference(slice_batch=SLICE_BATCHES[0], passes="one"),
        memory=MemoryEstimate(budget.memory_gib, budget.bytes_per_number, 0.0, 0.0),
        seed=0,
        reasons=reasons,
    )
    reasons |= {
        "targets": "every contrast can be the missing one: one model for any pattern (ours; "
        "LiFT trains one model per contrast: set targets to one name for that)",
        "source_dropout": "most steps hide one contrast (LiFT Sec. 5.2), a quarter a random "
        "number of them, so that any pattern is served (ours)",
        "losses": "L1, 1 - MS-SSIM and delta-z L1 (LiFT Eq. 9); weights ours: the three terms "
        "have gradients of like size",
        "augmentation": AUGMENTATION_REASON,
    }
    plan = fit_to_memory(plan, reasons, resize=resize, training_gib=training_gib)
    reasons[f"stages.{STAGE}.decoded_slices"] = (
        "as many as the size of the network leaves; 48 at most (LiFT Tab. 10)"
    )
    return refresh(plan_inference(plan, reasons, synthesis_gib=synthesis_gib))


def plan_normalization(
    channel: Channel, fingerprint: Fingerprint, reasons: dict[str, str]
) -> Normalization:
    """How one channel gets to [0, 1] and back."""
    if channel.modality == "CT":
        return fixed_range(channel.name, reasons, limits=(0.0, 1.0))
    return percentile_scale(channel.name, fingerprint, reasons)


def resize(plan: Plan, widths: tuple[int, ...], slices: int) -> Plan:
    """The plan with networks of these widths and slabs of so many slices in all."""
    depth = plan.grid.num_slices
    stages = {
        name: replace(s, decoded_slices=min(max(slices // s.volumes_per_step, 1), depth))
        for name, s in plan.stages.items()
    }
    networks: dict[str, NetworkSpec] = {
        "translator": plan_translator(len(plan.sources), len(plan.targets), widths),
        "mixer": plan_mixer(widths, "decoder"),
    }
    return replace(
        plan,
        networks=networks,
        stages=stages,
        inference=replace(plan.inference, slice_batch=min(slices, depth)),
    )


def refresh(plan: Plan, *, estimate: bool = True) -> Plan:
    """The plan with its number of outputs and its memory estimate brought up to date.

    Raises:
        PlanError: If channels, targets, widths and sizes contradict each other.
    """
    translator, mixer = plan.networks.get("translator"), plan.networks.get("mixer")
    if not isinstance(translator, TranslatorSpec) or not isinstance(mixer, MixerSpec):
        raise contradiction("networks must be a translator and a mixer")
    if STAGE not in plan.stages:
        raise contradiction(f"there is no stage {STAGE}")
    check(plan, translator, mixer)
    translator = replace(translator, target_channels=len(plan.targets))
    plan = replace(plan, networks={"translator": translator, "mixer": mixer})
    if not estimate:
        return plan
    memory = replace(
        plan.memory,
        training_gib=round(training_gib(plan), 3),
        prediction_gib=round(synthesis_gib(plan), 3),
    )
    return replace(plan, memory=memory)
