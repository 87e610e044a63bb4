"""The doctor: each kind of problem is found, named, and comes with what to do."""

import importlib
import json
import os
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from liftnet.cli import doctor as command
from liftnet.core.errors import LiftnetError
from liftnet.pipeline.doctor import machine as doctor_machine
from liftnet.pipeline.doctor import programs as doctor_programs
from liftnet.pipeline.doctor import trial as doctor_trial
from liftnet.pipeline.doctor import workspace as doctor_workspace
from liftnet.pipeline.doctor.doctor import doctor
from liftnet.pipeline.models.runs import LATEST
from liftnet.pipeline.train.train import train

GIB = 2**30
DATASET = "Dataset007_Phantom"


def by_area(findings) -> dict:
    """Area -> the last finding."""
    return {found.area: found for found in findings}


def test_all_is_well_here(tmp_path, capsys):
    """Every line is ok or a warning, the workspace is not made, and it is quick."""
    assert doctor(workspace=tmp_path / "none", device="cpu")
    said = capsys.readouterr().out
    assert not (tmp_path / "none").exists() and not list(tmp_path.iterdir())
    assert {line[:8].strip() for line in said.splitlines() if line[:1].isalpha()} <= {
        "ok", "warning", "no probl",
    }  # fmt: skip
    for name in ("torch", "numpy", "SimpleITK", "typer", "test of training", "offline"):
        assert f"ok       {name}: " in said
    assert "it holds no dataset yet" in said
    assert float(said.rsplit(" in ", 1)[1].split(" ")[0]) < 30  # measured 4; CI machines are slow


def test_a_missing_library(tmp_path, monkeypatch, capsys):
    """Without SimpleITK: what fails, what works, what to install; exit code 1."""
    monkeypatch.setitem(sys.modules, "SimpleITK", None)
    with pytest.raises(SystemExit) as caught:
        command.doctor(as_json=True, device="cpu", workspace=str(tmp_path))
    assert caught.value.code == 1
    report = json.loads(capsys.readouterr().out)
    assert report["ok"] is False
    rows = {row["area"]: row for row in report["findings"]}
    assert rows["SimpleITK"]["level"] == "problem"
    assert "training on preprocessed cases works" in rows["SimpleITK"]["text"]
    assert rows["SimpleITK"]["remedy"].startswith('pip install "SimpleITK>=')
    assert rows["test of images"]["level"] == "problem"
    assert rows["test of training"]["level"] == "ok"


WITHOUT_TORCH = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "typer", "rich", "safetensors"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
import liftnet
print("ended with", liftnet.doctor(workspace=sys.argv[1]))
"""


def test_without_torch_and_typer(workspace):
    """It still ends, with a line for each; the workspace is described."""
    (workspace / "results" / DATASET / "default" / "lift" / "fold_0").mkdir(parents=True)
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, str(workspace)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "ended with False" in done.stdout
    for text in (
        "problem  torch: ",
        "problem  typer: ",
        "problem  device: unknown without torch",
        "problem  self-test: not done",
        f"ok       {DATASET}: 6 raw cases; fingerprint; plan default: 6 cases stored",
    ):
        assert text in done.stdout


def test_broken_old_and_absent_libraries(monkeypatch):
    """One that cannot be imported, one too old, one that is not there."""
    real = importlib.import_module

    def load(name):
        if name == "scipy":
            raise ImportError("libopenblas.so: cannot open shared object file")
        if name == "rich":
            raise ModuleNotFoundError("No module named 'rich'", name="rich")
        return real(name)

    def version(name):
        if name == "rich":
            raise metadata.PackageNotFoundError(name)
        return "1.9.12rc1" if name == "numpy" else "2000.1"

    monkeypatch.setattr(doctor_programs.importlib, "import_module", load)
    monkeypatch.setattr(doctor_programs.metadata, "version", version)
    found = by_area(doctor_programs.check_programs())
    assert "is broken (ImportError: libopenblas.so" in found["scipy"].text
    assert found["scipy"].remedy.startswith("pip install --force-reinstall")
    assert found["numpy"].text == "1.9.12rc1, 1.26 or newer is needed"  # 9 is less than 26
    assert found["rich"].text.startswith("is not installed: ")
    assert found["torchvision"].level == "ok" and "harmless" in found["torchvision"].text
    assert [f.area for f in found.values() if f.level == "problem"] == ["numpy", "scipy", "rich"]


def test_a_copy_that_is_not_installed(monkeypatch):
    """The least versions come from setup.cfg beside it, the same as of the installed package."""
    installed = doctor_programs._requirements(), doctor_programs._python_required()
    assert {"torch", "SimpleITK", "zlib-ng"} <= {name for name, _ in installed[0]}

    def nothing(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(doctor_programs.metadata, "requires", nothing)
    monkeypatch.setattr(doctor_programs.metadata, "metadata", nothing)
    assert (doctor_programs._requirements(), doctor_programs._python_required()) == installed
    assert installed[1] == (3, 11)
    monkeypatch.setattr(doctor_programs, "_python_required", lambda: (4, 0))
    assert by_area(doctor_programs.check_programs())["python"].level == "problem"


@pytest.mark.parametrize(
    ("built_for", "driver", "hidden", "level", "text"),
    [
        (None, None, None, "ok", "no NVIDIA GPU"),
        ("12.6", None, None, "ok", "no NVIDIA GPU"),
        (None, "550.54", None, "problem", "built for the CPU alone"),
        ("12.6", "450.80", None, "problem", "does not see it"),
        ("12.6", "550.54", "", "warning", "CUDA_VISIBLE_DEVICES hides"),
    ],
)
def test_a_gpu_that_torch_overlooks(monkeypatch, built_for, driver, hidden, level, text):
    """A build for the CPU, an old driver and a variable that hides it are told apart."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", built_for)
    monkeypatch.setattr(doctor_machine, "_nvidia_driver", lambda: driver)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if hidden is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    [found] = doctor_machine.check_device()
    assert found.level == level and text in found.text
    assert bool(found.remedy) == (level != "ok")


