"""What a training step sees of a case: slabs, windows, planes; where they lie, and their air."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from four_channels import AIR, NAMES, four_channels, store_case
from small_generation import CASES, SHAPE, make_plan, write_volumes

from liftnet.core.plan import Plan
from liftnet.core.request import Request
from liftnet.data import crops
from liftnet.data.crops import Crop, Nothing, Planes, Slab, Windows
from liftnet.data.example import Example, joined
from liftnet.data.store import Store
from liftnet.ops.planes import plane_size, slices_of

ALL = Request(NAMES[:2], NAMES[2:])
FROM_NOTHING = Request((), ("t1n",))


@pytest.fixture
def plan(pairs) -> Plan:
    """Two MR sources, a CT and an MR target, on slices of 16 x 24."""
    return four_channels(pairs)


def draw(plan: Plan, store: Store, seed: int, crop: Crop, thinnest: int | None = None) -> Example:
    """The one example of a drawn case, all of it given and asked for."""
    rng = np.random.default_rng(seed)
    (example,) = crops.draw(store, plan, ALL, crop, "x", rng, thinnest=thinnest)
    return example


def test_windows_lie_inside_and_reach_the_ends(plan, tmp_path):
    """Every start is drawn, none beyond an end; outer slices are not rarer than inner ones."""
    store = store_case(tmp_path / "s")
    starts = [s for seed in range(200) for s in draw(plan, store, seed, Windows(3, 5)).windows]
    assert len(starts) == 1000 and set(starts) == set(range(7))
    seen = np.bincount([s + i for s in starts for i in range(3)], minlength=9)
    assert seen.min() > 0.5 * seen.mean()
    deep = draw(plan, store, 0, Windows(40, 5))
    assert (deep.windows, deep.count) == ((0,) * 5, 9)
    assert deep.source.shape[2] == 9


def test_a_slab_is_the_volume_there(plan, tmp_path):
    """Nothing but the slab is there, with the voxels of its height; all heights are drawn."""
    store = store_case(tmp_path / "s")
    stored = np.asarray(store.voxels("x"), np.float32)
    heights = set()
    for seed in range(40):
        example = draw(plan, store, seed, Slab(2))
        assert example.source.shape == (1, 2, 2, 16, 24)
        assert (example.windows, example.count) == ((0,), 2)
        row = example.source[0, 0, :, 5, 12].float().numpy()
        found = np.argwhere((stored[0, :-1] == row[0]) & (stored[0, 1:] == row[1]))
        assert len(found) == 1
        heights.add(int(found[0, 0]))
    assert heights == set(range(8))


def test_slabs_of_one_step_can_be_joined(plan, tmp_path):
    """None has more slices than the thinnest volume; windows have no more either."""
    store = store_case(tmp_path / "s")
    slabs = [draw(plan, store, 1, Slab(3)), draw(plan, store, 2, Slab(9), thinnest=3)]
    both = joined(slabs)
    assert both.source.shape == (2, 2, 3, 16, 24) and both.mask.shape == (2, 1, 3, 16, 24)
    assert both.count == 3
    windows = draw(plan, store, 2, Windows(9, 4), thinnest=3)
    assert windows.count == 3 and windows.source.shape[2] == 9


def test_crops_move_everything_alike(plan, tmp_path):
    """Sources, targets and mask are cut at one random row and padded with air and no mask."""
    store = store_case(tmp_path / "s")
    stored = np.asarray(store.voxels("x"), np.float32)
    mask = np.asarray(store.mask("x"))
    rows = set()
    for seed in range(40):
        example = draw(plan, store, seed, Windows(3, 5))
        both = torch.cat([example.source, example.target], 1)[0].float().numpy()
        # 21 rows become 16 at a random place; 17 columns stay, in the middle of 24.
        left = (24 - 17 + 1) // 2
        (row,) = [
            r for r in range(6) if np.array_equal(both[..., left:-3], stored[:, :, r : r + 16])
        ]
        rows.add(row)
        np.testing.assert_array_equal(example.mask[0, 0, ..., left:-3], mask[:, row : row + 16])
        padding = [both[i][..., :left] for i in range(4)]
        for i, values in enumerate(padding):
            assert np.allclose(values, AIR[i], atol=2e-3) and np.ptp(values) == 0
            assert values.flat[0] == float(example.air[0, i])
        assert not example.mask[..., :left].any()
    assert rows == set(range(6))


@pytest.mark.parametrize("crop", [Slab(9, "centre"), Windows(3, 5, "centre")])
def test_a_centred_crop_is_always_the_same(plan, tmp_path, crop):
    """About the middle of the rows, whatever the random numbers."""
    store = store_case(tmp_path / "s")
    stored = np.asarray(store.voxels("x"), np.float32)
    for seed in range(20):
        source = draw(plan, store, seed, crop).source[0].float().numpy()
        np.testing.assert_array_equal(source[..., 4:-3], stored[:2, :, 2:18])


def test_what_is_given_and_made(plan, tmp_path):
    """Of the request, in the order of the plan's channels; every draw has a seed of its own."""
    store = store_case(tmp_path / "s")
    rng = np.random.default_rng(0)
    request = Request(("t2",), ("t3",))
    drawn = [crops.draw(store, plan, request, Slab(2), "x", rng)[0] for _ in range(30)]
    for example in drawn:
        assert (example.given.tolist(), example.made.tolist()) == ([[0, 1]], [[False, True]])
    assert len({int(example.seeds) for example in drawn}) == 30


