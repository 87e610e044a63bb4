"""pix2pix: the published sizes and operations, and what its stage compares."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from drawn_cases import drawn
from peak_bytes import PeakBytes

from liftnet.core.recipe import with_schedules
from liftnet.core.workspace import find_workspace
from liftnet.data.scaling import from_unit, inputs_of, to_unit
from liftnet.data.store import Store
from liftnet.methods import load_method
from liftnet.methods.base import Publishes
from liftnet.methods.pix2pix.networks import ResNetGenerator, UNetGenerator
from liftnet.pipeline.plan import load_plan, load_recipe
from liftnet.pipeline.train.state import Run, make_optimizer
from liftnet.pipeline.train.step import take_step
from liftnet.planning.cost import flops_of
from liftnet.planning.memory import GIB

DATASET = "Dataset007_Phantom"


@pytest.fixture(params=["pix2pix_unet", "pix2pix_resnet"])
def method(request):
    """Each of the family."""
    return load_method(request.param)


@pytest.fixture
def made(workspace, method):
    """Plan, recipe, stage and store of the phantom dataset."""
    space = find_workspace(workspace)
    plan = load_plan(space, DATASET, "default")
    recipe = load_recipe(space, plan, method)
    (stage,) = method.stages(plan, recipe)
    return plan, recipe, stage, Store(space.store(DATASET, "default"))


@pytest.mark.parametrize(
    ("network", "parameters"),
    [
        ((UNetGenerator, 3, 1, 64, 8), 54_409_857),
        ((UNetGenerator, 1, 1, 64, 7), 41_822_849),
        ((ResNetGenerator, 3, 1, 64, 9), 11_377_153),
        ((ResNetGenerator, 1, 1, 64, 9), 11_370_881),
    ],
)
def test_the_published_sizes(network, parameters):
    """As the original code has them, batch norm replaced by instance norm."""
    kind, *sizes = network
    with torch.device("meta"):
        built = kind(*sizes)
    assert sum(p.numel() for p in built.parameters()) == parameters


@pytest.mark.parametrize(
    ("generator", "sizes", "side", "gflop"),
    [(UNetGenerator, (3, 1, 64, 8), 256, 12.0), (ResNetGenerator, (3, 1, 64, 9), 240, 86.4)],
)
def test_published_operations(generator, sizes, side, gflop):
    """Of a forward pass of a slice, within 2 % of what the original networks take."""
    stage = SimpleNamespace(
        build=lambda: torch.nn.ModuleDict({"generator": generator(*sizes)}),
        schedule=SimpleNamespace(learning_rates={"generator": 1e-3}),
    )
    slices = torch.empty(1, 3, side, side, device="meta")
    count = flops_of(stage, lambda network: network["generator"](slices))
    assert count / 1e9 == pytest.approx(gflop, rel=0.02)


def test_what_others_publish(made, method):
    """One slice a step, the last weights, no limit to the gradient; sizes stay."""
    plan, recipe, _, _ = made
    assert isinstance(method, Publishes)
    found = method.published(plan, recipe)
    schedule = found.slice_gan
    assert replace(found, slice_gan=recipe.slice_gan, reasons=recipe.reasons) == recipe
    assert (schedule.volumes_per_step, schedule.ema_half_life, schedule.keep) == (1, 0, "last")
    assert (schedule.betas, schedule.weight_decay) == ((0.5, 0.999), 0.0)
    assert (schedule.decay, schedule.decay_from, schedule.final_rate) == ("linear", 0.5, 0.0)
    assert set(schedule.learning_rates.values()) == {2e-4}
    assert schedule.num_steps == plan.budget.num_steps
    assert "200" in found.reasons["slice_gan.num_steps"]
    method.refresh(plan, found, estimate=False)


def test_units_go_there_and_back(made):
    """Targets to [-1, 1] and back; sources to [-1, 1], and 0 where they are not given."""
    plan, _, stage, store = made
    (slab,) = drawn(plan, stage, store, ["p1"])
    torch.testing.assert_close(
        from_unit(plan, to_unit(plan, slab.target)), slab.target, atol=1e-6, rtol=0
    )
    assert float(to_unit(plan, slab.target).min()) >= -1
    entered = inputs_of(plan, slab)
    number = len(plan.sources)
    hidden = slab.given[0] == 0
    assert hidden.any() and (entered[0, :number][hidden] == 0).all()
    assert (entered[0, number:][hidden] == 0).all() and (entered[0, number:][~hidden] == 1).all()


def test_targets_that_are_not_asked_for_do_not_count(made):
    """Whatever they hold, the terms are the same."""
    plan, _, stage, store = made
    torch.manual_seed(0)
    network = stage.build()
    batch = drawn(plan, stage, store, ["p1", "p2", "p3"])
    other = []
    for example in batch:
        target = example.target.clone()
        target[:, ~example.made[0]] = 0.7
        other.append(replace(example, target=target))
    generator = torch.Generator()
    torch.manual_seed(1)
    terms = stage.loss(network, None, batch, generator)
    torch.manual_seed(1)
    again = stage.loss(network, None, other, generator)
    assert set(terms) == {"l1", "adversarial", "critic"}
    for name, term in terms.items():
        assert torch.equal(term, again[name]), name


def test_training_learns(made):
    """Some steps on one slice bring the L1 down; generator and critic both move."""
    plan, recipe, stage, store = made
    torch.manual_seed(0)
    network = stage.build()
    schedule = replace(stage.schedule, decay="none", warmup_steps=1)
    recipe = with_schedules(recipe, {"slice_gan": schedule})
    stage = replace(stage, recipe=recipe)
    before = {k: v.clone() for k, v in network.state_dict().items()}
    run = Run(network, network, make_optimizer(network, schedule), recent=[])
    batch, values = drawn(plan, stage, store, ["p1", "p5"]), []
    still = replace(recipe, augmentation=None)
    for _ in range(40):
        result = take_step(run, plan, still, stage, None, batch, torch.Generator())
        values.append(float(result.values[result.names.index("l1")]))
    assert np.mean(values[-5:]) < 0.5 * np.mean(values[:5])
    for part in ("generator", "critic"):
        moved = [k for k in before if k.startswith(part) and k.endswith("weight")]
        assert all((network.state_dict()[k] != before[k]).any() for k in moved)


def test_the_memory_estimate_is_within_a_quarter(made, method):
    """Of the peak of live tensors in two steps."""
    plan, recipe, stage, store = made
    cases = store.identifiers()
    with PeakBytes() as measured:
        network = stage.build()
        average = stage.build()
        run = Run(network, average, make_optimizer(network, stage.schedule), recent=[])
        for _ in range(2):
            batch = drawn(plan, stage, store, [cases[i % len(cases)] for i in range(8)])
            take_step(run, plan, recipe, stage, None, batch, torch.Generator())
    estimate = method.refresh(plan, recipe).memory.training_gib
    assert estimate == pytest.approx(measured.peak / GIB, rel=0.25)
