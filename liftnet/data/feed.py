"""Training batches read ahead and brought to the device, so that it never waits for data."""

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import cycle
from typing import Generic, TypeVar

import torch
from batchgenerators.dataloading.data_loader import SlimDataLoaderBase
from batchgenerators.dataloading.single_threaded_augmenter import SingleThreadedAugmenter
from torch import Tensor

__all__ = ["Feed", "Steps", "loaders"]

Item = TypeVar("Item")


class Steps(SlimDataLoaderBase):
    """What one of several workers draws: its own step of each round, as `{"item": draw(step)}`.

    What a step draws depends on its number alone, so that workers taking turns give the same for
    any number of them.
    """

    def __init__(self, draw: Callable[[int], object], steps: range, workers: int):
        super().__init__(draw, 1, workers)
        self._steps = steps
        self.set_thread_id(0)

    def set_thread_id(self, thread_id: int) -> None:
        """Become the worker of this number, at the first of its steps."""
        super().set_thread_id(thread_id)
        self._own = iter(self._steps[thread_id :: self.number_of_threads_in_multithreaded])

    def generate_train_batch(self) -> dict[str, object]:
        """What the next of its steps draws; StopIteration at the end."""
        return {"item": self._data(next(self._own))}


def loaders(
    draw: Callable[[int], Item],
    steps: range,
    workers: int,
    transform: Callable[..., dict[str, Item]] | None = None,
) -> list[Iterator[dict[str, Item]]]:
    """One augmenter for each worker, which draws its steps and transforms the `item` of each."""
    made = []
    for number in range(workers):
        own = Steps(draw, steps, workers)
        own.set_thread_id(number)
        made.append(SingleThreadedAugmenter(own, transform))
    return made


class Feed(Generic[Item]):
    """The items of several loaders in turn, ahead of time, on a device.

    Each loader has a thread of its own, which draws its items to come. With `copies`, for items in
    pinned memory, a CUDA stream of their own copies the next one while the device works on the one
    before; without, items are moved when they are asked for. Close it to end the threads.

    Threads, not processes (batchgenerators' MultiThreadedAugmenter): an item is a copy of stored
    voxels, which releases Python's lock, and sending it from one process to another costs ten
    times the copy (docs/explanation/performance). Nothing is forked beside a CUDA context, and no
    worker can die, or live on after a killed run.
    """

    def __init__(
        self,
        loaders: Sequence[Iterator[dict[str, Item]]],
        *,
        move: Callable[[Item], Item],
        tensors: Callable[[Item], Iterator[Tensor]] = lambda item: iter(()),
        copies: bool = False,
    ):
        self.waited = 0.0  # seconds for which `next` had to wait for a thread
        self._move = move
        self._tensors = tensors
        self._threads = [ThreadPoolExecutor(1, thread_name_prefix="feed") for _ in loaders]
        self._turns = cycle(zip(self._threads, loaders, strict=True))
        self._drawn: list[Future[dict[str, Item] | None]] = []
        self._copies = torch.cuda.Stream() if copies else None
        self._items = self._iterate()

    def __iter__(self) -> Iterator[Item]:
        return self

    def __next__(self) -> Item:
        return next(self._items)

    def close(self) -> None:
        """End the threads; what they have drawn is thrown away."""
        for thread in self._threads:
            thread.shutdown(wait=True, cancel_futures=True)
        self._items.close()

    def _iterate(self) -> Generator[Item]:
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
        while len(self._drawn) <= len(self._threads):
            thread, loader = next(self._turns)
            self._drawn.append(thread.submit(next, loader, None))
        started = time.perf_counter()
        drawn = self._drawn.pop(0).result()
        self.waited += time.perf_counter() - started
        return None if drawn is None else drawn["item"]
