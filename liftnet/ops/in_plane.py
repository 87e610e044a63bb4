"""Slices of any size brought to the size that a network takes, and back."""

from collections.abc import Sequence

import numpy as np
from acvl_utils.cropping_and_padding.bounding_boxes import crop_and_pad_nd
from torch import Tensor

__all__ = ["fit", "pad_in_plane", "pad_to"]


def fit(
    voxels: Tensor,
    size: Sequence[int],
    background: Sequence[float],
    *,
    rng: np.random.Generator | None = None,
) -> list[Tensor]:
    """Each channel of (C, D, H, W), padded with its background or cropped to a size.

    The size is that of the last axes: (H, W) or (D, H, W). About the centre; with `rng` a side that
    is too long is cropped at a random place. What is only cropped is a view.
    """
    box = []
    for have, want in zip(voxels.shape[-len(size) :], size, strict=True):
        free = rng is not None and have > want
        start = int(rng.integers(have - want + 1)) if rng and free else (have - want) // 2
        box.append([start, start + want])
    pairs = zip(voxels, background, strict=True)
    return [crop_and_pad_nd(channel, box, value) for channel, value in pairs]


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
