"""How much detail an image has: energy of its gradient, power at high frequencies.

Volumes are (D, H, W). Only what lies inside the region counts, usually the brain or the body, and
not its outermost voxels, which are partly background: the step from the subject to the background
is the same in a smooth and in a sharp image, and would hide the difference. A t2f of liftnet_demo
has 0.48 of the reference's gradient energy over the whole grid, 0.27 in the brain, and 0.18 there
without the outermost voxels, as two and three voxels further inside.
"""

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from scipy import ndimage

from liftnet.metrics.metric import Metric, Pair
from liftnet.ops.depth import delta_z
from liftnet.ops.mask import without_rim

__all__ = [
    "METRICS",
    "gradient_energy",
    "high_frequency_fraction",
    "high_frequency_power",
    "in_plane",
    "known_means",
    "plane_power",
    "sharpness_in_plane",
    "through_plane",
]

# ours: cycles per voxel, half of Nyquist; a grid of twice the spacing cannot hold what is above.
# A blur of sigma 1 voxel leaves at most exp(-(2 pi / 4)^2), 8.5 %, of the power there.
CUTOFF = 0.25
# ours: voxels; of a real T1, 33 % of the power is left after that blur with 2, 8 % with 4.
TAPER = 4.0


def in_plane(pair: Pair, place: str) -> float | None:
    """The gradient energy in slices as a share of the reference's; None if that has none.

    Noise of the reference counts as detail, here and in the two functions below.
    """
    return _share(pair, lambda image: gradient_energy(image, pair.inner, _other_axes(pair.axis)))


def through_plane(pair: Pair, place: str) -> float | None:
    """The gradient energy along the slice axis, likewise."""
    return _share(pair, lambda image: gradient_energy(image, pair.inner, [pair.axis]))


def high_frequency_power(pair: Pair, place: str) -> float | None:
    """The power of slices above half of Nyquist, likewise."""
    if gradient_energy(pair.reference, pair.inner, _other_axes(pair.axis)) == 0:
        return None  # where slices are constant there is nothing but rounding
    return _share(pair, lambda image: plane_power(image, pair.inner, pair.axis)[0])


def _share(pair: Pair, detail: Callable[[np.ndarray], float]) -> float | None:
    wanted = detail(pair.reference)
    return detail(pair.predicted) / wanted if wanted > 0 else None


def sharpness_in_plane(
    predicted: np.ndarray, reference: np.ndarray, region: np.ndarray, *, axis: int
) -> float:
    """The in-plane gradient energy as a share of the reference's; NaN if that has none.

    Args:
        predicted: (D, H, W).
        reference: (D, H, W), in the same unit.
        region: bool (D, H, W), of the reference; its outermost voxels do not count.
        axis: the slice axis of these arrays, 0 to 2.

    Raises:
        ValueError: shapes differ, or the axis is another.
    """
    _check(predicted, reference, region, axis)
    inner, axes = without_rim(region), _other_axes(axis)
    wanted = gradient_energy(reference, inner, axes)
    return gradient_energy(predicted, inner, axes) / wanted if wanted else math.nan


def high_frequency_fraction(image: np.ndarray, region: np.ndarray) -> float:
    """The share of the power of slices (D, H, W) above half of Nyquist; it needs no reference.

    It is the same for any scale and offset of intensities: 0.8 for white noise, 0 for an image
    that is constant in the region.
    """
    inner = without_rim(region)
    if gradient_energy(image, inner, _other_axes(0)) == 0:  # what is left is rounding
        return 0.0
    high, every = plane_power(image, inner, 0)
    return high / every


def known_means(values: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Name -> the mean of those of its values that are not NaN, for names that have one."""
    known = {name: [one for one in own if one == one] for name, own in values.items()}
    return {name: float(np.mean(own)) for name, own in known.items() if own}


def gradient_energy(image: np.ndarray, region: np.ndarray, axes: Sequence[int]) -> float:
    """The mean squared difference of neighbouring voxels along the axes; 0 if there are none.

    A difference counts if both its voxels lie in the region.

    Source: energy of the image gradient as a measure of focus, Subbarao et al. 1993.
    """
    total, count = 0.0, 0
    for axis in axes:
        along = np.moveaxis(region, axis, 0)
        inside = along[1:] & along[:-1]
        steps = delta_z(np.moveaxis(image, axis, 0), dim=0)[inside]
        total += float(np.square(steps, dtype=np.float64).sum())
        count += steps.size
    return total / count if count else 0.0


def plane_power(image: np.ndarray, region: np.ndarray, axis: int) -> tuple[float, float]:
    """The power of slices across `axis` above half of Nyquist in their plane, and at any frequency.

    Sums over slices. Each is multiplied by a window that rises from 0 outside the region to 1 at 4
    voxels inside (Hann), after its mean under that window is subtracted.
    """
    box = ndimage.find_objects(region.astype(np.uint8))[:1]
    if not box:
        return 0.0, 0.0
    slices = np.moveaxis(image[box[0]], axis, 0)
    inside = np.moveaxis(region[box[0]], axis, 0)
    along = [np.fft.fftfreq(side) for side in slices.shape[1:]]
    above = np.hypot(along[0][:, None], along[1]) > CUTOFF
    high = every = 0.0
    for one, mask in zip(slices, inside, strict=True):
        if not mask.any():
            continue
        depth = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
        window = 0.5 - 0.5 * np.cos(np.pi * np.minimum(depth / TAPER, 1))
        spectrum = np.fft.fft2(window * (one - np.average(one, weights=window)))
        power = np.square(np.abs(spectrum)) / one.size
        high += float(power[above].sum())
        every += float(power.sum())
    return high, every


def _other_axes(axis: int) -> list[int]:
    return [other for other in range(3) if other != axis]


def _check(predicted: np.ndarray, reference: np.ndarray, region: np.ndarray, axis: int) -> None:
    shapes = {volume.shape for volume in (predicted, reference, region)}
    if len(shapes) > 1 or reference.ndim != 3 or axis not in (0, 1, 2):
        raise ValueError(
            "expected three volumes of one shape (D, H, W) and an axis 0 to 2, got shapes "
            f"{predicted.shape}, {reference.shape}, {region.shape} and axis {axis}"
        )


METRICS = (
    Metric(
        "sharpness_in_plane",
        "sharpness in plane",
        "Sharpness within slices: mean squared difference of neighbouring voxels of a slice, as a "
        "share of the reference's, below 1 too smooth, above it too rough, where both voxels lie "
        "in {subject}",
        better="nearest 1",
        of={"MR": ("",), "CT": ("",)},
        measure=in_plane,
        rank=6,  # since all others are best where what is not known is blurred
    ),
    Metric(
        "sharpness_through_plane",
        "sharpness through plane",
        "Sharpness across slices: mean square of the differences between neighbouring slices along "
        "the slice axis, as a share of the reference's, below 1 too smooth, above it too rough, "
        "where both voxels lie in {subject}",
        better="nearest 1",
        of={"MR": ("",), "CT": ("",)},
        measure=through_plane,
    ),
    Metric(
        "high_frequency_power",
        "high-frequency power",
        "Fine detail: power of slices at frequencies above half of what the grid can hold, as a "
        "share of the reference's, below 1 too smooth, above it too rough, in {subject}, whose rim "
        "is faded out",
        better="nearest 1",
        of={"MR": ("",), "CT": ("",)},
        measure=high_frequency_power,
    ),
)
