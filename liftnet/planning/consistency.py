"""What plans and recipes must fulfil, also after they were edited by hand."""

from collections.abc import Iterable
from dataclasses import replace

from liftnet.core.errors import PlanError
from liftnet.core.plan import ClipAndScale, Grid, Plan
from liftnet.core.recipe import Recipe, schedules

__all__ = ["check_plan", "check_recipe", "contradiction", "in_box", "refuse"]

COUNTS = (
    "num_steps",
    "volumes_per_step",
    "windows_per_volume",
    "decoded_slices",
    "validate_every",
    "validation_cases",
)


def contradiction(problem: str, what: str = "plan") -> PlanError:
    """The error for a plan, or a recipe, that contradicts itself."""
    return PlanError(
        f"The {what} contradicts itself: {problem}",
        remedy="Correct it, or make it again with liftnet_plan.",
    )


def refuse(problems: dict[str, bool], what: str = "plan") -> None:
    """Raise the first of the problems that is there."""
    for problem, found in problems.items():
        if found:
            raise contradiction(problem, what)


def in_box(grid: Grid) -> Grid:
    """The grid with the sizes of its box, if it has one: all cases are brought to its spacing."""
    if grid.box is None:
        return grid
    return replace(
        grid,
        num_slices=grid.box[0],
        in_plane=grid.box[1:],
        crop_in_plane=False,
        resample_in_plane=True,
        resample_through_plane=True,
    )


def check_plan(plan: Plan) -> None:
    """Refuse a plan of any task whose parts contradict each other.

    Raises:
        PlanError: Naming the first contradiction.
    """
    grid, empty_ranges = plan.grid, []
    for channel in plan.channels:
        rule = channel.normalization
        if isinstance(rule, ClipAndScale) and not (
            rule.low < rule.high and rule.limits[0] < rule.limits[1]
        ):
            empty_ranges.append(channel.name)
    unknown = (set(plan.targets) | set(plan.sources)) - set(plan.channel_names)
    refuse(
        {
            f"{', '.join(sorted(unknown))} are not channels": bool(unknown),
            f"the normalization of {', '.join(empty_ranges)} has a range whose low is not "
            "below high": bool(empty_ranges),
            "a target or a source is named twice": any(
                len(set(names)) < len(names) for names in (plan.targets, plan.sources)
            ),
            "there is no target": not plan.targets,
            "grid.num_slices must be 1 or more": grid.num_slices < 1,
            f"grid.in_plane {grid.in_plane} is not a size": min(grid.in_plane) < 1,
            f"grid.spacing_mm {grid.spacing_mm} is not positive": min(grid.spacing_mm) <= 0,
            "grid.pad_to_box is true, and grid.box is null": grid.pad_to_box and grid.box is None,
            "seed is negative": plan.seed < 0,
        }
    )


def check_recipe(recipe: Recipe, parts: Iterable[str], losses: dict[str, float]) -> None:
    """Refuse a recipe of any method whose parts contradict each other.

    Args:
        recipe: the recipe.
        parts: of its network, which may have learning rates.
        losses: its weights.

    Raises:
        PlanError: Naming the first contradiction.
    """
    spec, stages, known = recipe.augmentation, schedules(recipe), set(parts)
    factors = ("scale", "brightness", "contrast", "gamma", "low_resolution")
    ranges = {f"{name}_range": getattr(spec, f"{name}_range") for name in factors}
    counts = {"inference.slice_batch": recipe.inference.slice_batch} | {
        f"{stage}.{name}": getattr(schedule, name)
        for stage, schedule in stages.items()
        for name in COUNTS
    }
    small = [name for name, count in counts.items() if count < 1]
    still = [name for name, schedule in stages.items() if schedule.gradient_clip <= 0]
    rates = [schedule.learning_rates for schedule in stages.values()]
    strangers = sorted({name for each in rates for name in each} - known)
    refuse(
        {
            **{
                f"augmentation.{name} {list(found)} is not a range of factors above 0": not (
                    0 < found[0] <= found[1]
                )
                for name, found in ranges.items()
            },
            f"augmentation.low_resolution_range {list(spec.low_resolution_range)} goes beyond 1": (
                spec.low_resolution_range[1] > 1
            ),
            f"augmentation.blur_sigma {list(spec.blur_sigma)} is no range": (
                spec.blur_sigma[0] > spec.blur_sigma[1]
            ),
            f"{', '.join(still)}.gradient_clip is 0: no step would move a weight": bool(still),
            f"{', '.join(small)} must be 1 or more": bool(small),
            f"learning_rates name {', '.join(strangers)}; expected {', '.join(sorted(known))}": (
                bool(strangers)
            ),
            "nothing is trained: learning_rates are empty": not all(rates),
            "a loss weight is negative, or all are 0": bool(losses)
            and (not any(losses.values()) or min(losses.values()) < 0),
        },
        "recipe",
    )
