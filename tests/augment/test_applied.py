"""Tests of what is planned for a batch and what happens to an item."""

import dataclasses

import pytest
import torch

from liftnet.augment import ranges
from liftnet.augment.applied import CHANGES, FLIPS, MOVES, applied, one_by_one, planned
from liftnet.core.plan import AugmentationSpec

NAMES = sorted(MOVES | CHANGES | {"elastic"})


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
    """The plan and the items name the transform that has a probability; elastic turns, too."""
    spec, seeds = alone(everything, name), torch.arange(30)
    expected = {name, "turn"} if name == "elastic" else {name}
    assert planned(spec) == expected
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


def test_one_by_one_is_each_item(everything):
    """Each is a batch of one with the item's own numbers; what is None stays None."""
    spec = dataclasses.replace(everything, elastic_probability=0.0)
    seeds = torch.arange(5)
    for drawn in (ranges.draw_spatial(spec, seeds), ranges.draw_intensity(spec, seeds, 3)):
        each = one_by_one(drawn)
        assert len(each) == 5
        for index, item in enumerate(each):
            for field in dataclasses.fields(item):
                whole, part = getattr(drawn, field.name), getattr(item, field.name)
                assert part is whole is None or torch.equal(part, whole[index : index + 1])
