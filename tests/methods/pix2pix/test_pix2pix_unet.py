"""pix2pix: the published sizes, and what its stage compares."""

from dataclasses import replace

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
from liftnet.methods.pix2pix.networks import UNetGenerator
from liftnet.networks.critic import PatchCritic
from liftnet.pipeline.plan import load_plan, load_recipe
from liftnet.pipeline.train.state import Run, make_optimizer
from liftnet.pipeline.train.step import take_step
from liftnet.planning.memory import GIB

DATASET = "Dataset007_Phantom"


@pytest.fixture
def made(workspace):
    """Plan, recipe, stage and store of the phantom dataset."""
    space = find_workspace(workspace)
    plan, method = load_plan(space, DATASET, "default"), load_method("pix2pix_unet")
    recipe = load_recipe(space, plan, method)
    (stage,) = method.stages(plan, recipe)
    return plan, recipe, stage, Store(space.store(DATASET, "default"))


@pytest.mark.parametrize(
    ("network", "parameters"),
    [
        ((UNetGenerator, 3, 1, 64, 8), 54_409_857),
        ((UNetGenerator, 1, 1, 64, 7), 41_822_849),
        ((PatchCritic, 4, 64), 2_766_657),
    ],
)
def test_the_published_sizes(network, parameters):
    """As the original code has them, batch norm replaced by instance norm."""
    kind, *sizes = network
    with torch.device("meta"):
        built = kind(*sizes)
    assert sum(p.numel() for p in built.parameters()) == parameters


def test_a_critic_sees_70_pixels():
    """What lies farther from a place than 35 pixels does not change its logit."""
    torch.manual_seed(0)
    critic = PatchCritic(1, 8).eval()
    for norm in (m for m in critic.modules() if isinstance(m, torch.nn.InstanceNorm2d)):
        norm.forward = lambda x: x  # a norm sees the whole slice
    slices = torch.randn(1, 1, 160, 160, requires_grad=True)
    logits = critic(slices)
    logits[0, 0, 9, 9].backward()
    seen = slices.grad[0, 0].abs().sum(0).nonzero()
    assert int(seen.max() - seen.min()) + 1 == 70


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


def test_the_memory_estimate_is_within_a_quarter(made):
    """Of the peak of live tensors in two steps."""
    plan, recipe, stage, store = made
    method = load_method("pix2pix_unet")
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
