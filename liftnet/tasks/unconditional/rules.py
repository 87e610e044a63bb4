"""From fingerprint and memory to a plan. Each number names its source."""

from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

from liftnet.core.checksum import file_sha256
from liftnet.core.dataset import Channel, Dataset
from liftnet.core.errors import DatasetError, PlanError
from liftnet.core.fingerprint import Fingerprint
from liftnet.core.plan import (
    PLAN_VERSION,
    AugmentationSpec,
    ChannelPlan,
    CriticSpec,
    FeatureSpec,
    GeneratorSpec,
    Grid,
    Inference,
    MapperSpec,
    MemoryEstimate,
    Normalization,
    Plan,
    ResNetSpec,
)
from liftnet.networks.features import RESNET18_FILE, RESNET18_SHA256
from liftnet.planning.augmentation import plan_augmentation
from liftnet.planning.normalization import fixed_range, percentile_scale
from liftnet.planning.sizing import MAX_WIDTH, TRAINING_SHARE
from liftnet.planning.volume_grid import VolumeGrid, plan_volume_grids
from liftnet.tasks.base import Budget
from liftnet.tasks.unconditional.check import check, check_parts
from liftnet.tasks.unconditional.depth_mapping import CODE_STAGE
from liftnet.tasks.unconditional.depth_mapping import STAGE as DEPTH_STAGE
from liftnet.tasks.unconditional.memory import prediction_gib, training_gib
from liftnet.tasks.unconditional.schedule import MAX_SLICES, is_short, plan_drift, plan_stages

__all__ = ["make_plan", "refresh"]

LIMITS = (-1.0, 1.0)  # WDM, and LiFT Sec. 5.1 after it
LEAST_CASES = 8  # ours: the volumes of one step; fewer show no distribution
BASES = (32, 24, 16)  # ours: wider refiners cost seconds a volume, see docs/explanation
LAST_BASES = (8,)  # ours: for very small memories, and tests
SLICES = (MAX_SLICES, 64, 32)  # LiFT Tab. 10; fewer (ours) rather than a coarser grid
GROWTH = (1, 2, 4, 8, 8)  # ours: widths per stage, in base widths
LEAST_START = 6  # ours: pixels of the coarsest maps, which say where things are
CODE_SIZE = 256  # ours: 32.1 dB against 30.2 with 128, see docs/explanation/generation.md
WIDE_SIDE = 96  # ours: voxels; from here on slices show enough for wider features
WIDE_CRITIC = 32  # ours: base width; a critic grows with the generator that it follows
MAPPER = MapperSpec(  # 1.42 M parameters, LiFT Sec. 5.1 has 1.455 M; the division is ours
    latent_size=128,
    code_size=CODE_SIZE,
    hidden_size=128,
    num_blocks=4,
    fourier_frequencies=6,
    waves=32,
)
PREDICTION_GIB = 0.41e9 / 2**30  # LiFT Tab. 1, one volume of 128^3
SLICE_BATCHES = (16, 8, 4, 2, 1)  # ours: larger ones gain little speed
LOSSES = {
    "l1": 1.0,
    "features": 0.1,
    "adversarial": 0.1,
    "drift": 1.0,
    "energy": 0.3,
    "trajectory": 1.0,
}


def make_plan(dataset: Dataset, fingerprint: Fingerprint, budget: Budget, name: str) -> Plan:
    """The plan of a dataset whose volumes are to be imitated.

    Raises:
        DatasetError: If it does not have exactly one channel, or too few cases.
        PlanError: If not even the smallest network fits, or the file of features is missing.
    """
    channel = _only_channel(dataset)
    count = len(fingerprint.cases)
    if count < LEAST_CASES:
        raise DatasetError(
            f"Unconditional generation needs {LEAST_CASES} cases or more; there are {count}",
            where=str(dataset.folder),
            remedy="Add cases: a hundred show how brains differ, eight hardly.",
        )
    reasons: dict[str, str] = {}
    normalization = _plan_normalization(channel, fingerprint, reasons)
    given = _given_features(budget.feature_weights, reasons)

    def plan_of(volume_grid: VolumeGrid, base: int, slices: int) -> Plan:
        grid = volume_grid.grid
        plan = Plan(
            version=PLAN_VERSION,
            task="unconditional",
            dataset=fingerprint.dataset,
            name=name,
            channels=(ChannelPlan(channel.name, channel.modality, normalization),),
            sources=(),
            targets=(channel.name,),
            source_dropout=0.0,
            grid=grid,
            networks={
                "features": given or _own_features(grid),
                "generator": plan_generator(grid.in_plane, base),
                "critic": CriticSpec((64, 128, 256) if base >= WIDE_CRITIC else (32, 64, 128)),
                "mapper": MAPPER,
            },
            losses=LOSSES | ({"adversarial": 0.0} if is_short(budget.num_steps) else {}),
            augmentation=_plan_augmentation(grid),
            stages=plan_stages(
                budget.num_steps, slices, grid.num_slices, reasons, features=not given
            ),
            inference=Inference(slice_batch=SLICE_BATCHES[0], passes="one"),
            memory=MemoryEstimate(budget.memory_gib, budget.bytes_per_number, 0.0, 0.0),
            seed=0,
            reasons={**reasons, **volume_grid.reasons},
            drift=plan_drift(slices, count, reasons),
        )
        return _plan_inference(plan)

    any_ct = channel.modality == "CT"
    grids = plan_volume_grids(fingerprint, any_ct=any_ct, choice=budget.grid)
    plan = _largest(grids, plan_of, TRAINING_SHARE * budget.memory_gib)
    plan = replace(plan, reasons=plan.reasons | _other_reasons(plan, given is not None))
    return refresh(plan)


