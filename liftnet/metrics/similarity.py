"""Voxel-wise similarity of two volumes (D, H, W): MAE, ME, RMSE, PSNR, NCC, 3D SSIM.

Errors are summed in float64. A mask (D, H, W) of bool restricts a metric to its voxels; it must
come from the sources or the reference, never from the prediction.
"""

import math

import numpy as np
import torch

from liftnet.ops.ssim import SIGMA, WINDOW_SIZE, Border, Covariance, Window, ssim_map

__all__ = ["correlation", "mae", "masked", "me", "ncc", "psnr", "rmse", "ssim_3d"]


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


def ssim_3d(
    predicted: np.ndarray,
    reference: np.ndarray,
    *,
    data_range: float,
    mask: np.ndarray | None = None,
    window: Window = "gaussian",
    window_size: int = WINDOW_SIZE,
    sigma: float = SIGMA,
    border: Border = "valid",
    covariance: Covariance = "population",
) -> float:
    """The mean structural similarity over 3D windows; with a mask, over windows centred in it.

    The options are those of `liftnet.ops.ssim.ssim_map`: the defaults are the definition of Wang
    et al. and the mean SSIM of scikit-image, `border="reflect"` gives that of torchmetrics.

    Source: LiFT App. B.1.

    Raises:
        ValueError: a side is shorter than the window (`liftnet.ops.ssim.fit_window` finds one that
            fits), or no window lies in the mask.
    """
    _check(predicted, reference, mask)
    with torch.no_grad():
        similarity = ssim_map(
            _image(predicted),
            _image(reference),
            data_range=data_range,
            window=window,
            window_size=window_size,
            sigma=sigma,
            border=border,
            covariance=covariance,
        )
    values = similarity[0, 0].numpy()
    if mask is not None:
        margin = window_size // 2 if border == "valid" else 0
        values = values[tuple(mask[tuple(slice(margin, n - margin) for n in mask.shape)].nonzero())]
    if values.size == 0:
        raise ValueError("expected a mask with voxels a window can be centred on, got none")
    return float(values.mean(dtype=np.float64))


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


def _image(volume: np.ndarray) -> torch.Tensor:
    """A volume (D, H, W) as a tensor (1, 1, D, H, W), copied."""
    return torch.tensor(np.ascontiguousarray(volume, dtype=np.float32))[None, None]


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
