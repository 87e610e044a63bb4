"""The metrics of a generated cohort beside those of a real one in its place."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from liftnet.core.scores import CohortRow
from liftnet.metrics.catalogue import good_of
from liftnet.metrics.cohort import (
    delta_z_distance,
    delta_z_profiles,
    delta_z_ratio,
    depth_order,
    depth_reference,
    ms_ssim_among,
)
from liftnet.metrics.distribution import NUM_NEIGHBOURS, measure_features
from liftnet.pipeline.evaluate.cohort_volumes import Volumes

__all__ = [
    "VOXELS",
    "Cohorts",
    "Control",
    "choose_control",
    "feature_rows",
    "likeness_reads",
    "likeness_rows",
    "rows_of",
    "slice_reads",
    "slice_rows",
]

VOXELS = "voxels"  # the group of what needs no features
SEED = 0  # of the pairs of MS-SSIM and of the real volumes chosen as control


@dataclass(frozen=True)
class Cohorts:
    """The volumes that are compared."""

    generated: Volumes
    real: Volumes
    training: Volumes | None

    @property
    def by_name(self) -> dict[str, Volumes]:
        """Those there are, by the names that `Control` uses."""
        found = {"generated": self.generated, "real": self.real}
        return found if self.training is None else found | {"training": self.training}

    @property
    def sizes(self) -> tuple[int, int, int]:
        """How many generated, real and training volumes."""
        training = 0 if self.training is None else len(self.training)
        return len(self.generated), len(self.real), training


@dataclass(frozen=True)
class Control:
    """Real volumes in the place of the generated ones: what a perfect generator would score."""

    cohort: str  # whose volumes they are: "training" or "real"
    standing: np.ndarray  # their numbers
    against: np.ndarray  # the numbers of the real volumes that they are compared with


def choose_control(num_generated: int, num_real: int, num_training: int) -> Control | None:
    """Training volumes, at most as many as generated ones; else one half of the real volumes.

    None if there is no training cohort and fewer than four real volumes.
    """
    rng = np.random.default_rng(SEED)
    if num_training:
        chosen = rng.permutation(num_training)[:num_generated]
        return Control("training", np.sort(chosen), np.arange(num_real))
    if num_real // 2 < 2:
        return None
    order = rng.permutation(num_real)
    half = num_real // 2
    return Control("real", np.sort(order[:half]), np.sort(order[half:]))


def feature_rows(
    group: str, features: Mapping[str, np.ndarray], control: Control | None, *, thousandfold: bool
) -> tuple[list[CohortRow], int]:
    """The metrics of features (N, F) of each cohort by its name, and the k of their neighbours.

    There are none where real features are all alike.
    """
    generated, real = features["generated"], features["real"]
    sets = [(generated, real)]
    if control is not None:
        sets.append((features[control.cohort][control.standing], real[control.against]))
    k = min(NUM_NEIGHBOURS, *(len(f) - 1 for pair in sets for f in pair))
    if not all(np.ptp(true, axis=0).any() for _, true in sets):
        return [], k
    values = [measure_features(*pair, k=k, thousandfold=thousandfold) for pair in sets]
    return rows_of(group, *values), k


def likeness_reads(cohorts: Cohorts, pairs: int) -> int:
    """How many volumes `likeness_rows` reads."""
    sizes = [len(cohorts.generated), len(cohorts.real)]
    return sum(2 * min(pairs, n * (n - 1) // 2) for n in sizes)


def likeness_rows(cohorts: Cohorts, pairs: int, advance: Callable[[], None]) -> list[CohortRow]:
    """How alike the volumes of each cohort are: the mean MS-SSIM of random pairs."""
    generated, real = (
        ms_ssim_among(volumes.watched(advance), data_range=1.0, pairs=pairs, seed=SEED)
        for volumes in (cohorts.generated, cohorts.real)
    )
    return rows_of(VOXELS, {"ms_ssim": generated}, {"ms_ssim": real})


def slice_reads(cohorts: Cohorts) -> int:
    """How many volumes `slice_rows` reads."""
    again = 0 if cohorts.training is not None else len(cohorts.real)
    return 2 * sum(map(len, cohorts.by_name.values())) + again


def slice_rows(
    cohorts: Cohorts, control: Control | None, advance: Callable[[], None]
) -> list[CohortRow]:
    """Steps between neighbouring slices, and how well slices sit at their depth."""
    profiles = {
        name: delta_z_profiles(volumes.watched(advance))
        for name, volumes in cohorts.by_name.items()
    }
    sets = [(profiles["generated"], profiles["real"])]
    if control is not None:
        standing = profiles[control.cohort][control.standing]
        sets.append((standing, profiles["real"][control.against]))
    values = [
        {"delta_z_distance": delta_z_distance(*pair), "delta_z_ratio": delta_z_ratio(*pair)}
        for pair in sets
        if pair[1].any()  # without a step there is no scale
    ]
    rows = rows_of(VOXELS, *values) if values else []
    try:
        order = [{"depth_order": value} for value in _depth_orders(cohorts, advance)]
    except ValueError:  # real slices are nowhere alike: there is no order to know
        return rows
    return rows + rows_of(VOXELS, *order)


def _depth_orders(cohorts: Cohorts, advance: Callable[[], None]) -> tuple[float, float]:
    """The depth order of generated and of real volumes, by a reference that holds neither.

    The reference is made from the training cohort; without one, from all real volumes, for each
    real volume from all the others.
    """
    generated, real = (v.watched(advance) for v in (cohorts.generated, cohorts.real))
    if cohorts.training is not None:
        reference = depth_reference(cohorts.training.watched(advance))
        return depth_order(generated, reference), depth_order(real, reference)
    reference = depth_reference(real)
    total, others = len(real) * reference, len(real) - 1
    own = [depth_order([v], (total - depth_reference([v])) / others) for v in real]
    return depth_order(generated, reference), float(np.mean(own))


def rows_of(
    group: str, generated: Mapping[str, float], real: Mapping[str, float] | None = None
) -> list[CohortRow]:
    """Metrics by name, of the generated cohort and of its control, as rows."""
    return [
        CohortRow(group, name, value, (real or {}).get(name), good_of(name))
        for name, value in generated.items()
    ]
