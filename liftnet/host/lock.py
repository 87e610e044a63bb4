"""One run at a time on a folder: a second one is told who works there.

The lock is the system's, on a file `.lock` in the folder: it ends with its process, however that
ends. Where a file system has no locks, the file itself is the lock, and one of a process that is
gone does not count. Who only reads needs none.
"""

import errno
import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from liftnet.core.errors import LiftnetError
from liftnet.core.storage.files import open_own
from liftnet.host.failures import explained
from liftnet.host.origin import shown_command

if sys.platform != "win32":
    import fcntl

__all__ = ["LOCK", "BusyError", "hold", "part_name", "refuse_busy"]

LOCK = ".lock"
LONGEST = 2**16  # ours: characters; more is no lock of liftnet
REFUSED = (errno.EACCES, errno.EAGAIN)  # flock(2), fcntl(2): somebody else has it
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)  # of this file system


class BusyError(LiftnetError):
    """Another run works on the folder."""


@contextmanager
def hold(folder: Path, what: str, *, part: str = "") -> Iterator[None]:
    """A context in which no other run works on a folder.

    Parts work together if their names differ and end alike (part_0_of_2 and part_1_of_2);
    the whole excludes every part.

    Args:
        folder: made if it is not there.
        what: the command, for whoever comes second.
        part: which part of the work, if not all of it.

    Raises:
        BusyError: If another run works there.
        LiftnetError: If the folder cannot be written to, or something else than a file has the name
            of the lock.
    """
    own = folder / (f"{LOCK}.{part}" if part else LOCK)
    new = [path for path in (folder, *folder.parents) if not path.exists()]
    with explained("folder", str(folder)):
        descriptor = _take(own)
    if descriptor is None:
        raise _taken(own)
    try:
        with explained("folder", str(folder)):
            _describe(descriptor, what)
        for other in sorted(folder.glob(f"{LOCK}*")):
            if other != own and not _go_together(part, other) and not _is_free(other):
                raise _taken(other)
        yield
    finally:
        own.unlink(missing_ok=True)  # still locked: who waits for it sees that it is gone
        os.close(descriptor)
        _remove_empty(new)


def refuse_busy(folder: Path) -> None:
    """Refuse to go on while a run holds a folder, or one below it.

    Who changes what another kind of run reads takes its own lock first, and then looks for those
    of the readers; readers do the same. So at least one of two that start together sees the other.

    Raises:
        BusyError: If a run works there.
    """
    for lock in sorted(folder.rglob(f"{LOCK}*")):
        if not _is_free(lock):
            raise _taken(lock)


def part_name(num_parts: int, part_id: int) -> str:
    """What `hold` calls a part of a run that is split; "" for the whole."""
    return f"part_{part_id}_of_{num_parts}" if num_parts > 1 else ""


def _take(path: Path) -> int | None:
    """A descriptor of the lock file, which nobody else holds; None if somebody does."""
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = open_own(path, os.O_RDWR | os.O_CREAT)
        except FileNotFoundError:  # another run has removed the empty folder
            continue
        except PermissionError:  # a lock that somebody else made
            if not path.exists():
                raise
            if not _removed(path):
                return None
            continue
        try:
            taken = _lock(descriptor, exclusive=True)
            if taken is None:
                taken = not _owner_lives(path)
            if taken and _is_same(descriptor, path):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
        if not taken:
            return None


def _removed(path: Path) -> bool:
    """Whether nobody held the lock of this file, which is gone then."""
    descriptor = open_own(path, os.O_RDONLY)
    try:
        taken = _lock(descriptor, exclusive=True)
        taken = not _owner_lives(path) if taken is None else taken
        if taken and _is_same(descriptor, path):
            path.unlink()
        return taken
    finally:
        os.close(descriptor)


def _is_free(path: Path) -> bool:
    """Whether nobody holds the lock of this file; one that nobody holds is left alone."""
    try:
        descriptor = open_own(path, os.O_RDONLY)
    except FileNotFoundError:
        return True
    try:
        free = _lock(descriptor, exclusive=False)
        return not _owner_lives(path) if free is None else free
    finally:
        os.close(descriptor)


def _lock(descriptor: int, *, exclusive: bool) -> bool | None:
    """Whether the system gives the lock; None where there are no locks."""
    if sys.platform == "win32":
        return None
    kind = fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in REFUSED:
            return False
        if error.errno in NO_LOCKS:
            return None
        raise
    return True


def _is_same(descriptor: int, path: Path) -> bool:
    """Whether the file of this name is still the opened one: its holder may have deleted it."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _remove_empty(folders: list[Path]) -> None:
    """Remove the folders that were made for the lock and in which nothing was made."""
    for folder in folders:
        try:
            folder.rmdir()
        except OSError:  # there is something in it
            return


def _describe(descriptor: int, what: str) -> None:
    """Write who holds the lock."""
    facts = {
        "what": what,
        "process": os.getpid(),
        "host": socket.gethostname(),
        "since": time.strftime("%Y-%m-%d %H:%M"),
        "command": shown_command(),
    }
    os.ftruncate(descriptor, 0)
    os.lseek(descriptor, 0, os.SEEK_SET)
    os.write(descriptor, json.dumps(facts).encode())


def _read(path: Path) -> dict[str, Any]:
    """Who holds a lock; empty if the file does not say."""
    try:
        with path.open(encoding="utf-8") as file:
            facts = json.loads(file.read(LONGEST))
    except (OSError, ValueError, RecursionError):
        return {}
    return facts if isinstance(facts, dict) else {}


def _owner_lives(path: Path) -> bool:
    """Whether the process that a lock file names may still be there."""
    facts = _read(path)
    process = facts.get("process")
    if not isinstance(process, int):
        return False
    if facts.get("host") != socket.gethostname() or sys.platform == "win32":
        return True  # cannot be known from here
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it is there, and somebody else's
        return True
    return True


def _go_together(part: str, other: Path) -> bool:
    """Whether a part may run beside another of this lock file: both are of one division."""
    name = other.name.removeprefix(LOCK).removeprefix(".")
    return bool(part and name) and _division(part) == _division(name)


def _division(part: str) -> str:
    return part.rpartition("_of_")[2] if "_of_" in part else ""


def _taken(path: Path) -> BusyError:
    """What the second run is told."""
    facts = _read(path)
    who, remedy = "", "Wait until it has ended, or name another folder."
    if "process" in facts:
        since = str(facts.get("since", "")).removeprefix(time.strftime("%Y-%m-%d "))
        who = (
            f": {facts.get('what')}, process {facts['process']} on host {facts.get('host')}, "
            f"since {since}"
        )
        remedy = f"Wait until it has ended, or stop it. If it is surely gone, delete {path.name}."
    return BusyError(f"Another run works here{who}", where=str(path.parent), remedy=remedy)
