"""A cohort of volumes (D, H, W) against real ones: likeness, steps between slices, slice order.

All volumes of both cohorts have one shape and one intensity range.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import torch

from liftnet.metrics.metric import CohortMetric
from liftnet.metrics.similarity import correlation
from liftnet.ops.depth import delta_z
from liftnet.ops.resample import resample
from liftnet.ops.ssim import ms_ssim

__all__ = [
    "METRICS",
    "delta_z_distance",
    "delta_z_profile",
    "delta_z_profiles",
    "delta_z_ratio",
    "depth_order",
    "depth_reference",
    "ms_ssim_among",
]

MS_SSIM_WINDOW = 7  # WDM eval/ms_ssim.py: five scales fit into 128 voxels
SLICE_SIDE = 32  # ours: shows which anatomy a slice cuts, not its noise or texture
BLANK_SHARE = 1e-3  # ours: a slice that varies less, relative to the volume's liveliest, is blank
ALIKE = 0.7  # ours: below it real slices share less than half of their energy (0.7 ** 2)


def ms_ssim_among(
    volumes: Sequence[np.ndarray],
    *,
    data_range: float,
    pairs: int,
    seed: int,
) -> float:
    """The mean 3D MS-SSIM of random pairs of different volumes: how alike a cohort is.

    Lower is not better. Report it beside the same number among real volumes, at the same grid: the
    goal is the real value (0.87 for skull-stripped T1 at 128^3; slices in random order give 0.66,
    below any real cohort, and a collapse about 1). Background counts, so a crop changes it.

    Args:
        volumes: (D, H, W) each. Only indexed and counted: may load a volume when asked for it.
        data_range: Largest minus smallest possible intensity.
        pairs: How many of the N (N - 1) / 2 pairs, without repetition; all if there are fewer.
        seed: Chooses them.

    Source: WDM eval/ms_ssim.py, with all ordered pairs, which is the same number twice.
    Differs: grids below 112 voxels take fewer scales, see `liftnet.ops.ssim.ms_ssim`.

    Raises:
        ValueError: fewer than two volumes, no pair, or volumes of different shapes.
    """
    if len(volumes) < 2 or pairs < 1:
        raise ValueError(
            f"expected at least two volumes and one pair, got {len(volumes)} and {pairs}"
        )
    first, second = np.triu_indices(len(volumes), 1)
    rng = np.random.default_rng(seed)
    chosen = rng.choice(len(first), size=min(pairs, len(first)), replace=False)
    similarities = []
    for one, other in zip(first[chosen].tolist(), second[chosen].tolist(), strict=True):
        pair = [_image(volumes[i]) for i in (one, other)]
        with torch.no_grad():
            value = ms_ssim(*pair, data_range=data_range, window_size=MS_SSIM_WINDOW)
        similarities.append(value.item())
    return float(np.mean(similarities))


def delta_z_profile(volume: np.ndarray) -> np.ndarray:
    """The mean absolute difference of each slice to the next, (D - 1,), in the volume's unit.

    Source: LiFT App. B.2, kept apart by depth.

    Raises:
        ValueError: not (D, H, W) with at least two slices.
    """
    volume = np.asarray(volume)
    if volume.ndim != 3 or len(volume) < 2:
        raise ValueError(
            f"expected a volume (D, H, W) of at least two slices, got shape {volume.shape}"
        )
    return np.asarray(np.abs(delta_z(volume.astype(np.float64))).mean(axis=(1, 2)))


def delta_z_profiles(volumes: Iterable[np.ndarray]) -> np.ndarray:
    """The profiles of a cohort, (N, D - 1); all that the two functions below need of it."""
    profiles = [delta_z_profile(volume) for volume in volumes]
    if not profiles or len({len(profile) for profile in profiles}) > 1:
        depths = sorted({len(profile) + 1 for profile in profiles})
        raise ValueError(f"expected volumes with one number of slices, got {depths}")
    return np.stack(profiles)


def delta_z_distance(generated: np.ndarray, real: np.ndarray) -> float:
    """How differently two cohorts step from slice to slice, relative to a real step; 0 at best.

    At every depth the Wasserstein-1 distance between the two distributions of steps over volumes,
    averaged over depth, over the mean real step. It sees slices in a wrong order, slices that
    flicker, and volumes too smooth along z or all alike. Between two samples of one distribution
    it is about 1.7 s / sqrt(N) (N each, s the spread over volumes relative to the mean).

    Args:
        generated: Profiles (N, D - 1) of `delta_z_profiles`.
        real: Profiles (M, D - 1).

    Source: ours; the steps are those of LiFT App. B.2.

    Raises:
        ValueError: the numbers of slices differ, or the real volumes do not change along z.
    """
    scale = _mean_step(generated, real)
    distances = [_wasserstein(one, other) for one, other in zip(generated.T, real.T, strict=True)]
    return float(np.mean(distances)) / scale


def delta_z_ratio(generated: np.ndarray, real: np.ndarray) -> float:
    """The mean step between slices relative to that of the real cohort; 1 at best.

    Below 1: too smooth along z; above: slices do not follow one another. Arguments and errors are
    those of `delta_z_distance`.
    """
    return float(np.mean(generated)) / _mean_step(generated, real)


def depth_reference(real: Iterable[np.ndarray]) -> np.ndarray:
    """What real slices at each depth have in common, (D, F): the mean of their patterns.

    A pattern is a slice reduced to at most 32 x 32, as a vector without mean and of length 1, so a
    gain or an offset of a volume or slice changes nothing. The length of the mean, 0 to 1, says
    how alike the real slices are at that depth.

    Source: ours, the reference of `depth_order`.

    Raises:
        ValueError: there is no volume, or shapes differ.
    """
    total, count = np.zeros(()), 0
    for volume in real:
        patterns = _patterns(volume)
        if count and patterns.shape != total.shape:
            raise ValueError("expected real volumes of one shape, got different ones")
        total, count = total + patterns, count + 1
    if not count:
        raise ValueError("expected at least one real volume, got none")
    return np.asarray(total / count)


def depth_order(volumes: Iterable[np.ndarray], reference: np.ndarray) -> float:
    """How well slices sit at their depth, -1 to 1: the mean over volumes of a correlation.

    Each slice is placed at the depth whose reference pattern it correlates with most; the result
    is the Pearson correlation of these depths with the slices' own. Near 1 for real volumes that
    the reference has not seen (0.97 for unregistered T1 brains at 5 mm per slice: report the real
    value beside it), about 0 for slices in random order or all alike, negative upside down. A
    shift along z or a stretch is not seen, and one good volume copied scores as well as many.

    Only depths count where real slices are alike (`reference` longer than 0.7), which leaves out
    what is empty or varies most; a blank slice at such a depth counts as placed in the middle, so
    it orders nothing.

    Args:
        volumes: (D, H, W) each.
        reference: (D, F) of `depth_reference`, from real volumes other than these.

    Source: ours; the paper shows ordered trajectories only as a figure (LiFT App. A).

    Raises:
        ValueError: there is no volume, a shape does not fit, or no two depths count.
    """
    lengths = np.linalg.norm(reference, axis=1)
    depths = np.flatnonzero(lengths > ALIKE)
    if len(depths) < 2:
        raise ValueError("expected real slices that are alike at two depths or more, got none")
    known = reference[depths] / lengths[depths, None]
    found = []
    for volume in volumes:
        patterns = _patterns(volume)
        if patterns.shape != reference.shape:
            raise ValueError(
                f"expected volumes with patterns {reference.shape} as in the reference, "
                f"got {patterns.shape}"
            )
        likeness = patterns[depths] @ known.T
        placed = depths[likeness.argmax(axis=1)].astype(np.float64)
        placed[~patterns[depths].any(axis=1)] = depths.mean()
        found.append(correlation(depths.astype(np.float64), placed))
    if not found:
        raise ValueError("expected at least one volume, got none")
    return float(np.mean(found))


def _image(volume: np.ndarray) -> torch.Tensor:
    """A volume (D, H, W) as a tensor (1, 1, D, H, W), copied."""
    return torch.tensor(np.ascontiguousarray(volume, dtype=np.float32))[None, None]


def _patterns(volume: np.ndarray) -> np.ndarray:
    """Each slice reduced, without mean and of length 1, (D, F) float64; zeros where it is blank."""
    volume = np.asarray(volume)
    if volume.ndim != 3 or volume.size == 0:
        raise ValueError(f"expected a volume (D, H, W), got shape {volume.shape}")
    depth, height, width = volume.shape
    small = resample(volume[None], (depth, min(height, SLICE_SIDE), min(width, SLICE_SIDE)))
    slices = small.reshape(depth, -1).astype(np.float64)
    slices -= slices.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(slices, axis=1, keepdims=True)
    blank = lengths <= BLANK_SHARE * lengths.max()
    return np.where(blank, 0.0, slices / np.where(blank, 1.0, lengths))


def _wasserstein(first: np.ndarray, second: np.ndarray) -> float:
    """The Wasserstein-1 distance of two samples of numbers: the area between their CDFs."""
    first, second = np.sort(first), np.sort(second)
    values = np.sort(np.concatenate([first, second]))
    cdfs = [np.searchsorted(v, values[:-1], side="right") / len(v) for v in (first, second)]
    return float(np.abs(cdfs[0] - cdfs[1]) @ np.diff(values))


def _mean_step(generated: np.ndarray, real: np.ndarray) -> float:
    """The mean real step, after a check of both sets of profiles."""
    if generated.ndim != 2 or real.ndim != 2 or generated.shape[1] != real.shape[1]:
        raise ValueError(
            "expected profiles (N, D - 1) of the same D, "
            f"got shapes {generated.shape} and {real.shape}"
        )
    if not (scale := float(np.mean(real))) > 0:
        raise ValueError("expected real volumes that change along z, got constant ones")
    return scale


METRICS = (
    CohortMetric(
        "ms_ssim",
        "MS-SSIM of pairs",
        "Mean multi-scale structural similarity of random pairs of one cohort, a measure of "
        "how alike its volumes are; as real is good, and lower is not better.",
        good="as real; lower is not better",
        of="voxels",
        source="WDM `eval/ms_ssim.py`",
        function=ms_ssim_among,
    ),
    CohortMetric(
        "delta_z_distance",
        "Δz distance",
        "Wasserstein-1 distance between the mean steps from slice to slice of generated and "
        "real volumes at each depth, relative to a real step; as low as real is good, 0 is "
        "best.",
        good="as low as real; 0 at best",
        of="voxels",
        source="ours, of the steps of LiFT App. B.2",
        function=delta_z_distance,
    ),
    CohortMetric(
        "delta_z_ratio",
        "Δz ratio",
        "Mean step from slice to slice of generated volumes over that of real ones; 1 is good,"
        " below it volumes are too smooth along the slice axis.",
        good="1; below: too smooth along z",
        of="voxels",
        source="ours, of the steps of LiFT App. B.2",
        function=delta_z_ratio,
    ),
    CohortMetric(
        "depth_order",
        "depth order",
        "Correlation of each slice's depth with the depth at which real slices look most like "
        "it; as real is good, 0 is slices in no order.",
        good="as real; 0: slices in no order",
        of="voxels",
        source="ours",
        function=depth_order,
    ),
)
