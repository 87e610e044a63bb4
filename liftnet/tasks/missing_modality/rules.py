"""From fingerprint and memory to a plan. Each number names its source."""

from dataclasses import replace
from math import log2
from statistics import median

from liftnet.core.dataset import Dataset
from liftnet.core.errors import DatasetError, PlanError
from liftnet.core.fingerprint import Fingerprint
from liftnet.core.geometry import SLICE_AXES, Triple
from liftnet.core.plan import (
    PLAN_VERSION,
    AugmentationSpec,
    ChannelPlan,
    ClipAndScale,
    Grid,
    Inference,
    MemoryEstimate,
    MixerSpec,
    Normalization,
    PercentileScale,
    Plan,
    Schedule,
    TranslatorSpec,
)
from liftnet.networks.blocks import GROUP_WIDTH
from liftnet.tasks.base import Budget
from liftnet.tasks.missing_modality.context_translation import STAGE
from liftnet.tasks.missing_modality.memory import synthesis_gib, training_gib

__all__ = ["make_plan", "refresh"]

ISOTROPIC_RATIO = 1.2  # ours: below this no axis counts as the coarse one
MIN_FEATURE_EDGE = 4  # nnU-Net default_experiment_planner.py
MAX_STAGES = 7  # ours: nnU-Net's largest 2D networks
MAX_WIDTH = 512  # nnU-Net, 2D
MARGIN = 2  # ours: voxels around the largest foreground box, for augmentation
# Base width and decoded slices, best first. 48: LiFT Tab. 10. Widths: ours, as pix2pix (64) and
# nnU-Net (32); a U-Net narrower than 32 gains more from width than from a longer slab.
SIZES = (
    (64, 48), (48, 48), (32, 48), (32, 32), (32, 24), (24, 24), (16, 24), (16, 16), (8, 16), (8, 8),
)  # fmt: skip
TRAINING_SHARE = 0.9  # ours: the rest is for the allocator and cuDNN
PAPER_STEPS = 250_000  # nnU-Net: 1000 epochs of 250 steps; LiFT gives no number
LONG_TRAINING = 100_000  # ours: from here on one volume per step, LiFT Tab. 10
SHORT_TRAINING_VOLUMES = 2  # ours: measured, see docs/explanation/context.md
PAPER_RATES = {"translator": 2e-5, "mixer": 2e-4}  # LiFT Tab. 10
MAX_RATE = 1e-3  # ours: the usual AdamW rate of small U-Nets; beyond it training is unstable
SLICE_BATCHES = (64, 32, 16, 8, 4, 2, 1)  # ours: larger ones gain no speed on a GPU or CPU
CLIP_QUANTILE = 0.001  # LiFT Sec. 5.2: the 0.1 and 99.9 percentiles
CT_RANGE = (-1000.0, 2000.0)  # LiFT Sec. 5.3


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
    reasons: dict[str, str] = {}
    grid = plan_grid(fingerprint, reasons)
    plans = tuple(
        ChannelPlan(
            c.name, c.modality, plan_normalization(c.name, c.modality, fingerprint, reasons)
        )
        for c in channels
    )
    steps = budget.num_steps or PAPER_STEPS
    plan = Plan(
        version=PLAN_VERSION,
        task="missing_modality",
        dataset=fingerprint.dataset,
        name=name,
        channels=plans,
        targets=tuple(c.name for c in channels),
        source_dropout=0.5,
        grid=grid,
        networks={},
        losses={"l1": 1.0, "ms_ssim": 0.2, "delta_z": 0.5},
        augmentation=plan_augmentation(),
        stages={STAGE: plan_schedule(steps, reasons)},
        inference=Inference(slice_batch=SLICE_BATCHES[0], passes="one"),
        memory=MemoryEstimate(budget.memory_gib, budget.bytes_per_number, 0.0, 0.0),
        seed=0,
        reasons=reasons,
    )
    reasons |= {
        "targets": "every contrast can be the missing one: one model for any pattern (ours; "
        "LiFT trains one model per contrast: set targets to one name for that)",
        "source_dropout": "half of the steps hide one contrast (LiFT Sec. 5.2), half a random "
        "number of them, so that any pattern is served (ours)",
        "losses": "L1, 1 - MS-SSIM and delta-z L1 (LiFT Eq. 9); weights ours: the three terms "
        "have gradients of like size",
        "augmentation": "nnU-Net's list with the geometry shared by all contrasts; narrower "
        "intensity ranges, since intensity carries the answer in synthesis (ours)",
    }
    return fit_to_memory(plan, budget, reasons)


