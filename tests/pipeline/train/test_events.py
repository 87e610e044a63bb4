"""TensorBoard events: what is written, from which step on, and when nothing is."""

import json
import os
import signal
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from liftnet.methods.lift.joint import ContextTranslation
from liftnet.pipeline.train import events as step
from liftnet.pipeline.train.events import open_events, write_images, write_row
from liftnet.pipeline.train.train import train
from liftnet.pipeline.train.validation import with_errors

STAGE = "context_translation"
TERMS = {"loss", "l1", "ms_ssim", "delta_z"}


class StubWriter:
    """What a SummaryWriter is asked to do, remembered."""

    made: list["StubWriter"]

    def __init__(self, log_dir: str, purge_step: int):
        self.folder, self.purge_step = Path(log_dir), purge_step
        self.scalars: list[tuple[str, int, float]] = []
        self.images: list[tuple[str, int, np.ndarray]] = []
        self.unwritten = 0
        self.closed = False
        self.made.append(self)

    def add_scalar(self, tag: str, value: float, step: int) -> None:
        """Remember a number."""
        self.unwritten += 1
        self.scalars.append((tag, step, value))

    def add_image(self, tag: str, picture: np.ndarray, step: int, *, dataformats: str) -> None:
        """Remember a picture."""
        assert dataformats == "HW"
        self.unwritten += 1
        self.images.append((tag, step, picture))

    def flush(self) -> None:
        """Everything so far would be on the disk."""
        self.unwritten = 0

    def close(self) -> None:
        """Nothing comes after this."""
        self.closed = True


@pytest.fixture(autouse=True)
def _no_picture(monkeypatch):
    """Leave out the picture, which takes longer than the training here."""
    monkeypatch.setattr("liftnet.visual.figures.plot_progress", lambda *args: None)


@pytest.fixture
def writers(monkeypatch) -> list[StubWriter]:
    """The writers that were made, in place of TensorBoard's."""
    stub = types.ModuleType("torch.utils.tensorboard")
    stub.SummaryWriter = StubWriter
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", stub)
    monkeypatch.setattr(StubWriter, "made", [], raising=False)
    return StubWriter.made


@pytest.fixture
def absent(monkeypatch) -> None:
    """As where tensorboard is not installed."""
    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard", raising=False)
    monkeypatch.setitem(sys.modules, "tensorboard", None)


def test_a_training_writes_its_log_and_its_images(workspace, writers):
    """Every number of log.jsonl at its step, and the volumes of each validation, in grey."""
    [folder] = train(workspace=workspace, device="cpu")
    [writer] = writers
    assert writer.folder == folder / STAGE / "events"
    assert writer.purge_step == 1 and writer.closed and writer.unwritten == 0
    written = {(tag, at): value for tag, at, value in writer.scalars}
    assert len(written) == len(writer.scalars)  # nothing twice
    lines = (folder / STAGE / "log.jsonl").read_text().splitlines()
    expected = {}
    for row in map(json.loads, lines):
        at = row["step"]
        if "validation" in row:
            expected["validation/score", at] = row["validation"]
            for target, value in row["validation_psnr"].items():
                expected[f"validation_psnr/{target}", at] = value
            for target, value in row["validation_sharpness"].items():
                expected[f"validation_sharpness/{target}", at] = value
            continue
        expected |= {(f"loss/{term}", at): row[term] for term in TERMS}
        for part, rate in row["learning_rate"].items():
            expected[f"learning_rate/{part}", at] = rate
        expected["seconds_per_step/in_all", at] = row["seconds_per_step"]
        expected["seconds_per_step/waiting_for_data", at] = row["waited_per_step"]
    assert written == expected
    assert {at for _, at, _ in writer.images} == {3, 6}
    labels = {tag.split("/")[1].split("_")[-1] for tag, _, _ in writer.images}
    assert {"predicted", "reference", "|error|"} <= labels
    for _, _, picture in writer.images:
        assert picture.ndim == 2 and picture.dtype == np.uint8
        assert picture.min() < picture.max()


