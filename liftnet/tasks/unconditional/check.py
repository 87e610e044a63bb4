"""What a plan of this task must fulfil, also after it was edited by hand."""

from math import isfinite

from liftnet.core.plan import (
    ClipAndScale,
    CriticSpec,
    DriftSpec,
    FeatureSpec,
    GeneratorSpec,
    Grid,
    MapperSpec,
    Plan,
    ResNetSpec,
)
from liftnet.networks.blocks import GROUP_WIDTH
from liftnet.ops import normalize
from liftnet.planning.consistency import COUNTS, contradiction, refuse, shared_problems
from liftnet.tasks.unconditional.depth_mapping import CODE_STAGE
from liftnet.tasks.unconditional.depth_mapping import STAGE as DEPTH_STAGE
from liftnet.tasks.unconditional.slice_features import STAGE as FEATURE_STAGE
from liftnet.tasks.unconditional.slice_generation import STAGE as SLICE_STAGE
from liftnet.tasks.unconditional.specs import Networks

__all__ = ["check", "check_parts"]

LOSSES = ("l1", "features", "adversarial", "drift", "energy", "trajectory")
PLANES = 3


def check_parts(plan: Plan) -> tuple[Networks, DriftSpec, tuple[int, int, int]]:
    """The networks, the drift and the box of a plan that has all the parts of this task.

    Raises:
        PlanError: Naming what is missing or too much.
    """
    networks = plan.networks
    features, generator = networks.get("features"), networks.get("generator")
    critic, mapper = networks.get("critic"), networks.get("mapper")
    if not (
        isinstance(features, FeatureSpec | ResNetSpec)
        and isinstance(generator, GeneratorSpec)
        and isinstance(critic, CriticSpec)
        and isinstance(mapper, MapperSpec)
        and len(networks) == 4
    ):
        raise contradiction("networks must be features, a generator, a critic and a mapper")
    if plan.drift is None:
        raise contradiction("drift is null")
    if plan.grid.box is None or not plan.grid.pad_to_box:
        raise contradiction("grid.box must be a size and grid.pad_to_box true")
    stages = [SLICE_STAGE, CODE_STAGE, DEPTH_STAGE]
    if isinstance(features, FeatureSpec):
        stages.insert(0, FEATURE_STAGE)
    if list(plan.stages) != stages:
        raise contradiction(
            f"stages are {', '.join(plan.stages) or 'none'}; expected {', '.join(stages)}"
        )
    return (features, generator, critic, mapper), plan.drift, plan.grid.box


def check(plan: Plan) -> None:
    """Refuse a plan whose parts contradict each other.

    Raises:
        PlanError: Naming the first contradiction.
    """
    (features, generator, critic, mapper), drift, _ = check_parts(plan)
    counts = {
        "grid.num_slices": plan.grid.num_slices,
        "inference.slice_batch": plan.inference.slice_batch,
        "networks.generator.code_size": generator.code_size,
        "networks.mapper.hidden_size": mapper.hidden_size,
        "networks.mapper.num_blocks": mapper.num_blocks,
        "networks.mapper.fourier_frequencies": mapper.fourier_frequencies,
        "drift.slices_per_plane": drift.slices_per_plane,
        **{
            f"stages.{stage}.{name}": getattr(schedule, name)
            for stage, schedule in plan.stages.items()
            for name in COUNTS
        },
    }
    small = [name for name, count in counts.items() if count < 1]
    least = mapper.waves + 1
    weights = plan.losses
    refuse(
        {
            f"{', '.join(small)} must be 1 or more": bool(small),
            **shared_problems(plan),
            **_channel_problems(plan),
            **_grid_problems(plan.grid, generator),
            "networks.generator.widths needs two or more": len(generator.widths) < 2,
            "networks.critic.widths is empty or has less than 1": min(critic.widths, default=0) < 1,
            "networks.mapper.waves is negative": mapper.waves < 0,
            f"networks.mapper.latent_size is {mapper.latent_size}; its waves need {least}": (
                mapper.latent_size < least
            ),
            **_feature_problems(features),
            **_stage_problems(plan),
            **_drift_problems(drift, plan),
            "source_dropout must be 0: there are no sources": plan.source_dropout != 0,
            "seed is negative": plan.seed < 0,
            "inference.temperature must be above 0": not plan.inference.temperature > 0,
            f"losses are {', '.join(weights) or 'none'}; expected {', '.join(LOSSES)}": (
                set(weights) != set(LOSSES)
            ),
        }
    )
    refuse(
        {
            "a loss weight is negative": min(weights.values()) < 0,
            "losses.l1 and losses.features are both 0": not weights["l1"] + weights["features"],
            "losses.drift, losses.energy and losses.trajectory are all 0": not (
                weights["drift"] + weights["energy"] + weights["trajectory"]
            ),
        }
    )


