"""The doctor and what is half there: a fold that was killed, a workspace that cannot be used."""

import shutil
from pathlib import Path

import pytest
import torch

from liftnet.core.storage.jsonable import read_json, write_json
from liftnet.pipeline.doctor import machine as doctor_machine
from liftnet.pipeline.doctor import trial as doctor_trial
from liftnet.pipeline.doctor import workspace as doctor_workspace
from liftnet.pipeline.doctor.doctor import doctor
from liftnet.pipeline.models.checkpoint import save_checkpoint
from liftnet.pipeline.models.runs import BEST, LATEST

SLICES, BOTH = "slice_translation", "context_translation"


@pytest.fixture
def fold(workspace) -> Path:
    """A fold with a recipe of two stages, 6 and 9 steps, and no checkpoint yet."""
    planned = workspace / "preprocessed" / "Dataset007_Phantom" / "default"
    folder = workspace / "results" / "Dataset007_Phantom" / "default" / "lift" / "fold_0"
    write_json(folder / "plan.json", read_json(planned / "plan.json"))
    recipe = read_json(planned / "recipes" / "lift.json")
    stages = {SLICES: recipe[BOTH] | {"num_steps": 6}, BOTH: recipe[BOTH] | {"num_steps": 9}}
    write_json(folder / "recipe.json", recipe | stages)
    return folder


def put(path: Path, step: int) -> None:
    """A checkpoint of this step."""
    save_checkpoint(path, {"network": {"a": torch.zeros(1)}}, {"step": step})


def said(workspace: Path) -> tuple[str, str]:
    """What is said of the dataset, and of the fold."""
    _, dataset, *rest = doctor_workspace.check_workspace(workspace)
    return dataset.text.rpartition(", ")[2], rest[0].text.rpartition(": ")[2] if rest else ""


def test_a_fold_is_trained_when_its_last_stage_is(workspace, fold):
    """Best weights alone say nothing; the steps of the last stage do."""
    put(fold / SLICES / BEST, 2)  # killed before the first state of training was written
    assert said(workspace) == ("nothing trained", f"{SLICES}, 0 of 6 steps")
    put(fold / SLICES / LATEST, 4)
    assert said(workspace) == ("nothing trained", f"{SLICES}, 4 of 6 steps")
    put(fold / SLICES / LATEST, 6)
    assert said(workspace) == ("nothing trained", f"{BOTH}, 0 of 9 steps")
    put(fold / BOTH / BEST, 3)
    assert said(workspace) == ("nothing trained", f"{BOTH}, 0 of 9 steps")
    put(fold / BOTH / LATEST, 8)
    assert said(workspace) == ("nothing trained", f"{BOTH}, 8 of 9 steps")
    put(fold / BOTH / LATEST, 9)
    shutil.rmtree(fold / SLICES)
    assert said(workspace) == ("trained lift/fold_0", "")


def test_an_imported_fold_is_trained(workspace, fold):
    """It has the best weights of its last stage, no state, and the papers beside its run."""
    put(fold / BOTH / BEST, 3)
    assert said(workspace)[0] == "nothing trained"
    (fold.parents[1] / "model_card").mkdir()
    assert said(workspace) == ("trained lift/fold_0", "")
    (fold / BOTH / BEST).rename(fold / BEST)
    assert said(workspace)[0] == "nothing trained"


def test_a_file_as_workspace(tmp_path, capsys):
    """It is a problem in plain words, and not called well anywhere."""
    (tmp_path / "file").write_text("mine")
    assert not doctor(workspace=tmp_path / "file", test=False)
    text = capsys.readouterr().out
    assert f"problem  workspace: {tmp_path / 'file'}, as --workspace says; " in text
    assert text.count("this is a file, not a folder") == 2  # the disk and the workspace
    assert "ok       workspace" not in text and "ok       disk of workspace" not in text


def test_a_workspace_that_cannot_be_written_to(workspace, monkeypatch):
    """It is a problem also where one of its parts alone is; its datasets are listed still."""
    try_files = doctor_machine._try_files

    def refuse(folder):
        if folder.name == "results":
            raise PermissionError(13, "Permission denied")
        return try_files(folder)

    (workspace / "results").mkdir(exist_ok=True)
    monkeypatch.setattr(doctor_machine, "_try_files", refuse)
    first, *rest = doctor_workspace.check_workspace(workspace)
    assert first.level == "problem" and first.remedy
    assert f"cannot write at {workspace / 'results'}: Permission denied" in first.text
    assert [f.area for f in rest] == ["Dataset007_Phantom"]
    shutil.rmtree(workspace / "preprocessed")
    shutil.rmtree(workspace / "raw")
    assert [f.level for f in doctor_workspace.check_workspace(workspace)] == ["problem"]


@pytest.mark.parametrize("name", ["cuda", "cuda:1", "abacus", "cpu:x"])
def test_a_device_that_is_not_there(monkeypatch, name):
    """What is asked for and not there is a problem of the device, tested or not."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(doctor_machine, "_nvidia_driver", lambda: None)
    first = next(doctor_machine.check_device(name))
    assert (first.area, first.level) == ("device", "problem")
    assert f"'{name}'" in first.text and first.remedy
    [found] = doctor_trial.self_test(name)
    assert found.level == "problem"
    assert {f.level for f in doctor_machine.check_device("cpu")} == {"ok"}


def test_a_gpu_too_few(monkeypatch):
    """A number that no GPU has is not there either."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert doctor_machine._has_device("cuda") and doctor_machine._has_device("cuda:0")
    assert not doctor_machine._has_device("cuda:1")
