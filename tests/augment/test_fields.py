"""Tests of the fields."""

import pytest
import torch

from liftnet.augment.fields import blend


@pytest.mark.parametrize("axis", [2, 3, 4])
def test_blend_is_a_matrix_product_along_one_axis(axis):
    """It agrees with tensordot, for each axis of different length."""
    generator = torch.Generator().manual_seed(0)
    points = torch.rand((2, 3, 4, 5, 6), generator=generator)
    weight = torch.rand((7, points.shape[axis]), generator=generator)
    expected = torch.tensordot(points, weight, dims=([axis], [1])).movedim(-1, axis)
    torch.testing.assert_close(blend(points, weight, axis), expected)
