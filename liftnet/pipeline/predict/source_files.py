"""Which files a prediction was made from: noted beside it, and known again by their content."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from liftnet.core.dataset import Case
from liftnet.core.storage.checksum import file_sha256

__all__ = ["MadeFrom", "SourceFile", "find_source", "note_sources"]


@dataclass(frozen=True)
class SourceFile:
    """A source image: where it lies in the input folder, and its content."""

    file: str
    sha256: str


@dataclass(frozen=True)
class MadeFrom:
    """What a prediction was made from.

    `folder` is the input folder as seen from the output folder, or its name alone where the way
    there would name others: folders above may name people, and results are passed on.
    """

    folder: str
    files: dict[str, SourceFile]  # by the names of the channels


def note_sources(case: Case, names: Iterable[str], folder: Path, output: Path) -> MadeFrom:
    """The source files of a case, read once more for their checksums.

    Args:
        case: whose images lie below `folder`.
        names: the channels that are used.
        folder: the input folder, as the user wrote it.
        output: the output folder, which is there.
    """
    files = {}
    for name in names:
        path, root = case.images[name].absolute(), folder.absolute()
        below = path.relative_to(root) if path.is_relative_to(root) else Path(path.name)
        files[name] = SourceFile(below.as_posix(), file_sha256(path))
    return MadeFrom(_seen_from(output, folder), files)


def _seen_from(output: Path, folder: Path) -> str:
    """The way from one folder to another, if it goes up and then only into the other; else a name.

    A folder that the user wrote without a name, such as ".", gets none here.
    """
    try:
        way = Path(os.path.relpath(folder.absolute(), output.absolute()))
    except ValueError:  # another drive of Windows
        return folder.name
    named = [part for part in way.parts if part != os.pardir]
    if named not in ([], [folder.name]):
        return folder.name
    there = output / way  # not the same folder where a part of the way is a link
    return way.as_posix() if there.is_dir() and there.samefile(folder) else folder.name


def find_source(
    predicted: Path,
    made: MadeFrom,
    name: str,
    folders: Iterable[Path],
    *,
    asked: Path | None = None,
) -> tuple[Path | None, str]:
    """The file of a source, the very one that a prediction was made from; else None and why not.

    Args:
        predicted: the predicted image.
        made: what is noted beside it.
        name: the channel of the source.
        folders: where the source may lie too.
        asked: the folder that the user names for it.
    """
    noted = made.files.get(name)
    if noted is None:
        return None, "its JSON file does not say which file that was"
    short = Path(noted.file).name
    expected = [predicted.parent / made.folder] if made.folder else []
    expected += [] if asked is None else [asked]
    places = [
        folder / part
        for folder in (*expected, *folders)
        for part in dict.fromkeys((noted.file, short))
    ]
    for path in dict.fromkeys(places):
        if path.is_file() and file_sha256(path) == noted.sha256:
            return path, ""
    if any((folder / noted.file).is_file() for folder in expected):
        return None, f"{short} has changed since"
    if made.folder and not expected[0].is_dir():
        return (
            None,
            f"{short} was in a folder {Path(made.folder).name}, which is not found from here",
        )
    return None, f"{short} is not where it was"
