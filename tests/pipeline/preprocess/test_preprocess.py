"""The way of one volume and back, and the store of a dataset."""

import os
import shutil
from dataclasses import replace
from itertools import permutations, product
from pathlib import Path

import numpy as np
import pytest
from acvl_utils.cropping_and_padding.bounding_boxes import crop_and_pad_nd
from scipy import ndimage

from liftnet.core.errors import LiftnetError
from liftnet.core.geometry import SLICE_AXES, AxisOrder, Geometry, Volume, turn
from liftnet.core.plan import ClipAndScale, PercentileScale, Plan, ZScore
from liftnet.core.storage.jsonable import read_json, write_sealed
from liftnet.data.store import Store
from liftnet.ops import normalize
from liftnet.ops.intensities import bright_end
from liftnet.ops.mask import body
from liftnet.pipeline.plan import read_plan
from liftnet.pipeline.preprocess.preprocess import prepare, preprocess, restore

DATASET = "Dataset007_Phantom"
SHAPE = (7, 9, 12)
ORDERS = [
    AxisOrder(order, flip)
    for order in permutations(range(3))
    for flip in product((False, True), repeat=3)
]


@pytest.fixture
def plan(workspace: Path) -> Plan:
    """The plan of the phantom dataset."""
    return read_plan(workspace / "preprocessed" / DATASET / "default" / "plan.json")


def head(shape: tuple[int, int, int] = SHAPE) -> np.ndarray:
    """Two positive images inside a box that is smaller than the grid."""
    rng = np.random.default_rng(0)
    voxels = np.zeros((2, *shape), dtype=np.float32)
    voxels[:, 1:-1, 2:-3, 3:-2] = 10 + 100 * rng.random(
        (2, *(n - m for n, m in zip(shape, (2, 5, 5), strict=True)))
    )
    return voxels


CANONICAL = Geometry(SHAPE, (3.0, 2.0, 1.0), (5.0, 6.0, 7.0), ((0, 0, 1), (0, 1, 0), (1, 0, 0)))


def keep_grid(plan: Plan, slice_axis: str) -> Plan:
    """The plan without resampling, and with a normalization that clips nothing."""
    grid = replace(
        plan.grid, slice_axis=slice_axis, resample_in_plane=False, resample_through_plane=False
    )
    channels = tuple(
        replace(c, normalization=ClipAndScale(-20.0, 220.0, (0.0, 1.0))) for c in plan.channels
    )
    return replace(plan, grid=grid, channels=channels)


@pytest.mark.parametrize("slice_axis", SLICE_AXES)
def test_restore_undoes_prepare(plan, slice_axis):
    """For all 48 voxel orders: the same prepared voxels, and back to the stored order exactly."""
    plan = keep_grid(plan, slice_axis)
    volume = Volume(head(), CANONICAL)
    expected, first, _, _ = prepare(volume, ("a", "b"), plan)[:4]
    world = SLICE_AXES[slice_axis]
    lengths = tuple(SHAPE[2 - w] for w in world)
    assert first.turned_shape == lengths
    inside = np.argwhere(head().any(0))
    sides = tuple(int(np.ptp(inside[:, 2 - w])) + 1 for w in world)
    assert expected.shape == (2, lengths[0], *sides[1:])  # slices are never cropped
    for order in ORDERS:
        stored = turn(volume, order)
        voxels, placement, ranges, _ = prepare(stored, ("a", "b"), plan)[:4]
        np.testing.assert_array_equal(voxels, expected)
        for i, name in enumerate(("a", "b")):
            image = normalize.invert(voxels[i], *ranges[name])
            back = restore(image, placement, outside=0.0)
            np.testing.assert_allclose(back, stored.voxels[i], atol=2e-4)
        assert placement.source == stored.geometry


def test_axes_end_up_where_they_should(plan):
    """Slices run from inferior to superior; rows to posterior; columns to left."""
    ramp = np.arange(np.prod(SHAPE), dtype=np.float32).reshape(1, *SHAPE) / 100 + 5
    for slice_axis, axes in (("axial", (0, 1, 2)), ("coronal", (1, 0, 2)), ("sagittal", (2, 0, 1))):
        for order in ORDERS[::7]:
            stored = turn(Volume(ramp, CANONICAL), order)
            voxels, _, ranges, _ = prepare(stored, ("a",), keep_grid(plan, slice_axis))[:4]
            got = normalize.invert(voxels[0], *ranges["a"])
            np.testing.assert_allclose(got, ramp[0].transpose(axes), atol=1e-4)


