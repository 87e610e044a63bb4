"""What was measured on a raw dataset."""

from dataclasses import dataclass

from liftnet.core.geometry import Shape, Triple

__all__ = ["CaseFingerprint", "ChannelStatistics", "Fingerprint", "IntensityRange"]


@dataclass(frozen=True)
class IntensityRange:
    """Intensities of one image inside the foreground, in the file's units."""

    mean: float
    std: float
    low: float  # 0.1 percentile
    median: float
    high: float  # 99.9 percentile
    minimum: float
    maximum: float


@dataclass(frozen=True)
class CaseFingerprint:
    """One case, measured on its grid turned to canonical axial order (D, H, W)."""

    shape: Shape
    spacing_mm: Triple
    stored_axes: str  # where the stored array axes (D, H, W) point, such as "SPL"
    box_start: Shape
    box_stop: Shape
    foreground_fraction: float
    zero_fraction: float  # voxels that are exactly zero (negatives counted as zero) in all channels
    intensities: dict[str, IntensityRange]
    pair_quality: dict[str, float]  # "t1n-t2w" -> normalized mutual information, 1 to 2


@dataclass(frozen=True)
class ChannelStatistics:
    """One channel over all cases that have it: medians over cases, extremes over all."""

    num_cases: int
    mean: float
    std: float
    low: float
    median: float
    high: float
    minimum: float
    maximum: float


@dataclass(frozen=True)
class Fingerprint:
    """The measurements that planning starts from."""

    version: int
    dataset: str
    foreground: str  # "nonzero" or "otsu": how the foreground was found
    cases: dict[str, CaseFingerprint]
    channels: dict[str, ChannelStatistics]
    suspicious_pairs: list[str]  # "case: t1n-t2w 1.02, others 1.21": likely misregistered
