"""Intensity normalization of one image to network units, and back to file units.

Every normalization is linear between limits: it is described by the two intensities that become
0 and 1, and by the network values at which it is clipped.
"""

from collections.abc import Mapping

import numpy as np

from liftnet.core.plan import ClipAndScale, Normalization, PercentileScale, Plan, ZScore
from liftnet.ops.intensities import SMALLEST_RANGE, bright_end, quantile

__all__ = [
    "apply",
    "background",
    "background_value",
    "background_values",
    "intensity_range",
    "invert",
    "limits",
    "measured_background",
    "typical_range",
    "written_range",
]

UNLIMITED = (-np.inf, np.inf)
BRIGHTEST = (
    2.0  # ours: times the bright end; a z-score knows no limit, and a hot voxel is no tissue
)


def intensity_range(
    image: np.ndarray, normalization: Normalization, foreground: np.ndarray | None = None
) -> tuple[float, float]:
    """The intensities of this image (D, H, W) that become 0 and 1.

    `foreground` (D, H, W) is needed for a `ZScore` over it; percentiles over it are by default
    those of what is above 0.

    Source: LiFT Sec. 5.2, cWDM bratsloader.py (percentiles 0.1 and 99.9); Sec. 5.3 (z-score, HU).
    Differs: negatives count as zero in percentiles, so that ringing does not lift the background.
        A z-score over the foreground is that of the image up to its bright end: a few hot voxels
        do not decide.
    """
    if isinstance(normalization, ClipAndScale):
        return _fixed_range(normalization)
    values = image.reshape(-1)
    if isinstance(normalization, ZScore):
        if normalization.region == "foreground":
            assert foreground is not None
            values = np.minimum(image[foreground], np.float32(bright_end(image)))
        if values.size == 0:
            return 0.0, 1.0
        mean, std = float(values.mean(dtype=np.float64)), float(values.std(dtype=np.float64))
        return mean, _above(mean, mean + std)
    if normalization.region == "foreground":
        values = values if foreground is None else values[foreground.reshape(-1)]
        values = values[values > 0]
    if values.size == 0:
        return 0.0, 1.0
    low, high = (quantile(values, q) for q in (normalization.lower, normalization.upper))
    low = max(low, 0.0) if normalization.lower > 0 else 0.0
    return _zero_and_one(low, _above(low, high), normalization.limits)


def apply(
    image: np.ndarray, low: float, high: float, clip: tuple[float, float] = (0.0, 1.0)
) -> np.ndarray:
    """The image with `low` mapped to 0 and `high` to 1, clipped to network values; float32."""
    scaled = (image.astype(np.float32) - np.float32(low)) * np.float32(1.0 / (high - low))
    return scaled if clip == UNLIMITED else np.clip(scaled, *clip, out=scaled)


def invert(image: np.ndarray, low: float, high: float) -> np.ndarray:
    """The image with 0 mapped back to `low` and 1 to `high`; float32."""
    return image.astype(np.float32) * np.float32(high - low) + np.float32(low)


def source_limits(image: np.ndarray, normalization: Normalization) -> tuple[float, float]:
    """The intensities beyond which an image (D, H, W) is clipped before it is normalized."""
    if isinstance(normalization, ZScore):
        return -np.inf, BRIGHTEST * bright_end(image)
    return UNLIMITED  # the network values have limits


def limits(normalization: Normalization) -> tuple[float, float]:
    """The network values between which a normalized image lies."""
    return UNLIMITED if isinstance(normalization, ZScore) else normalization.limits


def typical_range(normalization: Normalization) -> tuple[float, float]:
    """The file units that 0 and 1 mean in an image that was synthesized, not measured."""
    if isinstance(normalization, PercentileScale):
        low, high = normalization.typical_low, normalization.typical_high
        return _zero_and_one(low, high, normalization.limits)
    if isinstance(normalization, ZScore):
        mean = normalization.typical_mean
        return mean, mean + normalization.typical_std
    return _fixed_range(normalization)


def written_range(normalization: Normalization) -> tuple[float, float]:
    """The file units between which a synthesized image lies; of 0 and 1 if it has no limits."""
    low, high = typical_range(normalization)
    ends = limits(normalization)
    if ends == UNLIMITED:
        return low, high
    return low + ends[0] * (high - low), low + ends[1] * (high - low)


def background(normalization: Normalization) -> float:
    """The intensity of air in a synthesized image, in file units."""
    return 0.0 if isinstance(normalization, ZScore) else written_range(normalization)[0]


def measured_background(normalization: Normalization, low: float, high: float) -> float:
    """The intensity of air in a measured image, in file units; `low`, `high` became 0 and 1."""
    if isinstance(normalization, PercentileScale):
        return low + normalization.limits[0] * (high - low)
    return background(normalization)


def background_values(plan: Plan, ranges: Mapping[str, tuple[float, float]]) -> list[float]:
    """The network value of air in every channel of a case; 0 in those that it lacks.

    `ranges` are the intensities that became 0 and 1 in each of its images.
    """
    return [
        background_value(channel.normalization, *ranges[channel.name])
        if channel.name in ranges
        else 0.0
        for channel in plan.channels
    ]


def background_value(normalization: Normalization, low: float, high: float) -> float:
    """The network value of air in an image whose intensities `low`, `high` became 0 and 1."""
    if isinstance(normalization, ZScore):
        return -low / (high - low)
    return limits(normalization)[0]


def _above(low: float, high: float) -> float:
    """`high`; or if float32 cannot divide by what it is above `low`, something that it can."""
    apart = float(np.float32(high)) - float(np.float32(low))
    return high if apart > SMALLEST_RANGE else low + max(1.0, 1e-6 * abs(low))


def _fixed_range(normalization: ClipAndScale) -> tuple[float, float]:
    return _zero_and_one(normalization.low, normalization.high, normalization.limits)


def _zero_and_one(low: float, high: float, limits: tuple[float, float]) -> tuple[float, float]:
    """The intensities that become 0 and 1 where `low` and `high` become `limits`."""
    bottom, top = limits
    slope = (high - low) / (top - bottom)
    return low - bottom * slope, low + (1 - bottom) * slope
