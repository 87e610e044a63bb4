"""How synthesized MR contrasts are scored: four named conventions of range, grid and mask."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import numpy as np

from liftnet.core.errors import DatasetError, GeometryError
from liftnet.core.geometry import array_axes
from liftnet.core.scores import CaseScore, Compared, Comparison, Protocol
from liftnet.metrics.metric import Pair
from liftnet.metrics.protocols.base import (
    PairProtocol,
    find_window,
    measure,
    refuse_wrong_intensities,
)
from liftnet.ops import normalize
from liftnet.ops.intensities import SMALLEST_RANGE
from liftnet.ops.ssim import Border

__all__ = ["PROTOCOLS", "MrProtocol"]

PAPER_QUANTILES = (0.001, 0.999)  # LiFT Sec. 5.2, cWDM bratsloader.py
BRASYN_QUANTILES = (0.005, 0.995)  # BraSyn challenge, ssim.py
CWDM_SIDE = 240  # cWDM bratsloader.py: in-plane voxels of a BraTS volume ...
CWDM_MARGIN = 8  # ... of which it cuts off 8 per side
RANGE_TOLERANCE = 1e-3  # ours: rounding and interpolation of an image in [0, 1]


@dataclass(frozen=True)
class MrProtocol(PairProtocol):
    """A convention for MR; errors are in units of the [0, 1] range.

    Attributes:
        stated: its name and sentence.
        quantiles: Of the whole grid with negatives as 0; these intensities become 0 and 1.
        predicted_range: "written" maps the intensities that its JSON file names to 0 and 1,
            "own" takes the predicted image's own quantiles.
        zeros: Whose zeros become zeros of the predicted image.
        crop: Whether 8 of 240 voxels are cut off at each side of an axial slice.
        border: Of the 3D SSIM.
    """

    stated: Protocol
    quantiles: tuple[float, float] = PAPER_QUANTILES
    predicted_range: Literal["written", "own"] = "written"
    zeros: Literal["none", "reference", "source"] = "none"
    crop: bool = False
    border: Border = "valid"

    def as_compared(self, comparison: Comparison) -> Compared:
        """Both images in [0, 1], not yet cropped.

        Source: LiFT App. B.1.

        Raises:
            DatasetError: If the reference is empty or is CT, or values below 0 are signal.
        """
        if comparison.modality == "CT":
            raise DatasetError(
                f"Channel {comparison.channel} is CT, protocol {self.stated.name} is for MR",
                remedy="Score CT with the task translation, in HU.",
            )
        strange = refuse_wrong_intensities(comparison, ct=False)
        reference = normalize.apply(
            comparison.reference, *_reference_range(comparison.reference, self.quantiles)
        )
        predicted, note = self._to_range(comparison)
        notes = {"predicted_range": note, "brain": comparison.subject_note, **strange}
        if self.zeros == "reference":
            predicted = np.where(comparison.reference > 0, predicted, np.float32(0))
            notes["mask"] = "zeros of the reference"
        if self.zeros == "source":
            assert comparison.source is not None  # Protocol.needs_source
            predicted = np.where(comparison.source > 0, predicted, np.float32(0))
            notes["mask"] = f"zeros of {comparison.source_name}"
        return Compared(predicted, reference, "", notes)

    def score_case(self, comparison: Comparison) -> CaseScore:
        """The metrics of one contrast; those of the brain and of sharpness are taken in the brain.

        Source: LiFT App. B.1 to B.3.

        Raises:
            DatasetError: If the reference is empty or is CT.
            GeometryError: If the grid is not the protocol's, or too small for SSIM.
        """
        images = self.as_compared(comparison)
        predicted, reference, brain = images.predicted, images.reference, comparison.subject
        if self.crop:
            predicted, reference, brain = (_crop(v) for v in (predicted, reference, brain))
        window, small = find_window(reference.shape)
        metrics, left_out = measure(
            Pair(
                predicted,
                reference,
                limits=(0.0, 1.0),
                modality="MR",
                axis=array_axes(comparison.slice_axis)[0],
                regions={"brain": brain},
                subject="brain",
                window_size=window,
                border=self.border,
            )
        )
        notes = images.notes | small | left_out
        return CaseScore(comparison.case, comparison.channel, metrics, notes)

    def _to_range(self, comparison: Comparison) -> tuple[np.ndarray, str]:
        """The predicted image in [0, 1], clipped, and how it got there."""
        image, written = comparison.predicted, comparison.written_range
        if self.predicted_range == "written" and written is not None:
            return normalize.apply(image, *written), f"JSON file: {written[0]:g} to {written[1]:g}"
        inside = image.min() >= -RANGE_TOLERANCE and image.max() <= 1 + RANGE_TOLERANCE
        if self.predicted_range == "written" and inside:
            return normalize.apply(image, 0.0, 1.0), "as it is: values lie in [0, 1]"
        low, high = _own_range(image, self.quantiles)
        percentiles = " and ".join(f"{100 * q:g}" for q in self.quantiles)
        # An empty predicted image has no range of its own; it stays empty.
        scaled = normalize.apply(image, low, high if high - low > SMALLEST_RANGE else low + 1.0)
        return scaled, f"own {percentiles} percentiles: {low:g} to {high:g}"


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


_RANGE = (
    "[0, 1] between the reference's 0.1 and 99.9 percentiles over the whole grid (negatives as 0)"
)
PROTOCOLS: Mapping[str, PairProtocol] = MappingProxyType(
    {
        protocol.stated.name: protocol
        for protocol in (
            MrProtocol(
                Protocol(
                    "liftnet",
                    f"{_RANGE}, whole native grid. The predicted image is not masked: what it "
                    "shows outside the reference's subject counts as error.",
                )
            ),
            MrProtocol(
                Protocol(
                    "lift",
                    f"{_RANGE}, whole native grid, the predicted image set to 0 where the "
                    "reference is 0: uses the target's zeros, as the paper does; +0.4 dB on a real "
                    "case.",
                ),
                zeros="reference",
            ),
            MrProtocol(
                Protocol(
                    "cwdm",
                    f"{_RANGE}, axial slices cropped from 240x240 to 224x224 (-0.6 dB), the "
                    "predicted image set to 0 where the first source is 0.",
                    needs_source=True,
                ),
                zeros="source",
                crop=True,
            ),
            MrProtocol(
                Protocol(
                    "brasyn",
                    "Each image clipped to its own 0.5 and 99.5 percentiles (negatives as 0) and "
                    "scaled to [0, 1], so that an error of overall brightness does not count; "
                    "whole grid; 3D SSIM with mirrored borders (torchmetrics).",
                ),
                quantiles=BRASYN_QUANTILES,
                predicted_range="own",
                border="reflect",
            ),
        )
    }
)
