"""Whether the training cases are held in the device's memory, or read as they are needed."""

from dataclasses import replace
from typing import TypeVar

from liftnet.core.fingerprint import Fingerprint
from liftnet.core.plan import Plan
from liftnet.core.recipe import Recipe
from liftnet.planning.cost import TRAINING_SHARE
from liftnet.planning.memory import GIB

__all__ = ["BY_HAND", "plan_feeding"]

AnyRecipe = TypeVar("AnyRecipe", bound=Recipe)
BY_HAND = "set by hand"  # the reason of what the user decided
BYTES_PER_VOXEL = 2  # float16, as the store has it


def plan_feeding(plan: Plan, recipe: AnyRecipe, fingerprint: Fingerprint) -> AnyRecipe:
    """The recipe with the size of its preprocessed cases, which are held if they fit the budget."""
    grid = plan.grid
    voxels = grid.num_slices * grid.in_plane[0] * grid.in_plane[1]
    masks = 1 if grid.mask != "none" else 0
    case = voxels * (len(plan.channels) * BYTES_PER_VOXEL + masks)
    gib = len(fingerprint.cases) * case / GIB
    needed = gib + max(recipe.memory.training_gib, recipe.memory.prediction_gib)
    budget = recipe.memory.budget_gib
    fits = needed <= TRAINING_SHARE * budget
    reason = (
        f"all preprocessed cases take about {gib:.2g} GiB, and {needed:.2g} GiB with the training "
        f"step: {'within' if fits else 'more than'} the budget of {budget:g} GiB; "
        + ("held there, nothing is read during training" if fits else "read by threads as needed")
        + " (ours)"
    )
    memory = replace(recipe.memory, dataset_gib=gib)
    if recipe.reasons.get("feeding") == BY_HAND:
        return replace(recipe, memory=memory)
    return replace(
        recipe,
        memory=memory,
        feeding="resident" if fits else "read",
        reasons=recipe.reasons | {"feeding": reason},
    )
