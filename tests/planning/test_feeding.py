"""Whether cases are held in memory: decided by the plan, checked by the training."""

from dataclasses import replace

import pytest
import torch

from liftnet.core.fingerprint import Fingerprint
from liftnet.core.workspace import find_workspace
from liftnet.data.store import Store
from liftnet.pipeline.models.runs import plan_digest
from liftnet.pipeline.plan import load_plan
from liftnet.pipeline.train.feed import hold_cases
from liftnet.planning.feeding import plan_feeding

NAME = "Dataset007_Phantom"


@pytest.fixture
def planned(workspace):
    """A plan and its store."""
    space = find_workspace(workspace)
    return load_plan(space, NAME, "default"), Store(space.store(NAME, "default"))


def measured(count: int) -> Fingerprint:
    """A fingerprint of so many cases."""
    return Fingerprint(1, NAME, "nonzero", dict.fromkeys(map(str, range(count))), {}, [])


def test_small_datasets_are_held(planned):
    """Until cases and step together exceed the budget; the reason says how much it is."""
    plan, _ = planned
    plan = replace(plan, memory=replace(plan.memory, budget_gib=8.0))
    case = plan.grid.num_slices * plan.grid.in_plane[0] * plan.grid.in_plane[1] * 3 * 2
    few = plan_feeding(plan, measured(10))
    assert few.feeding == "resident" and "held there" in few.reasons["feeding"]
    assert few.memory.dataset_gib == pytest.approx(10 * case / 2**30, abs=1e-3)
    many = int(7.2 * 2**30 / case)
    assert plan_feeding(plan, measured(many - 2000)).feeding == "resident"
    assert plan_feeding(plan, measured(many + 10)).feeding == "read"
    masked = replace(plan, grid=replace(plan.grid, mask="body"))
    without, more = (plan_feeding(p, measured(10**6)).memory.dataset_gib for p in (plan, masked))
    assert more == pytest.approx(without * 7 / 6, abs=2e-3)


def test_training_holds_what_the_plan_says(planned, capsys):
    """All cases, or none if they have grown beyond what the plan counted on."""
    plan, store = planned
    cases = store.identifiers()[:3]
    cpu = torch.device("cpu")
    assert not hold_cases(store, replace(plan, feeding="read"), cases, cpu).held
    resident = replace(
        plan, feeding="resident", memory=replace(plan.memory, dataset_gib=store.size(cases) / 2**30)
    )
    assert set(hold_cases(store, resident, cases, cpu).held) == {f"{case}.npy" for case in cases}
    assert capsys.readouterr().out == ""
    less = replace(resident, memory=replace(plan.memory, dataset_gib=1e-9))
    assert not hold_cases(store, less, cases, cpu).held
    assert "read as they are needed" in capsys.readouterr().out


def test_a_run_may_be_continued_with_another_feeding(planned):
    """What changes only the time does not change the digest; what changes results does."""
    plan, _ = planned
    digest = plan_digest(plan)
    stages = {
        name: replace(stage, loader_workers=9, checkpoint_minutes=1.0)
        for name, stage in plan.stages.items()
    }
    for same in (
        replace(plan, feeding="read"),
        replace(plan, feeding="resident", recompute=True),
        replace(plan, stages=stages, memory=replace(plan.memory, dataset_gib=3.0)),
    ):
        assert plan_digest(same) == digest
    assert plan_digest(replace(plan, seed=1)) != digest
