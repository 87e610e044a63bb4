"""How cohorts of MR or CT volumes are scored: two named conventions of range and grid."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from liftnet.core.errors import DatasetError
from liftnet.core.geometry import Shape, Triple, Volume, axis_order, same_spacing, turn
from liftnet.core.scores import Protocol
from liftnet.ops import normalize
from liftnet.ops.resample import resample

__all__ = ["PROTOCOLS", "CohortProtocol", "OwnGrid", "wdm_volume"]

WDM_QUANTILES = (0.001, 0.999)  # WDM bratsloader.py
WDM_SIDE = 256  # WDM bratsloader.py: voxels of 1 mm ...
WDM_POOL = 2  # ... of which 2 per axis become one


@dataclass(frozen=True)
class OwnGrid:
    """A grid that is not the plan's: of MR, described by features of MedicalNet only.

    Attributes:
        spacing_mm: of its voxels, in canonical axes.
        place: a volume (1, D, H, W) of a file onto it: (D, H, W) in [0, 1].
    """

    spacing_mm: Triple
    place: Callable[[Volume], np.ndarray]


@dataclass(frozen=True)
class CohortProtocol:
    """A convention of comparing generated volumes with real ones: range, grid, features.

    Attributes:
        stated: its name and sentence, as cohort_scores.json holds them.
        own_grid: None: the plan prepares volumes as for training, and its encoder describes them.
    """

    stated: Protocol
    own_grid: OwnGrid | None = None


def wdm_volume(volume: Volume) -> np.ndarray:
    """A volume (1, D, H, W) as WDM sees it: (128, 128, 128) = (z, y, x), float32 in [0, 1].

    Source: WDM bratsloader.py.
    Differs: other spacings than 1 mm are resampled first, where WDM takes its data as they are.
        Voxels of 2 mm are not resampled but padded or cropped to 128^3, since averaging what was
        interpolated would blur them.

    Raises:
        DatasetError: If the image is empty.
    """
    turned = turn(volume, axis_order(volume.geometry, "axial"))
    image = np.maximum(turned.voxels[0], 0)
    flat = image.reshape(-1)
    low, high = (normalize.quantile(flat, q) for q in WDM_QUANTILES)
    if not high > low:
        raise DatasetError(
            f"The image is empty: its 0.1 and 99.9 percentiles are both {low:g}",
            remedy="Check this file, or take it out of the folder.",
        )
    image = normalize.apply(image, low, high)
    spacing = turned.geometry.spacing_mm
    if _is_near(spacing, WDM_POOL):
        return _centred(image, WDM_SIDE // WDM_POOL)
    sizes = [
        n if same_spacing(step, 1) else max(1, round(n * step))
        for n, step in zip(image.shape, spacing, strict=True)
    ]
    shape: Shape = (sizes[0], sizes[1], sizes[2])
    if shape != image.shape:
        image = resample(image[None], shape)[0]
    image = _centred(image, WDM_SIDE)
    half = WDM_SIDE // WDM_POOL
    blocks = image.reshape(half, WDM_POOL, half, WDM_POOL, half, WDM_POOL)
    return np.asarray(blocks.mean(axis=(1, 3, 5), dtype=np.float32))


def _is_near(spacing: Triple, wanted: float) -> bool:
    return all(same_spacing(step, wanted) for step in spacing)


def _centred(image: np.ndarray, side: int) -> np.ndarray:
    """The image in the middle of a cube, cut off or continued by zeros."""
    for axis, size in enumerate(image.shape):
        if size > side:
            start = (size - side) // 2
            image = np.take(image, range(start, start + side), axis=axis)
    margins = [((side - n) // 2, side - n - (side - n) // 2) for n in image.shape]
    return np.pad(image, margins)


PROTOCOLS: Mapping[str, CohortProtocol] = MappingProxyType(
    {
        protocol.stated.name: protocol
        for protocol in (
            CohortProtocol(
                Protocol(
                    "liftnet",
                    "All volumes prepared as for training: the plan's grid and its normalization, "
                    "by each file's own intensities; features of the trained encoder.",
                )
            ),
            CohortProtocol(
                Protocol(
                    "wdm",
                    "Each file with negatives as 0 clipped to the 0.1 and 99.9 percentiles of its "
                    "whole grid and scaled to [0, 1]; 1 mm, zero-padded or cropped about its "
                    "centre to 256^3, blocks of 2^3 averaged to 128^3; features of MedicalNet "
                    "only.",
                ),
                OwnGrid((float(WDM_POOL),) * 3, wdm_volume),
            ),
        )
    }
)
