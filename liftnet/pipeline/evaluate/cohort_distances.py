"""Cohorts compared voxel by voxel: how varied they are, and how near to what training saw."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from liftnet.core.scores import ClosestPair, CohortRow
from liftnet.host.parallel import in_parallel, threads_shared_by
from liftnet.host.progress import progress
from liftnet.metrics.distribution import NeighbourDistances, memorization
from liftnet.metrics.voxel_distances import (
    mean_absolute_distances,
    mean_squared_distances,
    spread,
)
from liftnet.pipeline.evaluate.cohort_measures import VOXELS, Cohorts, Control, rows_of
from liftnet.pipeline.evaluate.cohort_volumes import Volumes

__all__ = ["Matrices", "absolute_distances", "measure_distances", "nearest_rows", "spread_rows"]

BLOCK_NUMBERS = 2**22  # ours: 16 MiB of float32 per worker, and about as much again twice
UNIT = 2.0  # LiFT App. D: errors in units of [-1, 1]; `Volumes` are in [0, 1]
MEASURES: Mapping[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "absolute": mean_absolute_distances,
    "squared": mean_squared_distances,
}


class Job(NamedTuple):
    """Which distances, between which cohorts."""

    measure: str
    first: str
    second: str


Matrices = Mapping[Job, np.ndarray]  # each (N, M), means over voxels in units of [0, 1]


def measure_distances(cohorts: Cohorts, workers: int) -> Matrices:
    """All the distances that the functions below need, with a progress bar."""
    known = _known(cohorts)
    jobs = [Job("squared", name, name) for name in cohorts.by_name]
    jobs += [Job("absolute", name, known) for name in cohorts.by_name]
    blocks = {job: _blocks(cohorts.by_name[job.first], cohorts.by_name[job.second]) for job in jobs}
    total = sum(map(len, blocks.values()))
    with progress("Distances", total, unit="block") as advance, threads_shared_by(workers):
        return {
            job: _over_blocks(
                MEASURES[job.measure],
                cohorts.by_name[job.first].rows,
                cohorts.by_name[job.second].rows,
                blocks[job],
                workers,
                advance,
            )
            for job in jobs
        }


def absolute_distances(first: Volumes, second: Volumes, workers: int) -> np.ndarray:
    """The mean absolute difference of each volume from each of others (N, M), in [0, 1]."""
    blocks = _blocks(first, second)
    with progress("Distances", len(blocks), unit="block") as advance, threads_shared_by(workers):
        return _over_blocks(
            mean_absolute_distances, first.rows, second.rows, blocks, workers, advance
        )


def spread_rows(matrices: Matrices, control: Control | None) -> list[CohortRow]:
    """How varied the voxels of generated volumes are, relative to real ones.

    There are none where all real volumes are equal.
    """
    squared = {job.first: found for job, found in matrices.items() if job.measure == "squared"}
    sets = [(squared["generated"], squared["real"])]
    if control is not None:
        own, against = control.standing, control.against
        real = squared["real"][np.ix_(against, against)]
        sets.append((squared[control.cohort][np.ix_(own, own)], real))
    values = []
    for one, other in sets:
        diversity, trace = spread(one)
        real_diversity, real_trace = spread(other)
        if real_diversity == 0:
            return []
        values.append(
            {"diversity_ratio": diversity / real_diversity, "trace_ratio": trace / real_trace}
        )
    return rows_of(VOXELS, *values)


def nearest_rows(
    matrices: Matrices, cohorts: Cohorts
) -> tuple[list[CohortRow], tuple[ClosestPair, ...], dict[str, float]]:
    """How near volumes are to one that training saw, the closest pairs, and all of `memorization`.

    Known is the training cohort; without one, the real cohort is taken for it, each of its volumes
    compared with the others.

    Source: LiFT App. D.
    """
    known = _known(cohorts)
    absolute = {
        job.first: UNIT * found for job, found in matrices.items() if job.measure == "absolute"
    }
    np.fill_diagonal(absolute[known], np.inf)
    held_out = absolute["real"] if known == "training" else None
    values = memorization(
        NeighbourDistances(
            generated=absolute["generated"].min(axis=1),
            training=absolute[known].min(axis=1),
            held_out=None if held_out is None else held_out.min(axis=1),
        )
    )
    beside = "training" if held_out is None else "held_out"
    rows = rows_of(
        VOXELS,
        {
            "nearest_mean": values["nearest_generated_mean"],
            "nearest_min": values["nearest_generated_min"],
            "copied_fraction": values["copied_fraction"],
        },
        {
            "nearest_mean": values[f"nearest_{beside}_mean"],
            "nearest_min": values[f"nearest_{beside}_min"],
        },
    )
    pairs = tuple(
        _closest(name, absolute[name], cohorts.by_name[name], cohorts.by_name[known])
        for name in ("generated", "real")
    )
    return rows, pairs, values


def _known(cohorts: Cohorts) -> str:
    return "real" if cohorts.training is None else "training"


def _closest(name: str, distances: np.ndarray, own: Volumes, known: Volumes) -> ClosestPair:
    one, other = divmod(int(distances.argmin()), distances.shape[1])
    return ClosestPair(name, own.names[one], known.names[other], float(distances[one, other]))


def _blocks(first: Volumes, second: Volumes) -> list[slice]:
    """The voxels in parts that fit into memory for all volumes of both cohorts."""
    length = first.rows.shape[1]
    step = max(1, BLOCK_NUMBERS // (len(first) + len(second)))
    return [slice(start, min(start + step, length)) for start in range(0, length, step)]


def _over_blocks(
    measure: Callable[[np.ndarray, np.ndarray], np.ndarray],
    first: np.ndarray,
    second: np.ndarray,
    blocks: list[slice],
    workers: int,
    advance: Callable[[], None],
) -> np.ndarray:
    """A mean over voxels of all pairs of rows (N, M), block by block."""

    def work(item: tuple[int, slice]) -> np.ndarray:
        block = item[1]
        share = (block.stop - block.start) / first.shape[1]
        return measure(first[:, block], second[:, block]) * share

    total = np.zeros((len(first), len(second)))
    waiting: dict[int, np.ndarray] = {}
    added = 0
    for (number, _), part in in_parallel(work, list(enumerate(blocks)), workers):
        waiting[number] = part
        while added in waiting:  # in order: another order rounds differently
            total += waiting.pop(added)
            added += 1
        advance()
    return total
