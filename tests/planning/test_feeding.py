"""Whether cases are held in memory: decided with the recipe, checked by the training."""

from dataclasses import replace

import pytest
import torch

from liftnet.core.fingerprint import Fingerprint
from liftnet.core.recipe import schedules, with_schedules
from liftnet.core.workspace import find_workspace
from liftnet.data.store import Store
from liftnet.methods import load_method
from liftnet.pipeline.models.runs import run_digest
from liftnet.pipeline.plan import load_plan, load_recipe
from liftnet.pipeline.train.feed import hold_cases
from liftnet.planning.feeding import plan_feeding

NAME = "Dataset007_Phantom"


@pytest.fixture
def planned(workspace):
    """A plan, a recipe and the store."""
    space = find_workspace(workspace)
    plan = load_plan(space, NAME, "default")
    return plan, load_recipe(space, plan, load_method("lift")), Store(space.store(NAME, "default"))


def measured(count: int) -> Fingerprint:
    """A fingerprint of so many cases."""
    return Fingerprint(1, NAME, "nonzero", dict.fromkeys(map(str, range(count))), {}, [])


def test_small_datasets_are_held(planned):
    """Until cases and step together exceed the budget; the reason says how much it is."""
    plan, recipe, _ = planned
    recipe = replace(recipe, memory=replace(recipe.memory, budget_gib=8.0))
    case = plan.grid.num_slices * plan.grid.in_plane[0] * plan.grid.in_plane[1] * 3 * 2
    few = plan_feeding(plan, recipe, measured(10))
    assert few.feeding == "resident" and "held there" in few.reasons["feeding"]
    assert few.memory.dataset_gib == pytest.approx(10 * case / 2**30, abs=1e-3)
    many = int(7.2 * 2**30 / case)
    assert plan_feeding(plan, recipe, measured(many - 2000)).feeding == "resident"
    assert plan_feeding(plan, recipe, measured(many + 10)).feeding == "read"
    masked = replace(plan, grid=replace(plan.grid, mask="body"))
    without, more = (
        plan_feeding(p, recipe, measured(10**6)).memory.dataset_gib for p in (plan, masked)
    )
    assert more == pytest.approx(without * 7 / 6, abs=2e-3)


def test_training_holds_what_the_recipe_says(planned, capsys):
    """All cases, or none if they have grown beyond what the recipe counted on."""
    _, recipe, store = planned
    cases = store.identifiers()[:3]
    cpu = torch.device("cpu")
    assert not hold_cases(store, replace(recipe, feeding="read"), cases, cpu).held
    memory = replace(recipe.memory, dataset_gib=store.size(cases) / 2**30)
    resident = replace(recipe, feeding="resident", memory=memory)
    assert set(hold_cases(store, resident, cases, cpu).held) == {f"{case}.npy" for case in cases}
    assert capsys.readouterr().out == ""
    less = replace(resident, memory=replace(recipe.memory, dataset_gib=1e-9))
    assert not hold_cases(store, less, cases, cpu).held
    assert "read as they are needed" in capsys.readouterr().out


def test_a_run_may_be_continued_with_another_feeding(planned):
    """What changes only the time does not change the digest; what changes results does."""
    plan, recipe, _ = planned
    digest = run_digest(plan, recipe)
    slower = {
        name: replace(schedule, loader_workers=9, checkpoint_minutes=1.0)
        for name, schedule in schedules(recipe).items()
    }
    for same in (
        replace(recipe, feeding="read"),
        replace(recipe, feeding="resident", recompute=True),
        replace(with_schedules(recipe, slower), memory=replace(recipe.memory, dataset_gib=3.0)),
    ):
        assert same != recipe and run_digest(plan, same) == digest
    assert run_digest(replace(plan, seed=1), recipe) != digest
    assert run_digest(plan, replace(recipe, losses=recipe.losses | {"l1": 2.0})) != digest
