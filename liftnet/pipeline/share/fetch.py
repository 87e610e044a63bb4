"""Fetch a file from an address: by https only, and no more than was asked for."""

import http.client
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import Empty, Full, Queue
from threading import Event, Thread
from typing import Any

from liftnet.core.errors import LiftnetError
from liftnet.host.failures import FULL
from liftnet.host.progress import progress
from liftnet.pipeline.models.model_file import MAX_BYTES, shown

__all__ = ["fetch"]

CHUNK = 2**20  # ours: bytes between two updates of the progress bar
TIMEOUT = 60  # ours: seconds without an answer
LONGEST = 120  # ours: seconds for a MiB; slower is no line that brings a model home
LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")  # nobody is between


def fetch(url: str, path: Path, *, what: str, remedy: str) -> str:
    """The address without its secrets; what it has is written into a file.

    Args:
        url: the address.
        path: the file.
        what: how the progress bar and an error name it.
        remedy: what else to do, for an error.

    Raises:
        LiftnetError: If it cannot be fetched safely, or not to its end, or is too large.
        OSError: If the file cannot be written.
    """
    _check_url(url)
    where = _without_secrets(url)
    try:
        with path.open("wb") as file, _blocks(url) as (size, blocks):
            count = 0
            _refuse_large(size, where)
            with progress(f"Fetch {what}", -(-size // CHUNK), unit="MiB") as advance:
                for block in blocks:
                    count += len(block)
                    _refuse_large(count, where)
                    file.write(block)
                    advance()
            if size and count < size:
                raise ConnectionError(f"it ended after {count} of {size} bytes")
    except (OSError, ValueError, http.client.HTTPException) as error:
        if isinstance(error, OSError) and (error.filename == str(path) or error.errno in FULL):
            raise
        raise LiftnetError(
            f"The {what} cannot be fetched: {shown(str(getattr(error, 'reason', None) or error))}",
            where=where,
            remedy=remedy,
        ) from None
    return where


def _refuse_large(size: int, where: str) -> None:
    if size > MAX_BYTES:
        raise LiftnetError(
            f"The file has more than {MAX_BYTES:,} bytes, the most a model has",
            where=where,
            remedy="Check the address.",
        )


def _check_url(url: str) -> None:
    """Refuse what others can read or change on its way, and what is no address on a network."""
    try:
        parts = urllib.parse.urlsplit(url)
        hostname, _ = parts.hostname, parts.port
    except ValueError as error:
        raise LiftnetError(
            f"This is no address: {error}", where=url, remedy="Copy the whole address again."
        ) from None
    if parts.scheme == "https" and hostname:
        return
    if parts.scheme == "http" and hostname in LOCAL_HOSTS:
        return
    raise LiftnetError(
        f"Models are fetched by https only, not by {parts.scheme}",
        where=_without_secrets(url),
        remedy="Use the https address, or fetch the file yourself and give its path.",
    )


def _without_secrets(url: str) -> str:
    """The address without user, password and query."""
    parts = urllib.parse.urlsplit(url)
    return urllib.parse.urlunsplit(
        (parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", "")
    )


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Redirects are followed to addresses that would have been accepted themselves."""

    def redirect_request(self, *arguments: Any) -> urllib.request.Request | None:
        """The request of the new address."""
        try:
            _check_url(arguments[-1])
        except LiftnetError:
            arguments[1].close()  # what has answered
            raise
        return super().redirect_request(*arguments)


@contextmanager
def _blocks(url: str) -> Iterator[tuple[int, Iterator[bytes]]]:
    """The size that an address announces (0: none), and its content in blocks of a MiB.

    A thread reads: a server that sends a byte now and then, of the headers too, is left to it.

    Raises:
        TimeoutError: If a block takes too long.
    """
    ready: Queue[Any] = Queue(maxsize=2)
    left = Event()
    Thread(target=_read, args=(url, ready, left), daemon=True).start()

    def following() -> Any:
        try:
            found = ready.get(timeout=LONGEST)
        except Empty:
            raise TimeoutError(f"less than a MiB came in {LONGEST} seconds") from None
        if isinstance(found, BaseException):
            raise found
        return found

    try:
        yield following(), iter(following, b"")
    finally:
        left.set()


def _read(url: str, ready: "Queue[Any]", left: Event) -> None:
    """Put the announced size, the blocks and an empty one into a queue; or what went wrong."""

    def give(found: int | bytes | BaseException) -> None:
        while not left.is_set():
            with suppress(Full):
                ready.put(found, timeout=0.2)
                break

    try:
        with urllib.request.build_opener(_SafeRedirects).open(url, timeout=TIMEOUT) as answer:
            give(int(answer.headers.get("Content-Length") or 0))
            block = b"?"
            while block and not left.is_set():
                block = answer.read(CHUNK)
                give(block)
    except BaseException as error:  # raised where it is waited for
        if isinstance(error, urllib.error.HTTPError):
            error.close()  # it holds the connection
        give(error)
