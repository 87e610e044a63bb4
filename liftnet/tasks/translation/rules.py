"""From fingerprint and memory to a plan. Each number names its source."""

from collections.abc import Sequence
from dataclasses import replace

from liftnet.core.dataset import Channel, Dataset
from liftnet.core.errors import DatasetError
from liftnet.core.fingerprint import Fingerprint
from liftnet.core.plan import (
    PLAN_VERSION,
    ChannelPlan,
    Grid,
    Inference,
    MemoryEstimate,
    MixerSpec,
    NetworkSpec,
    Normalization,
    Plan,
    ResidualSpec,
    Schedule,
    TranslatorSpec,
)
from liftnet.planning.augmentation import AUGMENTATION_REASON, plan_augmentation
from liftnet.planning.consistency import contradiction
from liftnet.planning.grid import GridChoice, plan_grid
from liftnet.planning.normalization import fixed_range, percentile_scale, z_score
from liftnet.planning.schedule import VALIDATION_REASON, make_schedule
from liftnet.planning.sizing import (
    SLICE_BATCHES,
    fit_to_memory,
    plan_inference,
    plan_mixer,
    plan_translator,
)
from liftnet.tasks.base import Budget
from liftnet.tasks.translation.check import check
from liftnet.tasks.translation.memory import synthesis_gib, training_gib
from liftnet.tasks.translation.residual_context import STAGE as RESIDUAL_STAGE
from liftnet.tasks.translation.slice_translation import STAGE as SLICE_STAGE

__all__ = ["make_plan", "refresh"]

PAPER_STEPS = 100_000  # ours: LiFT gives none; 170 passes over SynthRAD2023's 18,000 brain slices
PAPER_RATE = 2e-4  # LiFT Tab. 10, both stages
MAX_RATE = 1e-3  # ours: the usual rate of small U-Nets; beyond it training is unstable
SLICE_SHARE = 0.7  # ours: of the steps; the residual has far fewer weights to learn
SLICES = 32  # LiFT Tab. 10
WINDOWS, WINDOW_SLICES = 32, 3  # LiFT Tab. 10
RESIDUAL_VOLUMES = 4  # ours: each one costs an encoding of all its slices
CT_LIMITS = (-1.0, 1.0)  # LiFT Sec. 5.3
LOSSES = {
    "l1": 1.0,
    "ms_ssim": 0.2,
    "charbonnier": 1.0,
    "residual": 0.1,
    "gradient": 2.0,
    "outside_mask": 0.1,
}


def make_plan(dataset: Dataset, fingerprint: Fingerprint, budget: Budget, name: str) -> Plan:
    """The plan of a translation dataset.

    Raises:
        DatasetError: If it has no source or no target.
    """
    sources, targets = dataset.sources, dataset.targets
    if not sources or not targets:
        raise DatasetError(
            "Translation needs a source and a target",
            where=str(dataset.folder / "dataset.json"),
            remedy="List sources under 'channels' and what is to be made under 'targets'.",
        )
    reasons: dict[str, str] = {}
    grid = plan_paired_grid(sources, targets, fingerprint, reasons, budget.grid)
    plan = Plan(
        version=PLAN_VERSION,
        task="translation",
        dataset=fingerprint.dataset,
        name=name,
        channels=tuple(
            ChannelPlan(
                c.name, c.modality, plan_normalization(c, fingerprint, reasons, target=c in targets)
            )
            for c in (*sources, *targets)
        ),
        sources=tuple(c.name for c in sources),
        targets=tuple(c.name for c in targets),
        source_dropout=0.25 if len(sources) > 1 else 0.0,
        grid=grid,
        networks={},
        losses=dict(LOSSES),
        augmentation=plan_augmentation(grid.slice_axis),
        stages=plan_stages(budget.num_steps, reasons),
        inference=Inference(slice_batch=SLICE_BATCHES[0], passes="one"),
        memory=MemoryEstimate(budget.memory_gib, budget.bytes_per_number, 0.0, 0.0),
        seed=0,
        reasons=reasons,
    )
    reasons |= {
        "source_dropout": "with several sources a quarter of the steps hides some, so that a case "
        "may lack them (ours)",
        "losses": "stage 1: L1 and 1 - MS-SSIM (ours: LiFT gives none); stage 2: Charbonnier, "
        "residual magnitude, spatial-gradient L1 (LiFT Sec. 5.3); weights ours",
        "losses.outside_mask": "weight of voxels outside the mask, where CT shows table and "
        "masks that MR cannot know (ours)",
        "augmentation": AUGMENTATION_REASON,
    }
    plan = fit_to_memory(plan, reasons, resize=resize, training_gib=training_gib)
    reasons["networks.residual"] = (
        "as wide as the finest stage; sees one neighbour on each side, as the paper's windows of "
        "three slices suggest (ours)"
    )
    # A step of stage 2 reads whole volumes in the same batches of slices.
    plan = plan_inference(
        plan, reasons, synthesis_gib=lambda p: max(synthesis_gib(p), training_gib(p))
    )
    return refresh(plan)


