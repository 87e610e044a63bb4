"""What each metric means, in a sentence for a reader who has only the page, and its short name."""

from types import MappingProxyType

from liftnet.core.comparison import better_words
from liftnet.metrics.paired import direction

__all__ = ["UNKNOWN", "cohort_name", "explain", "explain_cohort", "short_name"]

UNKNOWN = "A metric of this name is not described."
NAMES = MappingProxyType(
    {
        "mae": "MAE",
        "me": "ME",
        "rmse": "RMSE",
        "psnr": "PSNR",
        "ssim": "SSIM",
        "ms_ssim": "MS-SSIM",
        "ncc": "NCC",
        "delta_z_mae": "Δz MAE",
        "delta_z_correlation": "Δz correlation",
        "sharpness_in_plane": "sharpness in plane",
        "sharpness_through_plane": "sharpness through plane",
        "high_frequency_power": "high-frequency power",
    }
)
PLANES = ("axial", "coronal", "sagittal")
# Of each place: how a heading names it, and what it is. See regions.py and mr_protocols.py.
PLACES = MappingProxyType(
    {
        "brain": ("in the brain", "the brain, the foreground of the case's reference contrasts"),
        "body": ("in the body", "the reference's body, its largest piece above -500 HU, filled"),
        "soft": ("in soft tissue", "soft tissue, -100 to 200 HU of the reference in the body"),
        "bone": ("in bone", "bone, above 300 HU of the reference in the body"),
        "air": ("in air", "air inside the body, below -500 HU of the reference"),
        "boundary": ("at boundaries", "the body within 2 voxels of the reference's bone or air"),
    }
)
_COPY = "the mean absolute difference, in units of [-1, 1], to the nearest training volume"
# Of each metric of cohorts: how a heading names it, and a sentence. See docs/reference/metrics.md.
COHORTS = MappingProxyType(
    {
        "frechet_distance": (
            "Fréchet distance",
            "Squared Fréchet distance (FID) of two Gaussians fitted to the features of generated "
            "and real volumes, in the features' unit squared; it grows where there are few "
            "volumes; as low as real is good, 0 is best.",
        ),
        "frechet_distance_x1000": (
            "Fréchet distance x 1000",
            "The Fréchet distance times 1000, as papers print that of MedicalNet's features; as "
            "low as real is good.",
        ),
        "kernel_distance": (
            "kernel distance",
            "Squared maximum mean discrepancy of the features with a cubic kernel (KID), which "
            "is not biased by how few volumes there are; as low as real is good, about 0 is "
            "best.",
        ),
        "precision": (
            "precision",
            "Share of generated volumes within the ball of a real one, which reaches to that "
            "one's k-th nearest real neighbour in the features; as real is good, with coverage "
            "only: copies of a few real volumes have it too.",
        ),
        "recall": (
            "recall",
            "Share of real volumes within the ball of a generated one, which reaches to that "
            "one's k-th nearest generated neighbour in the features; as real is good.",
        ),
        "density": (
            "density",
            "In how many balls of real volumes a generated one lies, over k; unlike precision it "
            "counts a single stray real volume little; as real is good.",
        ),
        "coverage": (
            "coverage",
            "Share of real volumes in whose ball a generated one lies; as real is good, and it is "
            "low where kinds of volumes are missing.",
        ),
        "diversity_ratio": (
            "diversity ratio",
            "Mean distance between two generated volumes over that between two real ones; 1 is "
            "good, 0 is a collapse to one volume.",
        ),
        "trace_ratio": (
            "variance ratio",
            "Total variance of generated volumes over that of real ones; 1 is good, 0 is a "
            "collapse to one volume.",
        ),
        "ms_ssim": (
            "MS-SSIM of pairs",
            "Mean multi-scale structural similarity of random pairs of one cohort, a measure of "
            "how alike its volumes are; as real is good, and lower is not better.",
        ),
        "delta_z_distance": (
            "Δz distance",
            "Wasserstein-1 distance between the mean steps from slice to slice of generated and "
            "real volumes at each depth, relative to a real step; as low as real is good, 0 is "
            "best.",
        ),
        "delta_z_ratio": (
            "Δz ratio",
            "Mean step from slice to slice of generated volumes over that of real ones; 1 is "
            "good, below it volumes are too smooth along the slice axis.",
        ),
        "depth_order": (
            "depth order",
            "Correlation of each slice's depth with the depth at which real slices look most like "
            "it; as real is good, 0 is slices in no order.",
        ),
        "nearest_mean": (
            "nearest, mean",
            f"Mean over volumes of {_COPY}; not below real is good.",
        ),
        "nearest_min": (
            "nearest, least",
            f"Of the volume that is closest to training, {_COPY}; not below real is good, near 0 "
            "is a copy.",
        ),
        "copied_fraction": (
            "copied fraction",
            "Share of generated volumes that are nearer to a training volume than the closest "
            "real one is; 0 is good, and it finds near copies only.",
        ),
    }
)
_SHARE = "as a share of the reference's, below 1 too smooth, above it too rough"
_STEPS = "the differences between neighbouring slices along the slice axis"


