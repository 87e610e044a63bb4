"""One run at a time on a folder, with real processes."""

import errno
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from liftnet.core.errors import LiftnetError
from liftnet.host import lock
from liftnet.host.lock import LOCK, hold, part_name
from liftnet.pipeline.convert.convert import convert
from liftnet.pipeline.evaluate.evaluate import evaluate
from liftnet.pipeline.fingerprint.extract_fingerprint import extract_fingerprint
from liftnet.pipeline.plan import plan
from liftnet.pipeline.preprocess.plan_and_preprocess import plan_and_preprocess
from liftnet.pipeline.preprocess.preprocess import preprocess
from liftnet.pipeline.train.train import train

DATASET = "Dataset007_Phantom"
HOLDER = """
import sys
from pathlib import Path
from liftnet.host.lock import hold
with hold(Path(sys.argv[1]), "liftnet_train", part=sys.argv[2]):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def held_by_another(folder: Path, part: str = "") -> Iterator[subprocess.Popen]:
    """A process that holds a folder until its input ends."""
    child = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder), part],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert child.stdout.readline() == "held\n"
        yield child
    finally:
        child.kill()
        child.communicate()


def try_to_hold(folder: Path, what: str, *, part: str = "") -> None:
    """Take a lock, and give it back."""
    with hold(folder, what, part=part):
        pass


def test_the_second_is_told_who_works_there(tmp_path):
    """Holder, process, host and time are said; a kill -9 frees the folder; nothing is left over."""
    folder = tmp_path / "new" / "run"
    with held_by_another(folder) as child:
        since = time.strftime("%H:")
        with pytest.raises(LiftnetError) as caught, hold(folder, "liftnet_train"):
            raise AssertionError("expected no lock")
        said = f"liftnet_train, process {child.pid} on host {socket.gethostname()}, since {since}"
        assert str(caught.value).startswith(f"Another run works here: {said}")
        assert caught.value.where == str(folder) and "Wait until" in caught.value.remedy
        child.kill()
        child.wait()
        assert (folder / LOCK).exists()
        with hold(folder, "liftnet_predict"):
            facts = json.loads((folder / LOCK).read_text())
            assert (facts["what"], facts["process"]) == ("liftnet_predict", os.getpid())
    assert not (folder / LOCK).exists()


def test_an_empty_folder_goes_with_its_lock(tmp_path):
    """What was made for the lock only is removed, what was there or is in use is not."""
    with hold(tmp_path / "a" / "b", "liftnet_plan"):
        assert (tmp_path / "a" / "b" / LOCK).is_file()
    assert list(tmp_path.iterdir()) == []
    with hold(tmp_path / "a", "liftnet_plan"):
        (tmp_path / "a" / "x").write_text("x")
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["x"]


@pytest.mark.parametrize("name", [LOCK, f"{LOCK}.part_0_of_2"])
def test_a_lock_that_is_no_file(tmp_path, name):
    """A link's target is not emptied; a pipe is not waited for."""
    mine = tmp_path / "mine"
    mine.write_text("precious")
    for make in (lambda path: path.symlink_to(mine), os.mkfifo):
        make(tmp_path / name)
        with pytest.raises(LiftnetError, match="liftnet keeps a file of its own here"):
            try_to_hold(tmp_path, "liftnet_plan")
        (tmp_path / name).unlink()
    assert mine.read_text() == "precious"
    try_to_hold(tmp_path, "liftnet_plan")


def test_parts(tmp_path):
    """Parts of one division work together; the whole, and other divisions, exclude them."""
    parts = [part_name(2, 0), part_name(2, 1)]
    assert parts == ["part_0_of_2", "part_1_of_2"] and part_name(1, 0) == ""
    with held_by_another(tmp_path, parts[0]):
        with hold(tmp_path, "liftnet_predict", part=parts[1]):
            pass
        for part in (parts[0], "", part_name(3, 1)):
            with pytest.raises(LiftnetError, match="Another run works here"):
                try_to_hold(tmp_path, "liftnet_predict", part=part)
    # What the killed part has left does not count.
    with hold(tmp_path, "liftnet_predict"), pytest.raises(LiftnetError, match="liftnet_predict, p"):
        try_to_hold(tmp_path, "liftnet_predict", part=parts[1])
    with hold(tmp_path, "liftnet_predict", part=parts[0]):
        pass
    assert list(tmp_path.iterdir()) == []


