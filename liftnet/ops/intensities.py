"""What the intensities of one image say: its bright end, and whether they can be what they should.

One rule for the fingerprint, prediction and evaluation: MR counts from 0 upwards, CT is in
Hounsfield units. Whatever breaks that is lost or scored wrongly later, without a word.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

__all__ = [
    "AIR_HU",
    "CT_LIMITS",
    "SMALLEST_RANGE",
    "Finding",
    "bright_end",
    "check_intensities",
    "clip_extremes",
    "negative_share",
    "otsu_threshold",
    "quantile",
]

SAMPLE = 200_000  # ours: voxels; percentiles are then exact to 0.03 %, a threshold to a bin
SMALLEST_RANGE = float(np.finfo(np.float32).tiny)  # what float32 can still scale to 1
BINS = 256  # Otsu 1979
MAGNITUDES = (1e-15, 1e15)  # ours: between them float32 can square, sum and divide
BRIGHT_END = 0.995  # ours: hot voxels may be up to 0.5 % of the grid
CT_LIMITS = (-1000.0, 2000.0)  # LiFT Sec. 5.3; below lies only what was not scanned

# MR. Measured: 19 real files have up to 0.0004, ringing of splines up to 0.02, z-scores 0.5.
MAX_NEGATIVE = 0.1  # ours: of the summed magnitude; more is signal, not ringing
NOTED_NEGATIVE = 0.03  # ours: more is named
LOWEST = 0.5  # ours: of the bright end; ringing reaches 0.1, wrapped numbers 1
SAME_VALUE = 0.9  # ours: of the negative voxels; if more are equal, they are a fill value
WRAPPED = -(2**14)  # ours: 16-bit numbers that lost their first bit reach far below this
HOT = 8.0  # ours: times the bright end; vessels of real MR reach 4.5

# CT.
AIR_HU = -500.0  # LiFT App. B.5: air below, body above
UNIT_WIDTH = 20.0  # ours: of a CT scaled to [-1, 1], [0, 10] or to attenuations
BYTE = 255.0
BRAIN_HU = 80.0  # ours: a brain cut out of a CT has less, grey levels of any window have more
HIGHEST_HU = 5000.0  # ours: the 99.9 percentile of a CT; the densest bone has 3000
SOFT_HU = 300.0  # ours: the middle of what is no air is nearer to 0; heads have 20 to 60
NARROW_HU = 150.0  # ours: soft tissue lies within this of its middle, bone does not
FILL = 0.02  # ours: of the grid at exactly 0 HU ...
SPIKE = 20.0  # ours: ... and so many times as often as a neighbouring value
NEAR_HU = 5.0


@dataclass(frozen=True)
class Finding:
    """What is wrong with the intensities of an image, and what to do about it."""

    text: str
    remedy: str
    severity: Literal["error", "warning"]


def quantile(values: np.ndarray, q: float) -> float:
    """The q-quantile of a flat array, linearly interpolated as numpy does, in O(n)."""
    position = q * (values.size - 1)
    below = int(np.floor(position))
    above = min(below + 1, values.size - 1)
    part = np.partition(values, (below, above))
    return float(part[below] + (part[above] - part[below]) * (position - below))


def otsu_threshold(image: np.ndarray) -> float:
    """The threshold that separates two classes of grey values best; the largest of a constant.

    Source: Otsu 1979, in bins of every n-th voxel. Not scikit-image's, whose import takes
        half a second of every command.
    """
    values = image.reshape(-1)[:: max(1, image.size // SAMPLE)]
    low, high = float(values.min()), float(values.max())
    finest = float(np.spacing(np.float32(max(abs(low), abs(high)))))
    if not high - low > max(SMALLEST_RANGE, BINS * finest):  # which a histogram cannot divide
        return high
    counts, edges = np.histogram(values, bins=BINS, range=(low, high))
    centres = (edges[:-1] + edges[1:]) / 2
    below, above = np.cumsum(counts)[:-1], np.cumsum(counts[::-1])[-2::-1]
    weighted = counts * centres
    first = np.cumsum(weighted)[:-1] / np.maximum(below, 1)
    second = np.cumsum(weighted[::-1])[-2::-1] / np.maximum(above, 1)
    return float(centres[np.argmax(below * above * (first - second) ** 2)])


def bright_end(image: np.ndarray) -> float:
    """The 99.5 percentile of the grid (D, H, W); the largest value where that is not above 0."""
    value = quantile(_sample(image).reshape(-1), BRIGHT_END)
    return value if value > 0 else max(float(image.max()), 0.0)


def clip_extremes(image: np.ndarray, *, ct: bool) -> np.ndarray:
    """The image without extremes: MR up to its bright end, CT between air and metal."""
    return np.clip(image, *CT_LIMITS) if ct else np.minimum(image, np.float32(bright_end(image)))


def negative_share(image: np.ndarray) -> float:
    """The part of the summed magnitude of an image (D, H, W) that lies below 0, 0 to 1."""
    below = -float(np.minimum(image, 0).sum(dtype=np.float64))
    total = float(image.sum(dtype=np.float64)) + 2 * below
    return below / total if total > 0 else 0.0


def check_intensities(image: np.ndarray, *, ct: bool) -> list[Finding]:
    """What is wrong with the intensities of an MR or CT image (D, H, W), the worst first."""
    if ct:
        return _check_ct(image)
    return _check_magnitude(image) or [*_check_sign(image), *_check_hot(image)]


def _check_magnitude(image: np.ndarray) -> list[Finding]:
    """Values that become inf, NaN or 0 on the way; a few hot voxels are clipped before."""
    highest = float(image.max())
    if (0 < highest < MAGNITUDES[0]) or bright_end(image) > MAGNITUDES[1]:
        text = f"The values reach {highest:.3g}: float32 cannot calculate with such numbers"
        remedy = "Multiply them by a constant: MR images reach 100 to 10000."
        return [Finding(text, remedy, "error")]
    return []


def _check_sign(image: np.ndarray) -> list[Finding]:
    lowest = float(image.min())
    share = negative_share(image) if lowest < 0 else 0.0
    strange = lowest < -LOWEST * bright_end(image)
    if share <= NOTED_NEGATIVE and not strange:
        return []
    severe = share > MAX_NEGATIVE
    below = image[image < 0]
    others = below[below > lowest]
    if others.size < (1 - SAME_VALUE) * below.size and others.min(initial=0) > lowest / 2:
        text = f"{len(below)} voxels are {lowest:g}, which looks like a value for 'not scanned'"
        remedy = "Set them to 0: MR starts at 0."
    elif lowest <= WRAPPED and _whole(below):
        text = f"{_percent(share)} of the intensity is below 0, down to {lowest:g}: it looks like "
        text += "unsigned 16-bit numbers read as signed ones"
        remedy = "Export the image again, or add 65536 to the negative values."
    else:
        text = (
            f"{_percent(share)} of the intensity is below 0, down to {lowest:.4g}; MR starts at 0, "
        )
        text += "and what is below counts as background"
        remedy = (
            "Give the image as the scanner made it; undo a z-score or a scaling to [-1, 1] by "
            "adding a constant inside the subject, so that only the background is 0."
        )
    return [Finding(text, remedy, "error" if severe else "warning")]


def _check_hot(image: np.ndarray) -> list[Finding]:
    bright, highest = bright_end(image), float(image.max())
    if highest <= HOT * bright:
        return []
    count = int((image > HOT * bright).sum())
    text = f"{count} voxel{'s are' if count > 1 else ' is'} far brighter than all others (up to "
    text += f"{highest:.5g}; 99.5 % are below {bright:.4g})"
    remedy = "They are clipped. Look at the image, and replace them if they are wrong."
    return [Finding(text, remedy, "warning")]


def _check_ct(image: np.ndarray) -> list[Finding]:
    values = _sample(image).reshape(-1)
    low, high = quantile(values, 0.001), quantile(values, 0.999)
    if text := _foreign_unit(values, low, high):
        remedy = "Convert it to Hounsfield units: air -1000, water 0."
        return [Finding(text, remedy, "error")]
    found = []
    if low > AIR_HU:
        text = f"No air: the lowest value is {float(image.min()):g} HU, air has -1000"
        remedy = "Check that it is in Hounsfield units, and that no mask has set air to another."
        found.append(Finding(text, remedy, "warning"))
    if text := _filled(image, values):
        remedy = "Fill what was not scanned with -1024 (air), or crop it; 0 HU is water."
        found.append(Finding(text, remedy, "warning"))
    return found


def _foreign_unit(values: np.ndarray, low: float, high: float) -> str | None:
    """Why values between these percentiles are no Hounsfield units, or None."""
    span = f"Not in Hounsfield units: values run from {low:.4g} to {high:.4g}"
    if high - low <= UNIT_WIDTH or (low > AIR_HU and high > HIGHEST_HU):
        return span
    inside = np.clip(values, *CT_LIMITS)
    bright = values[inside > otsu_threshold(inside)]
    tissue = float(np.median(bright))
    if low >= 0 and values.max() <= BYTE and tissue > BRAIN_HU:
        return f"{span}, like grey levels"
    bone = low > AIR_HU and float((np.abs(bright - tissue) < NARROW_HU).mean()) < 1 / 2
    if abs(tissue) <= SOFT_HU or bone:  # without air, Otsu tells bone from soft tissue
        return None
    text = f"Not in Hounsfield units: soft tissue lies at {tissue:.0f} and should at 40"
    return text + (", as if 1024 had been added" if abs(tissue - 1064) < SOFT_HU else "")


def _filled(image: np.ndarray, values: np.ndarray) -> str | None:
    """Which part of a CT was not scanned and has a value that is not air's, or None."""
    few = _sample(image)
    for axis, name in enumerate("zyx"):
        flat = np.moveaxis(few, axis, 0).reshape(few.shape[axis], -1)
        if not ((np.ptp(flat, axis=1) == 0) & (flat[:, 0] > AIR_HU)).any():
            continue
        whole = np.moveaxis(image, axis, 0).reshape(image.shape[axis], -1)
        constant = (np.ptp(whole, axis=1) == 0) & (whole[:, 0] > AIR_HU)
        if constant.any():
            value = float(whole[constant, 0][0])
            count = f"{int(constant.sum())} of {len(whole)} slices along {name}"
            return f"{count} are {value:g} HU throughout"
    same = float((values == 0).mean())
    near = float(((np.abs(values) <= NEAR_HU) & (values != 0)).mean()) / (2 * NEAR_HU)
    if same > FILL and same > SPIKE * near:
        return f"{_percent(same)} of the voxels are exactly 0 HU"
    return None


def _sample(image: np.ndarray) -> np.ndarray:
    """A lattice of at most about `SAMPLE` voxels, still (D, H, W)."""
    step = max(1, round((image.size / SAMPLE) ** (1 / 3)))
    return image[::step, ::step, ::step]


def _whole(values: np.ndarray) -> bool:
    return bool((values == np.rint(values)).all())


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %"
