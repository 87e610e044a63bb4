"""What a plan of this task must fulfil, also after it was edited by hand."""

from liftnet.core.network_specs import (
    DriftSpec,
    FeatureSpec,
    GeneratorSpec,
    ResNetSpec,
)
from liftnet.core.plan import Grid, Plan
from liftnet.core.recipe import schedules
from liftnet.methods.lift_u.depth_mapping import CODE_STAGE
from liftnet.methods.lift_u.depth_mapping import STAGE as DEPTH_STAGE
from liftnet.methods.lift_u.recipe import LiftURecipe
from liftnet.methods.lift_u.slice_features import STAGE as FEATURE_STAGE
from liftnet.methods.lift_u.slice_generation import STAGE as SLICE_STAGE
from liftnet.networks.blocks import GROUP_WIDTH
from liftnet.planning.consistency import check_recipe, contradiction, refuse

__all__ = ["check"]

LOSSES = ("l1", "features", "adversarial", "drift", "energy", "trajectory")
PARTS = ("features", "generator", "critic", "mapper")
PLANES = 3


def check(plan: Plan, recipe: LiftURecipe) -> None:
    """Refuse a recipe whose parts contradict each other, or its plan.

    Raises:
        PlanError: Naming the first contradiction.
    """
    features, generator, critic = recipe.features, recipe.generator, recipe.critic
    mapper, drift, weights = recipe.mapper, recipe.drift, recipe.losses
    if isinstance(features, FeatureSpec) != (recipe.slice_features is not None):
        raise contradiction(
            "slice_features is a schedule where features are trained, and null else", "recipe"
        )
    check_recipe(recipe, PARTS, weights)
    counts = {
        "generator.code_size": generator.code_size,
        "mapper.hidden_size": mapper.hidden_size,
        "mapper.num_blocks": mapper.num_blocks,
        "mapper.fourier_frequencies": mapper.fourier_frequencies,
        "drift.slices_per_plane": drift.slices_per_plane,
    }
    small = [name for name, count in counts.items() if count < 1]
    least = mapper.waves + 1
    refuse(
        {
            f"{', '.join(small)} must be 1 or more": bool(small),
            **_grid_problems(plan.grid, generator),
            "generator.widths needs two or more": len(generator.widths) < 2,
            "critic.widths is empty or has less than 1": min(critic.widths, default=0) < 1,
            "mapper.waves is negative": mapper.waves < 0,
            f"mapper.latent_size is {mapper.latent_size}; its waves need {least}": (
                mapper.latent_size < least
            ),
            **_feature_problems(features),
            **_stage_problems(recipe),
            **_drift_problems(drift, plan),
            "temperature must be above 0": not recipe.temperature > 0,
            f"losses are {', '.join(weights) or 'none'}; expected {', '.join(LOSSES)}": (
                set(weights) != set(LOSSES)
            ),
        },
        "recipe",
    )
    refuse(
        {
            "losses.l1 and losses.features are both 0": not weights["l1"] + weights["features"],
            "losses.drift, losses.energy and losses.trajectory are all 0": not (
                weights["drift"] + weights["energy"] + weights["trajectory"]
            ),
        },
        "recipe",
    )


def _grid_problems(grid: Grid, generator: GeneratorSpec) -> dict[str, bool]:
    widths, stride = generator.widths, generator.stride
    return {
        f"generator.widths {widths} are not all multiples of {GROUP_WIDTH}": any(
            width < 1 or width % GROUP_WIDTH for width in widths
        ),
        f"grid.box has slices of {grid.in_plane}, which is not a multiple of {stride}, the stride "
        f"of generator.widths": any(n < 1 or n % stride for n in grid.in_plane),
    }


def _feature_problems(features: FeatureSpec | ResNetSpec) -> dict[str, bool]:
    if isinstance(features, ResNetSpec):
        return {
            "features.weights is empty": not features.weights,
            "features.sha256 is not one": len(features.sha256) != 64,
        }
    widths = features.widths
    return {
        f"features.widths {widths} are not all multiples of {GROUP_WIDTH}": not widths
        or any(width < 1 or width % GROUP_WIDTH for width in widths),
        "features.patch must be 1 or more": features.patch < 1,
        "features.masked must lie between 0 and 1": not 0 < features.masked < 1,
    }


def _stage_problems(recipe: LiftURecipe) -> dict[str, bool]:
    trained = {
        FEATURE_STAGE: {"features"},
        SLICE_STAGE: {"generator", "critic"},
        CODE_STAGE: {"mapper"},
        DEPTH_STAGE: {"mapper"},
    }
    problems = {}
    for name, stage in schedules(recipe).items():
        own = trained[name]
        problems[
            f"learning_rates of {name} name {', '.join(stage.learning_rates) or 'nothing'}; "
            f"expected {', '.join(sorted(own))}"
        ] = set(stage.learning_rates) != own
        if own != {"mapper"}:
            problems[f"{name}.decoded_slices must be 1"] = stage.decoded_slices != 1
            continue
        problems |= {
            f"{name}.windows_per_volume must be 1": stage.windows_per_volume != 1,
            f"{name}.volumes_per_step must be 2 or more: they keep each other apart": (
                stage.volumes_per_step < 2
            ),
        }
    if recipe.slice_features is not None:
        windows = recipe.slice_features.windows_per_volume
        problems[
            f"{FEATURE_STAGE}.windows_per_volume is {windows}; expected a multiple of "
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