@pytest.mark.parametrize("through_plane", [False, True])
def test_smooth_images_survive_resampling(plan, through_plane):
    """On another spacing and back, a smooth image changes by little; the box stays where it is."""
    grid = replace(
        plan.grid, spacing_mm=(2.2, 2.4, 1.3), resample_in_plane=True,
        resample_through_plane=through_plane, crop_in_plane=False,
    )  # fmt: skip
    plan = replace(keep_grid(plan, "axial"), grid=grid)
    shape = (16, 24, 36)
    smooth = ndimage.gaussian_filter(np.random.default_rng(1).random(shape), (3, 4, 5))
    smooth = 100 * (smooth - smooth.min()) / np.ptp(smooth) + 1
    volume = Volume(smooth[None].astype(np.float32), replace(CANONICAL, shape=shape))
    for order in ORDERS[::11]:
        stored = turn(volume, order)
        voxels, placement, ranges, _ = prepare(stored, ("a",), plan)[:4]
        assert voxels.shape == (1, 22 if through_plane else 16, 20, 28)
        back = restore(normalize.invert(voxels[0], *ranges["a"]), placement, outside=0.0)
        error = np.abs(back - stored.voxels[0])
        assert error.mean() < 1 and error.max() < 8


def test_nearly_equal_spacings_are_left_alone(plan):
    """Below 2 % nothing is interpolated."""
    plan = replace(plan, grid=replace(plan.grid, spacing_mm=(3.0, 2.03, 1.0)))
    _, placement, _, _ = prepare(Volume(head(), CANONICAL), ("a", "b"), plan)[:4]
    assert placement.shape == (7, 4, 7)


def test_ranges_do_not_depend_on_the_crop(plan):
    """The intensities that become 0 and 1 are those of the whole image."""
    volume = Volume(head(), CANONICAL)
    cropped = prepare(volume, ("a", "b"), plan)[2]
    whole = replace(plan, grid=replace(plan.grid, crop_in_plane=False))
    assert prepare(volume, ("a", "b"), whole)[2] == cropped


def snapshot(folder: Path) -> dict[str, bytes]:
    """The content of all files."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def times(folder: Path) -> dict[str, int]:
    """When each file was written."""
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}


def test_resume(workspace, capsys):
    """Only what is missing, changed or damaged is done again; the result is the same."""
    store = workspace / "preprocessed" / DATASET / "default" / "cases"
    preprocess(workspace=workspace, num_processes=1)  # raw files were copied: other keys
    before, made = snapshot(store), times(store)
    assert len(before) == 12
    preprocess(workspace=workspace, num_processes=1)
    assert times(store) == made
    assert "Preprocessed 6 cases (6 were there)" in capsys.readouterr().out

    (store / "p1.json").unlink()
    (store / "p2.npy").write_bytes(b"cut off")
    (store / ".p3.npy.123.tmp").write_bytes(b"half-written")
    (store / "gone.npy").write_bytes(b"of a case that is no more")
    described = {**read_json(store / "p4.json"), "identifier": "gone"}
    write_sealed(store / "gone.json", described)
    preprocess(workspace=workspace, num_processes=1)
    assert snapshot(store) == before
    changed = {name.split(".")[0] for name, when in times(store).items() if when != made[name]}
    assert changed == {"p1", "p2"}

    raw = workspace / "raw" / DATASET / "imagesTr"
    shutil.copy(raw / "p3_0000.nii.gz", raw / "p3_0001.nii.gz")
    os.utime(raw / "p3_0001.nii.gz", ns=(1, 1))
    made = times(store)
    preprocess(workspace=workspace, num_processes=1)
    changed = {name.split(".")[0] for name, when in times(store).items() if when != made[name]}
    assert changed == {"p3"}
    voxels = Store(store).voxels("p3")
    np.testing.assert_array_equal(voxels[0], voxels[1])


def test_parallel_equals_serial_and_clean_does_all(workspace):
    """Any number of threads stores the same; --clean writes every case anew."""
    preprocess(workspace=workspace, num_processes=1)
    store = workspace / "preprocessed" / DATASET / "default" / "cases"
    before, made = snapshot(store), times(store)
    preprocess(workspace=workspace, num_processes=4, clean=True)
    assert snapshot(store) == before
    assert all(when != made[name] for name, when in times(store).items())


def test_what_is_stored(workspace):
    """Channels in the plan's order in [0, 1], zeros for an absent one, and where they came from."""
    store = Store(workspace / "preprocessed" / DATASET / "default" / "cases")
    case = store.describe("p6")
    assert case.present == ("a", "c")
    voxels = store.voxels("p6")
    assert voxels.dtype == np.float16 and voxels.shape == (3, *case.shape)
    assert not voxels[1].any()
    for i in (0, 2):
        assert (voxels[i].min(), voxels[i].max()) == (0, 1)
    assert set(case.ranges) == {"a", "c"}
    assert case.placement.source.spacing_mm == pytest.approx((4.0, 2.4, 2.1))
    resampled = store.describe("p4").placement
    sides = [b - a for a, b in zip(resampled.start, resampled.stop, strict=True)]
    assert resampled.shape == (sides[0], round(sides[1] * 2.0 / 2.4), sides[2])


