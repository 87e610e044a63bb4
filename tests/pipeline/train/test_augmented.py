"""What the loop changes in an example: geometry together, sources alone, air never."""

from copy import deepcopy
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from four_channels import NAMES, always, four_channels, still, store_case
from small_generation import make_plan, make_recipe, write_volumes
from torch import nn

from liftnet.core.plan import ClipAndScale, Plan
from liftnet.core.request import Request
from liftnet.data import crops
from liftnet.data.crops import Crop, Planes, Slab, Windows
from liftnet.data.example import Example
from liftnet.data.store import Store
from liftnet.pipeline.train.augmented import augmented
from liftnet.pipeline.train.state import Run
from liftnet.pipeline.train.step import take_step

ALL = Request(NAMES[:2], NAMES[2:])
WHOLE = Windows(3, 5)


@pytest.fixture
def plan(pairs) -> Plan:
    """Two MR sources, a CT and an MR target, on slices of 16 x 24."""
    return four_channels(pairs)


def draw(
    plan: Plan, store: Store, seed: int, crop: Crop = WHOLE, request: Request = ALL
) -> Example:
    """A drawn example on the processor, in float32."""
    rng = np.random.default_rng(seed)
    (example,) = crops.draw(store, plan, request, crop, "x", rng)
    return example.to(torch.device("cpu"))


def test_air_stays_air(plan, tmp_path):
    """Under every augmentation at once, what is air, or comes in from outside, has air's value."""
    store = store_case(tmp_path / "s", air_rows=8)
    spec = always()
    example = draw(plan, store, 1)
    for seed in range(5):
        (moved,) = augmented([replace(example, seeds=torch.tensor([seed]))], plan, spec)
        both = torch.cat([moved.source, moved.target], 1)
        for i, air in enumerate(example.air[0].tolist()):
            share = float((both[0, i] == air).float().mean())
            assert share > 0.2, NAMES[i]
            # Between air and tissue linear interpolation may mix; nothing lies below air.
            assert float(both[0, i].min()) >= air - (0.6 if i < 2 else 1e-5)
        assert set(moved.mask.unique().tolist()) == {0.0, 1.0}
        assert not torch.equal(moved.source, example.source)


def test_geometry_is_shared(plan, tmp_path):
    """A target that repeats its source still does after flips, turns, bends and zooms."""
    store = store_case(tmp_path / "s")
    spec = always("flip", "rotation", "scale", "shear", "elastic")
    example = draw(plan, store, 1)
    example = replace(example, target=example.source.clone(), air=example.air[:, [0, 1, 0, 1]])
    (moved,) = augmented([replace(example, seeds=torch.tensor([3]))], plan, spec)
    torch.testing.assert_close(moved.source, moved.target, atol=1e-5, rtol=0)
    assert (moved.source - example.source).abs().max() > 0.1


def test_the_mask_follows(plan, tmp_path):
    """A target that shows the mask still does, but for the blur of its edge."""
    store = store_case(tmp_path / "s")
    spec = always("flip", "rotation", "scale", "shear", "elastic")
    example = draw(plan, store, 1)
    target = example.mask.expand(-1, 2, -1, -1, -1).clone()
    example = replace(example, target=target, air=torch.zeros(1, 4))
    (moved,) = augmented([example], plan, spec)
    assert not torch.equal(moved.mask, example.mask)
    assert float(((moved.target > 0.5) == (moved.mask > 0.5)).float().mean()) > 0.98


def test_targets_keep_their_intensities(plan, tmp_path):
    """What changes intensities changes the sources alone."""
    example = draw(plan, store_case(tmp_path / "s"), 1)
    spec = always("noise", "brightness", "contrast", "gamma")
    (moved,) = augmented([example], plan, spec)
    torch.testing.assert_close(moved.target, example.target, atol=1e-6, rtol=0)
    for i in range(2):
        assert (moved.source - example.source)[:, i].abs().max() > 0.1


def test_items_of_a_step_keep_their_own(plan, tmp_path):
    """Slabs of several volumes: air, what is given and seed stay with their item."""
    store = store_case(tmp_path / "s")
    one = draw(plan, store, 1, Slab(3))
    two = replace(
        draw(plan, store, 2, Slab(3)),
        air=torch.tensor([[9.0, 8.0, 7.0, 6.0]]),
        given=torch.tensor([[0.0, 1.0]]),
        source=one.source + 5,
    )
    for example, same in zip((one, two), augmented([one, two], plan, still()), strict=True):
        expected = example.source * example.given[:, :, None, None, None]
        torch.testing.assert_close(same.source, expected, atol=1e-5, rtol=1e-5)
    spec = always()
    for example, moved in zip((one, two), augmented([one, two], plan, spec), strict=True):
        (alone,) = augmented([example], plan, spec)
        for name in ("source", "target", "mask"):
            torch.testing.assert_close(
                getattr(moved, name), getattr(alone, name), atol=1e-5, rtol=1e-5
            )
        assert moved.seeds is example.seeds and moved.windows == example.windows


