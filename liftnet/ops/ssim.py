"""SSIM and MS-SSIM in 2D and 3D, shared by a loss and the metrics: one window pass per axis."""

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional

from liftnet.ops.compute.precision import without_autocast

__all__ = ["WANG_WEIGHTS", "fit_window", "ms_ssim", "ssim", "ssim_map"]

Window = Literal["gaussian", "uniform"]
Border = Literal["valid", "reflect"]

WINDOW_SIZE = 11  # Wang et al. 2004; LiFT App. B.1
SIGMA = 1.5  # Wang et al. 2004; LiFT App. B.1
K1 = 0.01  # Wang et al. 2004
K2 = 0.03  # Wang et al. 2004
WANG_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # Wang et al. 2003: scales 1 to 5
SMALLEST_WINDOW = 3  # ours: a window of one voxel has no variance to compare
POWER_FLOOR = 1e-4  # ours: below it x ** weight is a line, so that its slope stays finite at 0


def ssim_map(
    predicted: Tensor,
    reference: Tensor,
    *,
    data_range: float,
    window: Window = "gaussian",
    window_size: int = WINDOW_SIZE,
    border: Border = "valid",
) -> Tensor:
    """The structural similarity at every window position, per channel.

    2D for (N, C, H, W), 3D for (N, C, D, H, W). Computed in float32, float64 if given that; an
    active autocast is ignored, because bfloat16 changes the value in the second digit.

    Args:
        predicted: (N, C, ...).
        reference: Of the same shape.
        data_range: Largest minus smallest possible value, the same for both images.
        window: Weights within a window, the product of one such window per axis. `gaussian`: sigma
            1.5 and the population's (co)variances, as Wang et al. `uniform`: all alike, and those
            of the sample, multiplied by n / (n - 1), n the voxels of a window; this is
            scikit-image's default.
        window_size: Voxels per axis, odd.
        border: Where windows may lie. `valid`: fully inside, so the map loses window_size - 1
            voxels per axis. `reflect`: everywhere, the image mirrored without repeating its edge;
            the mean of this map is the SSIM of torchmetrics.

    Source: Wang et al. 2004, Eq. (13); LiFT App. B.1.

    Raises:
        ValueError: the shapes differ, a side is shorter than the window, or an option is unknown.
    """
    predicted, reference = _checked(predicted, reference, data_range)
    _check_window(predicted.shape[2:], window_size)
    if border not in ("valid", "reflect"):
        raise ValueError(f"expected border 'valid' or 'reflect', got {border!r}")
    count = window_size ** (predicted.ndim - 2)
    with without_autocast(predicted.device):
        luminance, contrast = _compare(
            predicted,
            reference,
            weights=_window_weights(window, window_size),
            border=border,
            scale=count / (count - 1) if window == "uniform" else 1.0,
            c1=(K1 * data_range) ** 2,
            c2=(K2 * data_range) ** 2,
        )
        return luminance * contrast


def ssim(
    predicted: Tensor,
    reference: Tensor,
    *,
    data_range: float,
    window_size: int = WINDOW_SIZE,
) -> Tensor:
    """The mean structural similarity of every item, (N,), with Gaussian windows; see `ssim_map`.

    Source: Wang et al. 2004, Eq. (14).
    """
    similarity = ssim_map(predicted, reference, data_range=data_range, window_size=window_size)
    return similarity.flatten(1).mean(dim=1)


def ms_ssim(
    predicted: Tensor,
    reference: Tensor,
    *,
    data_range: float,
    window_size: int = WINDOW_SIZE,
) -> Tensor:
    """The multi-scale structural similarity of every item, (N,).

    2D for (N, C, H, W), 3D for (N, C, D, H, W); borders `valid`, precision as in `ssim_map`.
    Contrast at every scale, luminance at the coarsest; each scale halves the one before by
    averaging. Negative contrast counts as 0.

    Source: Wang et al. 2003, Eq. (7).
    Differs: sides too short for all scales use as many as leave the shortest side at least as long
    as the window; their weights are scaled up to the sum of all. Where even one scale does not fit,
    the window shrinks (`fit_window`). With the default window all five scales need sides >= 176.

    Raises:
        ValueError: the shapes differ, or a side is shorter than 3.
    """
    predicted, reference = _checked(predicted, reference, data_range)
    shape = predicted.shape[2:]
    window_size = fit_window(shape, window_size)
    used = WANG_WEIGHTS[: _count_scales(min(shape), window_size)]
    gain = sum(WANG_WEIGHTS) / sum(used)
    kernel = _window_weights("gaussian", window_size)
    c1, c2 = (K1 * data_range) ** 2, (K2 * data_range) ** 2
    halve = functional.avg_pool2d if len(shape) == 2 else functional.avg_pool3d
    with without_autocast(predicted.device):
        result = torch.ones((), dtype=predicted.dtype, device=predicted.device)
        for number, weight in enumerate(used, start=1):
            luminance, contrast = _compare(predicted, reference, weights=kernel, c1=c1, c2=c2)
            term = contrast if number < len(used) else luminance * contrast
            result = result * _safe_power(term.flatten(1).mean(dim=1), weight * gain)
            if number < len(used):
                predicted, reference = halve(predicted, 2), halve(reference, 2)
        return result


def fit_window(shape: Sequence[int], window_size: int = WINDOW_SIZE) -> int:
    """The largest odd window that is at most `window_size` and fits into every side of `shape`.

    >>> fit_window((8, 240, 240), 11)
    7

    Raises:
        ValueError: a side or `window_size` is below 3.
    """
    smallest = min(*shape, window_size)
    if smallest < SMALLEST_WINDOW:
        raise ValueError(
            f"expected sides and a window of at least {SMALLEST_WINDOW}, "
            f"got shape {tuple(shape)} and window {window_size}"
        )
    return smallest - 1 + smallest % 2


