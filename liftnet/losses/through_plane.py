"""How far the change from slice to slice is from the reference: the spatial term of Eq. (9)."""

import torch
from torch import Tensor

from liftnet.losses.reconstruction import full_precision, l1
from liftnet.ops.depth import delta_z

__all__ = ["delta_z_l1", "difference_l1"]


def delta_z_l1(predicted: Tensor, reference: Tensor, weight: Tensor | None = None) -> Tensor:
    """The mean absolute difference of the forward differences along D, a float32 scalar.

    Args:
        predicted: (B, C, D, H, W) with neighbouring slices, D >= 2.
        reference: Of the same shape.
        weight: Not negative, broadcastable to `predicted`. A difference between two voxels has
            the smaller of their weights, so that under a mask both must lie inside.

    Source: LiFT Eq. (9), spatial term, task B (Sec. 5.2); App. B.2.

    Raises:
        ValueError: the shapes differ, are not five-dimensional, or hold a single slice.
    """
    if predicted.shape != reference.shape or predicted.ndim != 5 or predicted.shape[2] < 2:
        raise ValueError(
            "expected two volumes of one shape (B, C, D, H, W) with at least 2 slices, "
            f"got {tuple(predicted.shape)} and {tuple(reference.shape)}"
        )
    return difference_l1(predicted, reference, weight, axis=-3)


def difference_l1(
    predicted: Tensor, reference: Tensor, weight: Tensor | None, *, axis: int
) -> Tensor:
    """The mean absolute difference of the forward differences along an axis of at least 2 voxels.

    A difference between two voxels has the smaller of their weights.
    """
    if weight is not None:
        weight = weight.expand_as(predicted)
        count = weight.shape[axis] - 1
        weight = torch.minimum(weight.narrow(axis, 1, count), weight.narrow(axis, 0, count))
    first, second = (delta_z(full_precision(v), dim=axis) for v in (predicted, reference))
    return l1(first, second, weight)