def test_a_gpu(monkeypatch):
    """Name, memory, versions; a full one is a warning, one that does not answer a problem."""
    answers = {0: (70 * GIB, 80 * GIB), 1: (3 * GIB, 80 * GIB)}

    def memory(device):
        if device.index not in answers:
            raise RuntimeError("CUDA error: unspecified launch failure")
        return answers[device.index]

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.setattr(torch.cuda, "mem_get_info", memory)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H100")
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **options: True)
    monkeypatch.setattr(doctor_machine, "_nvidia_driver", lambda: "550.54")
    found = list(doctor_machine.check_device())
    assert [f.level for f in found] == ["ok", "warning", "problem"]
    assert "cuda:0 NVIDIA H100, 70.0 of 80.0 GiB free, bfloat16" in found[0].text
    assert "driver 550.54" in found[0].text


def test_the_driver_is_asked_in_two_ways(monkeypatch, tmp_path):
    """nvidia-smi says its version; one that fails is not believed."""
    monkeypatch.setattr(doctor_machine.shutil, "which", lambda name: name)
    answer = SimpleNamespace(stdout="550.54.15\n550.54.15\n")
    monkeypatch.setattr(doctor_machine.subprocess, "run", lambda *args, **options: answer)
    assert doctor_machine._nvidia_driver() == "550.54.15"

    def fails(*args, **options):
        raise subprocess.CalledProcessError(9, "nvidia-smi")

    monkeypatch.setattr(doctor_machine.subprocess, "run", fails)
    real = Path("/proc/driver/nvidia/gpus")
    there = real.is_dir() and any(real.iterdir())
    assert doctor_machine._nvidia_driver() == ("unknown" if there else None)


@pytest.mark.parametrize(
    ("free", "files", "level"),
    [
        (30, {}, "ok"),
        (3, {}, "warning"),
        (1, {}, "problem"),
        (30, {"memory.max": "max", "memory.current": "5"}, "ok"),
        (30, {"memory.max": f"{8 * GIB}", "memory.current": f"{7 * GIB}"}, "problem"),
        (30, {"memory.max": f"{8 * GIB}", "memory.current": f"{7 * GIB}",
              "memory.stat": f"anon 3\ninactive_file {5 * GIB}\n"}, "ok"),
        (30, {"memory/memory.limit_in_bytes": f"{8 * GIB}",
              "memory/memory.usage_in_bytes": f"{5 * GIB}"}, "warning"),
        (30, {"memory/memory.limit_in_bytes": f"{2**63 - 4096}",
              "memory/memory.usage_in_bytes": f"{5 * GIB}"}, "ok"),
    ],
)  # fmt: skip
def test_memory(monkeypatch, free, files, level):
    """The machine's, and what the container's limit leaves when cached files go."""
    monkeypatch.setattr(doctor_machine, "_available_memory", lambda: free * GIB)
    monkeypatch.setattr(doctor_machine, "_group_text", lambda name: files.get(name, ""))
    [found] = doctor_machine.check_memory()
    assert found.level == level
    assert bool(found.remedy) == (level != "ok")


def test_available_memory_is_this_machines():
    """Between nothing and all that there is."""
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    available = doctor_machine._available_memory()
    assert available is not None and 0 < available < total


def test_processors(monkeypatch):
    """Affinity and quota limit them; more threads than that are a warning."""
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    monkeypatch.setattr(doctor_machine, "_group_text", lambda name: "250000 100000\n")
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    [found] = doctor_machine.check_processors()
    assert found.text == "2.5 of 64 may be used; torch uses 8 threads"
    assert found.level == "warning" and "OMP_NUM_THREADS=2:" in found.remedy
    monkeypatch.setattr(doctor_machine, "_group_text", lambda name: "max 100000\n")
    [found] = doctor_machine.check_processors()
    assert found.text.startswith("8 of 64") and found.level == "ok"