def plan_normalization(
    channel: Channel, fingerprint: Fingerprint, reasons: dict[str, str], *, target: bool
) -> Normalization:
    """How a channel gets to network units and back; a target has limits to be clipped to."""
    if channel.modality == "CT":
        return fixed_range(channel.name, reasons, limits=CT_LIMITS)
    rule = percentile_scale if target else z_score
    return rule(channel.name, fingerprint, reasons)


def plan_paired_grid(
    sources: Sequence[Channel],
    targets: Sequence[Channel],
    fingerprint: Fingerprint,
    reasons: dict[str, str],
    choice: GridChoice | None,
) -> Grid:
    """The whole volume; cropped to the foreground only where MR follows skull-stripped MR."""
    any_ct = any(c.modality == "CT" for c in (*sources, *targets))
    crop = fingerprint.foreground == "nonzero" and not any_ct
    grid = plan_grid(fingerprint, reasons, crop=crop, mask="body", choice=choice)
    reasons |= {
        "grid.mask": "from masksTr where given, else the body in the sources (Otsu, largest "
        "piece, holes filled: SynthRAD2023); weighs the loss",
        "grid.box": "null: the whole volume (ours). LiFT Sec. 5.3: [128, 128, 128] at 1 mm "
        "about the mask's centre, which cuts off part of a head",
    }
    if any(c.modality == "CT" for c in sources):
        reasons["grid.foreground"] = "CT has no zero background: Otsu threshold"
        return replace(grid, foreground="otsu")
    return grid


def plan_stages(num_steps: int | None, reasons: dict[str, str]) -> dict[str, Schedule]:
    """Both stages for a number of steps in all (by default the paper's form)."""
    steps = num_steps or PAPER_STEPS
    first = min(max(round(SLICE_SHARE * steps), 1), max(steps - 1, 1))
    factor = max(1.0, PAPER_STEPS / steps)
    rate = min(PAPER_RATE * factor, MAX_RATE)
    volumes = RESIDUAL_VOLUMES
    more = "" if factor == 1 else f"; for {steps} steps at most {MAX_RATE:g} (ours)"
    reasons |= {
        f"stages.{SLICE_STAGE}.validation_cases": VALIDATION_REASON,
        f"stages.{SLICE_STAGE}.num_steps": f"{100 * SLICE_SHARE:.0f} % of {steps} steps (ours)",
        f"stages.{SLICE_STAGE}.learning_rates": f"Adam 2e-4 (LiFT Tab. 10){more}",
        f"stages.{SLICE_STAGE}.volumes_per_step": "32 slices of as many volumes (LiFT Tab. 10), "
        "fewer in a small memory",
        f"stages.{RESIDUAL_STAGE}.learning_rates": "AdamW 2e-4, translator frozen (LiFT Tab. 10)"
        + more,
        f"stages.{RESIDUAL_STAGE}.windows_per_volume": "32 windows of three slices (LiFT Tab. 10) "
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


def resize(plan: Plan, widths: tuple[int, ...], slices: int) -> Plan:
    """The plan with networks of these widths, and no more slices at once than `slices`."""
    first, second = plan.stages[SLICE_STAGE], plan.stages[RESIDUAL_STAGE]
    windows = max(1, min(WINDOWS, slices) // second.volumes_per_step)
    stages = plan.stages | {
        SLICE_STAGE: replace(first, volumes_per_step=min(SLICES, slices)),
        RESIDUAL_STAGE: replace(second, windows_per_volume=windows),
    }
    networks: dict[str, NetworkSpec] = {
        "translator": plan_translator(len(plan.sources), len(plan.targets), widths),
        "mixer": plan_mixer(widths, "none"),
        "residual": ResidualSpec(width=widths[0], convolutions=2, neighbours=1),
    }
    batch = min(slices, plan.grid.num_slices)
    return replace(
        plan,
        networks=networks,
        stages=stages,
        inference=replace(plan.inference, slice_batch=batch),
    )


def refresh(plan: Plan, *, estimate: bool = True) -> Plan:
    """The plan with what follows from an edit: the box's size, outputs, the memory estimate.

    Raises:
        PlanError: If channels, targets, widths and sizes contradict each other.
    """
    networks = plan.networks
    translator, mixer = networks.get("translator"), networks.get("mixer")
    residual = networks.get("residual")
    if not (
        isinstance(translator, TranslatorSpec)
        and isinstance(mixer, MixerSpec)
        and isinstance(residual, ResidualSpec)
        and len(networks) == 3
    ):
        raise contradiction("networks must be a translator, a mixer and a residual")
    if plan.grid.box is not None:
        depth, height, width = plan.grid.box
        grid = replace(
            plan.grid,
            num_slices=depth,
            in_plane=(height, width),
            crop_in_plane=False,
            resample_in_plane=True,
            resample_through_plane=True,
        )
        plan = replace(plan, grid=grid)
    missing = {SLICE_STAGE, RESIDUAL_STAGE} - set(plan.stages)
    if missing:
        raise contradiction(f"there is no stage {', '.join(sorted(missing))}")
    check(plan, translator, mixer, residual)
    translator = replace(translator, target_channels=len(plan.targets))
    plan = replace(plan, networks={**networks, "translator": translator})
    if not estimate:
        return plan
    memory = replace(
        plan.memory,
        training_gib=round(training_gib(plan), 3),
        prediction_gib=round(synthesis_gib(plan), 3),
    )
    return replace(plan, memory=memory)
