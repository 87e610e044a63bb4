"""Kills, damage, full disks, too little memory: a clear message, and the same command goes on."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from two_processes import start_together

from liftnet.core.errors import CheckpointError, DatasetError, LiftnetError
from liftnet.core.storage.jsonable import write_json
from liftnet.data.store import Store
from liftnet.host.failures import explained, file_problem
from liftnet.imageio import write, write_image
from liftnet.pipeline.models.checkpoint import load_checkpoint, save_checkpoint
from liftnet.pipeline.models.runs import BEST, LATEST
from liftnet.pipeline.plan import read_plan
from liftnet.pipeline.preprocess import preprocess as preparing
from liftnet.pipeline.preprocess.preprocess import preprocess
from liftnet.pipeline.train.train import train

DATASET = "Dataset007_Phantom"
STAGE = "context_translation"


@pytest.fixture(autouse=True)
def _no_picture(monkeypatch):
    """Leave out the picture, which takes longer than the training here."""
    monkeypatch.setattr("liftnet.visual.figures.plot_progress", lambda *args: None)


@pytest.fixture
def cases(workspace: Path) -> Path:
    """The folder of stored cases."""
    return workspace / "preprocessed" / DATASET / "default" / "cases"


def flip(path: Path, place: int) -> bytes:
    """Change one bit of a file, and return what it held before; its time stays."""
    stat, before = path.stat(), path.read_bytes()
    data = bytearray(before)
    data[place] ^= 4
    path.unlink()
    path.write_bytes(data)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    return before


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """No file may grow beyond this size, as if the disk were full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_killed_steps_complete(tmp_path):
    """Steps killed at random moments, and run again, end with the files of an undisturbed run."""
    script = Path(__file__).parents[1] / "fault_injection.py"
    steps = ["generate", "convert", "extract_fingerprint", "preprocess"]
    options = ["--kills", "2", "--faults", "kill -9", "--seed", str(time.time_ns() % 10**6)]
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path), *options, "--steps", *steps],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    outcomes = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert [outcome["step"] for outcome in outcomes] == steps
    for outcome in outcomes:
        assert outcome["problems"] == []
        assert outcome["injected"] >= 2 and outcome["survived"] == outcome["trials"]
        assert outcome["done_again"] == 0


def test_a_damaged_stored_case(workspace, cases):
    """Training names it and the command that makes it anew, and only it."""
    preprocess(workspace=workspace, num_processes=1)
    whole = flip(cases / "p2.npy", -3)
    with pytest.raises(DatasetError, match="its checksum differs") as caught:
        train(workspace=workspace, device="cpu", fold=["all"])
    assert caught.value.where == str(cases / "p2.npy") and "liftnet_preprocess" in str(caught.value)
    times = {path: path.stat().st_mtime_ns for path in cases.iterdir()}
    preprocess(workspace=workspace, num_processes=1)
    assert (cases / "p2.npy").read_bytes() == whole
    changed = {path.name for path, t in times.items() if path.stat().st_mtime_ns != t}
    assert changed == {"p2.npy", "p2.json"}


def test_a_store_of_before(workspace, cases):
    """One without checksums is read, and current."""
    preprocess(workspace=workspace, num_processes=1)
    for path in cases.glob("*.json"):
        facts = json.loads(path.read_text())
        del facts["checksums"], facts["checksum"]
        path.write_text(json.dumps(facts))
    times = {path: path.stat().st_mtime_ns for path in cases.iterdir()}
    preprocess(workspace=workspace, num_processes=1)
    assert times == {path: path.stat().st_mtime_ns for path in cases.iterdir()}
    assert Store(cases).voxels("p1").shape[0] == 3


