"""What was measured on a raw dataset."""

from dataclasses import dataclass, field
from statistics import median
from typing import Annotated

from liftnet.core.geometry import Triple
from liftnet.core.storage.jsonable import Between
from liftnet.core.storage.ranges import Intensity, Share

__all__ = ["CaseFingerprint", "ChannelStatistics", "Fingerprint", "IntensityRange"]

# What a file may hold at all (ours: wider than any image).
LONGEST = 2**13  # voxels: four times the largest scan of a whole body
Voxels = Annotated[int, Between(1, 2**31)]
Voxel = Annotated[int, Between(0, 2**31)]
Length = Annotated[float, Between(1e-6, 1e6)]  # as in headers of images
Moments = tuple[float, ...]  # spread (mm), skewness and kurtosis along each canonical axis


@dataclass(frozen=True)
class IntensityRange:
    """Intensities of one image inside the foreground, in the file's units.

    Percentiles and extremes are of the whole grid; for the percentiles negatives count as zero,
    save in CT.
    """

    mean: Intensity
    std: Annotated[float, Between(0, 1e38)]
    low: Intensity  # 0.1 percentile
    median: Intensity
    high: Intensity  # 99.9 percentile
    minimum: Intensity
    maximum: Intensity


@dataclass(frozen=True)
class CaseFingerprint:
    """One case, measured on its grid turned to canonical axial order (D, H, W).

    Box, foreground and background are those of the source channels where a dataset tells
    sources from targets, since a target is not there at prediction.

    `pair_shift_mm` says how far a target lies from where its source says it should be, in mm
    along the canonical axes (superior, posterior, left): (0, 3.8, -0.5) is 3.8 mm too far
    posterior and 0.5 mm too far right. A pair that shares too little to tell is left out.
    """

    shape: tuple[Voxels, Voxels, Voxels]
    spacing_mm: tuple[Length, Length, Length]
    stored_axes: str  # where the stored array axes (D, H, W) point, such as "SPL"
    box_start: tuple[Voxel, Voxel, Voxel]
    box_stop: tuple[Voxel, Voxel, Voxel]
    foreground_fraction: Share
    zero_background: bool  # of the MR: around the subject it is zero, but for interpolation
    intensities: dict[str, IntensityRange]
    pair_shift_mm: dict[str, Triple] = field(default_factory=dict)  # "mr-ct" -> shift of ct
    pair_own: dict[str, float] = field(default_factory=dict)  # "t1n-t2w" -> `own_information`
    moments: dict[str, Moments] = field(
        default_factory=dict
    )  # channel -> by which copies are found

    def flaw(self) -> str | None:
        """What is impossible in a file that holds this, or None."""
        boxes = zip(self.box_start, self.box_stop, self.shape, strict=True)
        if not all(start < stop <= size for start, stop, size in boxes):
            return f"the box {self.box_start} to {self.box_stop} is not one in {self.shape}"
        return None if self.foreground_fraction > 0 else "foreground_fraction is 0"


@dataclass(frozen=True)
class ChannelStatistics:
    """One channel over all cases that have it: medians over cases, extremes over all."""

    num_cases: Voxels
    mean: Intensity
    std: Annotated[float, Between(0, 1e38)]
    low: Intensity
    median: Intensity
    high: Intensity
    minimum: Intensity
    maximum: Intensity


@dataclass(frozen=True)
class Fingerprint:
    """The measurements that planning starts from."""

    version: int
    dataset: str
    foreground: str  # "nonzero" or "otsu": how the foreground was found
    cases: dict[str, CaseFingerprint]
    channels: dict[str, ChannelStatistics]
    suspicious_pairs: list[str]  # "p2: ct looks shifted against mr by 3.9 mm (...)"
    patients: dict[str, str] = field(default_factory=dict)  # case -> patient, for the folds

    def flaw(self) -> str | None:
        """What is impossible in a file that holds this, or None."""
        if not self.cases:
            return "there is no case"
        for axis in range(3):
            typical = median(case.spacing_mm[axis] for case in self.cases.values())
            for name, case in self.cases.items():
                if case.shape[axis] * case.spacing_mm[axis] / typical > LONGEST:
                    return f"{name} is more than {LONGEST} voxels long in the typical spacing"
        return None
