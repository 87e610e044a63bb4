"""What was measured on a raw dataset."""

from dataclasses import dataclass, field

from liftnet.core.geometry import Shape, Triple

__all__ = ["CaseFingerprint", "ChannelStatistics", "Fingerprint", "IntensityRange"]


@dataclass(frozen=True)
class IntensityRange:
    """Intensities of one image inside the foreground, in the file's units.

    Percentiles and extremes are of the whole grid; for the percentiles negatives count as zero,
    save in CT.
    """

    mean: float
    std: float
    low: float  # 0.1 percentile
    median: float
    high: float  # 99.9 percentile
    minimum: float
    maximum: float


@dataclass(frozen=True)
class CaseFingerprint:
    """One case, measured on its grid turned to canonical axial order (D, H, W).

    Box, foreground and zero fraction are those of the source channels where a dataset tells
    sources from targets, since a target is not there at prediction.

    `pair_shift_mm` says how far a target lies from where its source says it should be, in mm
    along the canonical axes (superior, posterior, left): (0, 3.8, -0.5) is 3.8 mm too far
    posterior and 0.5 mm too far right. A pair that shares too little to tell is left out.
    """

    shape: Shape
    spacing_mm: Triple
    stored_axes: str  # where the stored array axes (D, H, W) point, such as "SPL"
    box_start: Shape
    box_stop: Shape
    foreground_fraction: float
    zero_fraction: float  # voxels that are zero in all channels; negatives count as zero in MR
    intensities: dict[str, IntensityRange]
    pair_quality: dict[str, float]  # "t1n-t2w" -> normalized mutual information, 1 to 2
    pair_shift_mm: dict[str, Triple] = field(default_factory=dict)  # "mr-ct" -> shift of ct


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
    suspicious_pairs: list[str]  # "p2: ct looks shifted against mr by 3.9 mm (...)"
