"""Whether the training cases are held in the device's memory, or read as they are needed."""

from dataclasses import replace

from liftnet.core.fingerprint import Fingerprint
from liftnet.core.plan import Plan
from liftnet.planning.memory import GIB
from liftnet.planning.sizing import TRAINING_SHARE

__all__ = ["BY_HAND", "plan_feeding"]

BY_HAND = "set by hand"  # the reason of what the user decided
BYTES_PER_VOXEL = 2  # float16, as the store has it


def plan_feeding(plan: Plan, fingerprint: Fingerprint) -> Plan:
    """The plan with the size of its preprocessed cases, which are held if they fit the budget."""
    grid = plan.grid
    voxels = grid.num_slices * grid.in_plane[0] * grid.in_plane[1]
    masks = 1 if grid.mask != "none" else 0
    case = voxels * (len(plan.channels) * BYTES_PER_VOXEL + masks)
    gib = len(fingerprint.cases) * case / GIB
    needed = gib + max(plan.memory.training_gib, plan.memory.prediction_gib)
    fits = needed <= TRAINING_SHARE * plan.memory.budget_gib
    reason = (
        f"all preprocessed cases take about {gib:.2g} GiB, and {needed:.2g} GiB with the training "
        f"step: {'within' if fits else 'more than'} the budget of {plan.memory.budget_gib:g} GiB; "
        + ("held there, nothing is read during training" if fits else "read by threads as needed")
        + " (ours)"
    )
    memory = replace(plan.memory, dataset_gib=gib)
    if plan.reasons.get("feeding") == BY_HAND:
        return replace(plan, memory=memory)
    return replace(
        plan,
        memory=memory,
        feeding="resident" if fits else "read",
        reasons=plan.reasons | {"feeding": reason},
    )
