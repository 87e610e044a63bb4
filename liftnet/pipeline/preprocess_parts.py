"""A folder of stored cases on which several parts of a dataset work at the same time."""

import re
from collections.abc import Set
from pathlib import Path

from liftnet.data.store import MASK_ENDING

__all__ = ["remove_strangers"]

HALF_WRITTEN = re.compile(r"\.(.+?)(?:\.mask\.npy|\.npy|\.json)\.\d+\.tmp")


def remove_strangers(folder: Path, known: Set[str], own: Set[str], *, clean: bool) -> None:
    """Delete stored cases that the dataset no longer has, and what killed runs left half-written.

    Nothing of other parts is touched: they may be writing it now.

    Args:
        folder: of the stored cases; may not be there yet.
        known: the cases of the dataset.
        own: those of this part.
        clean: whether those of this part are deleted too.
    """
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.name.startswith("."):
            match = HALF_WRITTEN.fullmatch(path.name)
            unwanted = match is not None and (match[1] in own or match[1] not in known)
        else:
            case = path.name.removesuffix(MASK_ENDING)
            case = path.stem if case == path.name else case
            unwanted = case not in known or (clean and case in own)
        if unwanted:
            path.unlink(missing_ok=True)  # another part may have deleted it
