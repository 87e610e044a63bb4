"""Problems of one case or volume that come from outside: files, disk, memory of the device."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from liftnet.core.errors import LiftnetError

__all__ = ["explained"]


@contextmanager
def explained(what: str, name: str) -> Iterator[None]:
    """A context in which a full disk, a closed folder or too little memory is a LiftnetError.

    Args:
        what: "case" or "volume".
        name: which one.
    """
    try:
        yield
    except OSError as error:
        raise LiftnetError(
            error.strerror or str(error),
            where=str(error.filename or name),
            remedy="Check the path, its permissions and the free space.",
        ) from None
    except torch.OutOfMemoryError:
        raise LiftnetError(
            f"The device's memory is too small for this {what}",
            where=f"{what} {name}",
            remedy="Use a smaller inference.slice_batch in plan.json, or -device cpu.",
        ) from None