def _channel_problems(plan: Plan) -> dict[str, bool]:
    names = plan.channel_names
    if len(names) != 1:
        return {f"channels are {', '.join(names) or 'none'}; expected one": True}
    rule = plan.channels[0].normalization
    low, high = normalize.limits(rule)
    return {
        "sources must be empty: volumes are made from nothing": bool(plan.sources),
        f"targets are {', '.join(plan.targets) or 'none'}; expected {names[0]}": plan.targets
        != names,
        f"the normalization of {names[0]} has no limits": not (isfinite(low) and isfinite(high)),
        f"the normalization of {names[0]} has a range whose low is not below high": low >= high
        or (isinstance(rule, ClipAndScale) and rule.low >= rule.high),
    }


def _grid_problems(grid: Grid, generator: GeneratorSpec) -> dict[str, bool]:
    widths, stride = generator.widths, generator.stride
    return {
        f"networks.generator.widths {widths} are not all multiples of {GROUP_WIDTH}": any(
            width < 1 or width % GROUP_WIDTH for width in widths
        ),
        f"grid.box has slices of {grid.in_plane}, which is not a multiple of {stride}, the stride "
        f"of networks.generator.widths": any(n < 1 or n % stride for n in grid.in_plane),
        f"grid.spacing_mm {grid.spacing_mm} is not positive": min(grid.spacing_mm) <= 0,
        f"grid.spacing_mm {grid.spacing_mm} is not isotropic": len(set(grid.spacing_mm)) != 1,
        "grid.mask must be none": grid.mask != "none",
    }


def _feature_problems(features: FeatureSpec | ResNetSpec) -> dict[str, bool]:
    if isinstance(features, ResNetSpec):
        return {
            "networks.features.weights is empty": not features.weights,
            "networks.features.sha256 is not one": len(features.sha256) != 64,
        }
    widths = features.widths
    return {
        f"networks.features.widths {widths} are not all multiples of {GROUP_WIDTH}": not widths
        or any(width < 1 or width % GROUP_WIDTH for width in widths),
        "networks.features.patch must be 1 or more": features.patch < 1,
        "networks.features.masked must lie between 0 and 1": not 0 < features.masked < 1,
    }


def _stage_problems(plan: Plan) -> dict[str, bool]:
    trained = {
        FEATURE_STAGE: {"features"},
        SLICE_STAGE: {"generator", "critic"},
        CODE_STAGE: {"mapper"},
        DEPTH_STAGE: {"mapper"},
    }
    problems = {}
    for name, stage in plan.stages.items():
        own = trained[name]
        problems[
            f"learning_rates of {name} name {', '.join(stage.learning_rates) or 'nothing'}; "
            f"expected {', '.join(sorted(own))}"
        ] = set(stage.learning_rates) != own
        if own != {"mapper"}:
            problems[f"stages.{name}.decoded_slices must be 1"] = stage.decoded_slices != 1
            continue
        problems |= {
            f"stages.{name}.windows_per_volume must be 1": stage.windows_per_volume != 1,
            f"stages.{name}.volumes_per_step must be 2 or more: they keep each other apart": (
                stage.volumes_per_step < 2
            ),
        }
    if FEATURE_STAGE in plan.stages:
        windows = plan.stages[FEATURE_STAGE].windows_per_volume
        problems[
            f"stages.{FEATURE_STAGE}.windows_per_volume is {windows}; expected a multiple of "
            f"{PLANES}, as many slices of each plane"
        ] = windows % PLANES != 0
    return problems


def _drift_problems(drift: DriftSpec, plan: Plan) -> dict[str, bool]:
    shortest = min(plan.grid.num_slices, *plan.grid.in_plane)
    return {
        "drift.positives must be 2 or more": drift.positives < 2,
        "drift.checked_volumes must be 2 or more": drift.checked_volumes < 2,
        f"drift.slices_per_plane is {drift.slices_per_plane}; grid.box has {shortest} in one "
        "plane": drift.slices_per_plane > shortest,
        "drift.temperatures must be above 0": min(drift.temperatures, default=0) <= 0,
        "drift.bandwidth must be above 0": not drift.bandwidth > 0,
    }
