"""Fetching weights, from this machine in place of the internet."""

import hashlib
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler
from pathlib import Path

import pytest
from local_server import serving

from liftnet.core.errors import LiftnetError
from liftnet.networks.features import RESNET18_SHA256
from liftnet.pipeline.share import download as step
from liftnet.pipeline.share import fetch

CONTENT = b"weights" * 300_000


class Folder(SimpleHTTPRequestHandler):
    """Offers the files of a folder."""

    def log_message(self, *_: object) -> None:
        """Be quiet."""


@pytest.fixture
def offered(tmp_path, monkeypatch) -> Iterator[Path]:
    """A file to fetch, known by its digest."""
    path = tmp_path / "offered.pth"
    path.write_bytes(CONTENT)
    with serving(partial(Folder, directory=tmp_path)) as address:
        url, digest = f"{address}/{path.name}", hashlib.sha256(CONTENT).hexdigest()
        known = replace(step.WEIGHTS["resnet18"], url=url, sha256=digest)
        monkeypatch.setitem(step.WEIGHTS, "resnet18", known)
        yield path


def test_the_known_digest_is_that_of_the_features():
    """What is fetched is what `--features` expects."""
    known = step.WEIGHTS["resnet18"]
    assert known.sha256 == RESNET18_SHA256
    assert known.file.removesuffix(".pth").rsplit("-", 1)[1] == known.sha256[:8]
    assert known.url.endswith("/" + known.file)


def test_fetched_once(offered, tmp_path, capsys):
    """Into the workspace; a second time nothing is done."""
    path = step.download("resnet18", workspace=tmp_path / "w")
    assert path == tmp_path / "w" / "weights" / "resnet18-f37072fd.pth"
    assert path.read_bytes() == CONTENT
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    assert f"liftnet_plan --features {path}" in capsys.readouterr().out
    offered.unlink()
    assert step.download("resnet18", workspace=tmp_path / "w") == path
    assert "Already there" in capsys.readouterr().out


def test_another_file_is_not_kept(offered, tmp_path):
    """A wrong digest is an error, and leaves nothing behind."""
    offered.write_bytes(b"something else")
    with pytest.raises(LiftnetError, match="What was fetched has SHA-256"):
        step.download("resnet18", output=tmp_path / "o")
    assert list((tmp_path / "o").iterdir()) == []


def test_no_connection(offered, tmp_path):
    """The error names the file to fetch by other means."""
    offered.unlink()
    with pytest.raises(LiftnetError, match="cannot be fetched") as error:
        step.download("resnet18", output=tmp_path / "o")
    assert "resnet18-f37072fd.pth" in str(error.value.remedy)


class Broken(BaseHTTPRequestHandler):
    """Sends the beginning of a file."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Announce a part of 4096 bytes, or 4096 bytes, and send 7."""
        chunked = self.path == "/chunked"
        self.send_response(200)
        name, value = ("Transfer-Encoding", "chunked") if chunked else ("Content-Length", "4096")
        self.send_header(name, value)
        self.end_headers()
        self.wfile.write(b"1000\r\nweights" if chunked else b"weights")
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Be quiet."""


@pytest.fixture
def broken() -> Iterator[str]:
    """Where a server of this machine breaks off."""
    with serving(Broken) as address:
        yield address


@pytest.mark.parametrize("kind", ["chunked", "whole"])
def test_a_connection_that_breaks_off(kind, broken, tmp_path, monkeypatch):
    """The error is one of the connection; nothing is left behind."""
    known = replace(step.WEIGHTS["resnet18"], url=f"{broken}/{kind}")
    monkeypatch.setitem(step.WEIGHTS, "resnet18", known)
    with pytest.raises(LiftnetError, match="cannot be fetched"):
        step.download("resnet18", output=tmp_path / "o")
    assert list((tmp_path / "o").iterdir()) == []


class Slow(BaseHTTPRequestHandler):
    """Sends a byte now and then: of the headers or of the content."""

    def do_GET(self) -> None:
        """Go on for two seconds at most."""
        if self.path == "/content":
            self.send_response(200)
            self.end_headers()
        with suppress(OSError):  # the client is gone
            for byte in b"HTTP/1.0 200 OK and so on, for as long as anybody listens, for ever":
                self.wfile.write(bytes([byte]))
                time.sleep(0.03)

    def log_message(self, *_: object) -> None:
        """Be quiet."""


@pytest.mark.parametrize("kind", ["headers", "content"])
def test_a_server_that_is_slow_for_ever(kind, tmp_path, monkeypatch):
    """A byte now and then is no answer, wherever it comes."""
    monkeypatch.setattr(fetch, "LONGEST", 0.3)
    with serving(Slow) as address:
        known = replace(step.WEIGHTS["resnet18"], url=f"{address}/{kind}")
        monkeypatch.setitem(step.WEIGHTS, "resnet18", known)
        with pytest.raises(LiftnetError, match=r"less than a MiB came in 0.3 seconds"):
            step.download("resnet18", output=tmp_path / "o")
    assert list((tmp_path / "o").iterdir()) == []


class Rude(BaseHTTPRequestHandler):
    """Answers with a reason that is meant for the terminal."""

    def do_GET(self) -> None:
        """Clear the screen."""
        self.wfile.write(b"HTTP/1.0 404 \x1b[2JImported\r\n\r\n")

    def log_message(self, *_: object) -> None:
        """Be quiet."""


def test_what_a_server_says_is_printed_as_text(tmp_path, monkeypatch):
    """Its reason moves no cursor."""
    with serving(Rude) as address:
        known = replace(step.WEIGHTS["resnet18"], url=address)
        monkeypatch.setitem(step.WEIGHTS, "resnet18", known)
        with pytest.raises(LiftnetError, match="cannot be fetched") as caught:
            step.download("resnet18", output=tmp_path / "o")
    assert caught.value.problem.endswith(r": \x1b[2JImported")


def test_unknown_weights():
    """There is a suggestion."""
    with pytest.raises(LiftnetError, match="No weights 'resnet19'") as error:
        step.download("resnet19")
    assert "resnet18" in str(error.value.remedy)
