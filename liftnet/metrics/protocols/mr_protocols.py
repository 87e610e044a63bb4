"""How synthesized MR contrasts are scored: four named conventions of range, grid and mask."""

from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import numpy as np

from liftnet.core.errors import DatasetError, GeometryError
from liftnet.core.geometry import SLICE_AXES
from liftnet.core.scores import CaseScore, Compared, Comparison, Protocol
from liftnet.metrics.coherence import delta_z_correlation, delta_z_mae, plane_ssim
from liftnet.metrics.protocols.units import refuse_wrong_intensities
from liftnet.metrics.sharpness import left_out, measure_sharpness
from liftnet.metrics.similarity import mae, psnr, rmse, ssim_3d
from liftnet.ops import normalize
from liftnet.ops.intensities import SMALLEST_RANGE
from liftnet.ops.ssim import SMALLEST_WINDOW, WINDOW_SIZE, Border, fit_window

__all__ = ["PROTOCOLS", "RECIPES", "Recipe", "as_compared", "score_case"]

PAPER_QUANTILES = (0.001, 0.999)  # LiFT Sec. 5.2, cWDM bratsloader.py
BRASYN_QUANTILES = (0.005, 0.995)  # BraSyn challenge, ssim.py
CWDM_SIDE = 240  # cWDM bratsloader.py: in-plane voxels of a BraTS volume ...
CWDM_MARGIN = 8  # ... of which it cuts off 8 per side
RANGE_TOLERANCE = 1e-3  # ours: rounding and interpolation of an image in [0, 1]


@dataclass(frozen=True)
class Recipe:
    """What a protocol does.

    Attributes:
        quantiles: Of the whole grid with negatives as 0; these intensities become 0 and 1.
        predicted_range: "written" maps the intensities that its JSON file names to 0 and 1,
            "own" takes the predicted image's own quantiles.
        zeros: Whose zeros become zeros of the predicted image.
        crop: Whether 8 of 240 voxels are cut off at each side of an axial slice.
        border: Of the 3D SSIM.
    """

    quantiles: tuple[float, float] = PAPER_QUANTILES
    predicted_range: Literal["written", "own"] = "written"
    zeros: Literal["none", "reference", "source"] = "none"
    crop: bool = False
    border: Border = "valid"


RECIPES = MappingProxyType(
    {
        "liftnet": Recipe(),
        "lift": Recipe(zeros="reference"),
        "cwdm": Recipe(zeros="source", crop=True),
        "brasyn": Recipe(BRASYN_QUANTILES, predicted_range="own", border="reflect"),
    }
)
_RANGE = (
    "[0, 1] between the reference's 0.1 and 99.9 percentiles over the whole grid (negatives as 0)"
)
PROTOCOLS = MappingProxyType(
    {
        protocol.name: protocol
        for protocol in (
            Protocol(
                "liftnet",
                f"{_RANGE}, whole native grid. The predicted image is not masked: what it shows "
                "outside the reference's subject counts as error.",
            ),
            Protocol(
                "lift",
                f"{_RANGE}, whole native grid, the predicted image set to 0 where the reference "
                "is 0: uses the target's zeros, as the paper does; +0.4 dB on a real case.",
            ),
            Protocol(
                "cwdm",
                f"{_RANGE}, axial slices cropped from 240x240 to 224x224 (-0.6 dB), the predicted "
                "image set to 0 where the first source is 0.",
                needs_source=True,
            ),
            Protocol(
                "brasyn",
                "Each image clipped to its own 0.5 and 99.5 percentiles (negatives as 0) and "
                "scaled to [0, 1], so that an error of overall brightness does not count; whole "
                "grid; 3D SSIM with mirrored borders (torchmetrics).",
            ),
        )
    }
)


def as_compared(comparison: Comparison, protocol: str) -> Compared:
    """Both images in [0, 1], as the protocol compares them, not yet cropped.

    Source: LiFT App. B.1.

    Raises:
        DatasetError: If the reference is empty or is CT, or values below 0 are signal.
    """
    recipe = RECIPES[protocol]
    if comparison.modality == "CT":
        raise DatasetError(
            f"Channel {comparison.channel} is CT, protocol {protocol} is for MR",
            remedy="Score CT with the task translation, in HU.",
        )
    strange = refuse_wrong_intensities(comparison, ct=False)
    reference = normalize.apply(
        comparison.reference, *_reference_range(comparison.reference, recipe.quantiles)
    )
    predicted, note = _to_range(comparison, recipe)
    notes = {"predicted_range": note, "brain": comparison.subject_note, **strange}
    if recipe.zeros == "reference":
        predicted = np.where(comparison.reference > 0, predicted, np.float32(0))
        notes["mask"] = "zeros of the reference"
    if recipe.zeros == "source":
        assert comparison.source is not None  # Protocol.needs_source
        predicted = np.where(comparison.source > 0, predicted, np.float32(0))
        notes["mask"] = f"zeros of {comparison.source_name}"
    return Compared(predicted, reference, "", notes)


