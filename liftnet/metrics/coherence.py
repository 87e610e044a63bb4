"""Coherence between slices: delta-z error and correlation, SSIM in the three planes."""

import numpy as np
import torch

from liftnet.metrics.similarity import correlation, mae, masked
from liftnet.ops.depth import delta_z
from liftnet.ops.ssim import WINDOW_SIZE, fit_window, ssim

__all__ = ["delta_z_correlation", "delta_z_mae", "plane_ssim"]

PLANES = {"axial": 0, "coronal": 1, "sagittal": 2}  # the axis across each plane of (z, y, x)
SLICES_AT_ONCE = 16  # ours: 16 slices of 240 x 240 and their moments stay near the CPU's cache


def delta_z_mae(
    predicted: np.ndarray, reference: np.ndarray, mask: np.ndarray | None = None, axis: int = 0
) -> float:
    """The mean absolute error of the forward differences along `axis`, in the images' unit.

    A difference counts if both its voxels lie in the mask.

    Source: LiFT App. B.2.

    Raises:
        ValueError: shapes differ, or no difference lies in the mask.
    """
    return mae(*_differences(predicted, reference, mask, axis))


def delta_z_correlation(
    predicted: np.ndarray, reference: np.ndarray, mask: np.ndarray | None = None, axis: int = 0
) -> float:
    """The Pearson correlation of the forward differences along `axis`; 0 if one is constant.

    A difference counts if both its voxels lie in the mask, usually the body.

    Source: LiFT App. B.2.

    Raises:
        ValueError: shapes differ, or no difference lies in the mask.
    """
    return correlation(*masked(*_differences(predicted, reference, mask, axis)))


def plane_ssim(
    predicted: np.ndarray, reference: np.ndarray, *, data_range: float
) -> dict[str, float]:
    """The mean 2D SSIM over the slices of each plane, by the names axial, coronal, sagittal.

    Volumes have the axes (D = z, H = y, W = x). Gaussian window of 11 with sigma 1.5; it shrinks
    in a plane with a shorter side.

    Source: LiFT App. B.3.

    Raises:
        ValueError: shapes differ, or a side is shorter than 3.
    """
    if predicted.shape != reference.shape or predicted.ndim != 3:
        raise ValueError(
            "expected two volumes of one shape (D, H, W), "
            f"got {predicted.shape} and {reference.shape}"
        )
    return {
        plane: _slice_ssim(
            np.moveaxis(predicted, axis, 0), np.moveaxis(reference, axis, 0), data_range
        )
        for plane, axis in PLANES.items()
    }


def _slice_ssim(predicted: np.ndarray, reference: np.ndarray, data_range: float) -> float:
    """The mean SSIM of the slices [k] of two arrays."""
    window_size = fit_window(predicted.shape[1:], WINDOW_SIZE)
    total = 0.0
    for start in range(0, len(predicted), SLICES_AT_ONCE):
        first, second = (
            torch.tensor(np.ascontiguousarray(volume[start : start + SLICES_AT_ONCE, None], "f4"))
            for volume in (predicted, reference)
        )
        with torch.no_grad():
            values = ssim(first, second, data_range=data_range, window_size=window_size)
        total += float(values.sum(dtype=torch.float64))
    return total / len(predicted)


def _differences(
    predicted: np.ndarray, reference: np.ndarray, mask: np.ndarray | None, axis: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """The forward differences of both volumes in float64, and which of them count."""
    for volume in (predicted, reference) if mask is None else (predicted, reference, mask):
        if volume.shape != reference.shape or volume.shape[axis] < 2:
            raise ValueError(
                f"expected volumes of shape {reference.shape} with at least 2 slices along axis "
                f"{axis}, got {volume.shape}"
            )
    first, second = (delta_z(v.astype(np.float64), dim=axis) for v in (predicted, reference))
    if mask is None:
        return first, second, None
    mask = np.moveaxis(mask, axis, 0)
    return first, second, np.moveaxis(mask[1:] & mask[:-1], 0, axis)
