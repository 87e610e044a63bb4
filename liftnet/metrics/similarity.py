"""Similarity of two volumes (D, H, W): MAE, ME, RMSE, PSNR, NCC, SSIM in 3D and in the planes.

Errors are summed in float64. A mask (D, H, W) of bool restricts a metric to its voxels; it must
come from the sources or the reference, never from the prediction.
"""

import math
from functools import wraps

import numpy as np
import torch

from liftnet.metrics import regions
from liftnet.metrics.metric import Metric, Pair, of_voxels
from liftnet.ops.ssim import WINDOW_SIZE, fit_window
from liftnet.ops.ssim import ssim as slice_ssim

__all__ = [
    "METRICS",
    "correlation",
    "mae",
    "masked",
    "me",
    "ncc",
    "plane_ssim",
    "psnr",
    "rmse",
    "ssim",
]

PLANES = {"axial": 0, "coronal": 1, "sagittal": 2}  # the axis across each plane of (z, y, x)
SLICES_AT_ONCE = 16  # ours: 16 slices of 240 x 240 and their moments stay near the CPU's cache


def mae(predicted: np.ndarray, reference: np.ndarray, mask: np.ndarray | None = None) -> float:
    """The mean absolute error, in the unit of the images (HU for CT). Source: LiFT App. B.1."""
    first, second = masked(predicted, reference, mask)
    return float(np.abs(first - second).mean())


def me(predicted: np.ndarray, reference: np.ndarray, mask: np.ndarray | None = None) -> float:
    """The mean error, above 0 where the predicted values are too high, in the unit of the images.

    >>> me(np.full((2, 2, 2), 30.0), np.zeros((2, 2, 2)))
    30.0
    """
    first, second = masked(predicted, reference, mask)
    return float((first - second).mean())


def rmse(predicted: np.ndarray, reference: np.ndarray, mask: np.ndarray | None = None) -> float:
    """The root of the mean squared error, in the unit of the images. Source: LiFT App. B.1."""
    first, second = masked(predicted, reference, mask)
    return math.sqrt(np.square(first - second).mean())


def psnr(
    predicted: np.ndarray,
    reference: np.ndarray,
    *,
    data_range: float,
    mask: np.ndarray | None = None,
) -> float:
    """The peak signal-to-noise ratio 20 log10(data_range / RMSE) in dB; inf for equal images.

    `data_range` is that of the possible values, not of this pair: 1 for MR in [0, 1], the width
    of the clipping window for CT.

    >>> psnr(np.zeros((2, 2, 2)), np.full((2, 2, 2), 0.1), data_range=1.0)
    20.0

    Source: LiFT App. B.1.

    Raises:
        ValueError: `data_range` is not positive.
    """
    if not data_range > 0:
        raise ValueError(f"expected a positive data_range, got {data_range}")
    error = rmse(predicted, reference, mask)
    return math.inf if error == 0 else 20 * math.log10(data_range / error)


def ncc(predicted: np.ndarray, reference: np.ndarray, mask: np.ndarray | None = None) -> float:
    """The Pearson correlation of the voxels, usually over the body mask; see `correlation`.

    Source: LiFT App. B.1.
    """
    return correlation(*masked(predicted, reference, mask))


def ssim(pair: Pair, place: str) -> float | None:
    """The mean structural similarity over 3D windows; in a region, over those centred in it.

    It is None where no window is. The definition is that of Wang et al. and the mean SSIM of
    scikit-image; the border "reflect" gives that of torchmetrics.

    Source: LiFT App. B.1.
    """
    values = pair.similarity
    if (region := pair.inside(place)) is not None:
        margin = pair.window_size // 2 if pair.border == "valid" else 0
        values = values[region[tuple(slice(margin, n - margin) for n in region.shape)]]
    return float(values.mean(dtype=np.float64)) if values.size else None


def plane_ssim(pair: Pair, plane: str) -> float:
    """The mean 2D SSIM over the slices of a plane: axial, coronal or sagittal.

    Gaussian window of 11 with sigma 1.5; it shrinks in a plane with a shorter side.

    Source: LiFT App. B.3.

    Raises:
        ValueError: shapes differ, or a side is shorter than 3.
    """
    predicted, reference = (np.moveaxis(image, PLANES[plane], 0) for image in pair.scaled)
    window_size = fit_window(predicted.shape[1:], WINDOW_SIZE)
    total = 0.0
    for start in range(0, len(predicted), SLICES_AT_ONCE):
        first, second = (
            torch.tensor(np.ascontiguousarray(volume[start : start + SLICES_AT_ONCE, None], "f4"))
            for volume in (predicted, reference)
        )
        values = slice_ssim(first, second, data_range=1.0, window_size=window_size)
        total += float(values.sum(dtype=torch.float64))
    return total / len(predicted)