class _WindowSum(torch.autograd.Function):
    """Weighted sums over a sliding window along one axis, written as shifted additions.

    Compared with a convolution: 13 times faster on a CPU in 3D, never rounded to TF32 on a GPU
    (which would spoil the variances), and nothing is stored for the backward pass.
    """

    @staticmethod
    def forward(ctx: Any, image: Tensor, weights: tuple[float, ...], axis: int) -> Tensor:
        ctx.shape, ctx.weights, ctx.axis = image.shape, weights, axis
        length = image.shape[axis] - len(weights) + 1
        total = image.narrow(axis, 0, length) * weights[0]
        for offset, weight in enumerate(weights[1:], start=1):
            total.add_(image.narrow(axis, offset, length), alpha=weight)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = gradients
        length, result = gradient.shape[ctx.axis], gradient.new_zeros(ctx.shape)
        for offset, weight in enumerate(ctx.weights):
            result.narrow(ctx.axis, offset, length).add_(gradient, alpha=weight)
        return result, None, None


def _compare(
    predicted: Tensor,
    reference: Tensor,
    *,
    weights: tuple[float, ...],
    c1: float,
    c2: float,
    border: Border = "valid",
    scale: float = 1.0,
) -> tuple[Tensor, Tensor]:
    """The luminance map and the contrast-structure map. Source: Wang et al. 2004, Eqs. (6), (13).

    The moments are filtered one by one: those of a reference without gradient cost no backward
    pass, and memory stays near fifteen images. `scale` multiplies (co)variances.
    """
    mean_p = _local_mean(predicted, weights, border)
    mean_r = _local_mean(reference, weights, border)
    mean_pp, mean_rr, mean_pr = mean_p * mean_p, mean_r * mean_r, mean_p * mean_r
    # Rounding can make a variance slightly negative where the image is flat.
    variance_p = (_local_mean(predicted * predicted, weights, border) - mean_pp).clamp(min=0)
    variance_r = (_local_mean(reference * reference, weights, border) - mean_rr).clamp(min=0)
    covariance = _local_mean(predicted * reference, weights, border) - mean_pr
    luminance = (2 * mean_pr + c1) / (mean_pp + mean_rr + c1)
    contrast = (2 * scale * covariance + c2) / (scale * (variance_p + variance_r) + c2)
    return luminance, contrast


def _local_mean(image: Tensor, weights: tuple[float, ...], border: Border) -> Tensor:
    """The weighted mean of the window around each voxel, filtered axis by axis."""
    for axis in range(2, image.ndim):
        if border != "valid":
            image = _mirror(image, axis, len(weights) // 2)
        image = _WindowSum.apply(image, weights, axis)
    return image


def _mirror(image: Tensor, axis: int, radius: int) -> Tensor:
    """`image` continued by `radius` mirrored voxels at both ends of one axis."""
    start = image.narrow(axis, 1, radius).flip(axis)
    end = image.narrow(axis, image.shape[axis] - 1 - radius, radius).flip(axis)
    return torch.cat((start, image, end), dim=axis)


def _safe_power(base: Tensor, exponent: float) -> Tensor:
    """max(base, 0) ** exponent, with a finite gradient everywhere for exponents below 1."""
    line = base.relu() * POWER_FLOOR ** (exponent - 1)
    return torch.where(base > POWER_FLOOR, base.clamp(min=POWER_FLOOR) ** exponent, line)


def _window_weights(window: Window, size: int) -> tuple[float, ...]:
    """The window's weights along one axis, which sum to 1."""
    if window == "uniform":
        return (1 / size,) * size
    if window != "gaussian":
        raise ValueError(f"expected window 'gaussian' or 'uniform', got {window!r}")
    bell = [math.exp(-((k - size // 2) ** 2) / (2 * SIGMA**2)) for k in range(size)]
    return tuple(value / sum(bell) for value in bell)


def _count_scales(side: int, window_size: int) -> int:
    """How many scales, each half the one before, keep `side` at least as long as the window."""
    most = len(WANG_WEIGHTS)
    return next((n for n in range(1, most) if side // 2**n < window_size), most)


def _checked(predicted: Tensor, reference: Tensor, data_range: float) -> tuple[Tensor, Tensor]:
    """Both images in float32, or as they are if one is in float64."""
    if predicted.shape != reference.shape or predicted.ndim not in (4, 5):
        raise ValueError(
            "expected two tensors of one shape (N, C, H, W) or (N, C, D, H, W), "
            f"got {tuple(predicted.shape)} and {tuple(reference.shape)}"
        )
    if not (data_range > 0 and math.isfinite(data_range)):
        raise ValueError(f"expected a positive, finite data_range, got {data_range}")
    dtype = torch.promote_types(predicted.dtype, reference.dtype)
    dtype = torch.promote_types(dtype, torch.float32)
    return predicted.to(dtype), reference.to(dtype)


def _check_window(shape: Sequence[int], window_size: int) -> None:
    if window_size < SMALLEST_WINDOW or window_size % 2 == 0:
        raise ValueError(
            f"expected an odd window_size of at least {SMALLEST_WINDOW}, got {window_size}"
        )
    if min(shape) < window_size:
        raise ValueError(
            f"expected sides of at least window_size = {window_size}, got {tuple(shape)}; "
            "fit_window(shape, window_size) gives a window that fits"
        )