def test_examples_of_other_shapes_go_alone(plan, tmp_path):
    """Each is what it is by itself, in their order."""
    store = store_case(tmp_path / "s")
    spec = always()
    batch = [draw(plan, store, i, Slab(count)) for i, count in enumerate((3, 1, 3))]
    together = augmented(batch, plan, spec)
    assert [moved.source.shape[2] for moved in together] == [3, 1, 3]
    for example, moved in zip(batch, together, strict=True):
        (alone,) = augmented([example], plan, spec)
        assert torch.equal(moved.source, alone.source)


def test_what_is_not_given_is_zero(plan, tmp_path):
    """Absent and hidden sources reach the network as zeros, whatever happens to the others."""
    spec = always()
    store = store_case(tmp_path / "s", present=("t2", "t3"))
    absent = draw(plan, store, 0, request=Request(("t2",), ("t3",)))
    (moved,) = augmented([absent], plan, spec)
    assert not moved.source[:, 0].any() and moved.source[:, 1].any()
    whole = store_case(tmp_path / "t")
    for given in (("t1",), ("t2",), NAMES[:2]):
        (moved,) = augmented([draw(plan, whole, 0, request=Request(given, NAMES[2:]))], plan, spec)
        assert [bool(moved.source[:, i].any()) for i in range(2)] == [
            name in given for name in NAMES[:2]
        ]


def test_bright_tissue_is_about_one(plan, tmp_path, monkeypatch):
    """What is changed has air at 0 and bright tissue at 1: 4 z-scores above it, or the span."""
    seen = []

    def kept(source, target, spec, seeds, *, weight):
        seen.append(source)
        return source, target, weight

    monkeypatch.setattr("liftnet.pipeline.train.augmented.augment", kept)
    scaled = replace(plan.channels[1], normalization=ClipAndScale(0.0, 1000.0, (-1.0, 1.0)))
    plan = replace(plan, channels=(plan.channels[0], scaled, *plan.channels[2:]))
    example = draw(plan, store_case(tmp_path / "s"), 1)
    (same,) = augmented([example], plan, always())
    above = example.source - example.air[:, :2, None, None, None]
    torch.testing.assert_close(seen[0][:, 0], above[:, 0] / 4)
    torch.testing.assert_close(seen[0][:, 1], above[:, 1] / 2)
    torch.testing.assert_close(same.source, example.source)


def test_single_slices_move_by_themselves(tmp_path):
    """Of one plane each slice has its own motion; without sources and masks there are none."""
    store = write_volumes(tmp_path / "s")
    plan, spec = make_plan(), always("flip", "rotation", "scale")
    rng = np.random.default_rng(0)
    drawn = crops.draw(store, plan, Request((), ("t1n",)), Planes({"axial": 4}), "v1", rng)
    (example,) = (each.to(torch.device("cpu")) for each in drawn)
    one = example.target[example.target.sum(dim=(1, 2, 3, 4)).argmax()]
    same = replace(example, target=one.expand(4, -1, -1, -1, -1))
    (moved,) = augmented([same], plan, spec)
    assert moved.source.shape == moved.mask.shape == (4, 0, 1, 16, 24)
    for i in range(4):
        others = [k for k in range(4) if k != i]
        assert all((moved.target[i] - moved.target[k]).abs().max() > 0.1 for k in others)
    assert float(moved.target.min()) == -1.0


@pytest.mark.parametrize("wanted", [True, False])
def test_a_step_augments_where_the_stage_wants_it(plan, tmp_path, wanted):
    """The loss is given what `augmented` makes of the examples, or the examples themselves."""
    spec = always()
    example, seen = draw(plan, store_case(tmp_path / "s"), 1), []

    def loss(network, memory, batch, generator):
        seen.extend(batch)
        return {"size": network.weight.square().sum()}

    network = nn.Linear(2, 1)
    run = Run(network, deepcopy(network), torch.optim.SGD(network.parameters(), 0.1), recent=[])
    recipe = make_recipe(augmentation=spec)
    stage = SimpleNamespace(augmented=wanted, schedule=recipe.depth_mapping, loss=loss)
    take_step(run, plan, recipe, stage, None, [example], torch.Generator())
    (expected,) = augmented([example], plan, spec) if wanted else [example]
    assert torch.equal(seen[0].source, expected.source)
    assert torch.equal(seen[0].source, example.source) is not wanted
