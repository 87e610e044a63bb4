"""The order of batches, and what happens when a worker fails."""

from contextlib import closing
from itertools import islice

import pytest

from liftnet.core.errors import DatasetError
from liftnet.data.loader import batches


def draw(step: int) -> tuple[int, int]:
    """What a step draws depends on its number alone."""
    return step, step**2


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_order(workers):
    """Steps come in order for any number of workers, from the start and from the middle."""
    for first, last in ((0, 8), (5, 9), (7, 8), (4, 4)):
        got = list(batches(draw, first, last, workers=workers))
        assert got == [(i, i * i) for i in range(first, last)]


def test_closing_early_ends_the_workers():
    """An iterator that is closed before its end returns at once and leaves no process."""
    with closing(batches(draw, 0, 100, workers=2)) as feed:
        assert list(islice(feed, 3)) == [(0, 0), (1, 1), (2, 4)]
    assert list(feed) == []


def broken(step: int) -> int:
    """Fails at step 2."""
    if step == 2:
        raise DatasetError("A case is damaged", where="case x", remedy="Copy it again.")
    return step


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_in_a_worker_comes_back_whole(workers):
    """The error of a draw is raised where its batch is used, with its place and remedy."""
    feed = batches(broken, 0, 5, workers=workers)
    assert [next(feed), next(feed)] == [0, 1]
    with pytest.raises(DatasetError, match="A case is damaged") as caught:
        next(feed)
    assert (caught.value.where, caught.value.remedy) == ("case x", "Copy it again.")
