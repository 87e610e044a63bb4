"""Slices in order: each comes once, with its neighbours, and is held no longer than needed."""

import weakref

import pytest
import torch

from liftnet.networks.slice_stream import Waiting, with_neighbours


@pytest.mark.parametrize("reach", [0, 1, 2])
@pytest.mark.parametrize("batch", [1, 2, 3, 9])
@pytest.mark.parametrize("depth", [1, 2, 7])
def test_every_slice_comes_once_with_its_neighbours(reach, batch, depth):
    """The slabs are windows of the volume whose ends are repeated, of at most `batch` slices."""
    volume = torch.rand(depth, 2, 3)
    chunks = iter(volume.split(batch))
    slabs = list(with_neighbours(chunks, reach, depth=depth, largest=batch))
    assert all(1 <= len(slab) - 2 * reach <= batch for slab in slabs)
    assert sum(len(slab) - 2 * reach for slab in slabs) == depth
    near = torch.arange(-reach, depth + reach).clamp(0, depth - 1)
    padded, start = volume[near], 0
    for slab in slabs:
        assert torch.equal(slab, padded[start : start + len(slab)])
        start += len(slab) - 2 * reach


def test_a_chunk_is_let_go():
    """While later stages work on a slab, neither its chunk nor the slab before it is held."""
    alive = []

    def chunks():
        for _ in range(4):
            chunk = torch.rand(3, 2)
            alive.append(weakref.ref(chunk.untyped_storage()))
            yield chunk
            del chunk

    before = None
    for slab in map(torch.Tensor.clone, with_neighbours(chunks(), 1, depth=12, largest=3)):
        assert len(slab) in (3, 4, 5)
        assert before is None or before() is None
        before = weakref.ref(slab)
        del slab
    assert len(alive) == 4


def test_waiting_slices_come_in_order():
    """Across chunks, in any number, and what is left takes no more memory than its slices."""
    line, volume = Waiting(), torch.arange(14.0).reshape(7, 2)
    for chunk in volume.split(3):
        line.put(chunk.clone())
    taken = [line.take(count) for count in (2, 2, 3)]
    assert torch.equal(torch.cat(taken), volume)
    line.put(volume.clone())
    line.take(5)
    rest = line.take(1)
    assert rest.untyped_storage().nbytes() == 2 * 2 * 4  # the two slices that were left
