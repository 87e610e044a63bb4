"""What an image is like, in a few numbers that need no reference."""

from collections.abc import Sequence

import numpy as np

from liftnet.metrics.regions import AIR_HU, BONE_HU, SOFT_HU
from liftnet.metrics.sharpness import high_frequency_fraction
from liftnet.ops.depth import delta_z
from liftnet.ops.normalize import quantile

__all__ = [
    "FINE",
    "IN_WORDS",
    "LARGEST_STEP",
    "SUBJECT",
    "allowed",
    "describe_ct",
    "describe_mr",
    "outlier_slices",
    "slice_steps",
]

LARGEST_STEP = "largest slice step"
SUBJECT = "subject mL"
FINE = "high-frequency fraction"
# What a number is, inside the subject; MR in network units, in which 1 is the bright end.
IN_WORDS = {
    "air fraction": "share of the body below -500 HU",
    "soft fraction": "share of the body from -100 to 200 HU",
    "bone fraction": "share of the body above 300 HU",
    "low HU": "the darkest voxels",
    "median HU": "the median of the body",
    "high HU": "the brightest voxels",
    "mean": "mean brightness, 1 is the bright end",
    "spread": "standard deviation of the brightness, 1 is the bright end",
    "high": "the brightest voxels, 1 is the bright end",
    LARGEST_STEP: "from one slice to the next, relative to the slices around",
    SUBJECT: "size of the head or body in the image",
    FINE: "fine detail; low is blurred, high is noisy",
}
OUTER = (0.001, 0.999)  # as for normalization, LiFT Sec. 5.2: single voxels do not decide
NEIGHBOURS = 5  # ours: slices on each side that say what a step is like at this height
MIN_SHARE = 0.1  # ours: slices with less of the subject than this of the largest are the rim
QUIET = 0.25  # ours: of the usual step; smaller ones elsewhere do not make a step stand out
MAX_RUN = 3  # ours: more slices than this between two steps are not one disturbance
SMALLEST = 1e-12  # ours: only an image of one value has none
DEVIATIONS = 3  # ours: few normal values lie further from the median
WIDENED = (0.5, 2.0)  # ours: by a half of the range, and twice the range / cases where few
LEAST_STEP = 3.0  # ours: smooth images have larger ones; up to 2.4 in 96 predicted MR images
# ours: from the median of training. Of 248 images of ten kinds (simulated MR and CT, real T1) the
# real ones have 0.41 to 2.05 of it, blurred with sigma 1 voxel 0.02 to 0.10, with 0.5 0.18 to 0.99.
LEAST_FACTOR = 2.5
LEAST_MARGIN = {"low HU": 150.0, "median HU": 20.0, "high HU": 500.0}  # ours: smoothing
LEAST_SHARE = {  # ours: of the median; smoothing
    "air fraction": 0.4,
    "soft fraction": 0.2,
    "bone fraction": 0.4,
    "mean": 0.2,
    "spread": 0.4,
    "high": 0.4,
    LARGEST_STEP: 1.0,
    SUBJECT: 0.5,  # a field of view may end within the head; a head is no stripped brain
}


def describe_ct(image: np.ndarray, mask: np.ndarray) -> dict[str, float]:
    """Fractions of air, soft tissue and bone, HU range, slice step and detail of a CT.

    Args:
        image: (D, H, W) in HU.
        mask: bool (D, H, W), the subject; all voxels where it is empty.

    Source: LiFT App. B.5 (limits of the tissues).
    """
    values = _inside(image, mask)
    return {
        "air fraction": float((values < AIR_HU).mean()),
        "soft fraction": float(((values >= SOFT_HU[0]) & (values <= SOFT_HU[1])).mean()),
        "bone fraction": float((values > BONE_HU).mean()),
        "low HU": quantile(values, OUTER[0]),
        "median HU": quantile(values, 0.5),
        "high HU": quantile(values, OUTER[1]),
        LARGEST_STEP: _largest(slice_steps(image, mask)),
        FINE: high_frequency_fraction(image, _region(mask)),
    }


def describe_mr(image: np.ndarray, mask: np.ndarray) -> dict[str, float]:
    """Mean, spread, upper end, slice step and detail of an MR image in network units.

    Args:
        image: (D, H, W).
        mask: bool (D, H, W), the subject; all voxels where it is empty.
    """
    values = _inside(image, mask)
    return {
        "mean": float(values.mean(dtype=np.float64)),
        "spread": float(values.std(dtype=np.float64)),
        "high": quantile(values, OUTER[1]),
        LARGEST_STEP: _largest(slice_steps(image, mask)),
        FINE: high_frequency_fraction(image, _region(mask)),
    }


