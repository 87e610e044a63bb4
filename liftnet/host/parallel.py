"""The same work for many cases, in threads, with the case's name on every error."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import TypeVar

import torch

from liftnet.core.errors import LiftnetError

__all__ = ["in_parallel", "part_of", "threads_shared_by", "worker_count"]

MAX_PARTS = 10_000  # ours: more runs than anybody starts

Item = TypeVar("Item")
Result = TypeVar("Result")


def worker_count(requested: int | None) -> int:
    """The number of workers asked for with -np, or one per processor, at most 8 (nnU-Net)."""
    return max(1, requested if requested is not None else min(8, os.cpu_count() or 1))


def in_parallel(
    work: Callable[[Item], Result], items: Sequence[Item], workers: int
) -> Iterator[tuple[Item, Result]]:
    """Pairs (item, result) as they get ready; at most `workers` + 1 are under way.

    Threads, not processes: reading, decompression and array arithmetic release Python's lock,
    nothing is imported or copied again, and an error arrives as it was raised.
    """
    waiting = iter(items)
    running: dict[Future[Result], Item] = {}
    with ThreadPoolExecutor(workers) as pool:
        try:
            while True:
                while len(running) <= workers and (item := next(waiting, None)) is not None:
                    running[pool.submit(work, item)] = item
                if not running:
                    return
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    yield running.pop(future), future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def threads_shared_by(workers: int) -> Iterator[None]:
    """Torch's threads divided among workers; more threads than processors hold each other up."""
    before = torch.get_num_threads()
    torch.set_num_threads(max(1, before // workers))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def part_of(num_parts: int, part_id: int) -> slice:
    """Every num_parts-th case, from part_id on.

    Raises:
        LiftnetError: If there is no such part, or nobody can have as many.
    """
    if not 1 <= num_parts <= MAX_PARTS:
        raise LiftnetError(
            f"The cases cannot be split into {num_parts} parts",
            where="-num_parts",
            remedy=f"Use 1 to {MAX_PARTS}.",
        )
    if not 0 <= part_id < num_parts:
        raise LiftnetError(
            f"Part {part_id} of {num_parts} does not exist",
            where="-part_id",
            remedy=f"Use 0 to {num_parts - 1}.",
        )
    return slice(part_id, None, num_parts)