def refresh(plan: Plan, *, estimate: bool = True) -> Plan:
    """The plan with what follows from an edit: sizes, the number of slices, the memory estimate.

    Raises:
        PlanError: If channels, grid, networks, stages and drift contradict each other.
    """
    (_, generator, _, mapper), _, box = check_parts(plan)
    depth, in_plane = box[0], box[1:]
    networks = plan.networks | {
        "generator": replace(generator, in_plane=in_plane),
        "mapper": replace(mapper, code_size=generator.code_size),
    }
    grid = replace(
        plan.grid,
        num_slices=depth,
        in_plane=in_plane,
        crop_in_plane=False,
        resample_in_plane=True,
        resample_through_plane=True,
    )
    stages = plan.stages | {
        name: replace(plan.stages[name], decoded_slices=depth) for name in (CODE_STAGE, DEPTH_STAGE)
    }
    plan = replace(plan, grid=grid, networks=networks, stages=stages)
    check(plan)
    if not estimate:
        return plan
    memory = replace(
        plan.memory,
        training_gib=round(training_gib(plan), 3),
        prediction_gib=round(prediction_gib(plan), 3),
    )
    return replace(plan, memory=memory)


def _largest(
    grids: list[VolumeGrid], plan_of: Callable[[VolumeGrid, int, int], Plan], limit: float
) -> Plan:
    """The plan of the best grid, slices per step and base width whose training fits the limit.

    Raises:
        PlanError: If none does.
    """
    usual = [(slices, base) for slices in SLICES for base in BASES]
    last = [(slices, base) for slices in SLICES for base in LAST_BASES]
    for grid, sizes in [*((grid, usual) for grid in grids), (grids[-1], last)]:
        slices, base = sizes[-1]
        smallest = plan_of(grid, base, slices)
        needed = training_gib(smallest)
        if needed > limit:
            continue
        for slices, base in sizes[:-1]:
            plan = plan_of(grid, base, slices)
            if training_gib(plan) <= limit:
                return plan
        return smallest
    raise PlanError(
        f"The smallest network needs {needed:.2g} GiB for volumes of "
        + " x ".join(map(str, smallest.grid.box or ())),
        where=f"a budget of {smallest.memory.budget_gib:g} GiB",
        remedy="Raise --gpu-memory.",
    )


def _only_channel(dataset: Dataset) -> Channel:
    names = [channel.name for channel in dataset.channels]
    if len(names) == 1 and not dataset.targets:
        return dataset.channels[0]
    raise DatasetError(
        f"Unconditional generation takes one channel and no targets, not {', '.join(names)}",
        where=str(dataset.folder / "dataset.json"),
        remedy="List one channel under 'channels' and nothing under 'targets', and convert each "
        "contrast to a dataset of its own.",
    )


def _plan_normalization(
    channel: Channel, fingerprint: Fingerprint, reasons: dict[str, str]
) -> Normalization:
    """To [-1, 1], as the other generators of brains do."""
    if channel.modality == "CT":
        return fixed_range(channel.name, reasons, limits=LIMITS)
    rule = percentile_scale(channel.name, fingerprint, reasons)
    reasons[f"channels.{channel.name}.normalization"] += "; to [-1, 1] (WDM)"
    return replace(rule, limits=LIMITS)


