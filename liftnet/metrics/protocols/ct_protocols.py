"""How synthesized CT is scored, in Hounsfield units: whole, in the paper's box, by SynthRAD."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from acvl_utils.cropping_and_padding.bounding_boxes import bounding_box_to_slice

from liftnet.core.errors import DatasetError
from liftnet.core.geometry import array_axes, same_spacing
from liftnet.core.scores import CaseScore, Compared, Comparison, Protocol
from liftnet.metrics.metric import Pair
from liftnet.metrics.protocols.base import (
    PairProtocol,
    find_window,
    measure,
    refuse_wrong_intensities,
)
from liftnet.metrics.protocols.synthrad import masked_ms_ssim, masked_ssim
from liftnet.metrics.regions import find_regions
from liftnet.metrics.similarity import mae, psnr
from liftnet.ops.intensities import CT_LIMITS
from liftnet.ops.mask import bounding_box, box_about

__all__ = ["PROTOCOLS", "CtProtocol", "SynthradProtocol"]

LIMITS_HU = CT_LIMITS  # LiFT App. B.5
BOX_VOXELS, BOX_SPACING_MM = 128, 1.0  # LiFT Sec. 5.3; SynthRAD2023's brains have this spacing
BOX_MM = BOX_VOXELS * BOX_SPACING_MM
_MASK_NOTE = "the case's mask file"


@dataclass(frozen=True)
class CtProtocol(PairProtocol):
    """The paper's convention for CT, of the whole volume or of its box.

    Attributes:
        stated: its name and sentence.
        boxed: whether both images are cropped to the paper's box about the case's mask.
    """

    stated: Protocol
    boxed: bool = False

    def as_compared(self, comparison: Comparison) -> Compared:
        """Both images in HU, clipped, not yet cropped.

        Raises:
            DatasetError: If one of them is not in HU.
        """
        return _clipped(comparison, LIMITS_HU)

    def score_case(self, comparison: Comparison) -> CaseScore:
        """The metrics of one synthesized CT, errors in HU; sharpness is that of the body.

        A metric of a region that the case does not have is left out; the notes name the region.

        Source: LiFT Sec. 5.3, App. B.1 to B.3, B.5.

        Raises:
            DatasetError: If an image is not in HU, or a mask or body is missing.
            GeometryError: If the grid is too small for SSIM.
        """
        images = self.as_compared(comparison)
        predicted, reference = images.predicted, images.reference
        notes = {"unit": "HU", "regions": "from the reference, inside its body", **images.notes}
        if self.boxed:
            box, notes["box"] = _paper_box(comparison)
            notes["mask"] = _MASK_NOTE
            # Both are cropped before anything else (Sec. 5.3), so a region ends where the box does.
            predicted, reference = predicted[box], reference[box]
        window, small = find_window(reference.shape)
        regions = find_regions(reference)
        if absent := [name for name, region in regions.items() if not region.any()]:
            small["absent_regions"] = ", ".join(absent)
        metrics, left_out = measure(
            Pair(
                predicted,
                reference,
                limits=LIMITS_HU,
                modality="CT",
                axis=array_axes(comparison.slice_axis)[0],
                regions=regions,
                subject="body",
                window_size=window,
                precision=np.float32,
            )
        )
        notes |= small | left_out
        return CaseScore(comparison.case, comparison.channel, metrics, notes)


@dataclass(frozen=True)
class SynthradProtocol(PairProtocol):
    """The convention of a SynthRAD challenge, inside the case's mask.

    Attributes:
        stated: its name and sentence.
        limits: in HU, of PSNR and similarity.
        metric: the name of its measure of similarity.
        similarity: that measure.
    """

    stated: Protocol
    limits: tuple[float, float]
    metric: str
    similarity: Callable[..., float | None]

    def as_compared(self, comparison: Comparison) -> Compared:
        """Both images in HU, clipped.

        Raises:
            DatasetError: If one of them is not in HU.
        """
        return _clipped(comparison, self.limits)

    def score_case(self, comparison: Comparison) -> CaseScore:
        """The challenge's three metrics; similarity is left out where no window fits.

        Source: SynthRAD2023 and SynthRAD2025 image_metrics.py.

        Raises:
            DatasetError: If an image is not in HU, or the mask is missing.
        """
        images = self.as_compared(comparison)
        predicted, reference, mask = comparison.predicted, comparison.reference, _mask(comparison)
        width = self.limits[1] - self.limits[0]
        metrics = {
            "mae": mae(predicted, reference, mask),  # SynthRAD: of unclipped HU
            "psnr": psnr(images.predicted, images.reference, data_range=width, mask=mask),
        }
        similarity = self.similarity(predicted, reference, mask, limits=self.limits)
        notes = {"unit": "HU", "mask": _MASK_NOTE, **images.notes}
        if similarity is None:
            notes["left_out"] = f"{self.metric}: no window centred in the mask lies in the volume"
        else:
            metrics[self.metric] = similarity
        return CaseScore(comparison.case, comparison.channel, metrics, notes)


def _clipped(comparison: Comparison, limits: tuple[float, float]) -> Compared:
    """Both images in HU within limits."""
    if comparison.written_range is not None and comparison.written_range[1] <= 1:
        raise DatasetError(
            "The predicted CT was written in the network's units (--normalized), not in HU",
            remedy="Predict it again without --normalized.",
        )
    strange = refuse_wrong_intensities(comparison, ct=True)
    predicted, reference = (
        np.clip(image.astype(np.float32), *limits)
        for image in (comparison.predicted, comparison.reference)
    )
    return Compared(predicted, reference, "HU", strange)


def _mask(comparison: Comparison) -> np.ndarray:
    """The case's mask, which some protocols cannot do without.

    Raises:
        DatasetError: If there is none, or it is empty.
    """
    if comparison.mask is None:
        raise DatasetError(
            "The protocol needs a mask, and this case has none",
            remedy=f"Put {comparison.case}.nii.gz into the folder of masks and name that with "
            "--masks, or use --protocol liftnet, which needs none.",
        )
    if not comparison.mask.any():
        raise DatasetError("The mask is empty", remedy="Check the case's mask file.")
    return comparison.mask


def _paper_box(comparison: Comparison) -> tuple[tuple[slice, slice, slice], str]:
    """The paper's crop as slices of the whole grid (D = z, H = y, W = x), and a note on it.

    Source: LiFT Sec. 5.3.
    Differs: voxels that are not of 1 mm are not resampled; there are as many as 128 mm hold.
    """
    mask = _mask(comparison)
    sizes = tuple(
        BOX_VOXELS if same_spacing(own, BOX_SPACING_MM) else max(1, round(BOX_MM / own))
        for own in comparison.spacing_mm
    )
    box = box_about(mask, sizes)
    start, size = (tuple(values) for values in zip(*((a, b - a) for a, b in box), strict=True))
    free = tuple((a + b - n) // 2 for (a, b), n in zip(bounding_box(mask), sizes, strict=True))
    note = f"{'x'.join(map(str, size))} voxels from {', '.join(map(str, start))} (z, y, x)"
    if sizes != (BOX_VOXELS,) * 3:
        note += f"; voxels of {' x '.join(f'{own:.3g}' for own in comparison.spacing_mm)} mm"
    if (start, size) != (free, sizes):
        note += "; pushed inside the image, or cut to it"
    return bounding_box_to_slice(box), note


_MEASURES = "PSNR over the range 3000, SSIM of HU + 1000; regions from the reference"
PROTOCOLS: Mapping[str, PairProtocol] = MappingProxyType(
    {
        protocol.stated.name: protocol
        for protocol in (
            CtProtocol(
                Protocol("liftnet", f"HU clipped to [-1000, 2000], whole volume, {_MEASURES}.")
            ),
            CtProtocol(
                Protocol(
                    "lift",
                    "HU clipped to [-1000, 2000], cropped to 128 voxels of 1 mm along each axis "
                    "about the centre of the case's mask, as the paper does; "
                    f"{_MEASURES} after the crop.",
                    needs_mask=True,
                ),
                boxed=True,
            ),
            SynthradProtocol(
                Protocol(
                    "synthrad2023",
                    "Inside the case's mask: MAE of unclipped HU; PSNR of HU clipped to "
                    "[-1024, 3000] over the range 4024; SSIM in uniform windows of 7 voxels, with "
                    "-1024 HU outside.",
                    needs_mask=True,
                ),
                limits=(-1024.0, 3000.0),  # SynthRAD2023 image_metrics.py
                metric="ssim",
                similarity=masked_ssim,
            ),
            SynthradProtocol(
                Protocol(
                    "synthrad2025",
                    "Inside the case's mask: MAE of unclipped HU; PSNR of HU clipped to "
                    "[-1024, 3071] over the range 4095; MS-SSIM of five scales with the "
                    "challenge's own weights and borders, with -1024 HU outside.",
                    needs_mask=True,
                ),
                limits=(-1024.0, 3071.0),  # SynthRAD2025 evaluation, image_metrics.py
                metric="ms_ssim",
                similarity=masked_ms_ssim,
            ),
        )
    }
)
