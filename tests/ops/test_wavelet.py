"""The Haar transform: against another implementation, back again, and what it does to noise."""

import numpy as np
import pytest
import torch

from liftnet.ops.wavelet import haar, inverse_haar


def test_as_another_implementation_has_it():
    """The sub-bands of PyTorch Wavelet Toolbox, with its names for them."""
    ptwt = pytest.importorskip("ptwt")
    volume = torch.randn(2, 8, 6, 10, generator=torch.Generator().manual_seed(0))
    low, details = ptwt.wavedec3(volume, "haar", level=1, mode="zero")
    theirs = [low] + [details[name] for name in ("aad", "ada", "add", "daa", "dad", "dda", "ddd")]
    ours = haar(volume[:, None])
    for number, band in enumerate(theirs):
        torch.testing.assert_close(ours[:, number], band, atol=1e-5, rtol=0)


def test_there_and_back():
    """Two channels come back; energy is kept, so white noise stays white noise."""
    volume = torch.randn(2, 2, 8, 6, 10, generator=torch.Generator().manual_seed(1))
    bands = haar(volume)
    assert bands.shape == (2, 16, 4, 3, 5)
    torch.testing.assert_close(inverse_haar(bands), volume, atol=1e-5, rtol=0)
    torch.testing.assert_close(bands.square().sum(), volume.square().sum())


def test_low_frequencies_come_first():
    """A constant volume has one sub-band, 8^(1/2) times as large."""
    bands = haar(torch.full((1, 1, 2, 4, 2), 3.0))
    np.testing.assert_allclose(bands[0, 0], 3 * 8**0.5, rtol=1e-6)
    assert not bands[:, 1:].any()