def test_without_masks_there_is_none(plan, tmp_path):
    """Of a plan without masks none is read, and the tensor has no channel."""
    store = store_case(tmp_path / "s")
    (store.folder / "x.mask.npy").unlink()
    without = replace(plan, grid=replace(plan.grid, mask="none"))
    assert draw(without, store, 0, Slab(2)).mask.shape == (1, 0, 2, 16, 24)


@pytest.mark.parametrize("slice_axis", ["axial", "coronal", "sagittal"])
def test_planes_are_slices_of_the_volume(tmp_path, slice_axis):
    """Where `windows` says, of each plane as many as asked for; every slice is drawn."""
    store = write_volumes(tmp_path / "s")
    plan = make_plan()
    plan = replace(plan, grid=replace(plan.grid, slice_axis=slice_axis))
    volume = torch.from_numpy(np.array(store.voxels("v3")))[None]
    counts = {"axial": 3, "coronal": 2, "sagittal": 4}
    for crop in (Planes(counts), *(Planes({plane: 200}) for plane in counts)):
        rng = np.random.default_rng(0)
        drawn = crops.draw(store, plan, FROM_NOTHING, crop, "v3", rng)
        assert [example.plane for example in drawn] == list(crop.counts)
        for example in drawn:
            expected = slices_of(volume, example.plane, example.windows, slice_axis=slice_axis)[0]
            items = crop.counts[example.plane]
            assert len(example.windows) == len(set(example.seeds.tolist())) == items
            assert torch.equal(example.target[:, 0, 0], expected)
            assert example.source.shape == (items, 0, 1, *expected.shape[1:])
            assert example.made.tolist() == [[True]] * items
            assert set(example.air[:, 0].tolist()) == {-1.0}
            if items == 200:
                (size, *_) = plane_size(SHAPE, example.plane, slice_axis=slice_axis)
                assert set(example.windows) == set(range(size))


def test_nothing_is_a_seed(tmp_path):
    """No voxel is read: the case need not be there."""
    store, plan = Store(tmp_path), make_plan()
    rng = np.random.default_rng(0)
    drawn = [crops.draw(store, plan, FROM_NOTHING, Nothing(), case, rng) for case in CASES]
    assert [example.case for (example,) in drawn] == list(CASES)
    assert len({int(example.seeds) for (example,) in drawn}) == len(CASES)
    assert not any(example.target.numel() or example.source.numel() for (example,) in drawn)
