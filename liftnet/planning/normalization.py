"""How channels get to network units and back, from their statistics."""

from statistics import median

from liftnet.core.errors import DatasetError
from liftnet.core.fingerprint import ChannelStatistics, Fingerprint
from liftnet.core.plan import ClipAndScale, PercentileScale, ZScore

__all__ = ["fixed_range", "percentile_scale", "z_score"]

CLIP_QUANTILE = 0.001  # LiFT Sec. 5.2: the 0.1 and 99.9 percentiles
CT_RANGE = (-1000.0, 2000.0)  # LiFT Sec. 5.3


def fixed_range(name: str, reasons: dict[str, str], *, limits: tuple[float, float]) -> ClipAndScale:
    """CT: the same HU range for every image, scaled to `limits`."""
    reasons[f"channels.{name}.normalization"] = "CT: fixed HU range (LiFT Sec. 5.3)"
    return ClipAndScale(*CT_RANGE, limits=limits)


def z_score(name: str, fingerprint: Fingerprint, reasons: dict[str, str]) -> ZScore:
    """MR: zero mean and unit spread over the body that Otsu's threshold finds."""
    statistics = _statistics(name, fingerprint)
    reasons[f"channels.{name}.normalization"] = (
        "z-score (LiFT Sec. 5.3), over the body (Otsu) instead of the volume, so that it depends "
        "neither on the field of view nor on an edge that interpolation has blurred (ours)"
    )
    return ZScore("foreground", statistics.mean, statistics.std)


def percentile_scale(
    name: str, fingerprint: Fingerprint, reasons: dict[str, str]
) -> PercentileScale:
    """MR: the image's own percentiles become 0 and 1.

    Raises:
        DatasetError: If no case has the channel.
    """
    statistics = _statistics(name, fingerprint)
    if fingerprint.foreground == "nonzero":
        fraction = median(c.foreground_fraction for c in fingerprint.cases.values())
        upper = max(1 - CLIP_QUANTILE / fraction, 0.9)
        reasons[f"channels.{name}.normalization"] = (
            f"the 99.9 percentile of the grid (LiFT, cWDM) is the {100 * upper:.2f} percentile of "
            f"the foreground ({100 * fraction:.0f} % of a typical case): taken there, it does not "
            "depend on the field of view (ours)"
        )
        lower, region = 0.0, "foreground"
    else:
        lower, upper, region = CLIP_QUANTILE, 1 - CLIP_QUANTILE, "grid"
        reasons[f"channels.{name}.normalization"] = "percentiles 0.1 and 99.9 (LiFT, cWDM)"
    return PercentileScale(
        region=region,  # type: ignore[arg-type]
        lower=lower,
        upper=upper,
        typical_low=0.0 if lower == 0 else statistics.low,
        typical_high=statistics.high,
    )


def _statistics(name: str, fingerprint: Fingerprint) -> ChannelStatistics:
    if name not in fingerprint.channels:
        raise DatasetError(
            f"No case has channel {name}",
            where=fingerprint.dataset,
            remedy="Remove it from dataset.json, or add its images and run "
            "liftnet_extract_fingerprint again.",
        )
    return fingerprint.channels[name]
