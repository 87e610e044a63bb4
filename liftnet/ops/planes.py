"""Slices of a volume in the three anatomical planes."""

from collections.abc import Sequence

import torch
from torch import Tensor

from liftnet.core.geometry import SLICE_AXES

__all__ = ["plane_indices", "plane_size", "slices_of"]


def slices_of(
    volume: Tensor, plane: str, indices: Tensor | Sequence[int], *, slice_axis: str = "axial"
) -> Tensor:
    """Slices (B, n, h, w) of volumes (B, 1, D, H, W) in a plane; gradients flow to the volumes.

    Rows and columns are those of the plane whatever the slice axis of the array: (y, x) of axial,
    (z, x) of coronal, (z, y) of sagittal slices.

    Source: LiFT Eq. 4, pi_s(V) for pi in {axial, coronal, sagittal}.

    Raises:
        ValueError: If the volume has more than one channel, or the plane is not one of the three.
    """
    if volume.ndim != 5 or volume.shape[1] != 1:
        raise ValueError(f"expected volumes (B, 1, D, H, W), got {tuple(volume.shape)}")
    turned = volume[:, 0].permute(0, *(1 + axis for axis in _axes(plane, slice_axis)))
    chosen = torch.as_tensor(indices, dtype=torch.long, device=volume.device)
    return turned.index_select(1, chosen)


def plane_size(shape: Sequence[int], plane: str, *, slice_axis: str = "axial") -> tuple[int, ...]:
    """The number of slices of a plane, their rows and columns, for a volume of shape (D, H, W)."""
    return tuple(shape[axis] for axis in _axes(plane, slice_axis))


def plane_indices(size: int, count: int, *, offset: float = 0.5) -> list[int]:
    """`count` slice indices, evenly spaced through `size` slices.

    The i-th lies at the relative depth (i + offset) / count. With the same offset two volumes of
    different sizes give slices at the same relative depths; offsets from [0, 1) in turn reach
    every slice.

    Raises:
        ValueError: If there are fewer slices than asked for, or the offset is outside [0, 1).
    """
    if not 1 <= count <= size:
        raise ValueError(f"expected a count from 1 to {size}, got {count}")
    if not 0 <= offset < 1:
        raise ValueError(f"expected an offset in [0, 1), got {offset}")
    return [min(int((i + offset) * size / count), size - 1) for i in range(count)]


def _axes(plane: str, slice_axis: str) -> tuple[int, ...]:
    """The axes of an array (D, H, W) across the plane, along its rows and along its columns."""
    for name in (plane, slice_axis):
        if name not in SLICE_AXES:
            raise ValueError(f"expected one of {', '.join(SLICE_AXES)}, got {name!r}")
    return tuple(SLICE_AXES[slice_axis].index(world) for world in SLICE_AXES[plane])
