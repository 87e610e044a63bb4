"""How synthesized CT is scored, in Hounsfield units: whole, in the paper's box, by SynthRAD."""

from types import MappingProxyType

import numpy as np
import torch
from acvl_utils.cropping_and_padding.bounding_boxes import bounding_box_to_slice

from liftnet.core.errors import DatasetError, GeometryError
from liftnet.core.geometry import SLICE_AXES, same_spacing
from liftnet.core.scores import CaseScore, Compared, Comparison, Protocol
from liftnet.metrics import regions
from liftnet.metrics.coherence import plane_ssim
from liftnet.metrics.protocols.synthrad import masked_ms_ssim, masked_ssim
from liftnet.metrics.protocols.units import refuse_wrong_intensities
from liftnet.metrics.sharpness import left_out, measure_sharpness
from liftnet.metrics.similarity import mae, me, ncc, psnr
from liftnet.ops.depth import delta_z
from liftnet.ops.intensities import CT_LIMITS
from liftnet.ops.mask import bounding_box, box_about
from liftnet.ops.ssim import SMALLEST_WINDOW, WINDOW_SIZE, fit_window, ssim_map

__all__ = ["PROTOCOLS", "as_compared", "score_case"]

LIMITS_HU = CT_LIMITS  # LiFT App. B.5
BOX_VOXELS, BOX_SPACING_MM = 128, 1.0  # LiFT Sec. 5.3; SynthRAD2023's brains have this spacing
BOX_MM = BOX_VOXELS * BOX_SPACING_MM
SYNTHRAD_LIMITS_HU = MappingProxyType(
    {
        "synthrad2023": (-1024.0, 3000.0),  # SynthRAD2023 image_metrics.py
        "synthrad2025": (-1024.0, 3071.0),  # SynthRAD2025 evaluation, image_metrics.py
    }
)
_MEASURES = "PSNR over the range 3000, SSIM of HU + 1000; regions from the reference"
_MASK_NOTE = "the case's mask file"
PROTOCOLS = MappingProxyType(
    {
        protocol.name: protocol
        for protocol in (
            Protocol("liftnet", f"HU clipped to [-1000, 2000], whole volume, {_MEASURES}."),
            Protocol(
                "lift",
                "HU clipped to [-1000, 2000], cropped to 128 voxels of 1 mm along each axis about "
                f"the centre of the case's mask, as the paper does; {_MEASURES} after the crop.",
                needs_mask=True,
            ),
            Protocol(
                "synthrad2023",
                "Inside the case's mask: MAE of unclipped HU; PSNR of HU clipped to [-1024, 3000] "
                "over the range 4024; SSIM in uniform windows of 7 voxels, with -1024 HU outside.",
                needs_mask=True,
            ),
            Protocol(
                "synthrad2025",
                "Inside the case's mask: MAE of unclipped HU; PSNR of HU clipped to [-1024, 3071] "
                "over the range 4095; MS-SSIM of five scales with the challenge's own weights and "
                "borders, with -1024 HU outside.",
                needs_mask=True,
            ),
        )
    }
)


def as_compared(comparison: Comparison, protocol: str) -> Compared:
    """Both images in HU, clipped as the protocol clips them, on the whole grid, not yet cropped.

    Raises:
        DatasetError: If the protocol is for MR, or one of the images is not in HU.
    """
    if protocol not in PROTOCOLS:
        raise DatasetError(
            f"Channel {comparison.channel} is CT, protocol {protocol} is for MR",
            remedy=f"Use one of {', '.join(PROTOCOLS)}.",
        )
    if comparison.written_range is not None and comparison.written_range[1] <= 1:
        raise DatasetError(
            "The predicted CT was written in the network's units (--normalized), not in HU",
            remedy="Predict it again without --normalized.",
        )
    strange = refuse_wrong_intensities(comparison, ct=True)
    limits = SYNTHRAD_LIMITS_HU.get(protocol, LIMITS_HU)
    predicted, reference = (
        np.clip(image.astype(np.float32), *limits)
        for image in (comparison.predicted, comparison.reference)
    )
    return Compared(predicted, reference, "HU", strange)


def score_case(comparison: Comparison, protocol: str) -> CaseScore:
    """The metrics of one synthesized CT under a protocol, errors in HU.

    A metric of a region that the case does not have is left out; the notes name the region.

    Source: LiFT Sec. 5.3, App. B.1 to B.3, B.5; SynthRAD2023 and SynthRAD2025 image_metrics.py.

    Raises:
        DatasetError: If the protocol is for MR, or a mask or body is missing.
        GeometryError: If the grid is too small for SSIM.
    """
    images = as_compared(comparison, protocol)
    if protocol in SYNTHRAD_LIMITS_HU:
        return _score_in_mask(comparison, protocol, images)
    predicted, reference = images.predicted, images.reference
    notes = {"unit": "HU", "regions": "from the reference, inside its body", **images.notes}
    if protocol == "lift":
        box, notes["box"] = _paper_box(comparison)
        notes["mask"] = _MASK_NOTE
        # Both are cropped before anything else (Sec. 5.3), so a region ends where the box does.
        predicted, reference = predicted[box], reference[box]
    if min(reference.shape) < SMALLEST_WINDOW:
        raise GeometryError(
            f"SSIM needs at least {SMALLEST_WINDOW} voxels per axis, got {reference.shape}",
            remedy="Score whole volumes, not single slices.",
        )
    window = fit_window(reference.shape, WINDOW_SIZE)
    if window < WINDOW_SIZE:
        notes["ssim_window"] = f"{window} instead of {WINDOW_SIZE}: the volume is small"
    found = regions.find_regions(reference)
    if absent := [name for name, region in found.items() if not region.any()]:
        notes["absent_regions"] = ", ".join(absent)
    metrics = measure(
        predicted, reference, found, slice_axis=comparison.slice_axis, window_size=window
    )
    notes |= left_out(metrics)
    return CaseScore(comparison.case, comparison.channel, metrics, notes)


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


