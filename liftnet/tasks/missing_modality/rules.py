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
    ChannelPlan,
    ClipAndScale,
    Grid,
    Inference,
    MemoryEstimate,
    MixerSpec,
    Normalization,
    PercentileScale,
    Plan,
    TranslatorSpec,
)
from liftnet.tasks.base import Budget
from liftnet.tasks.missing_modality.check import check, contradiction
from liftnet.tasks.missing_modality.context_translation import STAGE
from liftnet.tasks.missing_modality.memory import synthesis_gib, training_gib
from liftnet.tasks.missing_modality.schedule import plan_augmentation, plan_stages

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
    plan = Plan(
        version=PLAN_VERSION,
        task="missing_modality",
        dataset=fingerprint.dataset,
        name=name,
        channels=plans,
        targets=tuple(c.name for c in channels),
        source_dropout=0.25,
        grid=grid,
        networks={},
        losses={"l1": 1.0, "ms_ssim": 0.2, "delta_z": 0.5},
        augmentation=plan_augmentation(),
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


def fit_to_memory(plan: Plan, budget: Budget, reasons: dict[str, str]) -> Plan:
    """The largest network and slab whose training fits the budget, and how it then predicts."""
    stride = _stride(plan.grid)
    depth = plan.grid.num_slices
    for base, slices in SIZES:
        widths = tuple(min(base * 2**i, MAX_WIDTH) for i in range(int(log2(stride)) + 1))
        networks = plan_networks(plan, widths)
        stages = {
            name: replace(s, decoded_slices=min(max(slices // s.volumes_per_step, 1), depth))
            for name, s in plan.stages.items()
        }
        candidate = replace(
            plan,
            networks=networks,
            stages=stages,
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
        raise contradiction("networks must be a translator and a mixer")
    if STAGE not in plan.stages:
        raise contradiction(f"there is no stage {STAGE}")
    check(plan, translator, mixer)
    translator = replace(translator, target_channels=len(plan.targets))
    plan = replace(plan, networks={"translator": translator, "mixer": mixer})
    memory = replace(
        plan.memory,
        training_gib=round(training_gib(plan), 3),
        prediction_gib=round(synthesis_gib(plan), 3),
    )
    return replace(plan, memory=memory)


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
