"""Files of liftnet's own: whole, never somebody else's, and together where they belong together."""

import errno
import os
import socket
from pathlib import Path

import pytest

from liftnet.core.errors import LiftnetError
from liftnet.core.storage.files import open_own, write_together, written_whole

FLAGS = os.O_RDWR | os.O_CREAT


def make_link(path: Path) -> None:
    """A link to somebody's file."""
    path.symlink_to(path.with_name("somebody's"))


def make_socket(path: Path) -> None:
    """A socket, whose short name is relative."""
    with pytest.MonkeyPatch.context() as patch, socket.socket(socket.AF_UNIX) as made:
        patch.chdir(path.parent)
        made.bind(path.name)


KINDS = {
    "a symbolic link": make_link,
    "a pipe (FIFO)": os.mkfifo,
    "a folder": Path.mkdir,
    "a socket": make_socket,
}


@pytest.fixture
def somebodys(tmp_path: Path) -> Path:
    """A file that must not change."""
    path = tmp_path / "somebody's"
    path.write_text("precious")
    return path


@pytest.mark.parametrize("kind", KINDS)
def test_only_plain_files_are_opened(kind, somebodys, tmp_path):
    """Anything else is named, at once, and nothing is changed."""
    path = tmp_path / ".lock"
    KINDS[kind](path)
    with pytest.raises(LiftnetError) as caught:
        open_own(path, FLAGS)
    assert caught.value.problem == f"liftnet keeps a file of its own here, and found {kind}"
    assert caught.value.where == str(path)
    assert somebodys.read_text() == "precious"


def test_a_link_to_nowhere_makes_no_file(tmp_path):
    """It is a link all the same."""
    make_link(tmp_path / "log")
    with pytest.raises(LiftnetError, match="found a symbolic link"):
        open_own(tmp_path / "log", FLAGS)
    assert not (tmp_path / "somebody's").exists()


def test_a_plain_file_is_opened(tmp_path):
    """One that is there, and a new one; a folder on the way may be a link."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "linked").symlink_to(tmp_path / "elsewhere")
    for _ in range(2):
        os.close(open_own(tmp_path / "linked" / "log", FLAGS))
    with pytest.raises(FileNotFoundError):
        open_own(tmp_path / "none" / "log", FLAGS)


@pytest.mark.parametrize("kind", ["a symbolic link", "a pipe (FIFO)", "a socket"])
def test_a_draft_is_made_in_place_of_anything(kind, somebodys, tmp_path):
    """What has its name goes; a link there leads nowhere else."""
    KINDS[kind](tmp_path / f".plan.json.{os.getpid()}.tmp")
    with written_whole(tmp_path / "plan.json") as draft:
        draft.write_text("new")
    assert (tmp_path / "plan.json").read_text() == "new"
    assert somebodys.read_text() == "precious"
    assert len(list(tmp_path.iterdir())) == 2


def test_a_linked_file_is_replaced_and_not_written_through(somebodys, tmp_path):
    """The name is then that of a file of its own."""
    make_link(tmp_path / "plan.json")
    with written_whole(tmp_path / "plan.json") as draft:
        draft.write_text("new")
    assert somebodys.read_text() == "precious"
    assert not (tmp_path / "plan.json").is_symlink()


@pytest.mark.parametrize("kind", ["a pipe (FIFO)", "a folder", "a socket"])
def test_nothing_but_a_file_is_replaced(kind, tmp_path):
    """-o /dev/null does not put a file in the place of the device."""
    path = tmp_path / "page.html"
    KINDS[kind](path)
    with pytest.raises(LiftnetError, match="No file can be written here") as caught:  # noqa: SIM117
        with written_whole(path):
            pytest.fail("nothing is to be written")
    assert kind in caught.value.problem
    assert [p.name for p in tmp_path.iterdir()] == ["page.html"]


@pytest.mark.parametrize("full", ["a.csv", "a.json"])
def test_on_a_full_disk_all_stay_as_they_were(tmp_path, monkeypatch, full):
    """Whichever does not fit: the old ones stay beside each other, and no draft is left."""
    old = {tmp_path / "a.csv": "old\n", tmp_path / "a.json": "{}\n"}
    write_together(old)
    write = Path.write_bytes

    def write_until_full(path: Path, data: bytes) -> int:
        if path.name.startswith(".a.") and path.suffix == Path(full).suffix:
            write(path, data[:3])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", write_until_full)
    with pytest.raises(OSError, match="No space left") as found:
        write_together(dict.fromkeys(old, "new"))
    assert found.value.filename == str(tmp_path / full)
    assert {path: path.read_text() for path in tmp_path.iterdir()} == old
