"""The delta-z loss against numpy."""

import numpy as np
import pytest
import torch

from liftnet.losses.through_plane import delta_z_l1

SHAPE = (2, 2, 5, 4, 3)


def volumes():
    """Two volumes and a weight."""
    rng = np.random.default_rng(0)
    return [torch.from_numpy(rng.random(SHAPE, dtype=np.float32)) for _ in range(3)]


def test_value_is_that_of_numpy():
    """The mean absolute difference of numpy's diff along D, axis 2."""
    predicted, reference, _ = volumes()
    expected = np.abs(np.diff(predicted.numpy(), axis=2) - np.diff(reference.numpy(), axis=2))
    assert delta_z_l1(predicted, reference).item() == pytest.approx(expected.mean(), rel=1e-6)


def test_a_constant_offset_costs_nothing_and_a_ramp_its_slope():
    """Only changes along D count, not the level and not changes in the plane."""
    reference = volumes()[0]
    ramp = torch.arange(5.0).view(1, 1, 5, 1, 1)
    in_plane = torch.arange(3.0).view(1, 1, 1, 1, 3)
    assert delta_z_l1(reference + 3 + in_plane, reference).item() == pytest.approx(0, abs=1e-6)
    assert delta_z_l1(reference + 0.25 * ramp, reference).item() == pytest.approx(0.25, rel=1e-6)


def test_a_difference_has_the_smaller_weight_of_its_voxels():
    """Under a mask both voxels must lie inside; a weight may be shared by channels and slices."""
    predicted, reference, weight = volumes()
    error = np.abs(np.diff((predicted - reference).numpy(), axis=2))
    w = weight.numpy()
    smaller = np.minimum(w[:, :, 1:], w[:, :, :-1])
    got = delta_z_l1(predicted, reference, weight)
    assert got.item() == pytest.approx(np.average(error, weights=smaller), rel=1e-5)

    mask = weight[:, :1] > 0.5
    both = np.broadcast_to((mask[:, :, 1:] & mask[:, :, :-1]).numpy(), error.shape)
    got = delta_z_l1(predicted, reference, mask)
    assert got.item() == pytest.approx(error[both].mean(), rel=1e-5)

    shared = weight[:, :, :1]
    spread = np.broadcast_to(shared.numpy(), error.shape)
    got = delta_z_l1(predicted, reference, shared)
    assert got.item() == pytest.approx(np.average(error, weights=spread), rel=1e-5)


def test_gradients_are_the_numerical_ones():
    """Gradients of both volumes agree with finite differences in float64."""
    predicted, reference, _ = (volume.double().requires_grad_() for volume in volumes())
    torch.autograd.gradcheck(delta_z_l1, (predicted, reference))


def test_autocast_and_bfloat16_do_not_lower_the_precision():
    """Differences of neighbours are small: they are taken in float32."""
    predicted, reference, _ = volumes()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = delta_z_l1(predicted, reference)
    assert torch.equal(got, delta_z_l1(predicted, reference))
    rounded = predicted.bfloat16()
    assert torch.equal(delta_z_l1(rounded, reference), delta_z_l1(rounded.float(), reference))


@pytest.mark.parametrize("shape", [(1, 1, 1, 4, 4), (4, 4, 4)])
def test_wrong_shapes_are_named(shape):
    """A single slice has no difference, and a volume has five axes."""
    volume = torch.zeros(shape)
    with pytest.raises(ValueError, match="at least 2 slices, got"):
        delta_z_l1(volume, volume)
