"""A model file from a URL, fetched because the user names it."""

import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from liftnet.core.errors import LiftnetError
from liftnet.core.storage.checksum import file_sha256
from liftnet.host.progress import mention
from liftnet.pipeline.models.model_zip import MAX_EXPANDED
from liftnet.pipeline.share.download import fetch

__all__ = ["check_digest", "is_url", "local_file"]

LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")  # nobody is between


def is_url(text: str) -> bool:
    """Whether a text is a URL rather than a path."""
    return "://" in text


@contextmanager
def local_file(source: str) -> Iterator[Path]:
    """Yield the file itself, or a temporary copy of what a URL has, which is gone afterwards.

    Raises:
        LiftnetError: If it cannot be fetched safely, or is too large.
    """
    if not is_url(source):
        yield Path(source)
        return
    _check_url(source)
    with TemporaryDirectory(prefix="liftnet_import_") as folder:
        path = Path(folder) / "model.zip"
        _fetch(source, path)
        yield path


def check_digest(path: Path, wanted: str | None, source: str) -> str:
    """The SHA-256 of a file.

    Raises:
        LiftnetError: If it is not the one that is wanted.
    """
    found = file_sha256(path)
    if wanted is not None and found != wanted.strip().lower():
        raise LiftnetError(
            f"The file has SHA-256 {found}, not {wanted.strip()}",
            where=source,
            remedy="Nothing was imported. Compare with what liftnet_export has printed.",
        )
    return found


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


def _fetch(url: str, path: Path) -> None:
    """Write what the address has into a file, and no more than a model can have."""
    count = fetch(
        url,
        path,
        what="model",
        where=_without_secrets(url),
        remedy="Try again, or fetch the file on another machine and give its path to -i.",
        opener=urllib.request.build_opener(_SafeRedirects),
        check_size=partial(_refuse_large, url=url),
    )
    mention(f"Fetched {count:,} bytes from {_without_secrets(url)}")


def _refuse_large(size: int, url: str) -> None:
    if size > MAX_EXPANDED:
        raise LiftnetError(
            f"The file has more than {MAX_EXPANDED:,} bytes, the most a model has",
            where=_without_secrets(url),
            remedy="Check the address.",
        )
