"""Weights of networks that were trained elsewhere, fetched only when asked for."""

import http.client
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, Full, Queue
from threading import Event, Thread
from typing import Any

from liftnet.core.arguments import checked
from liftnet.core.errors import LiftnetError
from liftnet.core.storage.checksum import file_sha256
from liftnet.core.storage.files import written_whole
from liftnet.core.storage.jsonable import did_you_mean
from liftnet.core.workspace import find_workspace
from liftnet.host.failures import FULL
from liftnet.host.progress import progress, say
from liftnet.networks.features import RESNET18_FILE, RESNET18_SHA256
from liftnet.pipeline.models.model_zip import shown

__all__ = ["WEIGHTS", "download", "fetch"]

CHUNK = 2**20  # ours: bytes between two updates of the progress bar
TIMEOUT = 60  # ours: seconds without an answer
LONGEST = 120  # ours: seconds for a MiB; slower is no line that brings a model home


@dataclass(frozen=True)
class Weights:
    """A file of weights and where it comes from."""

    file: str
    url: str
    sha256: str
    use: str  # the option that takes the file


WEIGHTS = {
    "resnet18": Weights(
        RESNET18_FILE,
        f"https://download.pytorch.org/models/{RESNET18_FILE}",  # torchvision
        RESNET18_SHA256,
        "liftnet_plan --features",
    )
}


@checked
def download(
    name: str, *, output: Path | str | None = None, workspace: Path | str | None = None
) -> Path:
    """Fetch a file of weights, check it against its known SHA-256, and keep it.

    A file that is there already and right is kept as it is.

    Args:
        name: which; "resnet18" was trained on ImageNet and gives the features of LiFT Sec. 5.1.
        output: a folder; by default `weights` in the workspace.
        workspace: the workspace folder.

    Returns:
        The file.

    Raises:
        LiftnetError: If there are no such weights, they cannot be fetched, or are others.
    """
    if name not in WEIGHTS:
        raise LiftnetError(f"No weights '{name}'", remedy=did_you_mean(name, list(WEIGHTS)))
    weights = WEIGHTS[name]
    folder = find_workspace(workspace).raw.parent / "weights" if output is None else Path(output)
    path = folder.absolute() / weights.file
    if path.is_file() and file_sha256(path) == weights.sha256:
        say(f"Already there: {path}")
        return path
    folder.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as temporary:
        fetch(
            weights.url,
            temporary,
            what="weights",
            where=weights.url,
            remedy=f"Fetch {weights.file} on another machine and give its path to {weights.use}.",
        )
        found = file_sha256(temporary)
        if found != weights.sha256:
            raise LiftnetError(
                f"What was fetched has SHA-256 {found}, not {weights.sha256}",
                where=weights.url,
                remedy="Try again later; nothing was kept.",
            )
    say(f"Fetched {path}; use it with {weights.use} {path}")
    return path


def fetch(
    url: str,
    path: Path,
    *,
    what: str,
    where: str,
    remedy: str,
    opener: urllib.request.OpenerDirector | None = None,
    check_size: Callable[[int], None] = lambda _: None,
) -> int:
    """The number of bytes that an address has, which are written into a file.

    Args:
        url: the address.
        path: the file.
        what: how the progress bar and an error name it.
        where: how an error names the address.
        remedy: what else to do, for an error.
        opener: who follows redirects.
        check_size: called with the announced size, then with what has come so far; may raise.

    Raises:
        LiftnetError: If it cannot be fetched, or not to its end.
        OSError: If the file cannot be written.
    """
    opener = opener or urllib.request.build_opener()
    try:
        with path.open("wb") as file, _blocks(opener, url) as (size, blocks):
            check_size(size)
            count = 0
            with progress(f"Fetch {what}", -(-size // CHUNK), unit="MiB") as advance:
                for block in blocks:
                    count += len(block)
                    check_size(count)
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
    return count


@contextmanager
def _blocks(
    opener: urllib.request.OpenerDirector, url: str
) -> Iterator[tuple[int, Iterator[bytes]]]:
    """The size that an address announces (0: none), and its content in blocks of a MiB.

    A thread reads: a server that sends a byte now and then, of the headers too, is left to it.

    Raises:
        TimeoutError: If a block takes too long.
    """
    ready: Queue[Any] = Queue(maxsize=2)
    left = Event()
    Thread(target=_read, args=(opener, url, ready, left), daemon=True).start()

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


def _read(
    opener: urllib.request.OpenerDirector, url: str, ready: "Queue[Any]", left: Event
) -> None:
    """Put the announced size, the blocks and an empty one into a queue; or what went wrong."""

    def give(found: int | bytes | BaseException) -> None:
        while not left.is_set():
            with suppress(Full):
                ready.put(found, timeout=0.2)
                break

    try:
        with opener.open(url, timeout=TIMEOUT) as answer:
            give(int(answer.headers.get("Content-Length") or 0))
            block = b"?"
            while block and not left.is_set():
                block = answer.read(CHUNK)
                give(block)
    except BaseException as error:  # raised where it is waited for
        if isinstance(error, urllib.error.HTTPError):
            error.close()  # it holds the connection
        give(error)
