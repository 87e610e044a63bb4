"""What a person sees of long work: a bar with rate and time left, or lines in a log file."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from liftnet.core.names import legible

__all__ = ["is_quiet", "keep_quiet", "mention", "progress", "results_only", "say"]

LINE_SECONDS = 30.0  # ours: in a log file, one line per half minute
FIRST_SECONDS = 3.0  # ours: the first one comes soon, so that one sees that it runs, and how fast
_quiet: ContextVar[bool] = ContextVar("quiet", default=False)
_brief: ContextVar[bool] = ContextVar("brief", default=False)


@contextmanager
def keep_quiet(quiet: bool = True) -> Iterator[None]:
    """Neither lines nor bars inside: of several processes that work together, one reports."""
    token = _quiet.set(quiet)
    try:
        yield
    finally:
        _quiet.reset(token)


@contextmanager
def results_only(wanted: bool = True) -> Iterator[None]:
    """A context in which only results and warnings are printed, if wanted."""
    token = _brief.set(wanted or _brief.get())
    try:
        yield
    finally:
        _brief.reset(token)


def is_quiet() -> bool:
    """Whether this is inside `keep_quiet`."""
    return _quiet.get()


def say(text: str) -> None:
    """Print one line of result, or a warning."""
    if not is_quiet():
        print(legible(text), flush=True)


def mention(text: str) -> None:
    """Print one line that is neither a result nor a warning: left out where only these count."""
    if not _brief.get():
        say(text)


@contextmanager
def progress(
    label: str, total: int, *, done: int = 0, unit: str = "case"
) -> Iterator[Callable[..., None]]:
    """A progress bar; yields `advance(count=1, note="")`."""
    if is_quiet() or _brief.get() or sys.stderr is None:  # None: closed, and in Python
        yield lambda count=1, note="": None
        return
    view = _terminal_bar if sys.stderr.isatty() else _lines
    with view(label, total, done, unit) as advance:
        yield advance


@contextmanager
def _lines(label: str, total: int, done: int, unit: str) -> Iterator[Callable[..., None]]:
    started = time.monotonic()
    due = started + FIRST_SECONDS
    count = done

    def advance(step: int = 1, note: str = "") -> None:
        nonlocal count, due
        count += step
        now = time.monotonic()
        if now >= due or (count == total and total > done):
            due = now + LINE_SECONDS
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
