"""One step of every stage away from the CPU, on "meta": shapes and devices without values.

What a step makes on the CPU and uses beside tensors of its device ends it with an error there, as
it does on CUDA.
"""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import fields, replace

import pytest
import torch
from drawn_cases import drawn
from head_pairs import NAME
from small_generation import make_plan, make_recipe, write_volumes

from liftnet.core.plan import Plan
from liftnet.core.recipe import AugmentationSpec, Recipe
from liftnet.core.request import Request
from liftnet.core.workspace import find_workspace
from liftnet.data.crops import whole
from liftnet.data.example import Example
from liftnet.data.store import Store
from liftnet.methods import load_method
from liftnet.methods.base import Stage, Surveys
from liftnet.pipeline.doctor.trial import _train
from liftnet.pipeline.models.volumes import chunk_of
from liftnet.pipeline.plan import load_plan, load_recipe
from liftnet.pipeline.train.augmented import augmented
from liftnet.tasks import load_task

META = torch.device("meta")


def always(spec: AugmentationSpec) -> AugmentationSpec:
    """Everything happens to every item."""
    chances = [f.name for f in fields(spec) if f.name.endswith("_probability")]
    changed = dict.fromkeys(chances, 1.0) | {"flip_probability": (0.5, 0.5, 0.5)}
    return replace(spec, **changed)


def on_meta(plan: Plan, recipe: Recipe, stage: Stage, batch: Sequence[Example]) -> list[Example]:
    """The step's examples there, augmented where the loop does; what stays is on the processor."""
    moved = [example.to(META) for example in batch]
    moved = augmented(moved, plan, always(recipe.augmentation)) if stage.augmented else moved
    assert {tensor.device for example in moved for tensor in example.tensors()} == {META}
    assert {t.device.type for example in moved for t in (example.made, example.seeds)} == {"cpu"}
    return moved


@pytest.mark.parametrize("name", ["lift", "no_mapper"])
@pytest.mark.parametrize("kind", ["workspace", "pairs"])
def test_a_step_stays_on_its_device(kind, name, request):
    """Batches, augmentation, networks, context and losses of both paired tasks."""
    space, method = find_workspace(request.getfixturevalue(kind)), load_method(name)
    plan = load_plan(space, space.dataset_name(), "default")
    recipe, store = load_recipe(space, plan, method), Store(space.store(plan.dataset, plan.name))
    stages = method.stages(plan, recipe)
    assert stages
    for stage in stages:
        network = stage.build().to(META)
        cases = store.identifiers()[:2]
        thinnest = min(store.describe(case).shape[0] for case in cases)
        batch = on_meta(plan, recipe, stage, drawn(plan, stage, store, cases, thinnest=thinnest))
        terms = stage.loss(network, None, batch, torch.Generator())
        sum(terms.values()).backward()
        assert any(p.grad is not None for p in network.parameters())
        assert {term.device for term in terms.values()} == {META}


@pytest.mark.parametrize("passes", ["one", "two"])
@pytest.mark.parametrize("name", ["lift", "no_mapper"])
def test_synthesis_stays_on_its_device(pairs, passes, name):
    """A whole volume of the translation, with and without its second stage."""
    space, method = find_workspace(pairs), load_method(name)
    plan = load_plan(space, NAME, "default")
    recipe = load_recipe(space, plan, method)
    recipe = replace(recipe, inference=replace(recipe.inference, passes=passes))
    network = None
    for stage in method.stages(plan, recipe):
        network = stage.build(network)
    size = (9, *plan.grid.in_plane)
    request, ranges = Request(plan.sources, plan.targets), {}
    example = whole(plan, request, torch.empty(len(plan.channels), *size), ranges, "x", seed=0)
    moved = example.to(META)
    network, chunk = network.to(META).eval(), chunk_of(recipe)
    made = method.synthesize(plan, recipe, network, moved, torch.Generator(), chunk)
    made = load_task(plan.task).finish(plan, made, moved)
    assert made.device == META and made.shape == (len(plan.targets), *size)


def test_slices_of_generation_stay_on_their_device(tmp_path):
    """The masked autoencoder, the slice generator and its critic."""
    plan, recipe, store = make_plan(), make_recipe(), write_volumes(tmp_path / "cases")
    network = None
    for stage in load_method("lift_u").stages(plan, recipe)[:2]:
        network, memory = stage.build(network), None
        if isinstance(stage, Surveys):
            codes = stage.survey(network, store, store.identifiers(), tmp_path / stage.name)
            memory = codes.to(META)
        batch = drawn(plan, stage, store, store.identifiers()[:2])
        batch = on_meta(plan, recipe, stage, batch)
        terms = stage.loss(deepcopy(network).to(META), memory, batch, torch.Generator())
        sum(terms.values()).backward()
        assert {term.device for term in terms.values()} == {META}


def test_the_doctors_trial_stays_on_its_device():
    """It ends where a value is asked for, not before."""
    with pytest.raises(RuntimeError, match="meta"):
        _train(META)
