"""Preprocessed cases on disk."""

import os
import zlib
from dataclasses import replace

import numpy as np
import pytest
import torch

from liftnet.core.errors import DatasetError, PlanError
from liftnet.core.geometry import AxisOrder, Geometry, Placement
from liftnet.core.storage.jsonable import read_json, write_json
from liftnet.data import array_file
from liftnet.data.store import Store, StoredCase, write_case

GRID = Geometry((5, 4, 3), (3.0, 2.0, 1.0), (0.0, 1.0, 2.0), ((0, 0, 1), (0, 1, 0), (1, 0, 0)))
PLACEMENT = Placement(
    GRID, AxisOrder((0, 1, 2), (False, True, False)), (0, 1, 0), (5, 4, 3), (5, 3, 3)
)
CASE = StoredCase(
    "x.1", "key", ("a", "b"), (5, 3, 3), {"a": (0.0, 9.5), "b": (1.0, 2.0)}, PLACEMENT
)
VOXELS = np.random.default_rng(0).random((2, 5, 3, 3))


def test_round_trip(tmp_path):
    """What is written is what is read, as float16; no other file is left."""
    write_case(tmp_path / "s", VOXELS, CASE)
    store = Store(tmp_path / "s")
    assert store.identifiers() == ("x.1",)
    described = store.describe("x.1")
    assert described == replace(CASE, placement=described.placement, checksums=described.checksums)
    assert described.checksums == {
        ".npy": f"{zlib.crc32((store.folder / 'x.1.npy').read_bytes()):08x}"
    }
    assert described.placement.box == PLACEMENT.box
    voxels = store.voxels("x.1")
    assert voxels.dtype == np.float16
    np.testing.assert_array_equal(voxels, VOXELS.astype(np.float16))
    assert sorted(p.name for p in store.folder.iterdir()) == ["x.1.json", "x.1.npy"]


def test_current_means_whole_and_of_this_key(tmp_path):
    """Another key, a missing or a damaged file mean: not current."""
    store = Store(tmp_path)
    assert store.identifiers() == ()
    assert not store.is_current("x.1", "key")
    write_case(tmp_path, VOXELS, CASE)
    assert store.is_current("x.1", "key")
    assert not store.is_current("x.1", "other")
    array = tmp_path / "x.1.npy"
    whole = array.read_bytes()
    for damage in (b"", whole[:40], whole[:-8], b"no array"):
        array.write_bytes(damage)
        assert not store.is_current("x.1", "key")
        with pytest.raises(DatasetError, match="A preprocessed case cannot be read"):
            store.voxels("x.1")
    array.unlink()
    assert not store.is_current("x.1", "key")
    array.write_bytes(whole)
    assert store.is_current("x.1", "key")
    (tmp_path / "x.1.json").write_text("{")
    assert not store.is_current("x.1", "key")
    with pytest.raises(PlanError, match="Not a JSON file"):
        store.describe("x.1")


