"""From grid and memory to a recipe of LiFT-U. Each number names its source."""

from dataclasses import fields, replace
from pathlib import Path

from liftnet.core.errors import PlanError
from liftnet.core.network_specs import (
    CriticSpec,
    FeatureSpec,
    GeneratorSpec,
    MapperSpec,
    ResNetSpec,
)
from liftnet.core.plan import Grid, Plan
from liftnet.core.recipe import AugmentationSpec, Inference, MemoryEstimate
from liftnet.core.storage.checksum import file_sha256
from liftnet.methods.lift_u.check import check
from liftnet.methods.lift_u.memory import prediction_gib, training_gib
from liftnet.methods.lift_u.recipe import LiftURecipe
from liftnet.methods.lift_u.schedule import MAX_SLICES, is_short, plan_drift, plan_stages
from liftnet.networks.features import RESNET18_FILE, RESNET18_SHA256
from liftnet.planning.augmentation import plan_augmentation
from liftnet.planning.cost import TRAINING_SHARE, TooLargeError
from liftnet.planning.sizing import MAX_WIDTH

__all__ = ["decide", "refresh"]

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


def decide(plan: Plan, cases: int, weights: Path | None, *, squeeze: bool) -> LiftURecipe:
    """The recipe of the most slices per step and the widest network whose training fits.

    Args:
        plan: whose grid and budget it is for.
        cases: of the dataset.
        weights: of a feature network trained elsewhere.
        squeeze: whether narrower networks than usual are taken, too.

    Raises:
        TooLargeError: If none fits.
        PlanError: If the file of features is missing.
    """
    reasons: dict[str, str] = {}
    given = _given_features(weights, reasons)
    limit = TRAINING_SHARE * plan.budget.memory_gib
    bases = LAST_BASES if squeeze else BASES
    sizes = [(slices, base) for slices in SLICES for base in bases]
    smallest = _sized(plan, cases, given, reasons, *sizes[-1])
    needed = training_gib(plan, smallest)
    if needed > limit:
        raise TooLargeError(
            f"The smallest network needs {needed:.2g} GiB for volumes of "
            + " x ".join(map(str, plan.grid.box or ()))
        )
    for slices, base in sizes[:-1]:
        recipe = _sized(plan, cases, given, reasons, slices, base)
        if training_gib(plan, recipe) <= limit:
            break
    else:
        recipe = smallest
    recipe = replace(recipe, reasons=recipe.reasons | _other_reasons(recipe, given is not None))
    return refresh(plan, recipe, estimate=True)


def refresh(plan: Plan, recipe: LiftURecipe, *, estimate: bool) -> LiftURecipe:
    """The recipe with what follows from an edit: sizes, the number of slices, the memory estimate.

    Raises:
        PlanError: If grid, networks, stages and drift contradict each other.
    """
    depth = plan.grid.num_slices
    recipe = replace(
        recipe,
        generator=replace(recipe.generator, in_plane=plan.grid.in_plane),
        mapper=replace(recipe.mapper, code_size=recipe.generator.code_size),
        code_trajectories=replace(recipe.code_trajectories, decoded_slices=depth),
        depth_mapping=replace(recipe.depth_mapping, decoded_slices=depth),
    )
    check(plan, recipe)
    if not estimate:
        return recipe
    memory = replace(
        recipe.memory,
        training_gib=round(training_gib(plan, recipe), 3),
        prediction_gib=round(prediction_gib(plan, recipe), 3),
    )
    return replace(recipe, memory=memory)


def _sized(
    plan: Plan,
    cases: int,
    given: ResNetSpec | None,
    reasons: dict[str, str],
    slices: int,
    base: int,
) -> LiftURecipe:
    """The recipe of a number of slices per step and a base width."""
    grid, budget, reasons = plan.grid, plan.budget, dict(reasons)
    stages = plan_stages(budget.num_steps, slices, grid.num_slices, reasons, features=not given)
    recipe = LiftURecipe(
        augmentation=_plan_augmentation(grid),
        inference=Inference(slice_batch=SLICE_BATCHES[0], passes="one"),
        memory=MemoryEstimate(budget.memory_gib, budget.bytes_per_number, 0.0, 0.0),
        reasons=reasons,
        features=given or _own_features(grid),
        generator=plan_generator(grid.in_plane, base),
        critic=CriticSpec((64, 128, 256) if base >= WIDE_CRITIC else (32, 64, 128)),
        mapper=MAPPER,
        losses=LOSSES | ({"adversarial": 0.0} if is_short(budget.num_steps) else {}),
        drift=plan_drift(slices, cases, reasons),
        slice_features=stages.get("slice_features"),
        slice_generation=stages["slice_generation"],
        code_trajectories=stages["code_trajectories"],
        depth_mapping=stages["depth_mapping"],
    )
    return _plan_inference(plan, recipe)


def _plan_inference(plan: Plan, recipe: LiftURecipe) -> LiftURecipe:
    """The recipe with the most slices at a time that keep generation as small as the paper's."""
    limit = min(PREDICTION_GIB, TRAINING_SHARE * plan.budget.memory_gib)
    for size in SLICE_BATCHES:
        recipe = replace(recipe, inference=Inference(size, "one"))
        if prediction_gib(plan, recipe) <= limit:
            break
    return recipe


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
    reasons["features"] = why
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


def _other_reasons(recipe: LiftURecipe, given: bool) -> dict[str, str]:
    """Why the remaining settings are as they are."""
    gib = recipe.memory.budget_gib
    features = {
        "features": "no --features given: a masked autoencoder of the dataset's own "
        "slices (Deng et al. 2026) in place of ImageNet's ResNet-18 (LiFT Sec. 5.1)",
        "features.widths": f"wider from {WIDE_SIDE} voxels on (ours)",
    }
    return {
        "generator.widths": f"the widest of base {', '.join(map(str, BASES))} on the "
        f"finest grid whose training fits {gib:g} GiB; stages until maps of {LEAST_START} pixels "
        "(ours: LiFT gives no architecture)",
        "generator.code_size": "principal components of all slices; 256 leave out "
        "two thirds of what 128 do (ours)",
        "critic": "a critic of patches (pix2pix) keeps slices sharp (ours)",
        "mapper": "1.42 M parameters (LiFT Sec. 5.1: 1.455 M), divided by us (ours)",
        "losses": "slices: L1, features, hinge critic; volumes: drift (LiFT Eq. 6), a little "
        "energy distance and a problem of whole trajectories; weights ours"
        + (
            ""
            if recipe.losses["adversarial"]
            else "; no critic in a short training: what it has learned is noise (ours, measured)"
        ),
        "augmentation": "flips from left to right, of the slice generator's slices alone: turned "
        "or stretched ones leave the span of the components (ours)",
        "inference.slice_batch": "the most that keep a volume below 0.41 GB (LiFT Tab. 1); always "
        "as many, so that a volume does not depend on what else is made (ours)",
        "temperature": "1: as varied as in training; LiFT App. F samples with 1.25",
        "sigma_z": "0: codes as the mapper gives them; LiFT App. D names 1.5",
        **({} if given else features),
    }