def test_a_case_that_becomes_another_one(workspace, cases):
    """A run that has seen a case refuses another one in its place."""
    store = Store(cases).fixed(["p1"])
    described = store.describe("p1")
    voxels = np.array(store.voxels("p1"), dtype=np.float32)
    preparing.write_case(cases, voxels, described)
    assert store.voxels("p1").shape == voxels.shape  # the same again
    preparing.write_case(cases, voxels + 1, described)
    with pytest.raises(DatasetError, match="has become another one during the run"):
        store.voxels("p1")
    assert Store(cases).voxels("p1").shape == voxels.shape


def test_a_damaged_checkpoint(tmp_path, capsys):
    """A flipped bit or a missing end: the one before it, and a warning; both damaged: an error."""
    path = tmp_path / LATEST
    before = tmp_path / (LATEST + ".previous")
    generator = torch.Generator().manual_seed(0)
    for step in (1, 2, 3):
        weights = {"w": torch.randn(50, 3, generator=generator), "n": torch.tensor(step)}
        save_checkpoint(path, {"network": weights}, {"step": step})
    assert (load_checkpoint(path).facts["step"], load_checkpoint(before).facts["step"]) == (3, 2)
    assert capsys.readouterr().out == ""
    whole = flip(path, -100)
    assert load_checkpoint(path).facts["step"] == 2
    said = capsys.readouterr().out
    assert "its checksum differs" in said and "of step 2" in said
    path.write_bytes(whole[:-10])
    assert load_checkpoint(path).facts["step"] == 2
    assert f"warning: {LATEST} is damaged" in capsys.readouterr().out
    flip(before, -100)
    with pytest.raises(CheckpointError, match="No readable checkpoint"):
        load_checkpoint(path)
    path.write_bytes(whole)
    assert load_checkpoint(path).facts["step"] == 3


def test_a_raw_file_that_changes(workspace, cases, monkeypatch):
    """One that vanishes or is replaced while it is read is named; back in place, it is done."""
    raw = workspace / "raw" / DATASET / "imagesTr" / "p3_0001.nii.gz"
    shutil.rmtree(cases)
    read, whole = preparing.read_with_mask, raw.read_bytes()

    def gone(case, *arguments, **options):
        raw.unlink(missing_ok=True)
        return read(case, *arguments, **options)

    def replaced(case, *arguments, **options):
        found = read(case, *arguments, **options)
        if case.identifier == "p3":
            os.utime(raw, ns=(1, 1))
        return found

    changes = (replaced, "was replaced while it was read"), (gone, "not found|No such")
    for change, message in changes:
        monkeypatch.setattr(preparing, "read_with_mask", change)
        with pytest.raises(LiftnetError, match=message) as caught:
            preprocess(workspace=workspace, num_processes=1)
        assert "p3" in str(caught.value)
        assert "p3" not in Store(cases).identifiers()
    raw.write_bytes(whole)
    monkeypatch.setattr(preparing, "read_with_mask", read)
    preprocess(workspace=workspace, num_processes=1)
    assert len(Store(cases).identifiers()) == 6


def test_a_plan_that_changes_during_training(workspace):
    """The run goes on with its own; the next one refuses the other plan."""
    path = workspace / "preprocessed" / DATASET / "default" / "plan.json"
    plan = read_plan(path)
    folders = train(workspace=workspace, device="cpu")
    write_json(path, replace(plan, seed=5))
    assert read_plan(path).seed != plan.seed
    with pytest.raises(CheckpointError, match="The plan or its recipe has changed since"):
        train(workspace=workspace, device="cpu")
    assert read_plan(folders[0] / "plan.json").seed == plan.seed


def test_a_full_disk(workspace, cases):
    """Nothing half-written stays or counts; with room, the same commands complete."""
    shutil.rmtree(cases)
    with largest_file(30_000), pytest.raises(LiftnetError, match=r"larger than|disk is full"):
        preprocess(workspace=workspace, num_processes=1)
    assert list(cases.iterdir()) == []
    preprocess(workspace=workspace, num_processes=1)
    with largest_file(60_000), pytest.raises(LiftnetError, match="larger than files may be"):
        train(workspace=workspace, device="cpu")
    stage = workspace / "results" / DATASET / "default" / "lift" / "fold_0" / STAGE
    assert not [path.name for path in stage.iterdir() if "checkpoint" in path.name]
    train(workspace=workspace, device="cpu")
    assert load_checkpoint(stage / BEST).facts["step"] in (3, 6)


