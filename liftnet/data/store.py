"""Preprocessed cases on disk: one memory-mapped array and one JSON file each."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from liftnet.core.errors import CheckpointError, DatasetError, PlanError
from liftnet.core.geometry import Placement
from liftnet.core.jsonable import from_json, read_json, write_json

__all__ = ["MASK_ENDING", "Store", "StoredCase", "write_array", "write_case"]

MASK_ENDING = ".mask.npy"
LARGEST = float(np.finfo(np.float16).max)


@dataclass(frozen=True)
class StoredCase:
    """What is known of a preprocessed case besides its voxels."""

    identifier: str
    key: str  # of the raw files and the plan's preparation; another key means "do it again"
    present: tuple[str, ...]  # channels that the case has, in the plan's order
    shape: tuple[int, int, int]
    ranges: dict[str, tuple[float, float]]  # channel -> intensities that became 0 and 1
    placement: Placement


@dataclass(frozen=True)
class Store:
    """A folder of preprocessed cases.

    CASE.npy holds (C, D, H, W) float16 in network units, CASE.mask.npy bool (D, H, W) where the
    plan uses masks, and CASE.json the rest. Cases that a device holds (`hold`) are not read again.
    """

    folder: Path
    held: Mapping[str, Tensor] = field(default_factory=dict, repr=False)  # file name -> array

    def identifiers(self) -> tuple[str, ...]:
        """The cases that are complete, in order of their names."""
        if not self.folder.is_dir():
            return ()
        return tuple(sorted(path.stem for path in self.folder.glob("*.json")))

    def describe(self, identifier: str) -> StoredCase:
        """The JSON part of a case."""
        path = self.folder / f"{identifier}.json"
        try:
            changed = path.stat().st_mtime_ns
        except OSError:
            changed = 0  # missing: reading says so
        return _described(path, changed)

    def voxels(self, identifier: str) -> np.ndarray:
        """The voxels (C, D, H, W), memory-mapped: only what is indexed is read.

        Raises:
            DatasetError: If the file is missing or damaged.
        """
        return self._array(f"{identifier}.npy")

    def mask(self, identifier: str) -> np.ndarray:
        """The mask (D, H, W), bool, memory-mapped.

        Raises:
            DatasetError: If the file is missing or damaged.
        """
        return self._array(identifier + MASK_ENDING)

    def slab(self, identifier: str, span: slice = slice(None)) -> Tensor:
        """Slices (C, d, H, W) of a case, float16: where it is held, else mapped from its file.

        Raises:
            DatasetError: If the file is missing or damaged.
        """
        return self._slab(f"{identifier}.npy", (slice(None), span))

    def mask_slab(self, identifier: str, span: slice = slice(None)) -> Tensor:
        """Slices (d, H, W) of a mask, bool; as `slab`."""
        return self._slab(identifier + MASK_ENDING, (span,))

    def _slab(self, name: str, index: tuple[slice, ...]) -> Tensor:
        if name in self.held:
            return self.held[name][index]
        return torch.from_numpy(self._array(name, "c"))[index]

    def size(self, identifiers: Iterable[str]) -> int:
        """The bytes of cases and their masks."""
        paths = (path for case in identifiers for path in self._files(case))
        return sum(path.stat().st_size for path in paths)

    def hold(self, identifiers: Iterable[str], device: torch.device) -> "Store":
        """The same store with these cases in the memory of a device, masks too.

        Raises:
            DatasetError: If a file is missing or damaged.
        """
        held = {
            path.name: torch.from_numpy(self._array(path.name, "c")).to(device, copy=True)
            for case in identifiers
            for path in self._files(case)
        }
        return replace(self, held={**self.held, **held})

    def _files(self, identifier: str) -> list[Path]:
        names = (f"{identifier}.npy", identifier + MASK_ENDING)
        return [path for path in (self.folder / name for name in names) if path.is_file()]

    def _array(self, name: str, mode: Literal["r", "c"] = "r") -> np.ndarray:
        path = self.folder / name
        try:
            array: np.ndarray = np.load(path, mmap_mode=mode, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise DatasetError(
                f"A preprocessed case cannot be read: {error}",
                where=str(path),
                remedy="Delete it and run liftnet_preprocess again.",
            ) from None
        return array

    def is_current(self, identifier: str, key: str, *, mask: bool = False) -> bool:
        """Whether the case (with a mask) is complete and was made from these files by this plan."""
        try:
            described = self.describe(identifier)
            shapes = [self.voxels(identifier).shape[1:]]
            if mask:
                shapes.append(self.mask(identifier).shape)
        except (DatasetError, PlanError, CheckpointError):
            return False
        return described.key == key and set(shapes) == {described.shape}


@lru_cache(maxsize=4096)
def _described(path: Path, changed: int) -> StoredCase:
    """The JSON part of a case; every training step asks for some."""
    return from_json(StoredCase, read_json(path), where=str(path))


def write_case(
    folder: Path, voxels: np.ndarray, case: StoredCase, *, mask: np.ndarray | None = None
) -> None:
    """Store a case; its JSON file comes last, and marks it complete."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{case.identifier}.json").unlink(missing_ok=True)
    (folder / (case.identifier + MASK_ENDING)).unlink(missing_ok=True)
    limited = np.clip(voxels, -LARGEST, LARGEST)  # a z-score may be beyond float16
    write_array(folder / f"{case.identifier}.npy", limited.astype(np.float16, copy=False))
    if mask is not None:
        write_array(folder / (case.identifier + MASK_ENDING), mask.astype(bool, copy=False))
    write_json(folder / f"{case.identifier}.json", case)


def write_array(final: Path, array: np.ndarray) -> None:
    """Write an array whole or not at all."""
    temporary = final.with_name(f".{final.name}.{os.getpid()}.tmp")
    with temporary.open("wb") as file:
        np.save(file, np.ascontiguousarray(array), allow_pickle=False)
    temporary.replace(final)
