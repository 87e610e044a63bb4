"""Whether volumes are copies of training volumes: distances to them, and what is too near.

These are diagnostics of exact copying. They rule out no other leak, such as membership inference.

Source: LiFT App. D.
"""

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from scipy import stats
from scipy.spatial.distance import cdist

from liftnet.core.probe import CopyRule, ProbedBy, ProbeMeasure

__all__ = [
    "ENOUGH",
    "HU_LIMITS",
    "Neighbours",
    "are_copies",
    "copy_rule",
    "descriptor",
    "held_out_outliers",
    "nearest_others",
    "nearest_two",
    "pooled_distances",
    "probe_measure",
    "root_ratios",
]

DESCRIPTOR_SHAPE = (8, 16, 16)  # LiFT App. D: 16 x 16 in-plane, 8 through-plane; 2048 numbers
HU_LIMITS = (-1000.0, 3000.0)  # air, so that whatever fills corners is air; SynthRAD2023's upper
UNIT_WIDTH = 2.0  # LiFT App. D: [-1, 1]
ENOUGH = 10  # ours: held-out, and training volumes: the limits of fewer mean little
COPY_SHARE = 0.5  # ours: of the least held-out error; real ones spread by a sixth (LiFT App. D)
FALSE_ALARM = 0.01  # ours: chance that the ratio of any predicted volume is a false alarm

IN_UNIT = "in [-1, 1]"


class Neighbours(NamedTuple):
    """Which training volumes are nearest to each of N volumes, and how far they are."""

    nearest: np.ndarray  # (N,) index
    distance: np.ndarray
    second: np.ndarray  # (N,) index
    second_distance: np.ndarray


def probe_measure(by: ProbedBy, modality: str) -> ProbeMeasure:
    """The distance of a task's probe.

    Source: LiFT App. D: voxel L1 in [-1, 1], MSE of pooled descriptors, L1 in HU.
    Differs: what is no CT has no HU, and is compared in [-1, 1].
    """
    if by == "blocks":
        text = "mean squared error of 16x16x8 block means, in [-1, 1]"
        return ProbeMeasure("pooled_mse", text, f"{IN_UNIT}, squared", UNIT_WIDTH, 2, pooled=True)
    if by == "hu" and modality.upper() == "CT":
        width = HU_LIMITS[1] - HU_LIMITS[0]
        text = "mean absolute error of the whole volume, in HU"
        return ProbeMeasure("hu_l1", text, "HU", width, 1, pooled=False)
    text = "mean absolute error of the whole volume, in [-1, 1]"
    return ProbeMeasure("voxel_l1", text, IN_UNIT, UNIT_WIDTH, 1, pooled=False)


def descriptor(volume: np.ndarray) -> np.ndarray:
    """The means (2048,) of 16 x 16 x 8 equal blocks of a volume (D, H, W), 8 along D.

    Source: LiFT App. D.
    """
    image = torch.from_numpy(np.ascontiguousarray(volume, dtype=np.float32))[None, None]
    return np.asarray(F.adaptive_avg_pool3d(image, DESCRIPTOR_SHAPE).reshape(-1).numpy())


def pooled_distances(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The mean squared difference of descriptors (N, 2048) and (M, 2048): (N, M); 0 if equal."""
    one, other = first.astype(np.float64), second.astype(np.float64)
    return np.asarray(cdist(one, other, "sqeuclidean") / one.shape[1])


def nearest_two(distances: np.ndarray) -> Neighbours:
    """The two nearest of M >= 2 training volumes, of distances (N, M).

    Raises:
        ValueError: If there are fewer, or no volumes.
    """
    if distances.ndim != 2 or distances.shape[0] < 1 or distances.shape[1] < 2:
        raise ValueError(f"expected distances (N >= 1, M >= 2), got shape {distances.shape}")
    order = np.argsort(distances, axis=1, kind="stable")[:, :2]
    found = np.take_along_axis(distances, order, axis=1)
    return Neighbours(order[:, 0], found[:, 0], order[:, 1], found[:, 1])


def nearest_others(distances: np.ndarray) -> Neighbours:
    """The two nearest others of each of M >= 3 volumes, of their distances (M, M).

    Source: LiFT App. D, task B: the distances among training volumes.

    Raises:
        ValueError: If there are fewer, or the distances are not among one set.
    """
    if distances.ndim != 2 or len(distances) < 3 or distances.shape[0] != distances.shape[1]:
        raise ValueError(f"expected distances (M, M), M >= 3, got shape {distances.shape}")
    others = distances.astype(np.float64)
    np.fill_diagonal(others, np.inf)
    return nearest_two(others)


def root_ratios(found: Neighbours, power: int) -> np.ndarray:
    """The error of the nearest by that of the second nearest (N,), at most 1.

    Errors are distances to the power of 1 / `power`. 1 where both are 0.
    """
    one, other = (d ** (1 / power) for d in (found.distance, found.second_distance))
    return np.where(other > 0, one / np.where(other > 0, other, 1), 1.0)


def copy_rule(held_out: Neighbours, *, num_predicted: int, power: int) -> CopyRule:
    """The limits below which a predicted volume counts as a copy of its nearest training volume.

    - distance: half the least error among held-out volumes, which are no copies.
    - ratio of the errors of nearest and second nearest. A copy has one neighbour that is nearer
      than all others, also after noise has moved it away from all of them alike, where a distance
      sees nothing. The gap between the two smallest of many distances is nearly exponential
      (Rényi), so the gap of one volume by the mean gap 1 - ratio of K held-out ones follows
      F(2, 2 K). The limit is passed by chance by any of the predicted volumes in 1 of 100 probes.

    Both adapt to the data: to its spread, its number of training volumes and its noise.

    Raises:
        ValueError: If there is nothing predicted.
    """
    if num_predicted < 1:
        raise ValueError(f"expected at least one predicted volume, got {num_predicted}")
    ratios = root_ratios(held_out, power)
    k = len(ratios)
    factor = float(stats.f.isf(FALSE_ALARM / num_predicted, 2, 2 * k))
    ratio_limit = max(0.0, 1 - factor * float(np.mean(1 - ratios)))
    limit = float(COPY_SHARE**power * held_out.distance.min())
    return CopyRule(
        distance_limit=limit,
        ratio_limit=ratio_limit,
        description=(
            f"a copy: nearest distance below {limit:.4g} (half the least error of {k} held-out "
            f"volume{'' if k == 1 else 's'}), or nearest by second nearest error below "
            f"{ratio_limit:.3f} (gap {factor:.1f} times the mean of held-out ones: by chance in 1 "
            "of 100 probes)"
        ),
    )


def are_copies(found: Neighbours, rule: CopyRule, power: int) -> np.ndarray:
    """Which volumes (N,) count as copies under the rule."""
    return np.asarray(
        (found.distance < rule.distance_limit) | (root_ratios(found, power) < rule.ratio_limit)
    )


def held_out_outliers(held_out: Neighbours, power: int) -> np.ndarray:
    """Which held-out volumes (N,) would count as copies under the rule of all the others.

    They should not exist: where they do, a held-out subject may be in the training set.
    """
    n = len(held_out.distance)
    if n < 2:
        return np.zeros(n, dtype=bool)
    found = np.zeros(n, dtype=bool)
    for i in range(n):
        others = Neighbours(*(np.delete(values, i) for values in held_out))
        own = Neighbours(*(values[i : i + 1] for values in held_out))
        rule = copy_rule(others, num_predicted=n, power=power)
        found[i] = are_copies(own, rule, power)[0]
    return found
