"""The volumes of a cohort, brought onto one grid and kept on disk while they are compared."""

import math
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import overload

import numpy as np

from liftnet.core.errors import DatasetError, GeometryError, LiftnetError, PlanError
from liftnet.core.geometry import Shape, Volume
from liftnet.core.plan import Plan
from liftnet.host.parallel import in_parallel
from liftnet.imageio import read_case
from liftnet.ops import normalize
from liftnet.pipeline.evaluate.cohort_setting import CohortFiles, CohortSetting
from liftnet.pipeline.preprocess.preprocess import prepare
from liftnet.pipeline.preprocess.subject import refuse_wrong_image, refuse_wrong_intensities

__all__ = ["Volumes", "network_limits", "read_cohort", "read_onto_grid", "store_cohort"]

STORED = np.float16  # as preprocessed cases; errs by at most 2.4e-4 in [0, 1]
SMALLEST_SIDE = 3  # of a window of SSIM


@dataclass(frozen=True, eq=False)
class Volumes(Sequence[np.ndarray]):
    """Volumes (D, H, W), float32 in [0, 1]; one is read from disk when it is asked for."""

    names: tuple[str, ...]
    stored: np.ndarray  # (N, D, H, W) float16, memory-mapped
    after_reading: Callable[[], None] | None = None

    def __len__(self) -> int:
        """How many there are."""
        return len(self.names)

    @overload
    def __getitem__(self, index: int) -> np.ndarray: ...
    @overload
    def __getitem__(self, index: slice) -> "Volumes": ...
    def __getitem__(self, index: int | slice) -> "np.ndarray | Volumes":
        """One volume, or some of them."""
        if isinstance(index, slice):
            return replace(self, names=self.names[index], stored=self.stored[index])
        volume = np.asarray(self.stored[index], dtype=np.float32)
        if self.after_reading is not None:
            self.after_reading()
        return volume

    def watched(self, after_reading: Callable[[], None]) -> "Volumes":
        """The same volumes, which say when one is read."""
        return replace(self, after_reading=after_reading)

    @property
    def shape(self) -> Shape:
        """The size (D, H, W) of each."""
        depth, height, width = self.stored.shape[1:]
        return depth, height, width

    @property
    def rows(self) -> np.ndarray:
        """All voxels (N, V), float16, memory-mapped: only what is indexed is read."""
        return np.reshape(self.stored, (len(self), -1))


def network_limits(plan: Plan, target: str) -> tuple[float, float]:
    """The network values that stand for 0 and 1 of `Volumes`.

    Raises:
        PlanError: If the plan's normalization has none.
    """
    low, high = normalize.limits(plan.channel(target).normalization)
    if not math.isfinite(high - low):
        raise PlanError(
            "Cohorts are compared in a fixed range, and the plan's normalization has none",
            where=f"plan {plan.name}: channel {target}",
            remedy="Plan again with a normalization that has limits, such as PercentileScale.",
        )
    return low, high


def read_cohort(
    cohort: CohortFiles,
    setting: CohortSetting,
    folder: Path,
    workers: int,
    advance: Callable[[], None],
    shape: Shape | None = None,
) -> Volumes:
    """The volumes of a cohort under the setting's protocol, stored in a folder.

    Args:
        cohort: its files.
        setting: protocol and plan.
        folder: where `cohort.what`.npy is written.
        workers: files read at the same time.
        advance: called after each file.
        shape: the size that all must have; by default that of the first.

    Raises:
        LiftnetError: If a file cannot be used or has another size, or the disk is too small.
    """
    return store_cohort(
        cohort, lambda path: read_onto_grid(path, setting), folder, workers, advance, shape
    )


def store_cohort(
    cohort: CohortFiles,
    place: Callable[[Path], np.ndarray],
    folder: Path,
    workers: int,
    advance: Callable[[], None],
    shape: Shape | None = None,
) -> Volumes:
    """The volumes of a cohort as a function reads them (D, H, W), stored in a folder.

    Args:
        cohort: its files.
        place: reads a file onto the common grid, in [0, 1].
        folder: where `cohort.what`.npy is written.
        workers: files read at the same time.
        advance: called after each file.
        shape: the size that all must have; by default that of the first.

    Raises:
        LiftnetError: If a file cannot be used or has another size, or the disk is too small.
    """

    def work(item: tuple[int, Path]) -> np.ndarray:
        try:
            return place(item[1])
        except LiftnetError as error:
            error.where = str(item[1])
            raise

    items = list(enumerate(cohort.files.values()))
    stored = None
    for (number, path), voxels in in_parallel(work, items, workers):
        if stored is None:
            size: Shape = shape or (voxels.shape[0], voxels.shape[1], voxels.shape[2])
            stored = _reserve(folder / f"{cohort.what}.npy", (len(items), *size))
        if voxels.shape != stored.shape[1:]:
            raise GeometryError(
                f"The volumes have different sizes on the plan's grid: {stored.shape[1:]} and "
                f"{voxels.shape}",
                where=str(path),
                remedy="Compare volumes of one field of view, or plan a grid with a box.",
            )
        stored[number] = voxels
        advance()
    assert stored is not None  # a cohort has a file at least
    return Volumes(tuple(cohort.files), stored)


def read_onto_grid(path: Path, setting: CohortSetting) -> np.ndarray:
    """The volume of a file as it is compared: (D, H, W) in [0, 1], D the plan's slice axis.

    Raises:
        LiftnetError: If the file cannot be used.
    """
    volume, _ = read_case({setting.target or "image": path}, where=path.name)
    return _onto_grid(volume, setting)


def _onto_grid(volume: Volume, setting: CohortSetting) -> np.ndarray:
    """A volume (1, D, H, W) of a file as it is compared: (D, H, W) in [0, 1]."""
    if (own := setting.protocol.own_grid) is not None:
        refuse_wrong_image(volume.voxels[0], setting.target or "the image", ct=False)
        return own.place(volume)
    assert setting.plan is not None  # every other protocol is that of a plan
    low, high = network_limits(setting.plan, setting.target)
    refuse_wrong_intensities(volume.voxels, (setting.target,), setting.plan)
    prepared = prepare(volume, (setting.target,), setting.plan).voxels[0]
    if min(prepared.shape) < SMALLEST_SIDE:
        raise GeometryError(
            f"The volume has {prepared.shape} voxels on the plan's grid, fewer than "
            f"{SMALLEST_SIDE} along an axis",
            remedy="Compare whole volumes, not single slices.",
        )
    return np.asarray((prepared - np.float32(low)) / np.float32(high - low))


def _reserve(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """An array on disk for the volumes.

    Raises:
        DatasetError: If the disk has not enough space, which a memory map would crash on.
    """
    needed, free = math.prod(shape) * np.dtype(STORED).itemsize, shutil.disk_usage(path.parent).free
    if needed > free:
        raise DatasetError(
            f"The prepared volumes need {needed / 2**30:.1f} GiB, {free / 2**30:.1f} GiB are free",
            where=str(path.parent),
            remedy="Free some space, or name a folder on a larger disk in the variable TMPDIR.",
        )
    return np.lib.format.open_memmap(path, mode="w+", dtype=STORED, shape=shape)
