"""Files that are there whole or not at all, after a kill and after a power cut."""

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from liftnet.core.errors import DatasetError

__all__ = [
    "flush_file",
    "flush_folder",
    "keep_as",
    "missing_file",
    "remove_drafts",
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
        OSError: If it cannot be written; names the file, and nothing half-written is left.
    """
    temporary = final.with_name(f".{final.name}.{os.getpid()}.tmp")
    complete = False
    try:
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


def write_together(contents: Mapping[Path, str | bytes], *, label: str = "whole") -> None:
    """Write files that belong together: on a full disk all stay as they were, none is new alone.

    All are written under other names, then take their own in this order. Several machines may do
    so at once: the drafts of each are its own, by its `label`.

    Raises:
        OSError: If one cannot be written; names the file.
    """
    drafts = {p: p.with_name(f".{p.stem}.{label}.{os.getpid()}{p.suffix}") for p in contents}
    try:
        for path, content in contents.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            raw = content if isinstance(content, bytes) else content.encode()
            try:
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
