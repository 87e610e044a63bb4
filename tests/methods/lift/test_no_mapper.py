"""The ablation is LiFT-C without the network along the slice axis, in both forms."""

from dataclasses import replace

import pytest
import torch

from liftnet.core.errors import PlanError
from liftnet.core.network_specs import MixerSpec
from liftnet.core.recipe import schedules
from liftnet.core.storage.jsonable import from_json, to_json
from liftnet.core.workspace import find_workspace
from liftnet.methods import load_method
from liftnet.methods.base import Ablates, Traces
from liftnet.methods.lift.recipes import JointRecipe, SliceRecipe
from liftnet.pipeline.plan import load_plan, load_recipe

WHOLE, ALONE = load_method("lift"), load_method("no_mapper")
KINDS = {"workspace": JointRecipe, "pairs": SliceRecipe}


@pytest.fixture(params=KINDS)
def planned(request):
    """A plan, the recipe of LiFT-C, and the kind of recipe that is left of it."""
    space = find_workspace(request.getfixturevalue(request.param))
    plan = load_plan(space, space.dataset_name(), "default")
    return plan, load_recipe(space, plan, WHOLE), KINDS[request.param]


def test_what_is_left(planned):
    """The translator, its schedules, and reasons of what is there; the file can be read."""
    plan, recipe, kind = planned
    recipe = replace(  # without those of a stage that the fixture took away
        recipe,
        reasons={k: v for k, v in recipe.reasons.items() if getattr(recipe, k.partition(".")[0])},
    )
    assert isinstance(ALONE, Ablates) and ALONE.ablates == "lift"
    assert isinstance(WHOLE, Traces) and not isinstance(ALONE, Traces)
    alone = ALONE.refresh(plan, ALONE.without(recipe))
    assert isinstance(alone, kind)
    assert (alone.translator, alone.losses) == (recipe.translator, recipe.losses)
    assert {name for each in schedules(alone).values() for name in each.learning_rates} == {
        "translator"
    }
    assert from_json(ALONE.recipe, to_json(alone), where="no_mapper.json") == alone
    there = to_json(alone)
    assert all(there[key.partition(".")[0]] is not None for key in alone.reasons)


def test_its_networks_are_the_translator(planned):
    """Of the same size, in every stage, and with the name of the stage that it shares."""
    plan, recipe, _ = planned
    alone = ALONE.refresh(plan, ALONE.without(recipe))
    names = [stage.name for stage in WHOLE.stages(plan, recipe)]
    (stage,) = ALONE.stages(plan, alone)
    assert stage.name == names[0]
    network = stage.build()
    own = WHOLE.stages(plan, recipe)[-1].build().translator
    assert network.mixer is None
    assert {k: t.shape for k, t in network.translator.state_dict().items()} == {
        k: t.shape for k, t in own.state_dict().items()
    }
    assert not torch.equal(network.translator.head.weight, own.head.weight)


def test_each_keeps_to_its_own(workspace):
    """What the ablation is without cannot be set, nor can LiFT-C be without it."""
    space = find_workspace(workspace)
    plan = load_plan(space, space.dataset_name(), "default")
    recipe = load_recipe(space, plan, WHOLE)
    assert isinstance(recipe.mixer, MixerSpec)
    with pytest.raises(PlanError, match="there is a mixer, which is method lift"):
        ALONE.refresh(plan, recipe)
    with pytest.raises(PlanError, match="mixer is null, which is method no_mapper"):
        WHOLE.refresh(plan, ALONE.without(recipe))