def slice_steps(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """How large each step to the next slice is, in units of the steps around it; (D - 1,).

    A step is the mean absolute difference of two neighbouring slices over the voxels that lie in
    the mask (D, H, W) in both. It is divided by the median of the steps about it. NaN at the rim
    of the subject, where slices share little, and at its outermost slices, which are often cut
    by the end of the field of view.
    """
    both = mask[1:] & mask[:-1]
    shared = both.sum(axis=(1, 2))
    where = np.flatnonzero((shared > 0) & (shared >= MIN_SHARE * shared.max(initial=0)))[1:-1]
    steps = np.full(len(shared), np.nan)
    if where.size == 0:
        return steps
    change = np.abs(delta_z(image.astype(np.float32, copy=False)))
    steps[where] = [change[i].mean(where=both[i], dtype=np.float64) for i in where]
    usual = np.nanmedian(steps) or np.nanmax(steps) or 1.0
    around = [np.nanmedian(steps[max(0, i - NEIGHBOURS) : i + NEIGHBOURS + 1]) for i in where]
    steps[where] /= np.maximum(around, QUIET * usual)
    return steps


def outlier_slices(steps: np.ndarray, limit: float) -> list[int]:
    """The slices that do not belong where they are, by steps (D - 1,) above a limit.

    Large steps in a row enclose outliers. So do two single ones with at most three slices between
    them, and one with at most three slices between it and an end of the subject. A large step
    that stands alone divides the volume, and the first slice after it is named.
    """
    large = np.flatnonzero(np.nan_to_num(steps) > limit)
    if large.size == 0:
        return []
    known = np.flatnonzero(np.isfinite(steps))
    first, last = int(known[0]), int(known[-1]) + 1
    rows = [
        [int(i) for i in row] for row in np.split(large, np.flatnonzero(np.diff(large) > 1) + 1)
    ]
    found: list[int] = []
    while rows:
        row = rows.pop(0)
        if len(row) == 1 and rows and len(rows[0]) == 1 and rows[0][0] - row[0] <= MAX_RUN:
            row += rows.pop(0)
        begin, end = row[0] + 1, row[-1]
        if len(row) == 1:
            end = begin
            if last - begin < MAX_RUN and last - begin < row[0] - first:
                end = last
            elif row[0] - first < MAX_RUN:
                begin, end = first, row[0]
        found += range(begin, end + 1)
    return found


def _inside(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    return image[_region(mask)]


def _region(mask: np.ndarray) -> np.ndarray:
    return mask if mask.any() else np.ones_like(mask)


def _largest(steps: np.ndarray) -> float:
    return float(np.nanmax(steps)) if np.isfinite(steps).any() else 0.0


def allowed(name: str, values: Sequence[float]) -> tuple[float, float]:
    """The lowest and highest value of a number that training does not contradict.

    The training values' range widened, the more the fewer they are; or their median and three
    robust standard deviations; or the median and a least margin: whichever goes furthest. The
    least margin is for what networks do to every image, which is to smooth it. The share of
    high frequencies has neither: its limits are the median divided and multiplied by 2.5, or by
    three robust standard deviations of its logarithm.
    """
    known = np.asarray(values, np.float64)
    middle = float(np.median(known))
    if name == FINE:  # of a blurred image it is a fraction: the scale is that of ratios
        apart = np.abs(np.log(np.maximum(known, SMALLEST) / max(middle, SMALLEST)))
        factor = max(LEAST_FACTOR, float(np.exp(DEVIATIONS * 1.4826 * np.median(apart))))
        return middle / factor, middle * factor
    width = max(
        DEVIATIONS * 1.4826 * float(np.median(np.abs(known - middle))),  # 1.4826: if normal
        LEAST_MARGIN.get(name, 0.0),
        LEAST_SHARE.get(name, 0.0) * abs(middle),
    )
    if name == LARGEST_STEP:  # a training case with a bad slice must not hide all others
        return -np.inf, max(LEAST_STEP, middle + width)
    wider = float(np.ptp(known)) * (WIDENED[0] + WIDENED[1] / len(known))
    low = min(float(known.min()) - wider, middle - width)
    high = max(float(known.max()) + wider, middle + width)
    return low, high
