"""Whether a zip file from elsewhere may be opened: looked at before anything is unpacked."""

import stat
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile, ZipInfo

from liftnet.core.errors import LiftnetError

__all__ = ["MAX_EXPANDED", "MAX_TEXT", "check_entries", "check_frame", "refused", "shown"]

MAX_EXPANDED = 2**32 - 2**20  # ours: five folds of 200 million parameters; and no zip64
MAX_TEXT = 2**24  # ours: a JSON file has some 10 KB; this is the most that is parsed
MAX_ENTRIES = 100  # ours: five folds have 16
MAX_DIRECTORY = 2**16  # ours: bytes of the list of 100 entries with names of 500 characters
MAX_RATIO = 200  # ours: JSON shrinks to a tenth, weights hardly
MAX_GAP = 128  # ours: an extra field with times, and a data descriptor
LEAST_EXPANDED = 2**20  # ours: smaller entries are no bomb
END_SIZE = 22  # of the zip format: the end record without a comment
LOCAL_SIZE = 30  # of the zip format: a local header without name and extra field
HEAD_SIZE = 128  # ours: the first header with its name
TORCH = b"data.pkl"  # the first entry of what torch.save writes
ENCRYPTED = 0x1 | 0x40 | 0x2000  # of the zip format: traditional, strong, hidden directory
FOLDER = 0x10  # of MS-DOS attributes


def shown(text: str, length: int = 80) -> str:
    """Text from elsewhere for a message: printable ASCII, and not too much of it."""
    plain = text.encode("ascii", "backslashreplace").decode("ascii")
    plain = "".join(c if c.isprintable() else repr(c)[1:-1] for c in plain)
    return plain if len(plain) <= length else plain[: length - 3] + "..."


def refused(problem: str, path: Path, remedy: str | None = None) -> LiftnetError:
    """The error of a model file that is not let in."""
    return LiftnetError(
        problem,
        where=str(path),
        remedy=remedy or "Nothing was imported. Get the file again from where it was exported.",
    )


def check_frame(path: Path) -> None:
    """Refuse a file that is not one zip from its first byte to its last.

    Raises:
        LiftnetError: Saying what it is instead.
    """
    size = path.stat().st_size
    if size > MAX_EXPANDED:
        raise refused(f"The file has {size} bytes; a model has at most {MAX_EXPANDED}", path)
    with path.open("rb") as file:
        head = file.read(HEAD_SIZE)
        file.seek(max(0, size - END_SIZE))
        end = file.read(END_SIZE)
    if not head.startswith(b"PK\x03\x04") or TORCH in head:
        raise refused(_what_it_is(head), path, "Give a file that liftnet_export has written.")
    if len(end) < END_SIZE or not end.startswith(b"PK\x05\x06"):
        raise refused(
            "The end of the zip is missing, or something follows it",
            path,
            "Get the file again; perhaps it was not copied as a whole.",
        )
    disks, count = end[4:8], int.from_bytes(end[10:12], "little")
    extent, start = int.from_bytes(end[12:16], "little"), int.from_bytes(end[16:20], "little")
    if count > MAX_ENTRIES or extent > MAX_DIRECTORY:
        raise refused(f"The zip has {count} entries; a model has at most {MAX_ENTRIES}", path)
    if disks != bytes(4) or end[8:10] != end[10:12] or end[20:22] != bytes(2):
        raise refused("The zip is one of several parts or has a comment", path)
    if start + extent + END_SIZE != size:
        raise refused("The zip holds bytes that belong to none of its files", path)