def _plan_augmentation(grid: Grid) -> AugmentationSpec:
    """Left to right alone: slices that are turned or stretched leave the span of the components."""
    spec = plan_augmentation(grid.slice_axis)
    moves = "flip"
    off = {
        field.name: 0.0
        for field in fields(spec)
        if field.name.endswith("_probability") and not field.name.startswith(moves)
    }
    spec = replace(spec, **off)  # type: ignore[arg-type]
    _, height, width = spec.flip_probability  # a slice alone has no depth
    return replace(spec, flip_probability=(0.0, height, width))


def _given_features(path: Path | None, reasons: dict[str, str]) -> ResNetSpec | None:
    """The feature network whose weights are given, if they are.

    Raises:
        PlanError: If there is no such file.
    """
    if path is None:
        return None
    if not path.is_file():
        raise PlanError(
            "No file with weights of features",
            where=str(path),
            remedy=f"Give the path of {RESNET18_FILE}, or no --features.",
        )
    found = file_sha256(path)
    why = "ResNet-18 trained on ImageNet (LiFT Sec. 5.1), given by --features"
    if found != RESNET18_SHA256:
        why += f"; warning: the file is not torchvision's {RESNET18_FILE}"
    reasons["networks.features"] = why
    return ResNetSpec(weights=str(path.resolve()), sha256=found)


def _own_features(grid: Grid) -> FeatureSpec:
    """The masked autoencoder that is trained on the dataset's own slices."""
    wide = max(grid.num_slices, *grid.in_plane) >= WIDE_SIDE
    widths = (48, 96, 192) if wide else (32, 64, 128)
    return FeatureSpec(widths=widths, patch=8, masked=0.5)  # Deng et al. 2026: half is hidden


def plan_generator(in_plane: tuple[int, int], base: int) -> GeneratorSpec:
    """As many stages as leave coarsest maps of six pixels and divide the size."""
    stages = 1
    while stages < len(GROWTH):
        stride = 2**stages
        if any(n % stride for n in in_plane) or min(in_plane) // stride < LEAST_START:
            break
        stages += 1
    return GeneratorSpec(
        in_plane=in_plane,
        code_size=CODE_SIZE,
        widths=tuple(min(base * factor, MAX_WIDTH) for factor in GROWTH[:stages]),
    )


def _plan_inference(plan: Plan) -> Plan:
    """The plan with the most slices at a time that keep generation as small as the paper's."""
    limit = min(PREDICTION_GIB, TRAINING_SHARE * plan.memory.budget_gib)
    for size in SLICE_BATCHES:
        plan = replace(plan, inference=replace(plan.inference, slice_batch=size))
        if prediction_gib(plan) <= limit:
            break
    return plan


def _other_reasons(plan: Plan, given: bool) -> dict[str, str]:
    """Why the remaining settings are as they are."""
    gib = plan.memory.budget_gib
    features = {
        "networks.features": "no --features given: a masked autoencoder of the dataset's own "
        "slices (Deng et al. 2026) in place of ImageNet's ResNet-18 (LiFT Sec. 5.1)",
        "networks.features.widths": f"wider from {WIDE_SIDE} voxels on (ours)",
    }
    return {
        "networks.generator.widths": f"the widest of base {', '.join(map(str, BASES))} on the "
        f"finest grid whose training fits {gib:g} GiB; stages until maps of {LEAST_START} pixels "
        "(ours: LiFT gives no architecture)",
        "networks.generator.code_size": "principal components of all slices; 256 leave out "
        "two thirds of what 128 do (ours)",
        "networks.critic": "a critic of patches (pix2pix) keeps slices sharp (ours)",
        "networks.mapper": "1.42 M parameters (LiFT Sec. 5.1: 1.455 M), divided by us (ours)",
        "losses": "slices: L1, features, hinge critic; volumes: drift (LiFT Eq. 6), a little "
        "energy distance and a problem of whole trajectories; weights ours"
        + (
            ""
            if plan.losses["adversarial"]
            else "; no critic in a short training: what it has learned is noise (ours, measured)"
        ),
        "augmentation": "flips from left to right, of the slice generator's slices alone: turned "
        "or stretched ones leave the span of the components (ours)",
        "inference.slice_batch": "the most that keep a volume below 0.41 GB (LiFT Tab. 1); always "
        "as many, so that a volume does not depend on what else is made (ours)",
        "inference.temperature": "1: as varied as in training; LiFT App. F samples with 1.25",
        "inference.sigma_z": "0: codes as the mapper gives them; LiFT App. D names 1.5",
        **({} if given else features),
    }