def correlation(first: np.ndarray, second: np.ndarray) -> float:
    """The Pearson correlation of two float64 vectors; 0 if one of them is constant.

    A constant has no correlation; 0 says that it explains nothing, and keeps the case in the
    average over cases.
    """
    if first.min() == first.max() or second.min() == second.max():
        return 0.0
    first, second = first - first.mean(), second - second.mean()
    return float(first @ second / math.sqrt((first @ first) * (second @ second)))


def masked(
    predicted: np.ndarray, reference: np.ndarray, mask: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """The voxels of both images inside the mask as float64 vectors.

    Raises:
        ValueError: shapes differ, the mask is not of bool, or it is empty.
    """
    _check(predicted, reference, mask)
    if mask is None:
        return predicted.ravel().astype(np.float64), reference.ravel().astype(np.float64)
    return predicted[mask].astype(np.float64), reference[mask].astype(np.float64)


def _check(predicted: np.ndarray, reference: np.ndarray, mask: np.ndarray | None) -> None:
    if predicted.shape != reference.shape or predicted.size == 0:
        raise ValueError(
            f"expected two images of one shape, got {predicted.shape} and {reference.shape}"
        )
    if mask is None:
        return
    if mask.shape != predicted.shape or mask.dtype != np.bool_:
        raise ValueError(
            f"expected a mask of bool with shape {predicted.shape}, got {mask.dtype} {mask.shape}"
        )
    if not mask.any():
        raise ValueError("expected a mask with at least one voxel, got an empty one")


@wraps(psnr)
def _psnr(pair: Pair, place: str) -> float:
    mask = pair.inside(place)
    return psnr(pair.predicted, pair.reference, data_range=pair.width, mask=mask)


METRICS = (
    Metric(
        "mae",
        "MAE",
        "Mean absolute error: the mean size of the error, {in_unit}, {over}",
        better="lower",
        unit="image",
        source="LiFT App. B.1",
        of={"MR": ("", "brain"), "CT": ("", *regions.NAMES)},
        measure=of_voxels(mae),
        rank=4,
    ),
    Metric(
        "me",
        "ME",
        "Mean error: the mean of the error, above 0 where the predicted values are too high, "
        "{in_unit}, {over}",
        better="nearest 0",
        unit="image",
        of={"CT": ("", *regions.NAMES)},
        measure=of_voxels(me),
    ),
    Metric(
        "rmse",
        "RMSE",
        "Root mean squared error: the root of the mean squared error, {in_unit}, {over}",
        better="lower",
        unit="image",
        source="LiFT App. B.1",
        of={"MR": ("",)},
        measure=of_voxels(rmse),
    ),
    Metric(
        "psnr",
        "PSNR",
        "Peak signal-to-noise ratio: 20 log10(range / RMSE) in dB, where the range is {peak}; "
        "{over}, infinite for equal images",
        better="higher",
        unit="dB",
        source="LiFT App. B.1",
        of={"MR": ("", "brain"), "CT": ("", "body")},
        measure=_psnr,
        rank=1,
        digits=2,
    ),
    Metric(
        "ssim",
        "SSIM",
        "Structural similarity: how well local mean, contrast and pattern agree, 1 for equal "
        "images, averaged over small 3D windows {window}{images}",
        better="higher",
        source="LiFT App. B.1",
        of={"MR": ("",), "CT": ("", "body")},
        measure=ssim,
        rank=2,
    ),
    Metric(
        "ssim",
        "SSIM",
        "Structural similarity in {place} slices: the mean 2D SSIM over all {place} slices"
        "{images}, 1 for equal images",
        better="higher",
        source="LiFT App. B.3",
        of={"MR": tuple(PLANES), "CT": tuple(PLANES)},
        measure=plane_ssim,
    ),
    Metric(
        "ms_ssim",
        "MS-SSIM",
        "Multi-scale structural similarity: SSIM in small 3D windows at five resolutions, each "
        "half the one before, combined; 1 for equal images{images}, {over}",
        better="higher",
        source="SynthRAD2025",  # which ranks by it
        of={"CT": ("",)},
        rank=3,
    ),
    Metric(
        "ncc",
        "NCC",
        "Normalized cross-correlation: the Pearson correlation of the voxels, 1 where they rise "
        "and fall together whatever their scale and offset, {over}",
        better="higher",
        source="LiFT App. B.1, of the body",
        of={"CT": ("", "body")},
        measure=of_voxels(ncc),
    ),
)
