"""How far spatial changes are from the reference: the spatial term of Eq. (9), task C."""

import torch
from torch import Tensor

from liftnet.losses.through_plane import difference_l1

__all__ = ["gradient_l1"]

AXES = (-3, -2, -1)  # D, H, W


def gradient_l1(predicted: Tensor, reference: Tensor, weight: Tensor | None = None) -> Tensor:
    """The mean over axes of the L1 between forward differences, a float32 scalar.

    Args:
        predicted: (B, C, D, H, W); an axis with one voxel has no differences and is left out.
        reference: Of the same shape.
        weight: Not negative, broadcastable to `predicted`. A difference between two voxels has
            the smaller of their weights.

    Source: LiFT Sec. 5.3 ("spatial-gradient L1").

    Raises:
        ValueError: the shapes differ, or are not five-dimensional.
    """
    if predicted.shape != reference.shape or predicted.ndim != 5:
        raise ValueError(
            "expected two volumes of one shape (B, C, D, H, W), "
            f"got {tuple(predicted.shape)} and {tuple(reference.shape)}"
        )
    axes = [axis for axis in AXES if predicted.shape[axis] > 1]
    terms = [difference_l1(predicted, reference, weight, axis=axis) for axis in axes]
    return torch.stack(terms).mean()
