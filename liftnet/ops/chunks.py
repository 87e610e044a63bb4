"""How much of a volume is taken at a time: less from there on when memory runs out."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

__all__ = ["Chunk"]


@dataclass
class Chunk:
    """The one thing of a prediction that changes while it runs.

    Attributes:
        size: slices or windows at a time.
        passes: "one" keeps what is needed twice, "two" computes it again.
        notice: is told, each time that memory ran out, what is done from there on.
        watch: is told what share of a volume is made, by methods that take many steps for one.
    """

    size: int
    passes: Literal["one", "two"] = "one"
    notice: Callable[["Chunk"], None] | None = None
    watch: Callable[[float], None] | None = None

    def shrink(self, size: int, passes: Literal["one", "two"]) -> None:
        """Take less from here on."""
        self.size, self.passes = size, passes
        if self.notice is not None:
            self.notice(self)

    def reached(self, share: float) -> None:
        """So much of the volume is made, from 0 to 1."""
        if self.watch is not None:
            self.watch(share)
