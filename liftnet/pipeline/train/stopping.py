"""Signals that ask a run to stop: Ctrl-C, kill, a connection that is gone, a cluster's warning."""

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

from liftnet.host.progress import is_quiet

__all__ = ["Stopped", "stopped_after_step", "stopped_at_once"]

# SIGHUP: the terminal is gone; SIGUSR1, SIGUSR2, SIGXCPU: warnings of a cluster's scheduler.
OTHERS = ("SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXCPU")
SAME_SECONDS = 2.0  # ours: torchrun passes on what the terminal has sent already
STREAMS = (1, 2)  # standard output and error

Handler = Callable[[int, FrameType | None], None]


class Stopped(KeyboardInterrupt):
    """A signal that ended the work where it was."""


@contextmanager
def stopped_at_once() -> Iterator[None]:
    """A context in which every signal to stop ends the work as Ctrl-C does."""
    terminals = _terminals()

    def stop(number: int, frame: FrameType | None) -> None:
        _leave_lost(terminals)
        raise Stopped(f"Stopped by {_name(number)}")

    with _handled(OTHERS, stop):
        yield


@contextmanager
def stopped_after_step() -> Iterator[list[int]]:
    """Yields a list that is filled when a signal asks to stop; the work then ends by itself.

    What will happen is said at once, also while a step computes. A second signal, which is not
    the first one passed on, ends the work where it is.

    Raises:
        KeyboardInterrupt: For the second one, and at the end for one that nobody has looked at.
    """
    caught: list[int] = []
    terminals = _terminals()
    since = 0.0

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal since
        _leave_lost(terminals)
        now = time.monotonic()
        if caught and now - since > SAME_SECONDS:
            raise KeyboardInterrupt(
                f"Stopped at once by {_name(number)}; the same command continues from the last "
                "checkpoint."
            )
        since = since if caught else now
        caught.append(number)

    with _handled(("SIGINT", *OTHERS), note) as handled:
        if not handled:
            yield caught
            return
        with _announced(handled, terminals):
            yield caught
    if caught:
        raise KeyboardInterrupt(f"Stopped by {_name(caught[0])}; the same command continues.")


@contextmanager
def _handled(names: Sequence[str], handler: Handler) -> Iterator[Collection[int]]:
    """Give signals a handler, and say which have it: none outside the main thread.

    A signal that is ignored stays ignored, as SIGHUP is after nohup.
    """
    previous: dict[int, Any] = {}
    if threading.current_thread() is not threading.main_thread():
        yield previous
        return
    for number in (getattr(signal, name) for name in names if hasattr(signal, name)):
        before = signal.getsignal(number)
        if before not in (signal.SIG_IGN, None):
            previous[number] = before
            signal.signal(number, handler)
    try:
        yield previous
    finally:
        for number, before in previous.items():
            signal.signal(number, before)


@contextmanager
def _announced(handled: Collection[int], terminals: Sequence[int]) -> Iterator[None]:
    """Say what the first signal does, from a thread: Python's handlers wait for long kernels."""
    reads, writes = socket.socketpair()
    writes.setblocking(False)
    before = signal.set_wakeup_fd(writes.fileno(), warn_on_full_buffer=False)
    quiet = is_quiet()

    def announce() -> None:
        number = reads.recv(1)
        while number and number[0] not in handled:  # somebody else's
            number = reads.recv(1)
        _leave_lost(terminals)
        if number and not quiet:
            _write(
                f"{_name(number[0])}: stopping after this step, or the validation under way. A "
                "second one stops at once, and loses the steps since the last checkpoint.\n"
            )

    thread = threading.Thread(target=announce, name="signals", daemon=True)
    thread.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        writes.close()
        thread.join()
        reads.close()


def _write(text: str) -> None:
    """Write to standard error, whatever else is being written there."""
    bar = os.isatty(2)
    try:
        os.write(2, (f"\n{text}" if bar else text).encode())
    except OSError:  # nobody reads it any more
        return


def _terminals() -> list[int]:
    return [stream for stream in STREAMS if os.isatty(stream)]


def _leave_lost(terminals: Sequence[int]) -> None:
    """Where a terminal is gone, write to nowhere: to write to it is an error, before the saving."""
    for stream in terminals:
        if not os.isatty(stream):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream)
            os.close(nowhere)


def _name(number: int) -> str:
    return signal.Signals(number).name