def test_a_stopped_training_goes_on_from_its_step(workspace, writers, monkeypatch):
    """The second call hides what came after the checkpoint, and writes only what comes then."""
    loss = ContextTranslation.loss
    calls = []

    def stopping(self, network, memory, batch, generator):
        calls.append(1)
        if len(calls) == 4:
            os.kill(os.getpid(), signal.SIGTERM)
        return loss(self, network, memory, batch, generator)

    monkeypatch.setattr(ContextTranslation, "loss", stopping)
    with pytest.raises(KeyboardInterrupt, match="Stopped at step 4"):
        train(workspace=workspace, device="cpu")
    train(workspace=workspace, device="cpu")
    train(workspace=workspace, device="cpu")  # has nothing to do, and makes no file
    assert [writer.purge_step for writer in writers] == [1, 5]
    assert all(writer.closed for writer in writers)
    assert {at for _, at, _ in writers[0].scalars} == {3}
    assert {at for _, at, _ in writers[1].scalars} == {6}
    assert {at for _, at, _ in writers[1].images} == {6}


@pytest.mark.usefixtures("absent")
def test_without_tensorboard_nothing_is_written(workspace, capsys):
    """The run leaves no events and says nothing of them."""
    [folder] = train(workspace=workspace, device="cpu")
    assert not (folder / STAGE / "events").exists()
    assert "cannot be imported" not in capsys.readouterr().out


@pytest.mark.usefixtures("absent")
def test_restart_throws_away_the_events(workspace):
    """--restart leaves nothing of the events of the run before."""
    [folder] = train(workspace=workspace, device="cpu")
    old = folder / STAGE / "events" / "run" / "events.out.tfevents.1"
    old.parent.mkdir(parents=True)
    old.touch()
    train(workspace=workspace, device="cpu", restart=True)
    assert not (folder / STAGE / "events").exists()
    assert (folder / STAGE / "log.jsonl").is_file()


def test_an_installation_that_does_not_fit_is_named(tmp_path, monkeypatch, capsys):
    """A tensorboard that cannot be imported costs the events, not the training."""
    empty = types.ModuleType("torch.utils.tensorboard")
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", empty)
    with open_events(tmp_path / "events", after=0) as events:
        write_row(events, {"step": 1, "loss": 0.5})
    assert not list(tmp_path.iterdir())
    assert "warning: tensorboard is installed but cannot be imported" in capsys.readouterr().out


def test_only_the_first_process_writes(tmp_path, monkeypatch, writers):
    """Of several processes the others make no writer."""
    monkeypatch.setattr(step, "is_first", lambda: False)
    with open_events(tmp_path / "events", after=0) as events:
        write_row(events, {"step": 1, "loss": 0.5})
        write_images(events, 1, "case", {"t1n": np.ones((2, 3, 4))}, (1, 1, 1))
    assert writers == []


def test_real_events_hold_every_step_once(tmp_path):
    """A killed run and the one that continues it read as one run, its images included."""
    pytest.importorskip("tensorboard", reason="comes with the extra 'log'")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder = tmp_path / "events"
    volume = np.random.default_rng(0).random((4, 6, 5)).astype(np.float32)
    killed = open_events(folder, after=0)
    events = killed.__enter__()  # never closed, like that of a killed run
    for at in (10, 20, 30):
        write_row(events, {"step": at, "loss": 1.0, "learning_rate": {"mixer": 0.1}})
        write_images(events, at, "case 1", {"t1n": volume}, (2.0, 1.0, 1.0))
    with open_events(folder, after=20) as events:
        for at in (30, 40):
            write_row(events, {"step": at, "loss": 2.0, "learning_rate": {"mixer": 0.2}})
            write_images(events, at, "case 1", {"t1n": volume}, (2.0, 1.0, 1.0))
    read = EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 0})
    read.Reload()
    assert sorted(read.Tags()["scalars"]) == ["learning_rate/mixer", "loss/loss"]
    found = [(event.step, event.value) for event in read.Scalars("loss/loss")]
    assert found == [(10, 1.0), (20, 1.0), (30, 2.0), (40, 2.0)]
    [tag] = read.Tags()["images"]
    assert tag == "case_1/t1n"
    pictures = read.Images(tag)
    assert [picture.step for picture in pictures] == [10, 20, 30, 40]
    assert (pictures[0].height, pictures[0].width) == (8, 5 + 5 + 6)


def test_errors_follow_the_images():
    """Each predicted volume with a reference gets its error; others are left as they are."""
    t1n, made, true = np.zeros((2, 3, 4)), np.full((2, 3, 4), 0.25), np.ones((2, 3, 4))
    images = {"t1n": t1n, "ct predicted": made, "ct reference": true, "t2w predicted": made}
    found = with_errors(images)
    assert list(found) == [*images, "ct |error|"]
    np.testing.assert_allclose(found["ct |error|"], 0.75)
    assert found["t1n"] is t1n
