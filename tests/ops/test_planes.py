"""Slices in three planes."""

import numpy as np
import pytest
import torch

from liftnet.ops.planes import plane_indices, plane_size, slices_of

ZYX = np.random.default_rng(0).random((2, 4, 5, 6)).astype(np.float32)  # (B, z, y, x)
STORED = {  # the same volumes as arrays of each slice axis
    "axial": ZYX,
    "coronal": ZYX.transpose(0, 2, 1, 3),
    "sagittal": ZYX.transpose(0, 3, 1, 2),
}
EXPECTED = {  # (B, n, h, w) of all slices of each plane
    "axial": ZYX,
    "coronal": np.stack([ZYX[:, :, y] for y in range(5)], axis=1),
    "sagittal": np.stack([ZYX[..., x] for x in range(6)], axis=1),
}


@pytest.mark.parametrize("slice_axis", STORED)
@pytest.mark.parametrize("plane", EXPECTED)
def test_slices_are_those_of_the_patient(plane, slice_axis):
    """Whatever the array's slice axis, a plane gives the same slices, turned the same way."""
    volume = torch.tensor(STORED[slice_axis])[:, None]
    shape = plane_size(volume.shape[2:], plane, slice_axis=slice_axis)
    assert shape == EXPECTED[plane].shape[1:]
    got = slices_of(volume, plane, [3, 0], slice_axis=slice_axis)
    np.testing.assert_array_equal(got.numpy(), EXPECTED[plane][:, [3, 0]])
    same = slices_of(volume, plane, torch.tensor([3, 0]), slice_axis=slice_axis)
    torch.testing.assert_close(same, got)


def test_gradients_reach_the_slices_taken_and_no_others():
    """The derivative of the sum of some slices is one there and zero elsewhere."""
    volume = torch.rand(2, 1, 4, 5, 6, requires_grad=True)
    slices_of(volume, "coronal", [1, 4]).sum().backward()
    expected = torch.zeros(2, 1, 4, 5, 6)
    expected[..., [1, 4], :] = 1
    torch.testing.assert_close(volume.grad, expected)


def test_indices_are_evenly_spaced():
    """Centres of equal parts; relative depths agree between sizes; offsets reach all slices."""
    assert plane_indices(12, 3) == [2, 6, 10]
    assert plane_indices(7, 7) == list(range(7))
    assert plane_indices(5, 1) == [2]
    assert plane_indices(12, 3, offset=0.0) == [0, 4, 8]
    near = [(i + 0.5) / 120 for i in plane_indices(120, 8)]
    np.testing.assert_allclose([(i + 0.5) / 90 for i in plane_indices(90, 8)], near, atol=1 / 90)
    reached = {i for k in range(50) for i in plane_indices(11, 4, offset=k / 50)}
    assert reached == set(range(11))


def test_wrong_calls():
    """Channels, planes, counts and offsets that cannot be are refused."""
    with pytest.raises(ValueError, match=r"expected volumes \(B, 1, D, H, W\), got \(1, 2, 3"):
        slices_of(torch.zeros(1, 2, 3, 4, 5), "axial", [0])
    with pytest.raises(ValueError, match="expected one of axial, coronal, sagittal, got 'oblique'"):
        slices_of(torch.zeros(1, 1, 3, 4, 5), "oblique", [0])
    with pytest.raises(ValueError, match="expected a count from 1 to 3, got 4"):
        plane_indices(3, 4)
    with pytest.raises(ValueError, match="expected an offset in"):
        plane_indices(3, 2, offset=1.0)
