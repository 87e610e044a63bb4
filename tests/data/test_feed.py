"""The order of batches read ahead, and what happens when one cannot be read."""

import threading
import time
from contextlib import closing
from itertools import islice

import pytest
import torch

from liftnet.core.errors import DatasetError
from liftnet.data.feed import Feed, loaders


def feed(draw, first, last, threads=2, **options):
    """A feed whose items are not moved."""
    drawn = loaders(draw, range(first, last), threads)
    return Feed(drawn, move=lambda item: item, **options)


def slow_square(step: int) -> tuple[int, int]:
    """Later steps are ready sooner."""
    time.sleep(0.004 * (3 - step % 4))
    return step, step**2


@pytest.mark.parametrize("threads", [1, 3])
def test_order(threads):
    """Steps come in order for any number of threads, from the start and from the middle."""
    for first, last in ((0, 8), (5, 9), (7, 8), (4, 4)):
        with closing(feed(slow_square, first, last, threads)) as items:
            assert list(items) == [(i, i * i) for i in range(first, last)]


def test_it_reads_ahead_but_not_without_limit():
    """While one item is in use the next ones are drawn: as many as threads, and one."""
    drawn = []
    with closing(feed(lambda step: drawn.append(step) or step, 0, 100, 2)) as items:
        assert next(items) == 0
        deadline = time.monotonic() + 5
        while len(drawn) < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.05)
        assert sorted(drawn) == [0, 1, 2]
        assert next(items) == 1


def test_closing_early_ends_the_threads():
    """A feed that is closed before its end leaves no thread and gives nothing more."""
    before = threading.active_count()
    with closing(feed(slow_square, 0, 100)) as items:
        assert list(islice(items, 3)) == [(0, 0), (1, 1), (2, 4)]
        assert threading.active_count() > before
    assert threading.active_count() == before
    assert list(items) == []


def test_waiting_is_counted():
    """The time spent waiting for a slow draw is known; that of a quick one is next to nothing."""
    with closing(feed(lambda step: time.sleep(0.05) or step + 1, 0, 3, 1)) as items:
        list(items)
        assert 0.1 < items.waited < 1.0
    with closing(feed(lambda step: step + 1, 0, 3, 1)) as items:
        time.sleep(0.02)
        list(items)
        assert items.waited < 0.05


def broken(step: int) -> int:
    """Fails at step 2."""
    if step == 2:
        raise DatasetError("A case is damaged", where="case x", remedy="Copy it again.")
    return step + 10


@pytest.mark.parametrize("threads", [1, 3])
def test_an_error_comes_back_whole(threads):
    """The error of a draw is raised where its batch is used, with its place and remedy."""
    with closing(feed(broken, 0, 5, threads)) as items:
        assert [next(items), next(items)] == [10, 11]
        with pytest.raises(DatasetError, match="A case is damaged") as caught:
            next(items)
    assert (caught.value.where, caught.value.remedy) == ("case x", "Copy it again.")


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_copies_on_a_stream_of_their_own():
    """Pinned items arrive whole, though the device is busy, in order."""
    device = torch.device("cuda")

    def draw(step: int) -> torch.Tensor:
        return torch.full((1 << 20,), float(step)).pin_memory()

    items = Feed(
        loaders(draw, range(20), 3), copies=True,
        move=lambda item: item.to(device, non_blocking=True),
        tensors=lambda item: iter([item]),
    )  # fmt: skip
    busy = torch.randn(2048, 2048, device=device)
    with closing(items):
        for step, item in enumerate(items):
            busy = busy @ busy / 2048
            assert bool((item == step).all())
