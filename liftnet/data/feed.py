"""Training batches read ahead and brought to the device, so that it never waits for data."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

import torch
from torch import Tensor

__all__ = ["Feed"]

Item = TypeVar("Item")


class Feed(Generic[Item]):
    """`draw(step)` for the steps first .. last - 1, in order, ahead of time, on a device.

    Threads draw the steps to come. What a step draws depends on its number alone, so the result is
    the same for any number of threads. With `copies`, for items in pinned memory, a CUDA stream of
    their own copies the next one while the device works on the one before; without, items are
    moved when they are asked for. Close it to end the threads.

    Threads, not processes: a step is a copy of stored voxels, which releases Python's lock, and
    sending it from one process to another costs ten times the copy (docs/explanation/performance).
    Nothing is forked beside a CUDA context, and no worker can die.
    """

    def __init__(
        self,
        draw: Callable[[int], Item],
        first: int,
        last: int,
        *,
        threads: int,
        move: Callable[[Item], Item],
        tensors: Callable[[Item], Iterator[Tensor]] = lambda item: iter(()),
        copies: bool = False,
    ):
        self.waited = 0.0  # seconds for which `next` had to wait for a thread
        self._draw = draw
        self._steps = iter(range(first, last))
        self._move = move
        self._tensors = tensors
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="feed")
        self._drawn: list[Future[Item]] = []
        self._copies = torch.cuda.Stream() if copies else None
        self._items = self._iterate()

    def __iter__(self) -> Iterator[Item]:
        return self

    def __next__(self) -> Item:
        return next(self._items)

    def close(self) -> None:
        """End the threads; what they have drawn is thrown away."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._drawn.clear()
        self._steps = iter(())

    def _iterate(self) -> Iterator[Item]:
        if self._copies is None:
            while (drawn := self._next()) is not None:
                yield self._move(drawn)
            return
        upcoming = self._start_copy()
        while upcoming is not None:
            (item, copied), upcoming = upcoming, self._start_copy()
            stream = torch.cuda.current_stream()
            stream.wait_event(copied)
            for tensor in self._tensors(item):  # its memory is in use until this stream is done
                tensor.record_stream(stream)
            yield item

    def _start_copy(self) -> tuple[Item, torch.cuda.Event] | None:
        drawn = self._next()
        if drawn is None:
            return None
        assert self._copies is not None
        with torch.cuda.stream(self._copies):
            moved = self._move(drawn)
            return moved, self._copies.record_event()

    def _next(self) -> Item | None:
        """The next item as it was drawn, or None at the end."""
        while len(self._drawn) <= self._threads and (step := next(self._steps, None)) is not None:
            self._drawn.append(self._pool.submit(self._draw, step))
        if not self._drawn:
            return None
        started = time.perf_counter()
        item = self._drawn.pop(0).result()
        self.waited += time.perf_counter() - started
        return item