def test_the_json_comes_last(tmp_path, monkeypatch):
    """A case whose array could not be written is not there, also if it was there before."""
    write_case(tmp_path, VOXELS, CASE)
    monkeypatch.setattr("liftnet.data.store.write_array", lambda *args, **options: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_case(tmp_path, VOXELS, CASE)
    assert Store(tmp_path).identifiers() == ()


MASK = np.random.default_rng(1).random((5, 3, 3)) < 0.5


def test_masks(tmp_path):
    """A mask is bool, and no case of its own."""
    write_case(tmp_path, VOXELS, CASE, mask=MASK)
    store = Store(tmp_path)
    assert store.identifiers() == ("x.1",)
    assert store.mask("x.1").dtype == bool
    np.testing.assert_array_equal(store.mask("x.1"), MASK)
    names = sorted(p.name for p in tmp_path.iterdir())
    assert names == ["x.1.json", "x.1.mask.npy", "x.1.npy"]
    write_case(tmp_path, VOXELS, CASE, mask=MASK.astype(np.float32) * 3)
    np.testing.assert_array_equal(store.mask("x.1"), MASK)


def test_a_case_without_its_mask_is_not_current(tmp_path):
    """Where a mask is wanted, a missing, damaged or misshapen one means: do it again."""
    store = Store(tmp_path)
    write_case(tmp_path, VOXELS, CASE)
    assert store.is_current("x.1", "key")
    assert not store.is_current("x.1", "key", mask=True)
    with pytest.raises(DatasetError, match="A preprocessed case cannot be read"):
        store.mask("x.1")
    write_case(tmp_path, VOXELS, CASE, mask=MASK)
    assert store.is_current("x.1", "key", mask=True)
    (tmp_path / "x.1.mask.npy").write_bytes(b"cut off")
    assert not store.is_current("x.1", "key", mask=True)
    write_case(tmp_path, VOXELS, CASE, mask=MASK[1:])
    assert not store.is_current("x.1", "key", mask=True)


def test_an_old_mask_does_not_outlive_its_case(tmp_path):
    """A case that is stored anew without a mask has none."""
    write_case(tmp_path, VOXELS, CASE, mask=MASK)
    write_case(tmp_path, VOXELS, CASE)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["x.1.json", "x.1.npy"]


def test_nothing_becomes_infinite(tmp_path):
    """What float16 cannot hold is stored as the largest number that it can."""
    hot = VOXELS.astype(np.float32)
    hot[0, 0, 0, 0], hot[0, 0, 0, 1] = 1e6, -1e6
    write_case(tmp_path, hot, CASE)
    stored = Store(tmp_path).voxels("x.1")
    assert np.isfinite(stored).all()
    assert (stored[0, 0, 0, 0], stored[0, 0, 0, 1]) == (65504, -65504)


def test_slabs_are_the_same_from_disk_and_from_memory(tmp_path, monkeypatch):
    """Slices of voxels and masks are read, or taken from what is held; both are equal."""
    mask = np.random.default_rng(1).random((5, 3, 3)) > 0.5
    write_case(tmp_path, VOXELS, CASE, mask=mask)
    write_case(tmp_path, VOXELS + 1, replace(CASE, identifier="y"))
    store = Store(tmp_path)
    assert store.size(["x.1"]) == sum(
        (tmp_path / name).stat().st_size for name in ("x.1.npy", "x.1.mask.npy")
    )
    held = store.hold(["x.1"], torch.device("cpu"))
    assert set(held.held) == {"x.1.npy", "x.1.mask.npy"} and not store.held
    for span in (slice(None), slice(1, 4)):
        slab = store.slab("x.1", span)
        assert (slab.dtype, store.mask_slab("x.1", span).dtype) == (torch.float16, torch.bool)
        np.testing.assert_array_equal(slab, VOXELS.astype(np.float16)[:, span])
        np.testing.assert_array_equal(store.mask_slab("x.1", span), mask[span])
        assert torch.equal(held.slab("x.1", span), slab)
        for some in (store, held):
            assert torch.equal(some.slab("x.1", span, channel=1), slab[1:])
        assert torch.equal(held.mask_slab("x.1", span), store.mask_slab("x.1", span))
    with pytest.raises(DatasetError, match="cannot be read"):
        store.mask_slab("y")
    monkeypatch.setattr(np, "load", None)  # what is held is not read
    assert held.slab("x.1").shape == (2, 5, 3, 3)


def test_a_case_that_is_cut_short(tmp_path):
    """What was read before stays whole; whoever reads it later is told. Nothing is mapped."""
    write_case(tmp_path, VOXELS, CASE, mask=MASK)
    store = Store(tmp_path)
    before = store.slab("x.1"), store.mask_slab("x.1"), store.voxels("x.1")
    for name in ("x.1.npy", "x.1.mask.npy"):
        os.truncate(tmp_path / name, 130)  # in place: a mapping would lose its pages
    np.testing.assert_array_equal(before[0], VOXELS.astype(np.float16))
    np.testing.assert_array_equal(before[1], MASK)
    np.testing.assert_array_equal(before[2], VOXELS.astype(np.float16))
    for read in (store.slab, store.mask_slab, store.voxels):
        with pytest.raises(DatasetError, match="it is damaged, its checksum differs"):
            read("x.1")
    old = read_json(tmp_path / "x.1.json") | {"checksums": {}}  # of an earlier version
    write_json(tmp_path / "x.1.json", old)
    for read, wanted in ((store.slab, 308), (store.mask_slab, 173)):
        with pytest.raises(DatasetError, match=f"it has 130 bytes instead of {wanted}"):
            read("x.1")


def test_a_file_that_is_cut_short_while_it_is_read(tmp_path, monkeypatch):
    """Between the look at its size and the reading."""
    write_case(tmp_path, VOXELS, CASE)
    path, whole = tmp_path / "x.1.npy", array_file._layout

    def cutting(file):
        layout = whole(file)
        os.truncate(path, 200)
        return layout

    monkeypatch.setattr(array_file, "_layout", cutting)
    with pytest.raises(ValueError, match="it was cut short while it was read"):
        array_file.read_rows(path, 1)


def test_a_rewritten_case_is_described_anew(tmp_path):
    """What is remembered of a case's JSON goes when the file changes."""
    write_case(tmp_path, VOXELS, CASE)
    store = Store(tmp_path)
    assert store.describe("x.1").present == ("a", "b")
    write_case(tmp_path, VOXELS, replace(CASE, present=("a",)))
    assert store.describe("x.1").present == ("a",)
