"""Training batches in a reproducible order, drawn by batchgenerators workers."""

from collections.abc import Callable, Generator
from typing import Any

from batchgenerators.dataloading.data_loader import SlimDataLoaderBase
from batchgenerators.dataloading.multi_threaded_augmenter import MultiThreadedAugmenter

from liftnet.core.errors import LiftnetError

__all__ = ["batches"]


class _StepLoader(SlimDataLoaderBase):
    """Draws steps first + i, first + i + n, ... in worker i of n, so that the order is fixed."""

    def __init__(self, draw: Callable[[int], Any], first: int, last: int, workers: int):
        super().__init__(None, 1, workers)
        self.draw = draw
        self.next_step = first
        self.last = last
        self.workers = workers

    def set_thread_id(self, thread_id: int) -> None:
        super().set_thread_id(thread_id)
        self.next_step += thread_id

    def generate_train_batch(self) -> dict[str, Any]:
        if self.next_step >= self.last:
            raise StopIteration
        step = self.next_step
        self.next_step += self.workers
        try:
            return {"batch": self.draw(step)}
        except LiftnetError as error:  # raised again where the batch is used
            return {"error": error}


def batches(
    draw: Callable[[int], Any], first: int, last: int, *, workers: int
) -> Generator[Any, None, None]:
    """`draw(step)` for the steps first .. last - 1, in order, ahead of time in worker processes.

    What a step draws depends on its number alone, so the result is the same for any number of
    workers; with 0 workers it is drawn when asked for. Close the iterator to end the workers.

    Raises:
        LiftnetError: If `draw` raises it.
    """
    workers = min(workers, last - first)
    if workers <= 0:
        yield from map(draw, range(first, last))
        return
    loader = _StepLoader(draw, first, last, workers)
    feed = MultiThreadedAugmenter(loader, None, workers, num_cached_per_queue=2, pin_memory=False)
    try:
        for _ in range(first, last):
            item = next(feed)
            if "error" in item:
                raise item["error"]
            yield item["batch"]
    finally:
        feed._finish()