def test_disks(monkeypatch, tmp_path):
    """Room, rights and locks; nothing is left behind."""
    [found] = doctor_machine.check_disk("disk", tmp_path / "a" / "b")
    assert found.level == "ok" and str(tmp_path) in found.text
    assert list(tmp_path.iterdir()) == []
    for free, level in ((0.5, "problem"), (5, "warning"), (50, "ok")):
        usage = SimpleNamespace(free=free * GIB)
        monkeypatch.setattr(shutil, "disk_usage", lambda path, usage=usage: usage)
        assert next(doctor_machine.check_disk("disk", tmp_path)).level == level
    monkeypatch.setattr(doctor_machine, "_locks", lambda path: False)
    [found] = doctor_machine.check_disk("disk", tmp_path)
    assert found.level == "warning" and "no locks" in found.text

    def refuse(**options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(doctor_machine.tempfile, "TemporaryDirectory", refuse)
    [found] = doctor_machine.check_disk("disk", tmp_path)
    assert found.level == "problem" and "Permission denied" in found.text


def test_the_state_of_a_workspace(workspace, monkeypatch):
    """What is stored and trained, what is begun, and a plan that cannot be read."""
    monkeypatch.setattr("liftnet.visual.figures.plot_progress", lambda *args: None)
    [folder] = train(workspace=workspace, device="cpu")
    found = by_area(doctor_workspace.check_workspace(workspace))
    assert found[DATASET].level == "ok"
    assert found[DATASET].text == (
        "6 raw cases; fingerprint; plan default: 6 cases stored, trained lift/fold_0"
    )
    assert found["workspace"].text.endswith("as --workspace says")
    (folder.parents[1] / "model_card").mkdir()
    imported = folder.with_name("fold_1")  # it has the best weights, and no state of training
    shutil.copytree(folder, imported)
    (imported / "context_translation" / LATEST).unlink()
    for fold, file in (("fold_2", "plan.json"), ("fold_3", "recipe.json")):
        damaged = folder.with_name(fold)
        shutil.copytree(folder, damaged)
        (damaged / file).write_text("{}")
    monkeypatch.setenv("LIFTNET_WORKSPACE", str(workspace))
    findings = list(doctor_workspace.check_workspace(None))
    assert findings[0].text.endswith("as LIFTNET_WORKSPACE says")
    assert findings[1].text.endswith("trained lift/fold_0, lift/fold_1")
    warnings = [f for f in findings if f.level == "warning"]
    assert [f.text.partition(" has version None")[0] for f in warnings] == [
        "The plan",
        "The recipe",
    ]
    assert all(f.area == DATASET and f.remedy for f in warnings)


def test_a_folder_that_may_not_be_looked_into(tmp_path, monkeypatch, capsys):
    """It is a problem of its own; the rest is still said."""

    def refuse(workspace):
        raise PermissionError(13, "Permission denied", "/secret")
        yield

    monkeypatch.setattr("liftnet.pipeline.doctor.doctor.check_workspace", refuse)
    assert not doctor(workspace=tmp_path, test=False)
    said = capsys.readouterr().out
    assert "problem  workspace: cannot be looked at: Permission denied: /secret" in said
    assert "ok       offline: " in said
    assert "1 problem, no warnings" in said and said.endswith("s: workspace\n")


def test_a_run_that_is_begun(workspace, monkeypatch):
    """It says how far it is, and the command that goes on."""
    monkeypatch.setattr("liftnet.visual.figures.plot_progress", lambda *args: None)
    [folder] = train(workspace=workspace, device="cpu")
    monkeypatch.setattr("liftnet.pipeline.models.checkpoint.finished_steps", lambda path: 4)
    [_, first, second] = doctor_workspace.check_workspace(workspace)
    assert "nothing trained" in first.text
    assert "context_translation, 4 of 6 steps" in second.text
    assert second.remedy == f"liftnet_train -d {DATASET} -p default -f 0 --method lift goes on."
    assert folder.is_dir()


def test_a_device_that_computes_wrongly(monkeypatch):
    """A loss that is not finite, a wrong product and a changed image are problems."""
    monkeypatch.setattr(torch, "allclose", lambda *args, **options: False)
    monkeypatch.setattr(
        "liftnet.augment.apply.augment", lambda source, *args: (source * torch.nan, source)
    )
    found = by_area(doctor_trial.self_test("cpu"))
    assert "a product of matrices is wrong" in found["test of product"].text
    assert "do not fall" in found["test of training"].text
    assert found["test of images"].level == "ok"
    assert all(f.remedy for f in found.values() if f.level == "problem")

    def full(*args, **options):
        raise LiftnetError("The image could not be written", remedy="Make room.")

    monkeypatch.setattr("liftnet.imageio.write_image", full)
    found = by_area(doctor_trial.self_test("cpu"))["test of images"]
    assert found.level == "problem" and "could not be written" in found.text
    [found] = doctor_trial.self_test("abacus")
    assert found.level == "problem" and found.remedy == "Leave -device out."


def test_json_names_nobody(tmp_path, capsys):
    """Folders above the last are cut, unless --paths is given."""
    space = tmp_path / "anna" / "my-space"
    command.doctor(as_json=True, no_test=True, workspace=str(space))
    text = capsys.readouterr().out
    assert "anna" not in text and "my-space" in text
    assert json.loads(text)["version"] == 1
    command.doctor(as_json=True, no_test=True, paths=True, workspace=str(space))
    assert str(space) in capsys.readouterr().out