def test_a_broken_file_is_named(workspace):
    """The error of a case says which."""
    path = workspace / "raw" / DATASET / "imagesTr" / "p2_0001.nii.gz"
    path.write_bytes(b"nothing")
    with pytest.raises(LiftnetError) as caught:
        preprocess(workspace=workspace, num_processes=2)
    assert "p2" in str(caught.value)


def paired(plan: Plan, **grid) -> Plan:
    """The plan of one MR source "a" and one CT target "b", with masks."""
    a, b, _ = plan.channels
    rules = (ZScore("foreground", 60.0, 30.0), ClipAndScale(-1000.0, 2000.0, (-1.0, 1.0)))
    channels = tuple(
        replace(c, normalization=n, modality=m)
        for c, n, m in zip((a, b), rules, ("MR", "CT"), strict=True)
    )
    facts = {"mask": "body", "crop_in_plane": False, "foreground": "nonzero", **grid}
    return replace(
        plan, channels=channels, sources=("a",), targets=("b",), grid=replace(plan.grid, **facts)
    )


def pair() -> np.ndarray:
    """An MR that is 0 outside a hollow head, and a CT with values everywhere."""
    voxels = head()
    voxels[0, 3, 4:6, 5:8] = 0
    voxels[1] = np.random.default_rng(5).uniform(-990, 1900, SHAPE)
    return voxels


@pytest.mark.parametrize("slice_axis", SLICE_AXES)
@pytest.mark.parametrize("box", [(4, 3, 5), (9, 20, 6)])
def test_restore_undoes_prepare_in_a_box(plan, slice_axis, box):
    """For all 48 voxel orders: exact inside the box, air outside, the same mask."""
    spacing = tuple(CANONICAL.spacing_mm[2 - world] for world in SLICE_AXES[slice_axis])
    plan = paired(plan, slice_axis=slice_axis, spacing_mm=spacing, box=box)
    volume = Volume(pair(), CANONICAL)
    expected, first, _, expected_mask = prepare(volume, ("a", "b"), plan)[:4]
    limits = tuple(min(b, n) for b, n in zip(box, first.turned_shape, strict=True))
    assert expected.shape == (2, *limits) and expected_mask.shape == limits
    for order in ORDERS:
        stored = turn(volume, order)
        voxels, placement, ranges, mask = prepare(stored, ("a", "b"), plan)[:4]
        np.testing.assert_array_equal(voxels, expected)
        np.testing.assert_array_equal(mask, expected_mask)
        inside = placement.to_source(
            np.pad(
                np.ones(limits, dtype=bool),
                [(a, n - b) for a, b, n in zip(
                    placement.start, placement.stop, placement.turned_shape, strict=True
                )],
            )
        )  # fmt: skip
        assert inside.sum() == np.prod(limits) < inside.size
        for i, (name, outside) in enumerate((("a", 0.0), ("b", -1000.0))):
            back = restore(normalize.invert(voxels[i], *ranges[name]), placement, outside=outside)
            np.testing.assert_allclose(back[inside], stored.voxels[i][inside], atol=2e-3)
            assert (back[~inside] == outside).all()


