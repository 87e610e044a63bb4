"""The slice axis: differences along it, depth encodings, slabs as batches of slices."""

import math
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

__all__ = [
    "delta_z",
    "draw_starts",
    "fold_slices",
    "fourier_depth",
    "relative_depth",
    "smooth_depth",
    "unfold_slices",
]

Array = TypeVar("Array", Tensor, np.ndarray)


def delta_z(volume: Array, dim: int = -3) -> Array:
    """The forward difference between neighbouring slices, one slice shorter along `dim`.

    Source: LiFT App. B.2.
    """
    ahead = [slice(None)] * volume.ndim
    behind = [slice(None)] * volume.ndim
    ahead[dim] = slice(1, None)
    behind[dim] = slice(None, -1)
    return volume[tuple(ahead)] - volume[tuple(behind)]


def draw_starts(rng: np.random.Generator, depth: int, count: int, number: int) -> tuple[int, ...]:
    """Where `number` random slabs of `count` of `depth` slices start.

    A slab may begin half its length beyond either end and is pushed back. So the outermost slices
    are seen half as often as those in the middle; without that, once where those are `count` times.

    >>> draw_starts(np.random.default_rng(0), 10, 10, 3)
    (0, 0, 0)
    """
    drawn = rng.integers(-(count // 2), depth - count // 2, size=number)
    return tuple(int(start) for start in np.clip(drawn, 0, depth - count))


def relative_depth(num_slices: int, *, device: torch.device | None = None) -> Tensor:
    """The position of each slice's centre in the volume, in (-1, 1); shape (D,)."""
    return (torch.arange(num_slices, device=device) + 0.5) * (2 / num_slices) - 1


def fourier_depth(positions: Tensor, num_frequencies: int) -> Tensor:
    """Sines and cosines of positions (...,) at frequencies pi, 2 pi, 4 pi, ...: (..., 2 F).

    Source: LiFT Eq. 2 and 7, gamma(d).
    """
    powers = torch.arange(num_frequencies, device=positions.device, dtype=positions.dtype)
    angles = positions[..., None] * (math.pi * 2.0**powers)
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


def smooth_depth(codes: Tensor, sigma: float) -> Tensor:
    """Codes (D, c) of slices, each the Gaussian mean of its neighbours', `sigma` in slices.

    The weights of a slice sum to one, also at the ends; 0 leaves the codes as they are.
    """
    if sigma == 0:
        return codes
    places = torch.arange(len(codes), dtype=torch.float64)
    logits = -0.5 * ((places[:, None] - places) / sigma).square()
    return logits.softmax(dim=1).to(codes) @ codes


def fold_slices(volume: Tensor) -> Tensor:
    """A slab (B, C, D, H, W) as a batch of slices (B D, C, H, W)."""
    return volume.transpose(1, 2).flatten(0, 1)


def unfold_slices(slices: Tensor, num_volumes: int) -> Tensor:
    """A batch of slices (B D, C, H, W) as a slab (B, C, D, H, W)."""
    return slices.unflatten(0, (num_volumes, -1)).transpose(1, 2)
