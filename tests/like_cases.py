"""A fingerprint of three cases that are all alike, for the tests of planning rules."""

from liftnet.core.fingerprint import (
    CaseFingerprint,
    ChannelStatistics,
    Fingerprint,
    IntensityRange,
)
from liftnet.core.geometry import Shape, Triple
from liftnet.pipeline.fingerprint.extract_fingerprint import FINGERPRINT_VERSION


def like_cases(
    shape: Shape,
    spacing: Triple,
    box: tuple[Shape, Shape],
    *,
    names: tuple[str, ...],
    stripped: bool,
    fraction: float,
    low: float,
) -> Fingerprint:
    """The fingerprint; `fraction` is the foreground's, `low` the 0.1 percentile of intensities."""
    values = IntensityRange(400.0, 120.0, low, 380.0, 900.0, 0.0, 1100.0)
    statistics = ChannelStatistics(3, 400.0, 120.0, low, 380.0, 900.0, 0.0, 1100.0)
    case = CaseFingerprint(
        shape, spacing, "SPL", *box, fraction, stripped,
        dict.fromkeys(names, values),
    )  # fmt: skip
    return Fingerprint(
        FINGERPRINT_VERSION,
        "Dataset001_D",
        "nonzero" if stripped else "otsu",
        dict.fromkeys("xyz", case),
        dict.fromkeys(names, statistics),
        [],
    )
