"""Work in threads, and what a person sees of it."""

import threading
import time

import pytest

from liftnet.core.errors import DatasetError
from liftnet.host import progress as view
from liftnet.host.parallel import in_parallel, worker_count
from liftnet.host.progress import progress


@pytest.mark.parametrize("workers", [1, 3])
def test_every_item_once_and_few_at_a_time(workers):
    """Each item comes back with its result; no more than the workers run at once."""
    running, most, lock = [0], [0], threading.Lock()

    def work(item: int) -> int:
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        time.sleep(0.002)
        with lock:
            running[0] -= 1
        return item**2

    got = list(in_parallel(work, range(12), workers))
    assert sorted(got) == [(i, i * i) for i in range(12)]
    assert most[0] <= workers
    assert list(in_parallel(work, [], workers)) == []


def test_an_error_stops_the_rest():
    """The first error comes through as it was raised, and waiting items are not begun."""
    begun = []

    def work(item: int) -> None:
        begun.append(item)
        if item == 1:
            raise DatasetError("broken", where="case 1")

    with pytest.raises(DatasetError, match="broken"):
        list(in_parallel(work, range(100), 1))
    assert len(begun) < 6


def test_worker_count():
    """What is asked for, at least one; 8 at most on its own."""
    assert [worker_count(n) for n in (0, 1, 20)] == [1, 1, 20]
    assert 1 <= worker_count(None) <= 8


def test_progress_lines(monkeypatch, capsys):
    """Without a terminal: a line soon, one per half minute and one at the end."""
    clock = iter([0.0, 2.0, 10.0, 31.0, 41.0, 42.0])
    monkeypatch.setattr(view.time, "monotonic", lambda: next(clock))
    with progress("Work", 7, done=2, unit="step") as advance:
        advance()
        advance(note="loss 0.5")
        advance()
        advance()
        advance()
    assert capsys.readouterr().err.splitlines() == [
        "Work: 4/7 steps, 5.00 s/step, 0:15 left, loss 0.5",
        "Work: 6/7 steps, 10.25 s/step, 0:10 left",
        "Work: 7/7 steps, 8.40 s/step, 0:00 left",
    ]


def test_progress_bar(monkeypatch, capsys):
    """On a terminal the bar takes the same calls."""
    monkeypatch.setattr(view.sys.stderr, "isatty", lambda: True, raising=False)
    with progress("Work", 3) as advance:
        for _ in range(3):
            advance(note="x")
    assert "Work" in capsys.readouterr().err