@pytest.mark.parametrize("ending", [".nii.gz", ".nii", ".mha", ".nrrd"])
def test_an_image_on_a_full_disk(tmp_path, ending, monkeypatch):
    """An image that is cut off is an error, also where ITK says nothing, and leaves no file."""
    voxels = np.random.default_rng(0).integers(0, 4000, (20, 30, 41)).astype(np.float32)
    from liftnet.core.geometry import Geometry

    grid = Geometry(voxels.shape, (1, 1, 1), (0, 0, 0), ((0, 0, 1), (0, 1, 0), (1, 0, 0)))
    with largest_file(16_384), pytest.raises(OSError, match="File too large") as caught:
        write_image(tmp_path / f"x{ending}", voxels, grid, dtype="int16")
    assert list(tmp_path.iterdir()) == []
    with largest_file(16_384):
        assert "larger than files may be here: 0.0156 MiB (ulimit -f)" in str(
            file_problem(caught.value)
        )
    monkeypatch.setattr(write, "size_limit", lambda: None)  # as if it were the disk
    with largest_file(16_384), pytest.raises(LiftnetError, match=r"not be written; \d.* GiB are"):
        write_image(tmp_path / f"x{ending}", voxels, grid, dtype="int16")
    assert list(tmp_path.iterdir()) == []
    write_image(tmp_path / f"x{ending}", voxels, grid, dtype="int16")


def test_what_is_said_of_a_disk(tmp_path):
    """A full disk is told with the free space, a closed one with the way out."""
    full = file_problem(OSError(28, "No space left on device", str(tmp_path / "no" / "x.npy")))
    assert str(full).startswith("The disk is full: ") and "GiB are free there" in str(full)
    closed = file_problem(OSError(30, "Read-only file system", "/x/y"))
    assert str(closed) == (
        "Read-only file system\n  where: /x/y\n  do:    Name a folder that can be written to."
    )
    for error in (MemoryError(), RuntimeError("can't start new thread")):
        with pytest.raises(LiftnetError, match="The memory that"), explained("case", "p1"):
            raise error
    with pytest.raises(RuntimeError, match="something else"), explained("case", "p1"):
        raise RuntimeError("something else")


LIMITED = """
import resource, sys, torch
torch.set_num_threads(1)
from liftnet.cli.shell import run
from liftnet.pipeline.preprocess import preprocess as step
workspace = sys.argv.pop()
def preprocess():
    pages = int(open("/proc/self/statm").read().split()[0])
    limit = pages * resource.getpagesize() + 1_000_000
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    step.preprocess(workspace=workspace)
run(preprocess)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_too_little_memory(workspace, cases):
    """A command that may not use more memory says so, and leaves what is whole."""
    shutil.rmtree(cases)
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(workspace)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("error: The memory that this process may use is too small")


PARTNERS = """
import sys, torch
from liftnet.cli.shell import run
from liftnet.ops.compute.processes import average_, rank, together
def train():
    with together():
        print("ready", flush=True)
        while True:
            average_([torch.zeros(3)])
sys.argv = ["train"]
run(train)
"""


def test_one_of_two_processes_is_killed():
    """The other one ends with a message."""
    first, second = start_together(PARTNERS)
    try:
        for process in (first, second):
            assert process.stdout.readline() == "ready\n"
        second.send_signal(signal.SIGKILL)
        printed = first.communicate(timeout=60)[0]
    finally:
        first.kill()
        second.kill()
        second.communicate()
    assert first.returncode == 1
    assert "error: Another process of this run has ended" in printed
    assert "Traceback" not in printed
