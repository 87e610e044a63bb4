"""A folder of stored cases on which several parts of a dataset work at the same time."""

import re
from collections.abc import Set
from pathlib import Path

from liftnet.data.store import MASK_ENDING, Store

__all__ = ["remove_strangers"]

HALF_WRITTEN = re.compile(r"\.(.+?)(?:\.mask\.npy|\.npy|\.json)\.\d+\.tmp")


def remove_strangers(folder: Path, known: Set[str], own: Set[str], *, clean: bool) -> None:
    """Delete stored cases that the dataset no longer has, and what killed runs left half-written.

    Nothing of other parts is touched: they may be writing it now. Nor is any other file that
    somebody has put there: only what has the names and the content of stored cases is deleted.

    Args:
        folder: of the stored cases; may not be there yet.
        known: the cases of the dataset.
        own: those of this part.
        clean: whether those of this part are deleted too.
    """
    if not folder.is_dir():
        return
    store = Store(folder)
    gone = {case for case in store.identifiers() if case not in known and store.knows(case)}
    for case in sorted(gone | (set(own) if clean else set())):
        for ending in (".npy", MASK_ENDING, ".json"):  # that by which it is known comes last
            # Another part may have deleted it.
            (folder / f"{case}{ending}").unlink(missing_ok=True)
    for path in folder.iterdir():
        match = HALF_WRITTEN.fullmatch(path.name)
        if match is not None and (match[1] in own or match[1] not in known):
            path.unlink(missing_ok=True)
