"""Files that are there whole or not at all, after a kill and after a power cut."""

import errno
import os
import shutil
import stat
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from liftnet.core.errors import DatasetError, LiftnetError

if sys.platform != "win32":
    import resource

NO_FILE = (errno.ELOOP, errno.EISDIR, errno.ENXIO, errno.ENODEV)  # open(2): of links, pipes, ...

__all__ = [
    "flush_file",
    "flush_folder",
    "keep_as",
    "kind_of",
    "missing_file",
    "open_own",
    "remove_drafts",
    "reserve",
    "size_limit",
    "write_text",
    "write_together",
    "written_whole",
]


@contextmanager
def written_whole(final: Path, *, durable: bool = True) -> Iterator[Path]:
    """A temporary path for a file, which takes its name when the context ends without an error.

    Args:
        final: the name that it takes.
        durable: whether it is on the disk, and not only on its way there, before it takes the
            name: after a power cut a file of the name is then never empty.

    Raises:
        LiftnetError: If a folder, a device or a pipe has the name.
        OSError: If it cannot be written; names the file, and nothing half-written is left.
    """
    temporary = final.with_name(f".{final.name}.{os.getpid()}.tmp")
    complete = False
    try:
        reserve(temporary, final)
        yield temporary
        if durable:
            flush_file(temporary)
        temporary.replace(final)
        if durable:
            flush_folder(final.parent)
        complete = True
    except OSError as error:
        if error.filename is None or error.filename == str(temporary):
            error.filename, error.filename2 = str(final), None
        raise
    finally:
        if not complete:
            temporary.unlink(missing_ok=True)


def reserve(path: Path, final: Path) -> None:
    """Make an empty file, which is to be written and then to take the name of another.

    What has its name goes first: a link there would lead the writer to somebody else's file.

    Raises:
        LiftnetError: If a folder, a device or a pipe has the other name.
        OSError: If it cannot be made.
    """
    if final.exists() and not final.is_file():
        raise LiftnetError(
            f"No file can be written here: this is {kind_of(final.resolve())}",
            where=str(final),
            remedy="Name a file, or delete what is there.",
        )
    path.unlink(missing_ok=True)
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))


def open_own(path: Path, flags: int) -> int:
    """A descriptor of a plain file of liftnet: neither of what a link names, nor of a pipe.

    Raises:
        LiftnetError: If something else is there.
        OSError: If it cannot be opened.
    """
    for name in ("O_NOFOLLOW", "O_NONBLOCK"):  # not on every system
        flags |= getattr(os, name, 0)
    try:
        descriptor = os.open(path, flags, 0o666)
    except OSError as error:
        if error.errno in NO_FILE and (path.is_symlink() or path.exists()):
            raise _not_a_file(path) from None
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _not_a_file(path)
    return descriptor


def _not_a_file(path: Path) -> LiftnetError:
    return LiftnetError(
        f"liftnet keeps a file of its own here, and found {kind_of(path)}",
        where=str(path),
        remedy="Look at it, and delete it if nobody needs it.",
    )


def size_limit() -> int | None:
    """The most bytes that this process may write into a file (ulimit -f); None: as many as fit."""
    if sys.platform == "win32":
        return None
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    return None if limit == resource.RLIM_INFINITY else limit


def kind_of(path: Path) -> str:
    """What a path is that is no plain file, with its article."""
    mode = path.lstat().st_mode
    kinds = {
        stat.S_IFLNK: "a symbolic link",
        stat.S_IFDIR: "a folder",
        stat.S_IFIFO: "a pipe (FIFO)",
        stat.S_IFSOCK: "a socket",
        stat.S_IFBLK: "a device",
        stat.S_IFCHR: "a device",
    }
    return kinds.get(stat.S_IFMT(mode), "something else")


def write_text(path: Path, text: str) -> None:
    """Write a text file so that it is there whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_together(contents: Mapping[Path, str | bytes], *, label: str = "whole") -> None:
    """Write files that belong together: on a full disk all stay as they were, none is new alone.

    All are written under other names, then take their own in this order. Several machines may do
    so at once: the drafts of each are its own, by its `label`.

    Raises:
        LiftnetError: If a folder, a device or a pipe has the name of one.
        OSError: If one cannot be written; names the file.
    """
    drafts = {p: p.with_name(f".{p.stem}.{label}.{os.getpid()}{p.suffix}") for p in contents}
    try:
        for path, content in contents.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            raw = content if isinstance(content, bytes) else content.encode()
            try:
                reserve(drafts[path], path)
                drafts[path].write_bytes(raw)
                flush_file(drafts[path])
            except OSError as error:
                error.filename, error.filename2 = str(path), None
                raise
        for path, draft in drafts.items():
            draft.replace(path)
        for folder in {path.parent for path in contents}:
            flush_folder(folder)
    finally:
        for draft in drafts.values():
            draft.unlink(missing_ok=True)


def remove_drafts(final: Path) -> None:
    """Delete what killed runs left half-written of a file that nobody else writes now."""
    for path in final.parent.glob(f".{final.name}.*.tmp"):
        path.unlink(missing_ok=True)


def missing_file(path: Path) -> DatasetError:
    """What to say of a file that is not there: an unmounted disk looks like a link to nowhere."""
    if path.exists():
        return DatasetError(
            f"This is {kind_of(path.resolve())}, not a file",
            where=str(path),
            remedy="Put a plain file there, or leave it out.",
        )
    if path.is_symlink():
        target = path.parent / path.readlink()
        return DatasetError(
            f"The file is a link that leads nowhere: {target.parent} does not hold it",
            where=f"{path} -> {target}",
            remedy="Put the images back there (is the disk mounted?), or make the dataset again "
            "from where they are now.",
        )
    return DatasetError("File not found", where=str(path), remedy="Check the path.")


def flush_file(path: Path) -> None:
    """Bring the content of a file onto the disk."""
    descriptor = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def flush_folder(folder: Path) -> None:
    """Bring the names in a folder onto the disk, where the system can."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError:  # some network drives cannot
        return
    finally:
        os.close(descriptor)


def keep_as(path: Path, second: Path) -> None:
    """Give a file a second name, in place of what had it; the first stays without a gap."""
    if not path.exists():
        return
    temporary = second.with_name(f".{second.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)
    try:
        os.link(path, temporary)
    except OSError:  # a file system without hard links
        shutil.copyfile(path, temporary)
    temporary.replace(second)
