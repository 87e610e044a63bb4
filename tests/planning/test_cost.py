"""Memory and operations of a step, counted without values."""

import pytest
import torch

from liftnet.core.workspace import find_workspace
from liftnet.methods import load_method
from liftnet.methods.lift import joint_memory
from liftnet.pipeline.plan import load_plan, load_recipe
from liftnet.planning.cost import first_that_fits, training_flops, training_gib


@pytest.fixture
def joint(workspace):
    """Plan, recipe and the stage of the phantom dataset."""
    space = find_workspace(workspace)
    plan, method = load_plan(space, "Dataset007_Phantom", "default"), load_method("lift")
    recipe = load_recipe(space, plan, method)
    (stage,) = method.stages(plan, recipe)
    return plan, recipe, stage


def test_it_agrees_with_what_was_counted_for_one_method_alone(joint):
    """LiFT-C's own estimate, which is held against real steps, is near."""
    plan, recipe, stage = joint
    expected = joint_memory.training_gib(plan, recipe)
    assert training_gib(plan, recipe, [stage]) == pytest.approx(expected, rel=0.25)


def test_operations_are_those_of_the_convolutions():
    """A 3x3 convolution: 2 x 9 x in x out per pixel forward, as much again for its weights."""

    class Stage:
        def __init__(self):
            from types import SimpleNamespace

            from liftnet.data.crops import Slab

            self.crop = Slab(1)
            self.schedule = SimpleNamespace(volumes_per_step=2, learning_rates={"layer": 1.0})

        def build(self, previous=None):
            return torch.nn.ModuleDict({"layer": torch.nn.Conv2d(3, 5, 3, padding=1)})

        def loss(self, network, memory, batch, generator):
            slices = torch.cat([example.source[:, :, 0] for example in batch])
            return {"mean": network["layer"](slices).mean()}

    from types import SimpleNamespace

    plan = SimpleNamespace(
        grid=SimpleNamespace(num_slices=4, in_plane=(8, 10), mask="none"),
        sources=("a", "b", "c"),
        targets=("d",),
    )
    forward = 2 * 9 * 3 * 5 * 8 * 10 * 2
    assert training_flops(plan, Stage()) == 2 * forward  # inputs need no gradient


def test_the_first_that_fits_is_taken_else_the_last():
    """And what it needs is known."""
    needs = {"a": 3.0, "b": 2.0, "c": 1.0}
    assert first_that_fits(iter("abc"), needs.get, 2.5) == ("b", 2.0)
    assert first_that_fits(iter("abc"), needs.get, 0.5) == ("c", 1.0)