def check_entries(archive: ZipFile, path: Path) -> list[ZipInfo]:
    """The entries of a zip, none of which can do harm by its name, kind or size.

    Raises:
        LiftnetError: Naming the first that can.
    """
    entries = archive.infolist()
    seen: dict[str, str] = {}
    for info in entries:
        name = info.orig_filename
        problem = _name_problem(name) or _kind_problem(info) or _size_problem(info)
        other = seen.setdefault(name.casefold(), name)
        if problem is None and other != name:
            problem = f"differs from {shown(other)} only in upper and lower case"
        if problem is not None:
            raise refused(f"The zip holds {shown(name)}, which {problem}", path)
    names = [info.orig_filename for info in entries]
    for name in names:
        if names.count(name) > 1:
            raise refused(f"The zip holds {shown(name)} twice", path)
    total = sum(info.file_size for info in entries)
    if total > MAX_EXPANDED:
        raise refused(f"The zip expands to {total} bytes; a model has at most {MAX_EXPANDED}", path)
    _refuse_gaps(entries, archive.start_dir, path)
    return entries


def _what_it_is(head: bytes) -> str:
    if TORCH in head:
        return "The file is of torch.save: it holds a pickle, which can run code when it is loaded"
    if len(head) > 1 and head[0] == 0x80 and 2 <= head[1] <= 5:
        return "The file is not a zip but a pickle, which can run code when it is loaded"
    if head.lstrip()[:1] == b"<":
        return "The file is not a zip but a web page"
    return "The file is not a zip" if head else "The file is empty"


def _name_problem(name: str) -> str | None:
    """Why a file of this name must not be unpacked."""
    if "\0" in name:
        return "has a zero byte in its name"
    if not name.isascii() or not name.isprintable():
        return "has strange characters in its name"
    if "\\" in name:
        return "has a backslash in its name"
    if name.startswith("/"):
        return "is an absolute path"
    if ":" in name:
        return "names a drive or a stream"
    if ".." in name.split("/"):
        return "leads out of the folder"
    if any(part in ("", ".") for part in name.split("/")) and not name.endswith("/"):
        return "is no plain path"
    return None


def _kind_problem(info: ZipInfo) -> str | None:
    """Why an entry is not a plain file that can be read."""
    mode = stat.S_IFMT(info.external_attr >> 16)
    if mode == stat.S_IFLNK:
        return "is a symbolic link"
    if info.orig_filename.endswith("/") or mode == stat.S_IFDIR or info.external_attr & FOLDER:
        return "is a folder"
    if mode not in (0, stat.S_IFREG):
        return "is a special file"
    if info.flag_bits & ENCRYPTED:
        return "is encrypted"
    if info.compress_type not in (ZIP_STORED, ZIP_DEFLATED):
        return f"is compressed by method {info.compress_type}, not stored or deflated"
    return None


def _size_problem(info: ZipInfo) -> str | None:
    """Why an entry is larger than it may be."""
    weights = info.orig_filename.endswith(".safetensors")
    limit = MAX_EXPANDED if weights else MAX_TEXT
    if info.file_size > limit:
        return f"expands to {info.file_size} bytes, more than the {limit} it may have"
    if info.file_size > max(LEAST_EXPANDED, MAX_RATIO * info.compress_size):
        return f"expands {info.file_size // max(info.compress_size, 1)} times, as a zip bomb does"
    return None


def _refuse_gaps(entries: list[ZipInfo], end: int, path: Path) -> None:
    """Refuse entries that share bytes, and bytes between entries that belong to none.

    Between two entries lies at most the first one's extra field and data descriptor.
    """
    placed = sorted(entries, key=lambda info: info.header_offset)
    ends = [*(info.header_offset for info in placed[1:]), end]
    if placed and placed[0].header_offset != 0:
        raise refused("The zip holds bytes that belong to none of its files", path)
    gaps = {
        info.orig_filename: following
        - info.header_offset
        - (LOCAL_SIZE + len(info.orig_filename) + info.compress_size)
        for info, following in zip(placed, ends, strict=True)
    }
    for name, gap in gaps.items():
        if gap < 0:
            raise refused(f"The zip holds {shown(name)} in the bytes of another file", path)
    if max(gaps.values(), default=0) > MAX_GAP:
        raise refused("The zip holds bytes that belong to none of its files", path)
