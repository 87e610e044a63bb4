"""What a person sees of long work: a bar with rate and time left, or lines in a log file."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from liftnet.core.names import legible

__all__ = ["keep_quiet", "progress", "say"]

LINE_SECONDS = 30.0  # ours: in a log file, one line per half minute
_quiet: ContextVar[bool] = ContextVar("quiet", default=False)


@contextmanager
def keep_quiet(quiet: bool = True) -> Iterator[None]:
    """Neither lines nor bars inside: of several processes that work together, one reports."""
    token = _quiet.set(quiet)
    try:
        yield
    finally:
        _quiet.reset(token)


def say(text: str) -> None:
    """Print one line of result."""
    if not _quiet.get():
        print(legible(text), flush=True)


@contextmanager
def progress(
    label: str, total: int, *, done: int = 0, unit: str = "case"
) -> Iterator[Callable[..., None]]:
    """A progress bar; yields `advance(count=1, note="")`."""
    if _quiet.get():
        yield lambda count=1, note="": None
        return
    view = _terminal_bar if sys.stderr.isatty() else _lines
    with view(label, total, done, unit) as advance:
        yield advance


@contextmanager
def _lines(label: str, total: int, done: int, unit: str) -> Iterator[Callable[..., None]]:
    started = last = time.monotonic()
    count = done

    def advance(step: int = 1, note: str = "") -> None:
        nonlocal count, last
        count += step
        now = time.monotonic()
        if now - last >= LINE_SECONDS or (count == total and total > done):
            last = now
            rate = (count - done) / max(now - started, 1e-9)
            left = (total - count) / rate if rate > 0 else float("inf")
            print(
                f"{label}: {count}/{total} {unit}s, {_rate(rate, unit)}, {_clock(left)} left"
                + (f", {note}" if note else ""),
                file=sys.stderr,
                flush=True,
            )

    yield advance


@contextmanager
def _terminal_bar(label: str, total: int, done: int, unit: str) -> Iterator[Callable[..., None]]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=Console(stderr=True)) as bars:
        task = bars.add_task(label, total=total, completed=done, rate="", note="")
        started = time.monotonic()
        count = done

        def advance(step: int = 1, note: str = "") -> None:
            nonlocal count
            count += step
            rate = (count - done) / max(time.monotonic() - started, 1e-9)
            bars.update(task, advance=step, rate=_rate(rate, unit), note=note)

        yield advance


def _rate(rate: float, unit: str) -> str:
    return f"{rate:.2f} {unit}s/s" if rate >= 1 or rate <= 0 else f"{1 / rate:.2f} s/{unit}"


def _clock(seconds: float) -> str:
    if seconds == float("inf"):
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
