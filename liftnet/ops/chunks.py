"""How much of a volume is taken at a time: less from there on when memory runs out."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from liftnet.ops.compute.host_memory import is_out_of_memory

__all__ = ["Chunk", "over_slices"]


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


def over_slices(
    function: Callable[[Tensor, slice], Tensor],
    volume: Tensor,
    chunk: Chunk,
    reached: Callable[[float], None],
) -> Tensor:
    """What a function makes of all slices (D, T, H, W) of a volume (C, D, H, W).

    Args:
        function: neighbouring slices (C, n, H, W), and where they lie, to (n, T, H, W).
        volume: all slices.
        chunk: how many at a time.
        reached: is told the share of slices that are done.
    """
    made: list[Tensor] = []
    depth, done = volume.shape[1], 0
    while done < depth:
        span = slice(done, min(done + chunk.size, depth))
        slices = None
        try:
            slices = function(volume[:, span], span)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error) or span.stop - span.start == 1:
                raise
        if slices is None:  # outside of the handler, whose traceback holds what was made
            chunk.shrink(max(1, (span.stop - span.start) // 2), chunk.passes)
            continue
        made.append(slices)
        done = span.stop
        reached(done / depth)
    return torch.cat(made)
