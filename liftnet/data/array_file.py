"""Parts of an array file, read and not mapped.

A mapped file that is cut short, or whose disk fails, ends the process without a word (SIGBUS); to
read it is an error that can be told. What was read stays what it was, whatever becomes of the file.
"""

import math
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.lib import format as npy

from liftnet.core.errors import DatasetError

__all__ = ["Layout", "StoredRows", "layout_of", "new_array", "read_rows", "stored_rows"]

ALIGNMENT = 64  # bytes; as torch, and no vector of a CPU is longer


@dataclass(frozen=True)
class Layout:
    """What the header of an array file says."""

    shape: tuple[int, ...]
    dtype: np.dtype
    offset: int  # bytes of the header

    @property
    def size(self) -> int:
        """The bytes of the whole file."""
        return self.offset + math.prod(self.shape) * self.dtype.itemsize


def layout_of(path: Path) -> Layout:
    """The layout of a file, which is as long as it says.

    Raises:
        OSError, ValueError and others: If the file is missing, cut short or damaged; see
            `liftnet.data.store.UNREADABLE`.
    """
    with path.open("rb") as file:
        return _layout(file)


def read_rows(path: Path, joined: int, runs: Iterable[tuple[int, int]] | None = None) -> np.ndarray:
    """Rows of an array, from the disk.

    Args:
        path: the file.
        joined: so many leading axes are taken as one, whose elements are the rows.
        runs: the first row and the number of rows of each run; by default all rows.

    Returns:
        The rows (rows, ...) of all runs, one after another.

    Raises:
        OSError, ValueError and others: as `layout_of`.
    """
    with path.open("rb", buffering=0) as file:
        layout = _layout(file)
        rest = layout.shape[joined:]
        length = math.prod(rest) * layout.dtype.itemsize
        wanted = [(0, math.prod(layout.shape[:joined]))] if runs is None else list(runs)
        rows = _aligned((sum(count for _, count in wanted), *rest), layout.dtype)
        content = rows.reshape(-1).view(np.uint8).data
        done = 0
        for first, count in wanted:
            file.seek(layout.offset + first * length)
            end = done + count * length
            while done < end:
                got = file.readinto(content[done:end])
                if not got:
                    raise ValueError("it was cut short while it was read")
                done += got
        return rows


def _aligned(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """An array that begins at a multiple of ALIGNMENT, and is not filled yet.

    The order in which numbers are added up, and so their last bits, depend on where they begin.
    """
    size = math.prod(shape) * dtype.itemsize
    spare = np.empty(size + ALIGNMENT, np.uint8)
    start = -spare.ctypes.data % ALIGNMENT
    return spare[start : start + size].view(dtype).reshape(shape)


@dataclass(frozen=True)
class StoredRows:
    """An array (S, ...) in a file that stays as it is, of which rows are read."""

    path: Path
    shape: tuple[int, ...]
    changed: int  # st_mtime_ns of the file

    def __len__(self) -> int:
        return self.shape[0]

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self.rows([index])[0] for index in range(len(self)))

    def rows(self, indices: Sequence[int]) -> np.ndarray:
        """The rows (n, ...) of these indices.

        Raises:
            DatasetError: If the file is gone, or is another one than it was.
        """
        try:
            if self.path.stat().st_mtime_ns != self.changed:
                raise ValueError("it was changed after this run had begun")
            return read_rows(self.path, 1, [(index, 1) for index in indices])
        except (OSError, ValueError) as error:
            raise DatasetError(
                f"A file of this training cannot be read: {error}",
                where=str(self.path),
                remedy="Give the same command again: it makes the file anew, and continues from "
                "the last checkpoint.",
            ) from None


def stored_rows(path: Path) -> StoredRows:
    """The rows of a file.

    Raises:
        OSError, ValueError and others: as `layout_of`.
    """
    return StoredRows(path, layout_of(path).shape, path.stat().st_mtime_ns)


def new_array(path: Path, dtype: np.dtype | type, shape: tuple[int, ...]) -> np.memmap:
    """A new file of zeros, mapped for writing, whose space on the disk is its own.

    To write into a mapped file while the disk is full ends the process without a word.

    Raises:
        OSError: If the disk has not so much space.
    """
    array = npy.open_memmap(path, mode="w+", dtype=dtype, shape=shape)
    if hasattr(os, "posix_fallocate"):  # not on every system
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, array.offset + array.nbytes)
    return array


def _layout(file: BinaryIO) -> Layout:
    version = npy.read_magic(file)
    if version != (1, 0):
        raise ValueError(f"its header has version {version}")
    shape, fortran_order, dtype = npy.read_array_header_1_0(file)
    if fortran_order or dtype.hasobject:
        raise ValueError(f"it holds {dtype} in another order")
    layout = Layout(shape, dtype, file.tell())
    size = os.fstat(file.fileno()).st_size
    if size != layout.size:
        raise ValueError(f"it has {size} bytes instead of {layout.size}")
    return layout