def test_without_locks_of_the_file_system(tmp_path, monkeypatch):
    """The file itself is the lock then: of a live process or another host, not of a dead one."""

    def refuse(descriptor, kind):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(lock.fcntl, "flock", refuse)
    with hold(tmp_path, "liftnet_train"):
        with pytest.raises(LiftnetError, match=f"process {os.getpid()} on host"):
            try_to_hold(tmp_path, "liftnet_train")
        with pytest.raises(LiftnetError, match="Another run works here"):
            try_to_hold(tmp_path, "liftnet_train", part="part_0_of_2")
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    dead = {"what": "liftnet_train", "process": child.pid, "host": socket.gethostname()}
    (tmp_path / LOCK).write_text(json.dumps(dead))
    with hold(tmp_path, "liftnet_train"):
        pass
    (tmp_path / LOCK).write_text(
        json.dumps({**dead, "host": "elsewhere", "since": "2020-01-01 7:00"})
    )
    with pytest.raises(LiftnetError, match="on host elsewhere, since 2020-01-01 7:00"):
        try_to_hold(tmp_path, "liftnet_train")


def test_every_step_holds_its_folder(workspace):
    """Training, planning, preprocessing, measuring, converting and scoring refuse a second run."""
    prepared = workspace / "preprocessed" / DATASET
    raw = workspace / "raw"
    here = {"workspace": workspace}
    images = raw / DATASET / "imagesTr"
    others = Path(shutil.copytree(images, workspace / "references"))
    fold = workspace / "results" / DATASET / "default" / "lift" / "fold_0"
    calls = [
        (fold, lambda: train(device="cpu", **here)),
        (prepared / "default", lambda: plan(gpu_memory=0.03, **here)),
        (prepared / "default", lambda: preprocess(**here)),
        (prepared, lambda: extract_fingerprint(**here)),
        (workspace / "out", lambda: evaluate(images, others, output=workspace / "out", **here)),
    ]
    before = {p: p.stat().st_mtime_ns for p in prepared.rglob("*") if p.is_file()}
    for folder, call in calls:
        with hold(folder, "liftnet_other"), pytest.raises(LiftnetError) as caught:
            call()
        assert "Another run works here: liftnet_other" in str(caught.value)
    assert before.items() <= {p: p.stat().st_mtime_ns for p in before}.items()
    layout = [f"a={images}"]
    with hold(raw, "liftnet_convert", part="Dataset011"), pytest.raises(LiftnetError) as caught:
        convert("folders", layout, 11, task="unconditional", **here)
    assert "Another run works here: liftnet_convert" in str(caught.value)


def files_of(space: Path) -> dict[str, bytes]:
    """Everything that planning and preprocessing have made, and what is trained."""
    return {
        str(path): path.read_bytes()
        for part in ("preprocessed", "results")
        for path in sorted((space / part).rglob("*"))
        if path.is_file() and not path.name.startswith(LOCK)
    }


@pytest.mark.parametrize("variant", ["lift_c/fold_0", "no_mapper/fold_all"])
def test_a_plan_in_use_stays_as_it_is(workspace, variant):
    """While a fold is trained, its plan and cases are not made anew; another plan is."""
    space, run = {"workspace": workspace}, workspace / "results" / DATASET / "default" / variant
    before = files_of(workspace)
    calls = [
        lambda: plan(gpu_memory=0.03, steps=9, **space),
        lambda: preprocess(clean=True, num_processes=1, **space),
        lambda: preprocess(num_parts=2, part_id=1, clean=True, num_processes=1, **space),
        lambda: plan_and_preprocess(gpu_memory=0.03, num_processes=1, clean=True, **space),
    ]
    with hold(run, "liftnet_train"):
        for call in calls:
            with pytest.raises(LiftnetError, match="Another run works here: liftnet_train, proc"):
                call()
        assert files_of(workspace) == before
        plan(gpu_memory=0.03, steps=9, plan_name="other", **space)
        preprocess(plan_name="other", num_processes=1, **space)
    calls[0]()


@pytest.mark.parametrize("part", ["", "part_0_of_2"])
def test_no_training_of_cases_that_are_being_made(workspace, part):
    """A training that starts while its cases are preprocessed is refused, and leaves nothing."""
    with (
        hold(workspace / "preprocessed" / DATASET / "default", "liftnet_preprocess", part=part),
        pytest.raises(LiftnetError, match="Another run works here") as caught,
    ):
        train(workspace=workspace, device="cpu")
    assert caught.value.where == str(workspace / "preprocessed" / DATASET / "default")
    assert not (workspace / "results").exists()


def test_to_continue_and_to_restart_contradict(workspace):
    """Neither is done, and what was trained stays."""
    folder = workspace / "results" / DATASET / "default" / "lift" / "fold_0" / "stage"
    folder.mkdir(parents=True)
    checkpoint = folder / "checkpoint_latest.safetensors"
    checkpoint.write_bytes(b"weeks of work")
    with pytest.raises(LiftnetError, match="--c and --restart contradict each other"):
        train(workspace=workspace, device="cpu", continue_training=True, restart=True)
    assert checkpoint.read_bytes() == b"weeks of work"
