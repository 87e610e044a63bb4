"""Volumes of different grids brought onto one, about the centre of what they show."""

import math
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from liftnet.core.errors import DatasetError, LiftnetError
from liftnet.core.geometry import Shape, Triple
from liftnet.host.parallel import in_parallel, threads_shared_by
from liftnet.host.progress import progress
from liftnet.metrics.memorization import HU_LIMITS
from liftnet.ops.intensities import clip_extremes, otsu_threshold
from liftnet.ops.mask import bounding_box, largest_component
from liftnet.pipeline.evaluate.cohort_setting import CohortFiles
from liftnet.pipeline.evaluate.cohort_volumes import Volumes, store_cohort
from liftnet.pipeline.evaluate.scoring import read_turned

__all__ = ["CommonGrid", "Frame", "find_frame", "find_grid", "on_grid", "read_on_common_grid"]

MOST_VOXELS = 128**3  # ours: LiFT's grid of generation; a copy shows on it, and 100 of them fit
BRIGHT = 0.99  # ours: a bright vessel does not set it
CALM = 1.0  # ours: voxels; takes away 6/7 of noise before thresholds and quantiles are found


class Frame(NamedTuple):
    """Where a volume (z, y, x) shows something, and its range."""

    centre: Triple  # in voxels
    reach_mm: Triple  # from the centre to the farther side of the foreground
    spacing_mm: Triple
    low: float  # file units that become 0 and 1
    high: float


class CommonGrid(NamedTuple):
    """A grid of cubes about the centre of each volume's foreground."""

    shape: Shape  # (z, y, x)
    spacing_mm: float


def find_frame(image: np.ndarray, spacing_mm: Triple, modality: str) -> Frame:
    """Centre, reach and range of a volume (z, y, x).

    The foreground is the largest piece above Otsu's threshold; its centre is that of mass. CT has
    a fixed range. MR goes from the median outside the foreground to a high quantile inside it,
    which undoes a gain and an offset. All is found in a smoothed image: noise must move nothing.

    Raises:
        DatasetError: If the image is empty.
    """
    if not np.ptp(image) > 0:
        raise DatasetError(
            f"The image is empty: every voxel is {image.flat[0]:g}",
            remedy="Take it out of the folder.",
        )
    steady = clip_extremes(image, ct=modality == "CT")
    calm = ndimage.gaussian_filter(steady, CALM, mode="nearest")
    mask = largest_component(calm > otsu_threshold(calm))
    centre, reach = [], []
    for axis, (step, (start, stop)) in enumerate(zip(spacing_mm, bounding_box(mask), strict=True)):
        others = tuple(a for a in range(3) if a != axis)
        weight = mask.sum(axis=others)
        middle = float((weight * np.arange(len(weight))).sum() / weight.sum())
        centre.append(middle)
        reach.append((max(middle - start, stop - 1 - middle) + 0.5) * step)
    low, high = HU_LIMITS
    if modality != "CT":
        low = float(np.median(calm[~mask]))
        high = float(np.quantile(calm[mask], BRIGHT))
    return Frame(
        centre=(centre[0], centre[1], centre[2]),
        reach_mm=(reach[0], reach[1], reach[2]),
        spacing_mm=spacing_mm,
        low=low,
        high=high,
    )


def find_grid(training: list[Frame], held_out: list[Frame]) -> CommonGrid:
    """The grid that holds the foreground of all real volumes; predicted ones do not change it.

    Its voxel is the median one of training, or larger where there were more than 128^3.
    """
    reach = np.max([frame.reach_mm for frame in [*training, *held_out]], axis=0)
    step = float(np.median([math.prod(frame.spacing_mm) ** (1 / 3) for frame in training]))
    step = max(step, float((np.prod(2 * reach) / MOST_VOXELS) ** (1 / 3)))
    z, y, x = (max(1, math.ceil(round(2 * side / step, 6))) for side in reach.tolist())
    return CommonGrid((z, y, x), step)


def on_grid(image: np.ndarray, frame: Frame, grid: CommonGrid) -> np.ndarray:
    """A volume (z, y, x) on the common grid, in [0, 1]; 0 where it ends.

    Linear interpolation, after smoothing where voxels get larger.
    """
    factors = [grid.spacing_mm / step for step in frame.spacing_mm]
    voxels = image.astype(np.float32)
    voxels = (np.clip(voxels, frame.low, frame.high) - frame.low) / (frame.high - frame.low)
    widths = [max(0.0, (factor - 1) / 2) for factor in factors]  # scikit-image resize
    if any(widths):
        voxels = ndimage.gaussian_filter(voxels, widths, mode="nearest")
    corner = [
        middle - (n - 1) / 2 * factor
        for middle, n, factor in zip(frame.centre, grid.shape, factors, strict=True)
    ]
    return np.asarray(
        ndimage.affine_transform(
            voxels, factors, offset=corner, output_shape=grid.shape, order=1, mode="constant"
        ),
        dtype=np.float32,
    )


def read_on_common_grid(
    groups: Mapping[str, CohortFiles], modality: str, folder: Path, workers: int
) -> tuple[dict[str, Volumes], CommonGrid]:
    """The volumes of "predicted", "training" and "held_out" on the common grid, stored in a folder.

    Raises:
        LiftnetError: If a file cannot be used, or the disk is too small.
    """
    total = sum(len(group.files) for group in groups.values())
    with threads_shared_by(workers):
        with progress("Measure", total, unit="volume") as advance:
            frames = {
                what: _frames(group, modality, workers, advance) for what, group in groups.items()
            }
        grid = find_grid(*([*frames[what].values()] for what in ("training", "held_out")))
        with progress("Read", total, unit="volume") as advance:
            found = {
                what: store_cohort(
                    group, partial(_placed, frames[what], grid), folder, workers, advance
                )
                for what, group in groups.items()
            }
    return found, grid


def _placed(frames: Mapping[Path, Frame], grid: CommonGrid, path: Path) -> np.ndarray:
    return on_grid(read_turned(path)[0], frames[path], grid)


def _frames(
    group: CohortFiles, modality: str, workers: int, advance: Callable[[], None]
) -> dict[Path, Frame]:
    """File -> frame, in the order of the files."""

    def work(path: Path) -> Frame:
        try:
            image, geometry = read_turned(path)
            return find_frame(image, geometry.spacing_mm, modality)
        except LiftnetError as error:
            error.where = str(path)
            raise

    found = {}
    for path, frame in in_parallel(work, list(group.files.values()), workers):
        found[path] = frame
        advance()
    return {path: found[path] for path in group.files.values()}
