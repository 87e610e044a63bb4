"""Slices of any size brought to the size that a network takes, and back."""

from collections.abc import Sequence

import numpy as np
from torch import Tensor

__all__ = ["fit_in_plane", "pad_in_plane", "pad_to"]


def fit_in_plane(
    voxels: Tensor,
    size: tuple[int, int],
    background: Sequence[float],
    *,
    rng: np.random.Generator | None = None,
) -> Tensor:
    """Slices (C, D, H, W) padded with each channel's background, or cropped, to a size.

    About the centre; with `rng` a side that is too long is cropped at a random place. What has the
    size already is returned as it is.
    """
    starts = []
    for have, want in zip(voxels.shape[2:], size, strict=True):
        free = have > want and rng is not None
        starts.append(int(rng.integers(have - want + 1)) if free and rng else (have - want) // 2)
    if tuple(voxels.shape[2:]) == tuple(size):
        return voxels
    source, target = [], []
    for start, have, want in zip(starts, voxels.shape[2:], size, strict=True):
        first, last = max(start, 0), min(start + want, have)
        source.append(slice(first, last))
        target.append(slice(first - start, last - start))
    fitted = voxels.new_empty((*voxels.shape[:2], *size))
    for channel, value in zip(fitted, background, strict=True):
        channel.fill_(value)
    fitted[:, :, target[0], target[1]] = voxels[:, :, source[0], source[1]]
    return fitted


def pad_in_plane(
    volume: Tensor, size: tuple[int, int], stride: int, background: Tensor
) -> tuple[Tensor, tuple[slice, slice]]:
    """A volume (C, D, H, W) padded to a size, or up to a multiple of the stride, and where it lies.

    With each channel's background (C,), on the volume's device.

    The network sees the mean of whole slices, so the share of background must be as in training.
    """
    sides = []
    for have, want in zip(volume.shape[2:], size, strict=True):
        total = max(want, -(-have // stride) * stride)
        before = (total - have + 1) // 2
        sides.append((total, slice(before, before + have)))
    (height, rows), (width, columns) = sides
    shape = (*volume.shape[:2], height, width)
    padded = background.to(volume.dtype)[:, None, None, None].expand(shape).clone()
    padded[:, :, rows, columns] = volume
    return padded, (rows, columns)


def pad_to(
    volume: Tensor, size: tuple[int, int, int], background: Tensor
) -> tuple[Tensor, tuple[slice, slice, slice]]:
    """A volume (C, D, H, W) padded to at least a size, and where it lies in that.

    With each channel's background (C,), on the volume's device.
    """
    sides = [max(have, want) for have, want in zip(volume.shape[1:], size, strict=True)]
    starts = [(side - have) // 2 for side, have in zip(sides, volume.shape[1:], strict=True)]
    d, h, w = (slice(a, a + n) for a, n in zip(starts, volume.shape[1:], strict=True))
    padded = background.to(volume.dtype)[:, None, None, None].expand(-1, *sides).clone()
    padded[:, d, h, w] = volume
    return padded, (d, h, w)
