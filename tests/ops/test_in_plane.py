"""Slices brought to a network's size, and back."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from liftnet.ops.in_plane import fit, pad_in_plane, pad_to


@pytest.mark.parametrize(("height", "width"), [(4, 9), (5, 8), (9, 4), (6, 7), (11, 12)])
def test_fit_in_plane_keeps_the_centre(height, width):
    """Slices are padded or cropped about their middle, to half a pixel."""
    voxels = torch.zeros((2, 3, height, width), dtype=torch.float16)
    voxels[..., height // 2, width // 2] = 1
    voxels[1, 2] += 2
    got = torch.stack(fit(voxels, (6, 8), [0, 2]))
    assert (got.shape, got.dtype) == ((2, 3, 6, 8), torch.float16)
    where = np.argwhere(got[0, 0].numpy())
    assert len(where) == 1
    assert np.abs(where[0] - np.array([3, 4])).max() <= 1
    assert got[1, 2].sum() == 2 * 6 * 8 + 1  # padded with the background of its channel
    both = fit(torch.ones((1, 1, height, width)), (6, 8), [0])[0][0].numpy()
    edges = [both.any(1), both.any(0)]
    for edge in edges:  # the margins on both sides differ by one at most
        inside = np.flatnonzero(edge)
        assert abs(inside[0] - (len(edge) - 1 - inside[-1])) <= 1


def test_random_crops_reach_every_place():
    """With a generator, what is too long is cropped anywhere; what fits is not moved."""
    ramp = torch.arange(9.0).expand(1, 2, 5, 9)
    rng = np.random.default_rng(0)
    crops = [fit(ramp, (7, 4), [-1.0], rng=rng)[0].numpy() for _ in range(60)]
    assert {crop[0, 2, 0] for crop in crops} == set(range(6))
    for crop in crops:
        assert (np.diff(crop[0, 2]) == 1).all()
        assert (crop[0, 0] == -1).all() and (crop[0, 1:6, 0] >= 0).all()


def test_padding_is_where_training_has_it():
    """Padded as in training, to the planned size or the next stride; the slices say where it is."""
    volume = torch.arange(2 * 3 * 5 * 9, dtype=torch.float32).reshape(2, 3, 5, 9)
    padded, (rows, columns) = pad_in_plane(volume, (8, 8), 4, torch.tensor([-1.0, -2.0]))
    assert padded.shape == (2, 3, 8, 12)
    assert torch.equal(padded[:, :, rows, columns], volume)
    assert set(padded[1, 0, 0].tolist()) == {-2.0}
    assert torch.equal(padded, torch.stack(fit(volume, (8, 12), [-1.0, -2.0])))


def test_any_size_is_padded_to_the_plan_or_the_next_stride():
    """Never less than the plan's size, a multiple of the stride, centred to half a voxel."""
    for size in range(1, 30):
        padded, (rows, _) = pad_in_plane(
            torch.zeros(1, 1, size, 8), (16, 8), 8, torch.tensor([1.0])
        )
        height = padded.shape[2]
        assert height >= 16 and height % 8 == 0 and (size <= 16 or height - size < 8)
        assert rows.start - (height - rows.stop) in (0, 1)


@given(st.tuples(*[st.integers(1, 6)] * 3), st.tuples(*[st.integers(1, 9)] * 3))
def test_volumes_are_padded_or_cropped_about_their_centre(shape, size):
    """Any sizes, one voxel too: what is kept lies where it lay, about it is the channel's own."""
    volume = torch.arange(2.0 * np.prod(shape)).reshape(2, *shape) + 1
    for one, channel, air in zip(volume, fit(volume, size, [-1, -2]), (-1, -2), strict=True):
        assert channel.shape == size
        assert set(channel.unique().tolist()) - {air} <= set(one.unique().tolist())
        kept = np.argwhere((channel != air).numpy())
        assert len(kept) == np.prod(np.minimum(shape, size))
        middle = kept.mean(axis=0) - (np.array(size) - 1) / 2
        assert (np.abs(middle) <= 0.5).all()
    padded, place = pad_to(volume, size, torch.tensor([-1.0, -2.0]))
    assert padded.shape[1:] == tuple(np.maximum(shape, size))
    assert torch.equal(padded[:, *place], volume)
    assert (padded < 0).sum() == padded.numel() - volume.numel()
    assert (padded[1] != -1).all() and (padded[0] != -2).all()
