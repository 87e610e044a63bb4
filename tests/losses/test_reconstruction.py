"""Pixel and similarity losses against numpy."""

import numpy as np
import pytest
import torch

from liftnet.losses.reconstruction import charbonnier, l1, ms_ssim_loss
from liftnet.ops.ssim import ms_ssim

SHAPE = (2, 1, 3, 12, 17)


def volumes(seed=0):
    """Two volumes in [0, 1] and a weight per voxel."""
    rng = np.random.default_rng(seed)
    return [torch.from_numpy(rng.random(SHAPE, dtype=np.float32)) for _ in range(3)]


@pytest.mark.parametrize(
    ("loss", "penalty"),
    [(l1, np.abs), (charbonnier, lambda d: np.sqrt(d**2 + 1e-6))],
    ids=["l1", "charbonnier"],
)
def test_means_are_those_of_numpy(loss, penalty):
    """Plain, weighted, and with a weight that is broadcast over the batch."""
    predicted, reference, weight = volumes()
    error = penalty((predicted - reference).double().numpy())
    assert loss(predicted, reference).item() == pytest.approx(error.mean(), rel=1e-6)
    expected = np.average(error, weights=weight.numpy())
    assert loss(predicted, reference, weight).item() == pytest.approx(expected, rel=1e-6)
    shared = weight[:1]
    expected = np.average(error, weights=np.broadcast_to(shared.numpy(), SHAPE))
    assert loss(predicted, reference, shared).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("loss", [l1, charbonnier])
def test_a_mask_hides_voxels(loss):
    """Voxels of weight 0 change neither value nor gradient; a mask of bool is a weight."""
    predicted, reference, weight = volumes()
    mask = weight > 0.5
    predicted.requires_grad_()
    value = loss(predicted, reference, mask)
    value.backward()
    assert (predicted.grad[~mask] == 0).all()
    assert (predicted.grad[mask] != 0).all()
    assert value.item() == pytest.approx(loss(predicted[mask], reference[mask]).item(), rel=1e-6)


@pytest.mark.parametrize("loss", [l1, charbonnier])
def test_an_empty_mask_costs_nothing(loss):
    """All-zero weights give 0 with a gradient of 0, not NaN."""
    predicted, reference, _ = volumes()
    predicted.requires_grad_()
    value = loss(predicted, reference, torch.zeros(SHAPE))
    value.backward()
    assert value.item() == 0
    assert (predicted.grad == 0).all()


def test_charbonnier_of_equal_images_is_epsilon():
    """The floor is epsilon, and the gradient there is 0."""
    image = torch.rand(SHAPE, generator=torch.Generator().manual_seed(0)).requires_grad_()
    value = charbonnier(image, image.detach(), epsilon=0.02)
    value.backward()
    assert value.item() == pytest.approx(0.02)
    assert (image.grad == 0).all()
    with pytest.raises(ValueError, match="positive epsilon, got 0"):
        charbonnier(image, image, epsilon=0)


def test_ms_ssim_loss_is_the_mean_over_slices():
    """Every slice of every volume is compared alone, in 2D."""
    predicted, reference, _ = volumes()
    alone = [
        1 - ms_ssim(predicted[b, :, d][None], reference[b, :, d][None], data_range=1.0).item()
        for b in range(2)
        for d in range(3)
    ]
    got = ms_ssim_loss(predicted, reference)
    assert got.shape == ()
    assert got.item() == pytest.approx(np.mean(alone), abs=1e-6)
    wide = ms_ssim_loss(predicted * 5, reference * 5, data_range=5.0)
    assert wide.item() == pytest.approx(got.item(), abs=1e-5)


def test_ms_ssim_loss_falls_when_followed():
    """Steps down its gradient bring the prediction nearer, from empty slices too."""
    reference = volumes()[1]
    predicted = (0.1 * volumes(seed=1)[0]).requires_grad_()
    optimizer = torch.optim.Adam([predicted], lr=0.02)
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = ms_ssim_loss(predicted, reference)
        loss.backward()
        assert torch.isfinite(predicted.grad).all()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize("loss", [l1, charbonnier, ms_ssim_loss])
def test_autocast_and_bfloat16_do_not_lower_the_precision(loss):
    """The loss is float32 under autocast, and bfloat16 images are subtracted in float32."""
    predicted, reference, _ = volumes()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = loss(predicted, reference)
    assert got.dtype == torch.float32
    assert torch.equal(got, loss(predicted, reference))
    rounded = predicted.bfloat16()
    assert torch.equal(loss(rounded, reference), loss(rounded.float(), reference))


@pytest.mark.parametrize("loss", [l1, charbonnier])
def test_shapes_must_be_equal(loss):
    """A shape that numpy would broadcast is an error."""
    with pytest.raises(ValueError, match=r"of one shape, got \(2, 3\) and \(1, 3\)"):
        loss(torch.zeros(2, 3), torch.zeros(1, 3))


def test_ms_ssim_loss_needs_volumes():
    """A batch of slices without depth is an error."""
    with pytest.raises(ValueError, match=r"volumes \(B, C, D, H, W\), got \(1, 1, 12, 12\)"):
        ms_ssim_loss(torch.zeros(1, 1, 12, 12), torch.zeros(1, 1, 12, 12))