def test_a_box_lies_about_the_centre_of_the_mask(plan):
    """In mm on a grid of 1 x 1 x 2.5 mm, resampled to exactly the plan's box; pushed in at ends."""
    shape = (20, 50, 40)
    geometry = replace(CANONICAL, shape=shape, spacing_mm=(2.5, 1.0, 1.0))
    mask = np.zeros(shape, dtype=np.float32)
    mask[8:13, 10:31, 14:25] = 1  # centre 10.5, 20.5, 19.5 in voxel edges
    voxels = np.random.default_rng(0).uniform(1, 100, (2, *shape)).astype(np.float32)
    plan = paired(
        plan, slice_axis="axial", spacing_mm=(1.0, 1.0, 1.0), box=(20, 16, 12),
        resample_in_plane=True, resample_through_plane=True,
    )  # fmt: skip
    for order in ORDERS[::5]:
        stored = turn(Volume(voxels, geometry), order)
        given = turn(Volume(mask[None], geometry), order).voxels[0]
        done = prepare(stored, ("a", "b"), plan, given)
        assert done.voxels.shape == (2, 20, 16, 12) and done.mask.shape == (20, 16, 12)
        sizes = [b - a for a, b in zip(done.placement.start, done.placement.stop, strict=True)]
        assert sizes == [8, 16, 12]  # 20 mm of 2.5 mm slices
        for start, size, centre in zip(
            done.placement.start, sizes, (10.5, 20.5, 19.5), strict=True
        ):
            assert abs(start + size / 2 - centre) <= 0.5
        assert done.mask[
            6:17, :, 1:-1
        ].all()  # slices 8 to 12 of 2.5 mm: from 5 to 17.5 mm in the box
        assert not done.mask[:4].any() and not done.mask[-2:].any()
    mask[:] = 0
    mask[0:2, 47:50, 0:3] = 1
    corner = prepare(Volume(voxels, geometry), ("a", "b"), plan, mask)
    assert (corner.placement.start, corner.placement.stop) == ((0, 34, 0), (8, 50, 12))
    near = replace(geometry, spacing_mm=(2.5, 0.985, 1.015))  # is not resampled
    assert prepare(Volume(voxels, near), ("a", "b"), plan, mask).voxels.shape == (2, 20, 16, 12)
    plan = replace(plan, grid=replace(plan.grid, box=(20, 48, 38)))
    assert prepare(Volume(voxels, near), ("a", "b"), plan, mask).voxels.shape == (2, 20, 48, 38)


def test_masks_are_given_or_derived(plan):
    """A given mask is taken as it is; without one it is the body in the source."""
    plan = paired(plan, slice_axis="axial", spacing_mm=CANONICAL.spacing_mm)
    volume = Volume(pair(), CANONICAL)
    derived = prepare(volume, ("a", "b"), plan).mask
    np.testing.assert_array_equal(derived, body(volume.voxels[:1], "nonzero"))
    assert derived[3, 4:6, 5:8].all()  # the hole
    given = (np.random.default_rng(1).random(SHAPE) < 0.4) * 2.0
    for order in ORDERS[::7]:
        stored = turn(Volume(given[None], CANONICAL), order).voxels[0]
        got = prepare(turn(volume, order), ("a", "b"), plan, stored).mask
        np.testing.assert_array_equal(got, given > 0)
    without = replace(plan, grid=replace(plan.grid, mask="none"))
    assert prepare(volume, ("a", "b"), without).mask is None


@pytest.mark.parametrize("rule", ["nonzero", "otsu"])
@pytest.mark.parametrize("changes", [{"crop_in_plane": True}, {"box": (4, 3, 5)}])
def test_a_target_decides_nothing(plan, rule, changes):
    """Crop, z-score, mask and box are the same with another target, and without any."""
    spacing = CANONICAL.spacing_mm
    plan = paired(plan, slice_axis="axial", foreground=rule, spacing_mm=spacing, **changes)
    voxels = pair()
    first = prepare(Volume(voxels, CANONICAL), ("a", "b"), plan)
    other = voxels.copy()
    other[1] = -1000
    other[1, 0, 0, 0] = 3000
    changed = prepare(Volume(other, CANONICAL), ("a", "b"), plan)
    alone = prepare(Volume(voxels[:1], CANONICAL), ("a",), plan)
    for prepared in (changed, alone):
        np.testing.assert_array_equal(prepared.voxels[0], first.voxels[0])
        np.testing.assert_array_equal(prepared.mask, first.mask)
        assert prepared.placement == first.placement
        assert prepared.ranges["a"] == first.ranges["a"]
    subject = body(voxels[:1], "otsu")
    values = np.minimum(voxels[0], bright_end(voxels[0]))[subject].astype(np.float64)
    low, high = first.ranges["a"]
    assert (low, high - low) == pytest.approx((values.mean(), values.std()), rel=1e-5)
    assert not np.array_equal(changed.voxels[1], first.voxels[1])


