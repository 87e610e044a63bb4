"""The image metrics of the SynthRAD challenges: SSIM (2023) and MS-SSIM (2025) inside a mask."""

import numpy as np
import torch
from acvl_utils.cropping_and_padding.bounding_boxes import bounding_box_to_slice, pad_bbox

from liftnet.ops.mask import bounding_box
from liftnet.ops.ssim import WANG_WEIGHTS, ssim_map

__all__ = ["masked_ms_ssim", "masked_ssim"]

WINDOW_SIZE = 7  # SynthRAD image_metrics.py: scikit-image's default, uniform
MARGIN = WINDOW_SIZE // 2
MS_SSIM_SIDE = 97  # SynthRAD2025 image_metrics.py: shorter sides are continued to this length


def masked_ssim(
    predicted: np.ndarray, reference: np.ndarray, mask: np.ndarray, *, limits: tuple[float, float]
) -> float | None:
    """The mean 3D SSIM over the windows centred in the mask; None if none lies in the volume.

    Both images (D, H, W) in HU are clipped to `limits`, set to the lower one outside the mask, and
    shifted to start at 0.

    Source: SynthRAD2023 image_metrics.py (uniform 7^3 windows, sample covariance).
    """
    first, second = (_inside(image, mask, limits) for image in (predicted, reference))
    values = _similarity(first, second, mask, limits[1] - limits[0])
    return float(values.mean()) if values.size else None


def masked_ms_ssim(
    predicted: np.ndarray, reference: np.ndarray, mask: np.ndarray, *, limits: tuple[float, float]
) -> float | None:
    """The MS-SSIM of five scales inside the mask; None if a scale has no window centred in it.

    Prepared as in `masked_ssim`. At each scale, SSIM at every voxel to the power of the scale's
    weight is averaged over the mask; the result is the product. A scale halves the one before by
    averaging blocks of 2^3 voxels, the mask by leaving out every second one.

    Source: SynthRAD2025 image_metrics.py.
    Differs: from Wang et al. 2003, as the challenge does: luminance enters every scale, powers are
    taken before the mean, and the blocks are (2k - 1, 2k), with 0 before the first voxel.
    """
    first, second = (_continued(_inside(i, mask, limits)) for i in (predicted, reference))
    mask = _continued(mask)
    result = 1.0
    for weight in WANG_WEIGHTS:
        values = _similarity(first, second, mask, limits[1] - limits[0])
        if not values.size:
            return None
        # Both factors of SSIM are clipped there; luminance is positive for images from 0.
        result *= float((np.maximum(values, 0) ** weight).mean())
        first, second, mask = _halve(first), _halve(second), mask[::2, ::2, ::2]
    return result


def _inside(image: np.ndarray, mask: np.ndarray, limits: tuple[float, float]) -> np.ndarray:
    """The image in float64 from 0 to the width of the limits, 0 outside the mask."""
    return np.where(mask, np.clip(image.astype(np.float64), *limits) - limits[0], 0.0)


def _continued(volume: np.ndarray) -> np.ndarray:
    """The volume with sides of at least 97, its outermost voxels repeated at both ends."""
    missing = [max(0, MS_SSIM_SIDE - side) for side in volume.shape]
    return np.pad(volume, [(n // 2, n - n // 2) for n in missing], mode="edge")


def _halve(image: np.ndarray) -> np.ndarray:
    """The means of the voxels 2k - 1 and 2k of every axis, with 0 at -1."""
    for axis in range(image.ndim):
        here = np.moveaxis(image, axis, 0)
        before = np.concatenate([np.zeros_like(here[:1]), here[1:-1:2]])
        image = np.moveaxis((here[::2] + before) / 2, 0, axis)
    return image


def _similarity(
    first: np.ndarray, second: np.ndarray, mask: np.ndarray, data_range: float
) -> np.ndarray:
    """The SSIM of the windows that are centred in the mask and lie in the volume, as a vector."""
    box = bounding_box_to_slice(pad_bbox(bounding_box(mask), MARGIN))
    inner = mask[box][(slice(MARGIN, -MARGIN),) * 3]
    if not inner.any():
        return np.empty(0)
    one, other = (torch.from_numpy(i[box].copy())[None, None] for i in (first, second))
    values = ssim_map(one, other, data_range=data_range, window="uniform", window_size=WINDOW_SIZE)
    return np.asarray(values[0, 0].numpy()[inner])