def measure(
    predicted: np.ndarray,
    reference: np.ndarray,
    found: dict[str, np.ndarray],
    *,
    slice_axis: str,
    window_size: int = WINDOW_SIZE,
) -> dict[str, float]:
    """All metrics of two clipped CTs (D = z, H = y, W = x) in HU, regions by their names.

    Names that end in a region are taken over its voxels, sharpness over the body, all others over
    the whole volume. SSIM compares the images shifted to start at 0, as it is not defined for
    negative intensities.
    """
    # The world axes (x, y, z) counted backwards are the array axes (z, y, x).
    axis = 2 - SLICE_AXES[slice_axis][0]
    width = LIMITS_HU[1] - LIMITS_HU[0]
    first, second = ((image - LIMITS_HU[0]) / width for image in (predicted, reference))
    body = found["body"]
    metrics = {"mae": mae(predicted, reference)}
    metrics |= {f"mae_{n}": mae(predicted, reference, m) for n, m in found.items() if m.any()}
    metrics["me"] = me(predicted, reference)
    metrics |= {f"me_{n}": me(predicted, reference, m) for n, m in found.items() if m.any()}
    metrics["psnr"] = psnr(predicted, reference, data_range=width)
    metrics["psnr_body"] = psnr(predicted, reference, data_range=width, mask=body)
    metrics |= _similarity(first, second, body, window_size)
    planes = plane_ssim(first, second, data_range=1.0)
    metrics |= {f"ssim_{plane}": value for plane, value in planes.items()}
    metrics["ncc"] = ncc(predicted, reference)
    metrics["ncc_body"] = ncc(predicted, reference, body)
    steps, wanted = (delta_z(image, dim=axis) for image in (predicted, reference))
    metrics["delta_z_mae"] = mae(steps, wanted)
    inside = {name: _steps_inside(region, axis) for name, region in found.items()}
    metrics |= {f"delta_z_mae_{n}": mae(steps, wanted, m) for n, m in inside.items() if m.any()}
    metrics["delta_z_correlation"] = ncc(steps, wanted)
    if inside["body"].any():
        metrics["delta_z_correlation_body"] = ncc(steps, wanted, inside["body"])
    return metrics | measure_sharpness(predicted, reference, body, axis=axis)


def _similarity(
    predicted: np.ndarray, reference: np.ndarray, body: np.ndarray, window_size: int
) -> dict[str, float]:
    """3D SSIM of images in [0, 1], over all windows and over those centred in the body."""
    one, other = (torch.from_numpy(image)[None, None] for image in (predicted, reference))
    values = ssim_map(one, other, data_range=1.0, window_size=window_size)[0, 0].numpy()
    margin = window_size // 2
    inner = values[body[(slice(margin, -margin),) * 3]]
    found = {"ssim": float(values.mean(dtype=np.float64))}
    return found | ({"ssim_body": float(inner.mean(dtype=np.float64))} if inner.size else {})


def _steps_inside(region: np.ndarray, axis: int) -> np.ndarray:
    """The differences between slices that count in a region: both voxels lie in it."""
    along = np.moveaxis(region, axis, 0)
    return np.moveaxis(along[1:] & along[:-1], 0, axis)


def _score_in_mask(comparison: Comparison, protocol: str, clipped: Compared) -> CaseScore:
    """The metrics of a SynthRAD challenge."""
    predicted, reference, mask = comparison.predicted, comparison.reference, _mask(comparison)
    limits = SYNTHRAD_LIMITS_HU[protocol]
    metrics = {
        "mae": mae(predicted, reference, mask),  # SynthRAD: of unclipped HU
        "psnr": psnr(
            clipped.predicted, clipped.reference, data_range=limits[1] - limits[0], mask=mask
        ),
    }
    if protocol == "synthrad2023":
        name, similarity = "ssim", masked_ssim(predicted, reference, mask, limits=limits)
    else:
        name, similarity = "ms_ssim", masked_ms_ssim(predicted, reference, mask, limits=limits)
    notes = {"unit": "HU", "mask": _MASK_NOTE, **clipped.notes}
    if similarity is None:
        notes["left_out"] = f"{name}: no window centred in the mask lies in the volume"
    else:
        metrics[name] = similarity
    return CaseScore(comparison.case, comparison.channel, metrics, notes)
