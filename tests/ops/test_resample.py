"""Resampling between grids that cover the same box."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from skimage.transform import resize

from liftnet.ops.resample import resample

VOXELS = np.random.default_rng(0).random((2, 6, 9, 14), dtype=np.float32)


def test_same_size_is_the_identity():
    """Nothing is interpolated where nothing changes."""
    np.testing.assert_array_equal(resample(VOXELS, (6, 9, 14)), VOXELS)


@pytest.mark.parametrize("shape", [(6, 12, 17), (11, 9, 14), (3, 5, 7), (8, 6, 20), (1, 1, 1)])
def test_constants_and_shapes(shape):
    """A constant stays one, in float32 and in the wanted shape."""
    got = resample(np.full((1, 6, 9, 14), 0.3), shape)
    assert (got.shape, got.dtype) == ((1, *shape), np.float32)
    np.testing.assert_allclose(got, 0.3, rtol=1e-5)


@pytest.mark.parametrize("shape", [(9, 17, 21), (12, 18, 28), (3, 3, 7)])
def test_linear_ramps_are_kept(shape):
    """Away from the edges a ramp along each axis has the values at the new voxel centres."""
    centres = [(np.arange(n) + 0.5) / n for n in (6, 9, 14)]
    wanted = [(np.arange(n) + 0.5) / n for n in shape]
    for axis in range(3):
        sides = [1, 1, 1]
        sides[axis] = -1
        ramp = np.broadcast_to(centres[axis].reshape(sides), (6, 9, 14))[None]
        got = np.moveaxis(resample(ramp, shape)[0], axis, 0).mean(axis=(1, 2))
        inner = (wanted[axis] > 0.2) & (wanted[axis] < 0.8)
        np.testing.assert_allclose(got[inner], wanted[axis][inner], atol=2e-3)


def test_finer_grids_equal_skimage():
    """Upsampling is linear interpolation between voxel centres, edges repeated."""
    got = resample(VOXELS, (10, 13, 21))
    for channel, expected in zip(got, VOXELS, strict=True):
        reference = resize(expected, (10, 13, 21), order=1, mode="edge", anti_aliasing=False)
        np.testing.assert_allclose(channel, reference, atol=1e-5)


def test_coarser_slices_equal_torch():
    """In-plane, downsampling averages the footprint of a voxel; slices do not mix."""
    expected = F.interpolate(torch.from_numpy(VOXELS), (9, 5), mode="bilinear", antialias=True)
    np.testing.assert_allclose(resample(VOXELS, (6, 9, 5)), expected, atol=1e-6)


def test_coarser_through_plane_averages():
    """Halving the slices weighs neighbours with a triangle of four, and pixels do not mix."""
    got = resample(VOXELS, (3, 9, 14))
    weights = np.array([1, 3, 3, 1]) / 8
    middle = np.tensordot(VOXELS[:, 1:5], weights, axes=(1, 0))
    np.testing.assert_allclose(got[:, 1], middle, atol=1e-5)
