"""The orthonormal Haar transform of volumes: eight sub-bands of half the size along each axis.

Source: Haar, Zur Theorie der orthogonalen Funktionensysteme, Mathematische Annalen 1910.
"""

from math import sqrt

import torch
from torch import Tensor

__all__ = ["BANDS", "haar", "inverse_haar"]

BANDS = 8  # low and high along D, H, W: LLL first, HHH last
AXES = (2, 3, 4)


def haar(volume: Tensor) -> Tensor:
    """Sub-bands (B, 8 C, D / 2, H / 2, W / 2) of volumes (B, C, D, H, W), channel by channel.

    Sizes must be even. Energy is kept: white noise stays white noise of the same variance.
    """
    bands = volume[:, :, None]
    for axis in AXES:
        first, second = (
            bands.unflatten(axis + 1, (-1, 2)).select(axis + 2, half) for half in (0, 1)
        )
        bands = torch.stack([first + second, first - second], dim=3).flatten(2, 3)
    return (bands / sqrt(BANDS)).flatten(1, 2)


def inverse_haar(bands: Tensor) -> Tensor:
    """Volumes (B, C, D, H, W) of sub-bands (B, 8 C, D / 2, H / 2, W / 2)."""
    volume = bands.unflatten(1, (-1, BANDS))
    for axis in reversed(AXES):
        low, high = volume.unflatten(2, (-1, 2)).unbind(3)
        volume = torch.stack([low + high, low - high], dim=axis + 2).flatten(axis + 1, axis + 2)
    return (volume / sqrt(BANDS)).squeeze(2)
