"""The layout of a folder of new cases, found from the contrasts that are known."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from liftnet.core.errors import DatasetError
from liftnet.core.storage.jsonable import did_you_mean
from liftnet.host.text_table import counted
from liftnet.pipeline.convert.folder_kinds import existing_folder, images_in
from liftnet.pipeline.convert.layouts import Cases
from liftnet.pipeline.convert.layouts_names import (
    EXPLICIT,
    cases_in_folders,
    match_folders,
    plain_names,
    spellings,
    split_names,
)

__all__ = [
    "Inputs",
    "Recognised",
    "describe_cases",
    "describe_left_out",
    "folders_of",
    "input_root",
    "recognise",
    "split_inputs",
]

Inputs = Path | str | Sequence[Path | str] | Mapping[str, Path | str]
SHOWN_KINDS = 5  # ours: of files that are left out, enough to see what they are
NAMED = r"([A-Za-z0-9][A-Za-z0-9-]*)=(.+)"  # t1n=DIR


@dataclass(frozen=True)
class Recognised:
    """What a folder of new cases holds."""

    layout: str
    cases: Cases  # names in one form
    left_out: tuple[Path, ...]


def folders_of(given: Inputs) -> list[Path]:
    """The folders of "DIR", "t1n=DIR" or a mapping; nothing is checked."""
    if isinstance(given, Mapping):
        return [Path(folder) for folder in given.values()]
    words = [given] if isinstance(given, str | Path) else list(given)
    matches = [(w, re.fullmatch(NAMED, str(w))) for w in words]
    return [Path(m[2]) if m and not Path(w).exists() else Path(w) for w, m in matches]


def input_root(given: Inputs) -> Path:
    """The folder that all of them lie in: the only one, or the parent that several share.

    Of folders from different places it is the first; files of the others are known by name alone.
    """
    folders = folders_of(given)
    parents = {folder.parent for folder in folders}
    return parents.pop() if len(folders) > 1 and len(parents) == 1 else folders[0]


def split_inputs(given: Inputs, channels: Sequence[str], option: str) -> Path | dict[str, Path]:
    """One folder, or the folder of each contrast, from "DIR", "t1n=DIR" or a mapping.

    Raises:
        DatasetError: If a folder is not there, a contrast is not known or has two folders.
    """
    if isinstance(given, Mapping):
        pairs = [(str(name), Path(folder)) for name, folder in given.items()]
    else:
        words = [given] if isinstance(given, str | Path) else list(given)
        matches = [None if Path(w).exists() else re.fullmatch(NAMED, str(w)) for w in words]
        if matches == [None]:
            return Path(words[0])
        pairs = [(m[1], Path(m[2])) for m in matches if m is not None]
        if len(pairs) != len(words) or not words:
            raise DatasetError(
                f"{counted(len(words), 'folder')} given, and not each with its contrast",
                where=", ".join(map(str, words)),
                remedy=f"Give one folder, or name the contrast of each: {option} "
                + " ".join(f"{name}=DIR" for name in channels),
            )
    known = spellings(channels)
    folders: dict[str, Path] = {}
    for name, folder in pairs:
        channel = known.get(name.lower())
        if channel is None:
            raise DatasetError(
                f"No source '{name}'", where=option, remedy=did_you_mean(name, list(channels))
            )
        place = existing_folder(folder, f"folder of {channel}", option)
        for other, taken in folders.items():
            if other == channel or taken.samefile(place):
                raise DatasetError(
                    f"Two folders for {channel}"
                    if other == channel
                    else f"{other} and {channel} are the same folder",
                    where=f"{taken}, {place}",
                    remedy="Give each contrast a folder of its own.",
                )
        folders[channel] = place
    return folders


def recognise(
    given: Path | dict[str, Path], wanted: Sequence[str], known: Sequence[str]
) -> Recognised | None:
    """The cases of a folder that is not in the raw format, or None where there are none.

    Args:
        given: the folder, or one for each contrast.
        wanted: the contrasts that are looked for.
        known: all that are known; what is named as another of them is left out.

    Raises:
        DatasetError: If the folder can be read in two ways, or a file's name can.
    """
    words = spellings(known)
    if isinstance(given, dict):
        cases, left_out = match_folders(given, words)
        return _only(wanted, "One folder per channel", cases, left_out)
    images = list(images_in(given))
    folders = {
        words[place.name.lower()]: place
        for place in sorted(given.iterdir())
        if place.is_dir() and place.name.lower() in words and any(images_in(place))
    }
    found = []
    if folders:
        cases, left_out = match_folders(folders, words)
        found.append(_only(wanted, "One folder per channel", cases, left_out))
    else:
        cases, left_out, exact = cases_in_folders(given, words)
        layout = "One folder per case" if exact else "BraTS folders"
        found.append(_only(wanted, layout, cases, left_out))
    found.append(_flat(images, wanted, words))
    ways = [one for one in found if one is not None]
    if len(ways) > 1:
        raise DatasetError(
            "The folder can be read in two ways: "
            + "; ".join(describe_cases(one, wanted) for one in ways),
            where=str(given),
            remedy=f"Keep the images of one of them in this folder. {EXPLICIT}",
        )
    return ways[0] if ways else None


def _flat(images: list[Path], wanted: Sequence[str], words: Mapping[str, str]) -> Recognised | None:
    """The cases of the images that lie in the folder itself."""
    cases, others = split_names(images, words)
    found = _only(wanted, "Files named CASE_CONTRAST", cases, others)
    if found is not None or len(wanted) != 1:
        return found
    named = [path for images_of in cases.values() for path in images_of.values()]
    return _only(wanted, "Files named by their cases", plain_names(others, wanted[0]), named)


def _only(
    wanted: Sequence[str], layout: str, cases: Cases, left_out: Sequence[Path]
) -> Recognised | None:
    """The wanted contrasts of the cases; what is another one is left out."""
    kept: Cases = {}
    more = list(left_out)
    for case, images in sorted(cases.items()):
        own = {channel: path for channel, path in images.items() if channel in wanted}
        more += [path for channel, path in images.items() if channel not in wanted]
        if own:
            kept[case] = own
    return Recognised(layout, kept, tuple(more)) if kept else None


def describe_cases(found: Recognised, channels: Sequence[str]) -> str:
    """What was recognised: "BraTS folders: 12 cases with t1n, t2w (of 4 channels)"."""
    counts = Counter(channel for images in found.cases.values() for channel in images)
    total = len(found.cases)
    have = ", ".join(
        name if counts[name] == total else f"{name} ({counts[name]})"
        for name in channels
        if counts[name]
    )
    of = f" (of {len(channels)} channels)" if len(channels) > 1 else ""
    return f"{found.layout}: {counted(total, 'case')} with {have}{of}"


def describe_left_out(paths: Sequence[Path]) -> str:
    """How many files of which kinds were left out: "12 x seg.nii.gz"."""
    kinds = Counter(_kind(path) for path in paths)
    shown = ", ".join(f"{number} x {kind}" for kind, number in kinds.most_common(SHOWN_KINDS))
    more = ", ..." if len(kinds) > SHOWN_KINDS else ""
    return f"{counted(len(paths), 'file')} left out (no contrast): {shown}{more}"


def _kind(path: Path) -> str:
    return path.name.removeprefix(path.parent.name).lstrip("-_")
