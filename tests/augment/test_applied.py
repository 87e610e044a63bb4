"""Tests of what happens to an item, and of transforms of some items alone."""

import dataclasses

import pytest
import torch

from liftnet.augment import ranges
from liftnet.augment.applied import FLIPS, Rows, applied, grouped
from liftnet.core.recipe import AugmentationSpec

CHANGES = {"gamma", "contrast", "brightness", "bias_field", "blur", "low_resolution", "noise"}
NAMES = [*FLIPS, "turn", "elastic", *sorted(CHANGES)]


def alone(spec: AugmentationSpec, name: str) -> AugmentationSpec:
    """Returns `spec` with one transform at probability 1 and all others at 0."""
    fields = [field.name for field in dataclasses.fields(spec) if "probability" in field.name]
    values = {**dict.fromkeys(fields, 0.0), "flip_probability": (0.0, 0.0, 0.0)}
    if name in FLIPS:
        values["flip_probability"] = tuple(float(name == other) for other in FLIPS)
    else:
        values[f"{'rotation' if name == 'turn' else name}_probability"] = 1.0
    return dataclasses.replace(spec, **values)


@pytest.mark.parametrize("name", NAMES)
def test_one_transform_is_named_alone(everything, name):
    """Items name the transform that has a probability; elastic turns, too."""
    spec, seeds = alone(everything, name), torch.arange(30)
    expected = {name, "turn"} if name == "elastic" else {name}
    happens = applied(ranges.draw_spatial(spec, seeds), ranges.draw_intensity(spec, seeds, 2))
    assert len(happens) == 30
    # blur and low resolution leave out each channel, and so some items
    assert set(happens) <= {frozenset(expected), frozenset()}
    share = sum(bool(names) for names in happens) / 30
    assert share == 1 if name not in ("blur", "low_resolution") else 0.5 < share < 1


def test_nothing_happens_without_channels(everything):
    """Without a source, only its noise is drawn per item."""
    seeds = torch.arange(4)
    changes = ranges.draw_intensity(everything, seeds, 0)
    happens = applied(ranges.draw_spatial(everything, seeds), changes)
    assert all(names & CHANGES <= {"noise"} for names in happens)


def test_groups_know_their_items():
    """Neighbouring items, the rows of each transform and of each combination of flips."""
    both = frozenset(("flip along D", "flip along W"))
    happens = [both, {"noise"}, both | {"turn"}, {"flip along H", "noise"}, set()]
    first, second = grouped([frozenset(names) for names in happens], 3)
    assert first.items("noise") == Rows([1], 0, 3) and first.items("turn") == Rows([2], 0, 3)
    assert first.flips == {(2, 4): Rows([0, 2], 0, 3)}
    assert second.items("noise") == Rows([0], 3, 2) and not second.items("turn").numbers
    assert second.flips == {(3,): Rows([0], 3, 2)}
    chosen = torch.tensor([[1, 1], [1, 1], [1, 1], [0, 1], [1, 0]]) > 0
    assert second.channels(chosen) == Rows([1, 2], 6, 4)


def test_only_chosen_rows_change():
    """A transform sees its rows and their numbers of the batch; the others stay."""
    image = torch.arange(30.0).view(5, 3, 2)
    factor = torch.arange(100, 109)  # of a batch whose items 2 to 6 are the group
    changed = Rows([1, 4], 2, 5).change(image, lambda part, f: part * f[:, None, None], factor)
    expected = image.clone()
    expected[1] *= 103
    expected[4] *= 106
    assert torch.equal(changed, expected)
    everyone = Rows(range(5), 2, 5).change(image, lambda part, f: part * f[:, None, None], factor)
    assert torch.equal(everyone, image * torch.arange(102, 107)[:, None, None])