def generated(plan: Plan, **grid) -> Plan:
    """A plan of two channels that are made from nothing, padded to a box."""
    rule = PercentileScale("foreground", 0.0, 1.0, 0.0, 110.0, (-1.0, 1.0))
    channels = tuple(replace(c, normalization=rule) for c in plan.channels[:2])
    facts = {"mask": "none", "crop_in_plane": False, "foreground": "nonzero", "pad_to_box": True}
    names = tuple(c.name for c in channels)
    return replace(
        plan, channels=channels, sources=(), targets=names,
        grid=replace(plan.grid, **facts, **grid),
    )  # fmt: skip


@pytest.mark.parametrize("slice_axis", SLICE_AXES)
@pytest.mark.parametrize("box", [(4, 3, 5), (9, 20, 6), (16, 24, 32)])
def test_restore_undoes_prepare_in_a_padded_box(plan, slice_axis, box):
    """For all 48 voxel orders: exactly the box, air where the image ends, and back exactly."""
    spacing = tuple(CANONICAL.spacing_mm[2 - world] for world in SLICE_AXES[slice_axis])
    plan = generated(plan, slice_axis=slice_axis, spacing_mm=spacing, box=box)
    volume = Volume(head(), CANONICAL)
    expected, first, _, mask = prepare(volume, ("a", "b"), plan)[:4]
    assert expected.shape == (2, *box) and mask is None
    for order in ORDERS:
        stored = turn(volume, order)
        voxels, placement, ranges, _ = prepare(stored, ("a", "b"), plan)[:4]
        np.testing.assert_array_equal(voxels, expected)
        assert (placement.start, placement.stop) == (first.start, first.stop)
        everything = np.zeros(placement.turned_shape, dtype=bool)
        outside = crop_and_pad_nd(everything, placement.bounds, True)
        assert (voxels[:, outside] == -1).all()
        used = np.zeros(placement.turned_shape, dtype=bool)
        used[placement.box] = True
        used = placement.to_source(used)
        assert used.sum() + outside.sum() == np.prod(box)
        for i, name in enumerate(("a", "b")):
            back = restore(normalize.invert(voxels[i], *ranges[name]), placement, outside=-5.0)
            np.testing.assert_allclose(back[used], stored.voxels[i][used], atol=2e-4)
            assert (back[~used] == -5).all()


def test_a_padded_box_lies_about_the_centre_of_the_foreground(plan):
    """In mm, resampled to exactly the plan's box; no voxel of the image is moved."""
    shape = (20, 50, 40)
    geometry = replace(CANONICAL, shape=shape, spacing_mm=(2.5, 1.0, 1.0))
    voxels = np.zeros((2, *shape), dtype=np.float32)
    z, y, x = np.meshgrid(*(np.arange(n) for n in shape), indexing="ij")
    centre = (8.0, 20.0, 24.0)
    blob = 100 * np.exp(
        -(((z - centre[0]) * 2.5) ** 2 + (y - centre[1]) ** 2 + (x - centre[2]) ** 2) / 60
    )
    voxels[:] = np.where(blob > 2, blob, 0)
    plan = generated(
        plan, slice_axis="axial", spacing_mm=(2.0, 2.0, 2.0), box=(24, 32, 40),
        resample_in_plane=True, resample_through_plane=True,
    )  # fmt: skip
    for order in ORDERS[::5]:
        done = prepare(turn(Volume(voxels, geometry), order), ("a", "b"), plan)
        assert done.voxels.shape == (2, 24, 32, 40)
        assert done.placement.start[0] < 0 and done.placement.stop[2] > 40
        weight = done.voxels[0] + 1
        for axis, side in enumerate((24, 32, 40)):
            others = tuple(a for a in range(3) if a != axis)
            found = (weight.sum(others) * np.arange(side)).sum() / weight.sum()
            assert abs(found - (side - 1) / 2) < 0.7
    smaller = replace(geometry, spacing_mm=(2.02, 1.98, 2.0))
    kept = prepare(Volume(voxels, smaller), ("a", "b"), plan)  # below 2 %: nothing is resampled
    assert kept.voxels.shape == (2, 24, 32, 40)
    low, high = kept.ranges["a"]
    values = restore(normalize.invert(kept.voxels[0], low, high), kept.placement, outside=0.0)
    box = kept.placement.box
    np.testing.assert_allclose(values[box], voxels[0][box], atol=1e-3)