def plan_grid(fingerprint: Fingerprint, reasons: dict[str, str]) -> Grid:
    """Slice axis, spacing, in-plane size and cropping from the shapes and spacings of all cases."""
    cases = fingerprint.cases.values()
    zyx = tuple(median(c.spacing_mm[a] for c in cases) for a in range(3))
    coarsest = max(range(3), key=lambda a: zyx[a])
    others = max(zyx[a] for a in range(3) if a != coarsest)
    isotropic = zyx[coarsest] <= ISOTROPIC_RATIO * others
    axis = "axial" if isotropic else list(SLICE_AXES)[coarsest]
    # Canonical axes are (z, y, x); SLICE_AXES counts world axes x = 0, y = 1, z = 2.
    order = tuple(2 - world for world in SLICE_AXES[axis])
    spacing: Triple = (zyx[order[0]], zyx[order[1]], zyx[order[2]])
    crop = fingerprint.foreground == "nonzero"
    extents = []
    for a in order[1:]:
        sizes = [
            ((c.box_stop[a] - c.box_start[a]) if crop else c.shape[a]) * c.spacing_mm[a] / zyx[a]
            for c in cases
        ]
        extents.append(round(max(sizes)) + (2 * MARGIN if crop else 0))
    halvings = min(int(log2(max(min(extents) / MIN_FEATURE_EDGE, 1))), MAX_STAGES - 1)
    stride = 2**halvings
    in_plane = (-(-extents[0] // stride) * stride, -(-extents[1] // stride) * stride)
    reasons |= {
        "grid.slice_axis": f"median spacing (z, y, x) is {_mm(zyx)} mm: "
        + ("isotropic, so axial (LiFT)" if isotropic else "the coarsest axis (nnU-Net)"),
        "grid.spacing_mm": "median over cases (nnU-Net)",
        "grid.in_plane": f"largest {'foreground box' if crop else 'image'} "
        f"{extents[0]}x{extents[1]}, up to a multiple of the U-Net's stride {stride} (nnU-Net)",
        "grid.num_slices": "median over cases; all slices are kept (LiFT: all 155)",
        "grid.foreground": "background is exactly zero (skull-stripped)"
        if crop
        else "background is not zero: Otsu threshold",
        "grid.crop_in_plane": "only background is cut off, and put back at prediction (nnU-Net)"
        if crop
        else "background is not constant, so nothing is cut off (ours)",
        "grid.resample_through_plane": "slices are never resampled in 2D (nnU-Net); the mixer "
        "takes any number of them",
    }
    return Grid(
        slice_axis=axis,  # type: ignore[arg-type]
        spacing_mm=spacing,
        in_plane=in_plane,
        num_slices=round(median(c.shape[order[0]] for c in cases)),
        foreground="nonzero" if crop else "otsu",
        crop_in_plane=crop,
        resample_in_plane=True,
        resample_through_plane=False,
    )


def plan_normalization(
    name: str, modality: str, fingerprint: Fingerprint, reasons: dict[str, str]
) -> Normalization:
    """How one channel gets to [0, 1] and back."""
    if modality == "CT":
        reasons[f"channels.{name}.normalization"] = "CT: fixed HU range (LiFT Sec. 5.3)"
        return ClipAndScale(*CT_RANGE)
    if name not in fingerprint.channels:
        raise DatasetError(
            f"No case has channel {name}",
            where=fingerprint.dataset,
            remedy="Remove it from dataset.json, or add its images and run "
            "liftnet_extract_fingerprint again.",
        )
    statistics = fingerprint.channels[name]
    if fingerprint.foreground == "nonzero":
        fraction = median(c.foreground_fraction for c in fingerprint.cases.values())
        upper = max(1 - CLIP_QUANTILE / fraction, 0.9)
        reasons[f"channels.{name}.normalization"] = (
            f"the 99.9 percentile of the grid (LiFT, cWDM) is the {100 * upper:.2f} percentile of "
            f"the foreground ({100 * fraction:.0f} % of a typical case): taken there, it does not "
            "depend on the field of view (ours)"
        )
        lower, region = 0.0, "foreground"
    else:
        lower, upper, region = CLIP_QUANTILE, 1 - CLIP_QUANTILE, "grid"
        reasons[f"channels.{name}.normalization"] = "percentiles 0.1 and 99.9 (LiFT, cWDM)"
    return PercentileScale(
        region=region,  # type: ignore[arg-type]
        lower=lower,
        upper=upper,
        typical_low=0.0 if lower == 0 else statistics.low,
        typical_high=statistics.high,
    )


def plan_schedule(steps: int, reasons: dict[str, str]) -> Schedule:
    """Steps and learning rates of the one stage."""
    factor = max(1.0, PAPER_STEPS / steps)
    rates = {k: min(rate * factor, MAX_RATE) for k, rate in PAPER_RATES.items()}
    prefix = f"stages.{STAGE}"
    reasons |= {
        f"{prefix}.num_steps": "as nnU-Net, 1000 x 250 (LiFT gives none); shorten with --steps",
        f"{prefix}.learning_rates": "AdamW, U-Net 2e-5 and BiGRU 2e-4 (LiFT Tab. 10)"
        + ("" if factor == 1 else f", times {PAPER_STEPS}/{steps}, at most {MAX_RATE:g} (ours)"),
        f"{prefix}.volumes_per_step": "1 volume (LiFT Tab. 10)"
        if steps >= LONG_TRAINING
        else "short slabs of several volumes: one subject per step makes noisy gradients, which "
        "a short training cannot average out (ours, measured)",
        f"{prefix}.betas": "PyTorch's AdamW (LiFT gives none)",
        f"{prefix}.gradient_clip": "ours: stops rare spikes; typical norms are below 1",
        f"{prefix}.ema_half_life": "ours: 1 % of the steps",
        f"{prefix}.validation_cases": "ours: enough to rank checkpoints, few enough to be quick",
    }
    return Schedule(
        num_steps=steps,
        volumes_per_step=1 if steps >= LONG_TRAINING else SHORT_TRAINING_VOLUMES,
        decoded_slices=48,
        learning_rates=rates,
        weight_decay=0.01,  # PyTorch's AdamW
        betas=(0.9, 0.999),
        warmup_steps=min(1000, max(1, steps // 50)),
        final_rate=0.01,
        gradient_clip=1.0,
        ema_half_life=max(5, steps // 100),
        validate_every=max(1, min(2500, steps // 10)),
        validation_cases=4,
        checkpoint_minutes=3.0,
        loader_workers=4,
    )


def plan_augmentation() -> AugmentationSpec:
    """nnU-Net's transforms, rarer and milder: in synthesis the source's intensity is the answer."""
    return AugmentationSpec(
        flip_probability=(0.0, 0.0, 0.5),  # left-right only: heads stand upright (ours)
        rotation_probability=0.2,  # nnU-Net
        rotation_degrees=15.0,  # nnU-Net, non-square patches
        scale_probability=0.2,  # nnU-Net
        scale_range=(0.9, 1.1),
        shear_probability=0.1,
        shear_range=0.1,
        elastic_probability=0.1,
        elastic_displacement=0.02,
        elastic_control_points=6,
        noise_probability=0.1,  # nnU-Net
        noise_std=0.02,
        blur_probability=0.05,
        blur_sigma=(0.5, 1.0),  # nnU-Net
        brightness_probability=0.1,
        brightness_range=(0.95, 1.05),
        contrast_probability=0.1,
        contrast_range=(0.95, 1.05),
        gamma_probability=0.1,
        gamma_range=(0.95, 1.05),
        low_resolution_probability=0.05,
        low_resolution_range=(0.7, 1.0),
        bias_field_probability=0.1,
        bias_field_strength=0.1,
    )


def fit_to_memory(plan: Plan, budget: Budget, reasons: dict[str, str]) -> Plan:
    """The largest network and slab whose training fits the budget, and how it then predicts."""
    stride = _stride(plan.grid)
    depth = plan.grid.num_slices
    for base, slices in SIZES:
        widths = tuple(min(base * 2**i, MAX_WIDTH) for i in range(int(log2(stride)) + 1))
        networks = plan_networks(plan, widths)
        volumes = plan.stages[STAGE].volumes_per_step
        schedule = replace(plan.stages[STAGE], decoded_slices=min(slices // volumes, depth))
        candidate = replace(
            plan,
            networks=networks,
            stages={STAGE: schedule},
            inference=replace(plan.inference, slice_batch=min(slices, depth)),
        )
        needed = training_gib(candidate)
        if needed <= TRAINING_SHARE * budget.memory_gib:
            break
    else:
        raise PlanError(
            f"The smallest network needs {needed:.2g} GiB for slices of "
            f"{plan.grid.in_plane[0]}x{plan.grid.in_plane[1]}",
            where=f"a budget of {budget.memory_gib:g} GiB",
            remedy="Raise --gpu-memory, or resample the images to a coarser spacing.",
        )
    size = f"the largest of {len(SIZES)} sizes that fits {budget.memory_gib:g} GiB"
    reasons |= {
        "networks.translator.widths": f"{size}; doubling to at most {MAX_WIDTH} (nnU-Net)",
        "networks.translator.normalization": "ours: measured, see docs/explanation/context.md",
        "networks.mixer": "bidirectional GRU over all slice descriptors (LiFT Eq. 7)",
        f"stages.{STAGE}.decoded_slices": f"{size}; 48 at most (LiFT Tab. 10)",
    }
    return plan_inference(candidate, budget, reasons)


def plan_networks(plan: Plan, widths: tuple[int, ...]) -> dict[str, TranslatorSpec | MixerSpec]:
    """The translator and the mixer for these widths."""
    return {
        "translator": TranslatorSpec(
            source_channels=len(plan.channels),
            target_channels=len(plan.targets),
            condition_size=len(plan.channels),
            widths=widths,
            convolutions_per_stage=2,  # nnU-Net
            normalization="none",
        ),
        "mixer": MixerSpec(
            descriptor="mean",  # LiFT Sec. 4.2
            descriptor_stages="bottleneck",
            hidden_size=max(64, min(256, widths[-1] // 2)),  # ours: a context as wide as h_d
            num_layers=1,  # LiFT: "a bidirectional GRU"
            fourier_frequencies=8,  # ours: up to half a slice of 256
            inject="bottleneck",
            through_plane_kernel=0,
        ),
    }


def plan_inference(plan: Plan, budget: Budget, reasons: dict[str, str]) -> Plan:
    """One pass where the skips fit, the largest useful batch of slices, and the memory estimate."""
    sizes = [min(size, plan.grid.num_slices) for size in SLICE_BATCHES]
    for inference in (Inference(size, p) for p in ("one", "two") for size in sizes):
        candidate = replace(plan, inference=inference)
        if synthesis_gib(candidate) <= TRAINING_SHARE * budget.memory_gib:
            break
    reasons["inference"] = (
        "one pass keeps the skips of all slices; two passes encode again (LiFT Algorithm 2): "
        f"'{inference.passes}' with {inference.slice_batch} slices at a time is the fastest "
        "that fits the budget"
    )
    return refresh(candidate)


def refresh(plan: Plan) -> Plan:
    """The plan with its number of outputs and its memory estimate brought up to date.

    Raises:
        PlanError: If channels, targets, widths and sizes contradict each other.
    """
    translator, mixer = plan.networks.get("translator"), plan.networks.get("mixer")
    if not isinstance(translator, TranslatorSpec) or not isinstance(mixer, MixerSpec):
        raise _contradiction("networks must be a translator and a mixer")
    if STAGE not in plan.stages:
        raise _contradiction(f"there is no stage {STAGE}")
    check(plan, translator, mixer)
    translator = replace(translator, target_channels=len(plan.targets))
    plan = replace(plan, networks={"translator": translator, "mixer": mixer})
    memory = replace(
        plan.memory,
        training_gib=round(training_gib(plan), 3),
        prediction_gib=round(synthesis_gib(plan), 3),
    )
    return replace(plan, memory=memory)


def _contradiction(problem: str) -> PlanError:
    return PlanError(f"The plan contradicts itself: {problem}", remedy="Correct plan.json.")


def check(plan: Plan, translator: TranslatorSpec, mixer: MixerSpec) -> None:
    """Refuse a plan whose parts contradict each other."""
    schedule = plan.stages[STAGE]
    counts = {
        "grid.num_slices": plan.grid.num_slices,
        "inference.slice_batch": plan.inference.slice_batch,
        "networks.mixer.hidden_size": mixer.hidden_size,
        "networks.mixer.num_layers": mixer.num_layers,
        "networks.translator.convolutions_per_stage": translator.convolutions_per_stage,
        **{
            f"stages.{STAGE}.{name}": getattr(schedule, name)
            for name in ("num_steps", "decoded_slices", "validate_every", "validation_cases")
        },
    }
    small = [name for name, count in counts.items() if count < 1]
    strangers = set(schedule.learning_rates) - set(plan.networks)
    kernel = mixer.through_plane_kernel
    stride = 2 ** (len(translator.widths) - 1)
    unknown = set(plan.targets) - set(plan.channel_names)
    problems = {
        f"targets {', '.join(sorted(unknown))} are not channels": bool(unknown),
        "there is no target": not plan.targets,
        f"{', '.join(small)} must be 1 or more": bool(small),
        f"learning_rates name {', '.join(strangers)}; expected translator, mixer": bool(strangers),
        "nothing is trained: learning_rates are empty": not schedule.learning_rates,
        f"through_plane_kernel is {kernel}; expected 0 or an odd number": kernel != 0
        and kernel % 2 == 0,
        f"widths {translator.widths} are not all multiples of {GROUP_WIDTH}": not translator.widths
        or any(w < 1 or w % GROUP_WIDTH for w in translator.widths),
        f"grid.spacing_mm {plan.grid.spacing_mm} is not positive": min(plan.grid.spacing_mm) <= 0,
        "seed is negative": plan.seed < 0,
        f"grid.in_plane {plan.grid.in_plane} is not a multiple of {stride}": any(
            n < 1 or n % stride for n in plan.grid.in_plane
        ),
        f"the translator takes {translator.source_channels} channels and a code of "
        f"{translator.condition_size}, the plan has {len(plan.channels)}": {
            translator.source_channels,
            translator.condition_size,
        }
        != {len(plan.channels)},
        "source_dropout is not a probability": not 0 <= plan.source_dropout <= 1,
        "a loss weight is negative, or all are 0": min(plan.losses.values()) < 0
        or not any(plan.losses.values()),
        f"losses are {', '.join(plan.losses)}; expected l1, ms_ssim, delta_z": set(plan.losses)
        != {"l1", "ms_ssim", "delta_z"},
    }
    for problem, found in problems.items():
        if found:
            raise _contradiction(problem)


def _stride(grid: Grid) -> int:
    """The U-Net's stride: the largest power of two in the size that leaves an edge of 4."""
    stride = 1
    edge = min(grid.in_plane)
    while (
        all(n % (2 * stride) == 0 for n in grid.in_plane)
        and edge // (2 * stride) >= MIN_FEATURE_EDGE
        and log2(stride) < MAX_STAGES - 1
    ):
        stride *= 2
    return stride


def _mm(values: tuple[float, ...]) -> str:
    return ", ".join(f"{v:.3g}" for v in values)