def explain(metric: str, unit: str = "") -> str:
    """One sentence on a metric: what is computed, in which unit, where, and what is better.

    Ranges, masks and grids differ between protocols; the protocol's own sentence names them.

    Args:
        metric: A name in scores.json, as "mae_bone".
        unit: Of the images that were compared: "HU" for CT, "" for MR in [0, 1].

    Raises:
        ValueError: `unit` is another.

    >>> explain("rmse").rpartition(", over")[0]
    'Root mean squared error: the root of the mean squared error, in units of the range [0, 1]'
    """
    if unit not in ("", "HU"):
        raise ValueError(f'expected the unit of the images, "HU" or "", got "{unit}"')
    name, place = _parts(metric)
    if name not in NAMES:
        return UNKNOWN
    return f"{_definition(name, place, unit)}; {better_words(direction(metric))}."


def explain_cohort(metric: str) -> str:
    """One sentence on a metric of generated volumes as a cohort, with what is good.

    Args:
        metric: A name in cohort_scores.json, as "kernel_distance".

    >>> explain_cohort("dice") == UNKNOWN
    True
    """
    return COHORTS[metric][1] if metric in COHORTS else UNKNOWN


def cohort_name(metric: str) -> str:
    """A metric of cohorts for headings; one that is not known stays as it is.

    >>> cohort_name("delta_z_ratio"), cohort_name("dice")
    ('Δz ratio', 'dice')
    """
    return COHORTS[metric][0] if metric in COHORTS else metric


def short_name(metric: str) -> str:
    """A metric's name for headings; one that is not known stays as it is.

    >>> short_name("ssim_axial"), short_name("delta_z_correlation_body"), short_name("dice")
    ('SSIM (axial)', 'Δz correlation in the body', 'dice')
    """
    name, place = _parts(metric)
    if name not in NAMES:
        return metric
    if place in PLANES:
        return f"{NAMES[name]} ({place})"
    return f"{NAMES[name]} {PLACES[place][0]}" if place else NAMES[name]


def _parts(metric: str) -> tuple[str, str]:
    """The name of a metric and its place, "" if it has none; ("", "") if it is not known."""
    if metric in NAMES:
        return metric, ""
    name, _, place = metric.rpartition("_")
    if (name in NAMES and place in PLACES) or (name == "ssim" and place in PLANES):
        return name, place
    return "", ""


def _definition(name: str, place: str, unit: str) -> str:
    """The metric without what is better."""
    in_unit = "in HU" if unit else "in units of the range [0, 1]"
    over = (
        f"over {PLACES[place][1]}"
        if place in PLACES
        else "over all voxels that the protocol scores"
    )
    window = f"centred in {PLACES[place][1]}" if place in PLACES else "wherever the protocol scores"
    images = " (HU shifted to start at 0)" if unit else ""
    peak = "the width of the protocol's HU window" if unit else "1"
    steps = (
        f", over steps of which both voxels lie in {PLACES[place][1]}" if place in PLACES else ""
    )
    subject = PLACES["body" if unit else "brain"][1]
    if place in PLANES:
        return (
            f"Structural similarity in {place} slices: the mean 2D SSIM over all {place} slices"
            f"{images}, 1 for equal images"
        )
    return {
        "mae": f"Mean absolute error: the mean size of the error, {in_unit}, {over}",
        "me": (
            "Mean error: the mean of the error, above 0 where the predicted values are too high, "
            f"{in_unit}, {over}"
        ),
        "rmse": f"Root mean squared error: the root of the mean squared error, {in_unit}, {over}",
        "psnr": (
            f"Peak signal-to-noise ratio: 20 log10(range / RMSE) in dB, where the range is {peak}; "
            f"{over}, infinite for equal images"
        ),
        "ssim": (
            "Structural similarity: how well local mean, contrast and pattern agree, 1 for equal "
            f"images, averaged over small 3D windows {window}{images}"
        ),
        "ms_ssim": (
            "Multi-scale structural similarity: SSIM in small 3D windows at five resolutions, each "
            f"half the one before, combined; 1 for equal images{images}, {over}"
        ),
        "ncc": (
            "Normalized cross-correlation: the Pearson correlation of the voxels, 1 where they "
            f"rise and fall together whatever their scale and offset, {over}"
        ),
        "delta_z_mae": (
            f"Through-plane error: the mean absolute error of {_STEPS}, {in_unit}{steps}"
        ),
        "delta_z_correlation": (
            f"Through-plane coherence: the Pearson correlation of {_STEPS} with those of the "
            f"reference, 1 if they agree up to scale and 0 if one image has none{steps}"
        ),
        "sharpness_in_plane": (
            "Sharpness within slices: mean squared difference of neighbouring voxels of a slice, "
            f"{_SHARE}, where both voxels lie in {subject}"
        ),
        "sharpness_through_plane": (
            f"Sharpness across slices: mean square of {_STEPS}, {_SHARE}, where both voxels lie "
            f"in {subject}"
        ),
        "high_frequency_power": (
            "Fine detail: power of slices at frequencies above half of what the grid can hold, "
            f"{_SHARE}, in {subject}, whose rim is faded out"
        ),
    }[name]
