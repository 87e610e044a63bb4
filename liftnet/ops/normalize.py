"""Intensity normalization of one image to [0, 1], and back to file units."""

import numpy as np

from liftnet.core.plan import ClipAndScale, Normalization, PercentileScale

__all__ = ["apply", "intensity_range", "invert", "typical_range"]


def intensity_range(image: np.ndarray, normalization: Normalization) -> tuple[float, float]:
    """The intensities of this image (D, H, W) that become 0 and 1.

    Source: LiFT Sec. 5.2, cWDM bratsloader.py (percentiles 0.1 and 99.9).
    Differs: negatives count as zero, so that ringing does not lift the background.
    """
    if isinstance(normalization, ClipAndScale):
        return normalization.low, normalization.high
    values = image.reshape(-1)
    if normalization.region == "foreground":
        values = values[values > 0]
    if values.size == 0:
        return 0.0, 1.0
    low, high = (quantile(values, q) for q in (normalization.lower, normalization.upper))
    low = max(low, 0.0) if normalization.lower > 0 else 0.0
    return (low, high) if high > low else (low, low + 1.0)


def quantile(values: np.ndarray, q: float) -> float:
    """The q-quantile of a flat array, linearly interpolated as numpy does, in O(n)."""
    position = q * (values.size - 1)
    below = int(np.floor(position))
    above = min(below + 1, values.size - 1)
    part = np.partition(values, (below, above))
    return float(part[below] + (part[above] - part[below]) * (position - below))


def apply(image: np.ndarray, low: float, high: float) -> np.ndarray:
    """The image with [low, high] mapped to [0, 1] and the rest clipped; float32."""
    scaled = (image.astype(np.float32) - np.float32(low)) * np.float32(1.0 / (high - low))
    return np.clip(scaled, 0.0, 1.0, out=scaled)


def invert(image: np.ndarray, low: float, high: float) -> np.ndarray:
    """The image with [0, 1] mapped back to [low, high]; float32."""
    return image.astype(np.float32) * np.float32(high - low) + np.float32(low)


def typical_range(normalization: Normalization) -> tuple[float, float]:
    """The file units that 0 and 1 mean in an image that was synthesized, not measured."""
    if isinstance(normalization, PercentileScale):
        return normalization.typical_low, normalization.typical_high
    return normalization.low, normalization.high
