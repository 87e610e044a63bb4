"""Preprocessed cases on disk: one array and one JSON file each."""

import io
import math
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from tokenize import TokenError
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor

from liftnet.core.errors import CheckpointError, DatasetError, PlanError
from liftnet.core.geometry import Placement
from liftnet.core.storage.checksum import as_text, crc32, file_crc32
from liftnet.core.storage.files import written_whole
from liftnet.core.storage.jsonable import from_json, read_json, write_sealed
from liftnet.core.storage.migration import refuse_other
from liftnet.data.array_file import Layout, layout_of, read_rows

__all__ = [
    "MASK_ENDING",
    "UNREADABLE",
    "UNREADABLE_ZIP",
    "Store",
    "StoredCase",
    "write_array",
    "write_case",
]

STORE_VERSION = 1
MASK_ENDING = ".mask.npy"
# What numpy raises for a damaged header, which it takes apart as a piece of Python.
UNREADABLE = (OSError, ValueError, EOFError, TypeError, KeyError, SyntaxError, TokenError,
              OverflowError, MemoryError, RecursionError)  # fmt: skip
# And for an .npz: RuntimeError where an entry is encrypted or compressed by an unknown method.
UNREADABLE_ZIP = (*UNREADABLE, BadZipFile, zlib.error, RuntimeError)
LARGEST = float(np.finfo(np.float16).max)
AGAIN = "Run liftnet_preprocess again: it makes this case anew and keeps the others."


@dataclass(frozen=True)
class StoredCase:
    """What is known of a preprocessed case besides its voxels."""

    identifier: str
    key: str  # of the raw files and the plan's preparation; another key means "do it again"
    present: tuple[str, ...]  # channels that the case has, in the plan's order
    shape: tuple[int, int, int]
    ranges: dict[str, tuple[float, float]]  # channel -> intensities that became 0 and 1
    placement: Placement
    checksums: dict[str, str] = field(default_factory=dict)  # file ending -> crc32; older: none
    version: int = STORE_VERSION  # of this file and the arrays beside it


@dataclass(frozen=True)
class Store:
    """A folder of preprocessed cases.

    CASE.npy holds (C, D, H, W) float16 in network units, CASE.mask.npy bool (D, H, W) where the
    plan uses masks, and CASE.json the rest. Cases that a device holds (`hold`) are not read again.
    A file is compared with its checksum when it is read first, and again if it has changed. During
    a run (`fixed`) no case may become another one.
    """

    folder: Path
    held: Mapping[str, Tensor] = field(default_factory=dict, repr=False)  # file name -> array
    expected: Mapping[str, str] = field(default_factory=dict, repr=False)  # file name -> checksum

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

    def knows(self, identifier: str) -> bool:
        """Whether this is a stored case, and not a file of that name that somebody put there."""
        try:
            return self.describe(identifier).identifier == identifier
        except (PlanError, CheckpointError):
            return False

    def voxels(self, identifier: str) -> np.ndarray:
        """The voxels (C, D, H, W).

        Raises:
            DatasetError: If the file is missing or damaged.
        """
        return self._read(f"{identifier}.npy")

    def mask(self, identifier: str) -> np.ndarray:
        """The mask (D, H, W), bool.

        Raises:
            DatasetError: If the file is missing or damaged.
        """
        return self._read(identifier + MASK_ENDING)

    def slab(
        self, identifier: str, span: slice = slice(None), channel: int | None = None
    ) -> Tensor:
        """Slices (C, d, H, W) of a case, float16: where it is held, else read from its file.

        With a `channel`, of that one alone: (1, d, H, W).

        Raises:
            DatasetError: If the file is missing or damaged.
        """
        channels = slice(None) if channel is None else slice(channel, channel + 1)
        return self._slab(f"{identifier}.npy", (channels, span))

    def mask_slab(self, identifier: str, span: slice = slice(None)) -> Tensor:
        """Slices (d, H, W) of a mask, bool; as `slab`."""
        return self._slab(identifier + MASK_ENDING, (span,))

    def _slab(self, name: str, index: tuple[slice, ...]) -> Tensor:
        if name in self.held:
            return self.held[name][index]
        return torch.from_numpy(self._read(name, index))

    def fixed(self, identifiers: Iterable[str]) -> "Store":
        """The same store; it refuses those of these cases that become other ones from now on."""
        expected = {
            case + ending: checksum
            for case in identifiers
            for ending, checksum in self.describe(case).checksums.items()
        }
        return replace(self, expected={**self.expected, **expected})

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
            path.name: torch.from_numpy(self._read(path.name)).to(device, copy=True)
            for case in identifiers
            for path in self._files(case)
        }
        return replace(self, held={**self.held, **held})

    def _files(self, identifier: str) -> list[Path]:
        names = (f"{identifier}.npy", identifier + MASK_ENDING)
        return [path for path in (self.folder / name for name in names) if path.is_file()]

    def _read(self, name: str, index: tuple[slice, ...] = ()) -> np.ndarray:
        """An array, or what slices of its channels and of D take of it: nothing else is read."""
        with self._damage_told(name) as path:
            shape = self._layout(path).shape
            groups, depth = math.prod(shape[:-3]), shape[-3]  # a mask is one group
            channels = range(groups)[index[0]] if len(index) > 1 else range(groups)
            span = range(depth)[index[-1]] if index else range(depth)
            runs = [(group * depth + span.start, len(span)) for group in channels]
            rows = read_rows(path, len(shape) - 2, runs)
        return rows.reshape(*[len(channels)] * (len(shape) > 3), len(span), *shape[-2:])

    @contextmanager
    def _damage_told(self, name: str) -> Iterator[Path]:
        """The path of a file whose checksum is right; errors inside say that it is damaged."""
        path = self.folder / name
        try:
            self._check(name)
            yield path
        except UNREADABLE as error:
            raise DatasetError(
                f"A preprocessed case cannot be read: {error}", where=str(path), remedy=AGAIN
            ) from None

    def _shape(self, name: str) -> tuple[int, ...]:
        with self._damage_told(name) as path:
            return self._layout(path).shape

    def _layout(self, path: Path) -> Layout:
        """The layout of an array, which is of the right kind."""
        layout, mask = layout_of(path), path.name.endswith(MASK_ENDING)
        if layout.dtype != np.dtype(bool if mask else np.float16) or len(layout.shape) != 4 - mask:
            raise ValueError(f"it holds {layout.dtype} of shape {layout.shape}")
        return layout

    def _check(self, name: str) -> None:
        """Refuse a file that is not what was written, or another one than it was (`fixed`)."""
        path, ending = self.folder / name, MASK_ENDING if name.endswith(MASK_ENDING) else ".npy"
        expected = self.describe(name.removesuffix(ending)).checksums.get(ending)
        if expected is None:
            return
        stat = path.stat()
        if _checksum(path, stat.st_mtime_ns, stat.st_size) != expected:
            raise DatasetError(
                "A preprocessed case cannot be read: it is damaged, its checksum differs",
                where=str(path),
                remedy=AGAIN,
            )
        if self.expected.get(name, expected) != expected:
            raise DatasetError(
                "A preprocessed case has become another one during the run",
                where=str(path),
                remedy="Give every plan a name of its own (-p), and begin this run anew.",
            )

    def is_current(
        self, identifier: str, key: str, *, mask: bool = False, read: bool = True
    ) -> bool:
        """Whether the case (with a mask) is complete and was made from these files by this plan.

        Args:
            identifier: of the case.
            key: of its files and the plan's preparation.
            mask: whether it needs a mask.
            read: whether the files are read, to see that they are not damaged.
        """
        if not read:
            present = (self.folder / f"{identifier}.npy").is_file()
            try:
                return present and self.describe(identifier).key == key
            except PlanError:
                return False
        try:
            described = self.describe(identifier)
            shapes = [self._shape(f"{identifier}.npy")[1:]]
            if mask:
                shapes.append(self._shape(identifier + MASK_ENDING))
        except (DatasetError, PlanError, CheckpointError):
            return False
        return described.key == key and set(shapes) == {described.shape}


