"""Slices of a volume in order, a few at a time: what waits for what comes later.

A stage that needs the next slice lags one behind the stage before it. Nothing is computed twice,
and no more slices are held than are waited for.
"""

from collections import deque
from collections.abc import Iterator

import torch
from torch import Tensor

__all__ = ["Waiting", "with_neighbours"]


class Waiting:
    """Slices that wait in line until a later stage takes them."""

    def __init__(self) -> None:
        self._line: deque[Tensor] = deque()

    def put(self, slices: Tensor) -> None:
        """Slices (n, ...) at the end of the line."""
        self._line.append(slices)

    def take(self, count: int) -> Tensor:
        """The first slices (count, ...), which leave the line."""
        taken = []
        while count:
            slices = self._line.popleft()
            if len(slices) > count:  # copied, so that the rest is not all held
                self._line.appendleft(slices[count:].clone())
                slices = slices[:count]
            taken.append(slices)
            count -= len(slices)
        return taken[0] if len(taken) == 1 else torch.cat(taken)


def with_neighbours(
    chunks: Iterator[Tensor], reach: int, *, depth: int, largest: int
) -> Iterator[Tensor]:
    """Slabs (n + 2 reach, ...) with `reach` more slices on each side of n <= `largest` ones.

    The n are all slices of the volume in order, each once. Beyond either end the last slice again.
    """
    if reach == 0:
        yield from chunks
        return
    seen, held = 0, None
    for chunk in chunks:
        seen += len(chunk)
        parts = [chunk[:1]] * reach if held is None else [held]
        parts.append(chunk)
        if seen == depth:
            parts += [chunk[-1:]] * reach
        slab = torch.cat(parts)
        count = max(len(slab) - 2 * reach, 0)
        held = slab[count:].clone()
        ready = [
            slab[first : min(first + largest, count) + 2 * reach]
            for first in range(0, count, largest)
        ]
        ready.reverse()
        del chunk, parts, slab  # a slab lives only as long as a later stage works on it
        while ready:
            yield ready.pop()
