"""Memory and operations of a step, counted without values."""

import pytest
import torch

from liftnet.planning.cost import first_that_fits, training_flops


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


@pytest.mark.parametrize(
    ("limit", "expected"), [(9, "a"), (6.5, "c"), (6.0, "c"), (4.5, "d"), (1.0, "g"), (0.5, "g")]
)
def test_the_first_that_fits_is_taken_else_the_last(limit, expected):
    """And what it needs is known. The second may need less than the third."""
    needs = {"a": 8.0, "b": 6.6, "c": 6.0, "d": 4.0, "e": 3.0, "f": 2.0, "g": 1.0}
    assert first_that_fits(list(needs), needs.get, limit) == (expected, needs[expected])
    needs = {"a": 8.0, "b": 2.5, "c": 6.0, "d": 1.0}
    assert first_that_fits(list(needs), needs.get, 3.0) == ("b", 2.5)
    assert first_that_fits(["a"], needs.get, 3.0) == ("a", 8.0)


def test_few_of_many_are_measured():
    """A measurement takes a fraction of a second."""
    asked = []

    def needed(number: int) -> float:
        asked.append(number)
        return 100.0 - number

    assert first_that_fits(list(range(100)), needed, 55.0) == (45, 55.0)
    assert len(asked) <= 10
