"""The losses on windows: weights of voxels, targets that a case lacks."""

import pytest
import torch
from four_channels import four_channels

from liftnet.core.plan import Plan
from liftnet.losses.slabs import voxel_weights
from liftnet.methods.lift.residual import take_windows
from liftnet.methods.lift.residual_losses import residual_loss, slice_loss
from liftnet.ops.ssim import ms_ssim


@pytest.fixture
def plan(pairs) -> Plan:
    """Two MR sources, a CT and an MR target, on slices of 16 x 24."""
    return four_channels(pairs)


def test_take_windows():
    """Windows in the order of their starts."""
    volume = torch.arange(7.0).view(1, 1, 7, 1, 1)
    assert take_windows(volume, [4, 0], 3).flatten().tolist() == [4, 5, 6, 0, 1, 2]


def volumes(seed: int, items: int = 2) -> torch.Tensor:
    """Two targets of some items in network units."""
    rand = torch.rand(items, 2, 3, 16, 24, generator=torch.Generator().manual_seed(seed))
    return torch.stack([2 * rand[:, 0] - 1, rand[:, 1]], 1)


LOSSES = {
    "l1": 1.0, "ms_ssim": 0.2, "charbonnier": 1.0, "residual": 0.1, "gradient": 2.0,
    "outside_mask": 0.1,
}  # fmt: skip
MASK = (torch.rand(2, 1, 3, 16, 24, generator=torch.Generator().manual_seed(9)) < 0.6).float()
EACH = torch.tensor([[True, True], [False, True]])


def test_slice_loss_by_hand(plan):
    """Weighted L1, and 1 - MS-SSIM in [0, 1] of images that agree outside the mask."""
    losses = LOSSES | {"l1": 2.0, "ms_ssim": 0.5}
    a, b = volumes(1), volumes(2)
    weights = voxel_weights(MASK, torch.ones(2, 2, dtype=torch.bool), 0.25)
    got = slice_loss(a, b, weights, plan, losses)
    assert set(got) == {"l1", "ms_ssim"}
    error = (weights * (a - b).abs()).sum() / weights.sum()
    torch.testing.assert_close(got["l1"], 2 * error)
    unit = [torch.stack([(v[:, 0] + 1) / 2, v[:, 1]], 1) for v in (torch.where(MASK > 0, a, b), b)]
    slices = [v.transpose(1, 2).flatten(0, 1) for v in unit]
    expected = 0.5 * (1 - ms_ssim(*slices, data_range=1.0).mean())
    torch.testing.assert_close(got["ms_ssim"], expected)
    alone = slice_loss(a, b, weights, plan, losses | {"ms_ssim": 0.0})
    assert set(alone) == {"l1"}


def test_residual_loss_by_hand():
    """Charbonnier, magnitude of the correction, and gradients, each with its weight."""
    losses = LOSSES | {"charbonnier": 2.0, "residual": 0.5, "gradient": 0.25}
    baseline, correction, target = volumes(1), 0.1 * volumes(2), volumes(3)
    got = residual_loss(baseline, correction, target, torch.ones_like(target), losses)
    error = (baseline + correction - target).double()
    torch.testing.assert_close(got["charbonnier"].double(), 2 * (error**2 + 1e-6).sqrt().mean())
    torch.testing.assert_close(got["residual"], 0.5 * correction.square().mean())
    steps = torch.stack([error.diff(dim=d).abs().mean() for d in (2, 3, 4)]).mean()
    torch.testing.assert_close(got["gradient"].double(), 0.25 * steps)


@pytest.mark.parametrize("stage", ["slices", "residual"])
def test_unsupervised_targets_have_no_gradient(plan, stage):
    """What a case lacks pulls on nothing; nor does what lies outside a mask of weight 0."""
    weights = voxel_weights(MASK, EACH, 0.0)
    predicted = volumes(1).requires_grad_()
    if stage == "slices":
        terms = slice_loss(predicted, volumes(2), weights, plan, LOSSES)
    else:
        terms = residual_loss(volumes(3), predicted, volumes(2), weights, LOSSES)
    sum(terms.values()).backward()
    gradient = predicted.grad
    assert not gradient[1, 0].any() and gradient[1, 1].any() and gradient[0, 0].any()
    outside = (MASK == 0).expand_as(gradient)
    assert not gradient[outside].any()