@lru_cache(maxsize=4096)
def _described(path: Path, changed: int) -> StoredCase:
    """The JSON part of a case; every training step asks for some."""
    data = read_json(path)
    found = {"version": 1, **data} if isinstance(data, dict) else data  # the first had none
    what = "The preprocessed case has"
    refuse_other(found, STORE_VERSION, what=what, where=path, remedy=AGAIN)
    return from_json(StoredCase, found, where=path)


def write_case(
    folder: Path, voxels: np.ndarray, case: StoredCase, *, mask: np.ndarray | None = None
) -> None:
    """Store a case; its JSON file comes last, and marks it complete."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{case.identifier}.json").unlink(missing_ok=True)
    (folder / (case.identifier + MASK_ENDING)).unlink(missing_ok=True)
    limited = np.clip(voxels, -LARGEST, LARGEST)  # a z-score may be beyond float16
    arrays = {".npy": limited.astype(np.float16, copy=False)}
    if mask is not None:
        arrays[MASK_ENDING] = mask.astype(bool, copy=False)
    # Not flushed: what a power cut leaves of them does not have these checksums.
    checksums = {
        ending: write_array(folder / (case.identifier + ending), array, durable=False)
        for ending, array in arrays.items()
    }
    write_sealed(folder / f"{case.identifier}.json", replace(case, checksums=checksums))


def write_array(final: Path, array: np.ndarray, *, durable: bool = True) -> str:
    """The checksum of an array's file, which is written whole or not at all."""
    values = np.ascontiguousarray(array)
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, np.lib.format.header_data_from_array_1_0(values))
    content = values.reshape(-1).view(np.uint8)
    with written_whole(final, durable=durable) as temporary, temporary.open("wb") as file:
        file.write(head.getvalue())
        file.write(content.data)
    return as_text(crc32(content.data, crc32(head.getvalue())))


@lru_cache(maxsize=8192)
def _checksum(path: Path, changed: int, size: int) -> str:
    """The checksum of a file; worked out again only if it has changed."""
    return file_crc32(path)
