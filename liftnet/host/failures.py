"""Problems that come from outside: files, disk, memory of the device or of the host."""

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from liftnet.core.errors import LiftnetError
from liftnet.core.storage.files import missing_file, size_limit
from liftnet.ops.compute.host_memory import is_of_device, is_out_of_memory

__all__ = ["explained", "file_problem", "memory_problem"]

GIB = 2**30
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
GONE = (errno.ENOENT, errno.ESTALE)


@contextmanager
def explained(what: str, name: str) -> Iterator[None]:
    """A context in which a full disk, a closed folder or too little memory is a LiftnetError.

    Args:
        what: "case", "volume", "folder" or "picture".
        name: which one.
    """
    try:
        yield
    except OSError as error:
        raise file_problem(error, name) from None
    except (MemoryError, RuntimeError, ImportError, SystemError) as error:
        if is_of_device(error):
            raise LiftnetError(
                f"The device's memory is too small for this {what}",
                where=f"{what} {name}",
                remedy="Use -device cpu, or a device with more memory: less at a time was tried.",
            ) from None
        if not is_out_of_memory(error):
            raise
        raise memory_problem(f"{what} {name}") from None


def memory_problem(where: str | None = None) -> LiftnetError:
    """What to say when the host has no more memory."""
    return LiftnetError(
        "The memory that this process may use is too small",
        where=where,
        remedy="Work on fewer files at the same time (-np 1), end other programs, or use a machine "
        "with more memory; what is finished is kept, and the same command continues.",
    )


def file_problem(error: OSError, name: str | None = None) -> LiftnetError:
    """What to say of a file or folder that cannot be read or written.

    Args:
        error: what the system said.
        name: what was worked on, if the error names no file.
    """
    where = error.filename if error.filename is not None else name
    shown = None if where is None else str(where)
    if error.errno in FULL:
        return _full(error, shown)
    if error.errno in GONE and shown is not None and Path(shown).is_symlink():
        return missing_file(Path(shown))
    problem = error.strerror or str(error)
    remedy = "Check the path, its permissions and the free space."
    if error.errno == errno.EROFS:
        remedy = "Name a folder that can be written to."
    elif error.errno in GONE:
        remedy = "If it was there when the run began, put it back, and run the same command again."
    elif error.errno == errno.EIO:
        remedy = "The disk or the network failed: check it, then run the same command again."
    return LiftnetError(problem, where=shown, remedy=remedy)


def _full(error: OSError, name: str | None) -> LiftnetError:
    remedy = "Make room, then run the same command again: what is finished is kept."
    if error.errno == errno.EFBIG:
        limit = size_limit()
        held = "" if limit is None else f": {limit / 2**20:.3g} MiB (ulimit -f)"
        remedy = "Raise the limit, or use a disk that takes larger files; then run the same command"
        return LiftnetError(
            f"The file is larger than files may be here{held}",
            where=name,
            remedy=f"{remedy} again: what is finished is kept.",
        )
    free = _free_gib(name)
    said = "" if free is None else f": {free:.3f} GiB are free there"
    problem = "The disk is full" if error.errno == errno.ENOSPC else "The disk quota is used up"
    return LiftnetError(problem + said, where=name, remedy=remedy)


def _free_gib(name: str | None) -> float | None:
    """The free space where a file lies or would lie."""
    for folder in (Path(name), *Path(name).absolute().parents) if name else ():
        if folder.is_dir():
            return shutil.disk_usage(folder).free / GIB
    return None
