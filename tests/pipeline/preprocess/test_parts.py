"""Preprocessing in parts: the same folder as one run, and no part spoils another."""

import os
import subprocess
import sys
from itertools import permutations
from pathlib import Path

import pytest

from liftnet.core.errors import LiftnetError
from liftnet.core.storage.jsonable import read_json, write_sealed
from liftnet.pipeline.preprocess import preprocess as step
from liftnet.pipeline.preprocess.parts import remove_strangers
from liftnet.pipeline.preprocess.preprocess import preprocess

CASES = Path("preprocessed") / "Dataset007_Phantom" / "default" / "cases"


def run(workspace: Path, part: int, parts: int = 3, **options) -> None:
    """Do one part."""
    options = {"num_processes": 1, **options}
    preprocess(workspace=workspace, num_parts=parts, part_id=part, **options)


def files(workspace: Path) -> dict[str, bytes]:
    """The content of all stored files."""
    return {path.name: path.read_bytes() for path in sorted((workspace / CASES).iterdir())}


def times(workspace: Path) -> dict[str, int]:
    """When each was written."""
    return {path.name: path.stat().st_mtime_ns for path in (workspace / CASES).iterdir()}


@pytest.fixture
def whole(workspace: Path) -> dict[str, bytes]:
    """What one run makes; the folder is then emptied."""
    preprocess(workspace=workspace, num_processes=1)
    made = files(workspace)
    for name in made:
        (workspace / CASES / name).unlink()
    return made


@pytest.mark.parametrize("order", list(permutations(range(3)))[::2])
def test_parts_in_any_order_are_one_run(workspace, whole, order, capsys):
    """The same files, byte for byte; each part says how many cases the dataset then has."""
    for number, part in enumerate(order):
        run(workspace, part)
        printed = capsys.readouterr().out
        assert f"Preprocessed part {part} of 3, 2 cases: " in printed
        assert f"{2 * number + 2} of 6 cases of the dataset are complete" in printed
    assert files(workspace) == whole


def test_a_part_run_twice_does_nothing(workspace, whole, capsys):
    """Nothing is written again, by the same part or by one run over all."""
    run(workspace, 1, 2)
    before = times(workspace)
    assert len(before) == 6
    run(workspace, 1, 2)
    assert times(workspace) == before
    assert "part 1 of 2, 3 cases (3 were there)" in capsys.readouterr().out
    run(workspace, 0, 2)
    everything = times(workspace)
    preprocess(workspace=workspace, num_processes=1)
    assert times(workspace) == everything and files(workspace) == whole


def test_a_part_leaves_alone_what_another_is_writing(workspace, whole, monkeypatch):
    """Half-written files of its own cases and cases that are gone go; all others stay."""
    run(workspace, 1, 2)
    folder = workspace / CASES
    others = {".p2.npy.7.tmp", ".p4.mask.npy.7.tmp", ".p6.json.7.tmp", ".nfs0001"}
    others |= {"notes.txt", "mine.npy", "mine.json", "p1.txt"}  # somebody has put these there
    own = {".p1.npy.7.tmp", ".p3.mask.npy.7.tmp", ".p5.json.7.tmp", ".gone.npy.7.tmp"}
    for name in others | own:
        (folder / name).write_bytes(b"half-written")
    described = {**read_json(folder / "p2.json"), "identifier": "gone"}
    write_sealed(folder / "gone.json", described)
    (folder / "gone.npy").write_bytes((folder / "p2.npy").read_bytes())
    own |= {"gone.json", "gone.npy"}
    before = times(workspace)
    run(workspace, 0, 2, clean=True)
    after = times(workspace)
    assert after.keys() == whole.keys() | others
    assert all(after[name] == when for name, when in before.items() if name not in own)
    first = times(workspace)
    run(workspace, 0, 2, clean=True)
    changed = {name for name, when in times(workspace).items() if first[name] != when}
    assert changed == {f"p{i}.{ending}" for i in (1, 3, 5) for ending in ("npy", "json")}


def test_a_file_that_another_part_deletes_first_is_no_error(tmp_path, monkeypatch):
    """Two parts that clear the folder at once do not stumble over each other."""
    for name in (".gone.npy.4.tmp", ".gone.json.5.tmp", "kept.npy"):
        (tmp_path / name).write_bytes(b"x")
    listed = list(tmp_path.iterdir())
    monkeypatch.setattr(Path, "iterdir", lambda self: iter(listed))
    for _ in range(2):
        remove_strangers(tmp_path, {"kept"}, {"kept"}, clean=False)
    assert [path.name for path in listed if path.exists()] == ["kept.npy"]


def test_two_processes_at_the_same_time(workspace, whole):
    """Both parts in processes of their own, begun together: the same folder."""
    code = (
        "import sys; from liftnet.pipeline.preprocess.preprocess import preprocess\n"
        "preprocess(workspace=sys.argv[1], num_parts=2, part_id=int(sys.argv[2]), num_processes=2)"
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    children = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(workspace), str(part)],
            stdout=subprocess.DEVNULL,
            env=environment,
        )
        for part in range(2)
    ]
    assert [child.wait(60) for child in children] == [0, 0]
    assert files(workspace) == whole


def test_more_parts_than_cases_and_parts_that_do_not_exist(workspace, whole, monkeypatch, capsys):
    """A part without a case is done at once; a wrong number is refused before anything is read."""
    monkeypatch.setattr(step, "_store_case", None)
    run(workspace, 8, 9)
    assert "Preprocessed part 8 of 9, 0 cases: " in capsys.readouterr().out
    for number in (0, 10**20):
        with pytest.raises(LiftnetError, match=f"cannot be split into {number} parts"):
            run(workspace, 0, number)
    with pytest.raises(LiftnetError, match="Part 2 of 2 does not exist"):
        run(workspace, 2, 2)
