"""The terms of slabs, and weights of their voxels."""

import numpy as np
import torch

from liftnet.losses.slabs import slab_loss, voxel_weights
from liftnet.ops.depth import fold_slices
from liftnet.ops.ssim import ms_ssim

SHAPE = (2, 2, 3, 16, 24)
MASK = (torch.rand(2, 1, *SHAPE[2:], generator=torch.Generator().manual_seed(9)) < 0.6).float()
EACH = torch.tensor([[True, True], [False, True]])


def test_voxel_weights():
    """1 inside, less outside, 0 for a target that is not asked for; without masks that alone."""
    weights = voxel_weights(MASK, EACH, 0.25)
    assert weights.shape == SHAPE
    np.testing.assert_allclose(weights[0, 1], np.where(MASK[0, 0] > 0, 1, 0.25))
    assert not weights[1, 0].any() and weights[1, 1].any()
    alone = voxel_weights(MASK[:, :0], EACH, 0.25)
    assert torch.equal(alone[..., 0, 0, 0], EACH.float()) and alone.shape == (2, 2, 1, 1, 1)


def test_slab_loss_weights():
    """Each term is weighted; a weight of zero, or a single slice, leaves its term out."""
    a, b = torch.rand(SHAPE), torch.rand(SHAPE)
    one = slab_loss(a, b, {"l1": 1.0, "ms_ssim": 1.0, "delta_z": 1.0})
    two = slab_loss(a, b, {"l1": 2.0, "ms_ssim": 0.0, "delta_z": 0.5})
    assert set(two) == {"l1", "delta_z"}
    torch.testing.assert_close(two["l1"], 2 * (a - b).abs().mean())
    torch.testing.assert_close(two["delta_z"], 0.5 * (a.diff(dim=2) - b.diff(dim=2)).abs().mean())
    torch.testing.assert_close(two["delta_z"], 0.5 * one["delta_z"])
    single = slab_loss(a[:, :, :1], b[:, :, :1], {"l1": 1.0, "ms_ssim": 0, "delta_z": 1})
    assert single["delta_z"] == 0  # no neighbours; named all the same, as in other processes


def test_weighted_slabs_by_hand():
    """Weighted differences, and the similarity of slabs that agree where weights are below 1."""
    a, b = torch.rand(SHAPE), torch.rand(SHAPE)
    weights = voxel_weights(MASK, EACH, 0.25)
    got = slab_loss(a, b, {"l1": 1.0, "ms_ssim": 1.0, "delta_z": 1.0}, weights)
    torch.testing.assert_close(got["l1"], (weights * (a - b).abs()).sum() / weights.sum())
    both = torch.minimum(weights[:, :, 1:], weights[:, :, :-1])
    error = (a - b).diff(dim=2).abs()
    torch.testing.assert_close(got["delta_z"], (both * error).sum() / both.sum())
    inside = torch.where(weights >= 1, a, b)
    expected = 1 - ms_ssim(fold_slices(inside), fold_slices(b), data_range=1.0).mean()
    torch.testing.assert_close(got["ms_ssim"], expected)