def score_case(comparison: Comparison, protocol: str) -> CaseScore:
    """The metrics of one contrast under a protocol; all errors in units of the [0, 1] range.

    Source: LiFT App. B.1 to B.3.

    Raises:
        DatasetError: If the reference is empty or is CT.
        GeometryError: If the grid is not the protocol's, or too small for SSIM.
    """
    recipe = RECIPES[protocol]
    images = as_compared(comparison, protocol)
    predicted, reference, notes = images.predicted, images.reference, images.notes
    brain = comparison.subject
    if recipe.crop:
        predicted, reference, brain = (_crop(v) for v in (predicted, reference, brain))
    if min(reference.shape) < SMALLEST_WINDOW:
        raise GeometryError(
            f"SSIM needs at least {SMALLEST_WINDOW} voxels per axis, got {reference.shape}",
            remedy="Score whole volumes, not single slices.",
        )
    window = fit_window(reference.shape, WINDOW_SIZE)
    if window < WINDOW_SIZE:
        notes["ssim_window"] = f"{window} instead of {WINDOW_SIZE}: the volume is small"
    metrics = measure(
        predicted,
        reference,
        brain,
        slice_axis=comparison.slice_axis,
        window_size=window,
        border=recipe.border,
    )
    notes |= left_out(metrics)
    return CaseScore(comparison.case, comparison.channel, metrics, notes)


def measure(
    predicted: np.ndarray,
    reference: np.ndarray,
    brain: np.ndarray,
    *,
    slice_axis: str,
    window_size: int = WINDOW_SIZE,
    border: Border = "valid",
) -> dict[str, float]:
    """All metrics of two volumes (D = z, H = y, W = x) in [0, 1].

    The metrics that end in `_brain` and those of sharpness are taken over the voxels of `brain`,
    all others over the grid.
    """
    # The world axes (x, y, z) counted backwards are the array axes (z, y, x).
    axis = 2 - SLICE_AXES[slice_axis][0]
    planes = plane_ssim(predicted, reference, data_range=1.0)
    return {
        "mae": mae(predicted, reference),
        "rmse": rmse(predicted, reference),
        "psnr": psnr(predicted, reference, data_range=1.0),
        "ssim": ssim_3d(
            predicted, reference, data_range=1.0, window_size=window_size, border=border
        ),
        "ssim_axial": planes["axial"],
        "ssim_coronal": planes["coronal"],
        "ssim_sagittal": planes["sagittal"],
        "delta_z_mae": delta_z_mae(predicted, reference, axis=axis),
        "delta_z_correlation": delta_z_correlation(predicted, reference, axis=axis),
        "psnr_brain": psnr(predicted, reference, data_range=1.0, mask=brain),
        "mae_brain": mae(predicted, reference, brain),
        **measure_sharpness(predicted, reference, brain, axis=axis),
    }


def _own_range(image: np.ndarray, quantiles: tuple[float, float]) -> tuple[float, float]:
    """Two quantiles of the whole image, negatives counting as 0."""
    values = np.maximum(image, 0).reshape(-1)
    return normalize.quantile(values, quantiles[0]), normalize.quantile(values, quantiles[1])


def _reference_range(image: np.ndarray, quantiles: tuple[float, float]) -> tuple[float, float]:
    low, high = _own_range(image, quantiles)
    if not high - low > SMALLEST_RANGE:
        raise DatasetError(
            f"The reference is empty: its {100 * quantiles[0]:g} and {100 * quantiles[1]:g} "
            f"percentiles are both {low:g}",
            remedy="Check this file, or take it out of the reference folder.",
        )
    return low, high


def _to_range(comparison: Comparison, recipe: Recipe) -> tuple[np.ndarray, str]:
    """The predicted image in [0, 1], clipped, and how it got there."""
    image, written = comparison.predicted, comparison.written_range
    if recipe.predicted_range == "written" and written is not None:
        return normalize.apply(image, *written), f"JSON file: {written[0]:g} to {written[1]:g}"
    inside = image.min() >= -RANGE_TOLERANCE and image.max() <= 1 + RANGE_TOLERANCE
    if recipe.predicted_range == "written" and inside:
        return normalize.apply(image, 0.0, 1.0), "as it is: values lie in [0, 1]"
    low, high = _own_range(image, recipe.quantiles)
    percentiles = " and ".join(f"{100 * q:g}" for q in recipe.quantiles)
    # An empty predicted image has no range of its own; it stays empty.
    scaled = normalize.apply(image, low, high if high - low > SMALLEST_RANGE else low + 1.0)
    return scaled, f"own {percentiles} percentiles: {low:g} to {high:g}"


def _crop(volume: np.ndarray) -> np.ndarray:
    """The middle of every axial slice, as cWDM saves it. Source: cWDM bratsloader.py."""
    if volume.shape[1:] != (CWDM_SIDE, CWDM_SIDE):
        depth, height, width = volume.shape
        raise GeometryError(
            f"Protocol cwdm is for axial slices of {CWDM_SIDE}x{CWDM_SIDE}, "
            f"this grid has {depth} of {height}x{width}",
            remedy="Use --protocol liftnet, which takes any grid.",
        )
    inside = slice(CWDM_MARGIN, CWDM_SIDE - CWDM_MARGIN)
    return volume[:, inside, inside]
