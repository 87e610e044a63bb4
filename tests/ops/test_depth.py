"""The slice axis."""

import numpy as np
import torch
from scipy import ndimage

from liftnet.ops.depth import (
    delta_z,
    fold_slices,
    fourier_depth,
    relative_depth,
    smooth_depth,
    unfold_slices,
)


def test_delta_z():
    """Differences along D equal numpy's, for arrays and tensors, along any axis."""
    volume = np.random.default_rng(0).random((2, 5, 3, 4))
    np.testing.assert_array_equal(delta_z(volume), np.diff(volume, axis=1))
    np.testing.assert_array_equal(delta_z(volume, 2), np.diff(volume, axis=2))
    torch.testing.assert_close(delta_z(torch.tensor(volume)), torch.tensor(volume).diff(dim=1))


def test_relative_depth_is_the_centre_of_each_slice():
    """Positions are symmetric and lie half a step inside (-1, 1)."""
    torch.testing.assert_close(relative_depth(4), torch.tensor([-0.75, -0.25, 0.25, 0.75]))
    assert relative_depth(1).tolist() == [0.0]


def test_fourier_depth():
    """Sines, then cosines, at octaves of pi."""
    p = torch.tensor([[0.1, -0.3]])
    got = fourier_depth(p, 3)
    assert got.shape == (1, 2, 6)
    for i, frequency in enumerate((np.pi, 2 * np.pi, 4 * np.pi)):
        torch.testing.assert_close(got[..., i], (p * frequency).sin())
        torch.testing.assert_close(got[..., 3 + i], (p * frequency).cos())


def test_fold_and_unfold():
    """Slices of all volumes in order; unfolding takes them back."""
    volume = torch.rand(2, 3, 4, 5, 6)
    slices = fold_slices(volume)
    assert slices.shape == (8, 3, 5, 6)
    torch.testing.assert_close(slices[5], volume[1, :, 1])
    torch.testing.assert_close(unfold_slices(slices, 2), volume)


def test_smooth_depth():
    """The Gaussian of scipy, with weights that sum to one at the ends; 0 does nothing."""
    codes = torch.randn(41, 3, generator=torch.Generator().manual_seed(0))
    for sigma in (0.4, 1.5, 3.0):
        got = smooth_depth(codes, sigma).numpy()
        zeros = {"sigma": sigma, "axis": 0, "mode": "constant", "truncate": 12}
        weighed = ndimage.gaussian_filter1d(codes.numpy().astype("f8"), **zeros)
        total = ndimage.gaussian_filter1d(np.ones((41, 1)), **zeros)
        np.testing.assert_allclose(got, weighed / total, atol=2e-6)
    for sigma in (0.0, 1e-300):
        assert torch.equal(smooth_depth(codes, sigma), codes)
