"""Training: folds, stopping and continuing, errors."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from liftnet.core.errors import CheckpointError, DatasetError, LiftnetError, PlanError
from liftnet.core.recipe import Schedule
from liftnet.core.storage.jsonable import read_json, write_json
from liftnet.methods.lift.joint import ContextTranslation
from liftnet.pipeline.models.checkpoint import load_checkpoint
from liftnet.pipeline.models.runs import BEST, LATEST
from liftnet.pipeline.plan import plan
from liftnet.pipeline.train import train as step
from liftnet.pipeline.train import validation
from liftnet.pipeline.train.feed import case_of_draw
from liftnet.pipeline.train.splits import load_splits, make_splits, pick_fold
from liftnet.pipeline.train.state import make_optimizer, set_rates
from liftnet.pipeline.train.train import train

DATASET = "Dataset007_Phantom"
STAGE = "context_translation"


@pytest.fixture(autouse=True)
def _no_picture(request, monkeypatch):
    """Leave out the picture, which takes longer than the training here."""
    if "picture" not in request.node.name:
        monkeypatch.setattr("liftnet.visual.figures.plot_progress", lambda *args: None)


def run_folder(workspace: Path, method: str = "lift", fold: str = "fold_0") -> Path:
    """The folder of a stage."""
    return workspace / "results" / DATASET / "default" / method / fold / STAGE


def rows(folder: Path) -> list[dict]:
    """The log without times."""
    lines = (folder / "log.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(s).items() if not k.endswith("_per_step")} for s in lines]


def assert_same_run(first: Path, second: Path) -> None:
    """Weights, averages, optimizer, best checkpoint and log are equal to the last bit."""
    for name in (LATEST, BEST):
        a, b = load_checkpoint(first / name), load_checkpoint(second / name)
        assert a.facts == b.facts
        assert a.groups.keys() == b.groups.keys()
        for group, tensors in a.groups.items():
            for key, tensor in tensors.items():
                assert torch.equal(tensor, b.groups[group][key]), (name, group, key)
    assert rows(first) == rows(second)


@pytest.fixture(scope="session")
def unbroken(_prepared, tmp_path_factory) -> Path:
    """The stage folder of a run that was never stopped."""
    space = tmp_path_factory.mktemp("unbroken") / "workspace"
    shutil.copytree(_prepared, space)
    train(workspace=space, device="cpu")
    return run_folder(space)


def test_what_a_run_leaves_with_a_picture(workspace):
    """Plan, recipe, checkpoints, log and picture; a second call has nothing to do."""
    [folder] = train(workspace=workspace, device="cpu")
    stage = folder / STAGE
    files = ["plan.json", "plausibility.json", "recipe.json", "training_facts.json"]
    assert sorted(p.name for p in folder.iterdir()) == [STAGE, *files]
    names = {p.name.removesuffix(".previous") for p in stage.iterdir()}
    assert names - {"events"} == {BEST, LATEST, "cost.json", "log.jsonl", "progress.png"}
    cost = read_json(stage / "cost.json")
    assert (cost["steps"], cost["device"]) == (6, "cpu") and cost["seconds"] > 0
    assert cost["parameters"] == cost["trained_parameters"] > 0 and cost["flops_per_step"] > 0
    log = rows(stage)
    assert [row["step"] for row in log] == [3, 6, 6]
    assert [("validation" in row) for row in log] == [True, False, True]
    assert log[1].keys() == {"step", "loss", "l1", "ms_ssim", "delta_z", "learning_rate"}
    assert log[1]["loss"] == pytest.approx(sum(log[1][k] for k in ("l1", "ms_ssim", "delta_z")))
    best = load_checkpoint(stage / BEST)
    assert best.facts["score"] == min(row["validation"] for row in log if "validation" in row)
    made = (stage / LATEST).stat().st_mtime_ns
    train(workspace=workspace, device="cpu", continue_training=True)
    assert (stage / LATEST).stat().st_mtime_ns == made


@pytest.mark.parametrize(("stop_at", "number"), [(1, signal.SIGTERM), (4, signal.SIGHUP)])
def test_stopped_by_a_signal_and_continued(
    workspace, unbroken, monkeypatch, stop_at, number, capfd
):
    """After a signal the step is finished and saved; the same command ends as an unbroken run."""
    loss = ContextTranslation.loss
    calls = []

    def stopping(self, network, memory, batch, generator):
        if batch[0].source.is_meta:  # its operations are counted
            return loss(self, network, memory, batch, generator)
        calls.append(1)
        if len(calls) == stop_at:
            os.kill(os.getpid(), number)
        return loss(self, network, memory, batch, generator)

    monkeypatch.setattr(ContextTranslation, "loss", stopping)
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt, match=f"Stopped at step {stop_at}; the same command"):
        train(workspace=workspace, device="cpu")
    assert signal.getsignal(number) is before
    assert f"{number.name}: stopping after this step" in capfd.readouterr().err
    train(workspace=workspace, device="cpu")
    assert len(calls) == 6
    assert_same_run(run_folder(workspace), unbroken)


def test_stopped_in_the_last_validation(workspace, unbroken, monkeypatch):
    """It is not lost: nothing comes after it, and all that was trained is there."""
    score, calls = validation.score_volumes, []

    def stopping(*arguments):
        calls.append(1)
        result = score(*arguments)
        if len(calls) == 2:  # the one after the last step
            os.kill(os.getpid(), signal.SIGTERM)
        return result

    monkeypatch.setattr(validation, "score_volumes", stopping)
    with pytest.raises(KeyboardInterrupt, match="Stopped at step 6; the same command continues"):
        train(workspace=workspace, fold=(0, 1), device="cpu")
    assert_same_run(run_folder(workspace), unbroken)
    assert not run_folder(workspace, fold="fold_1").exists()


def test_an_error_after_a_checkpoint_and_continued(workspace, unbroken, monkeypatch):
    """Work since the last checkpoint is lost and done again, log rows included."""
    loss = ContextTranslation.loss
    monkeypatch.setattr(step, "LOG_STEPS", 1)
    calls = []

    def failing(self, network, memory, batch, generator):
        calls.append(1)
        if len(calls) == 5:
            raise RuntimeError("the machine broke")
        return loss(self, network, memory, batch, generator)

    monkeypatch.setattr(ContextTranslation, "loss", failing)
    clock = iter(range(0, 10**6, 36))  # a checkpoint is due every second step or so
    monkeypatch.setattr(step.time, "monotonic", lambda: next(clock))
    with pytest.raises(RuntimeError, match="the machine broke"):
        train(workspace=workspace, device="cpu")
    monkeypatch.setattr(ContextTranslation, "loss", loss)
    monkeypatch.setattr(step, "LOG_STEPS", 10)
    folder = run_folder(workspace)
    latest = folder / LATEST
    assert load_checkpoint(latest.with_name(LATEST + ".previous")).facts["step"] < 4
    latest.write_bytes(latest.read_bytes()[:1000])  # a damaged file: the one before it is used
    train(workspace=workspace, device="cpu")
    for name in (LATEST, BEST):
        for group, tensors in load_checkpoint(folder / name).groups.items():
            for key, tensor in tensors.items():
                assert torch.equal(tensor, load_checkpoint(unbroken / name).groups[group][key])
    steps = [row["step"] for row in rows(folder) if "validation" not in row]
    assert steps == sorted(set(steps)) and steps[-1] == 6


CALL = """
import sys, torch
torch.set_num_threads(1)
import liftnet.visual.figures as figures
figures.plot_progress = lambda *args: None
from liftnet.pipeline.train import train
train.train(workspace=sys.argv[1], device="cpu")
"""


def test_killed_and_continued(workspace, unbroken):
    """Kill -9 at any moment, then the same command: the same final files as an unbroken run."""
    folder = run_folder(workspace)
    recipe_file = workspace / "preprocessed" / DATASET / "default" / "recipes" / "lift.json"
    text = recipe_file.read_text()
    assert '"checkpoint_minutes": 3.0' in text
    recipe_file.write_text(text.replace('"checkpoint_minutes": 3.0', '"checkpoint_minutes": 0.0'))
    child = subprocess.Popen(
        [sys.executable, "-c", CALL, str(workspace)], stdout=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 60
    while not (folder / (LATEST + ".previous")).exists():  # two checkpoints are written
        assert child.poll() is None and time.monotonic() < deadline
        time.sleep(0.005)
    child.kill()
    child.wait()
    assert child.returncode == -signal.SIGKILL
    (folder / f".{LATEST}.4242.tmp").write_bytes(b"half-written")
    assert load_checkpoint(folder / LATEST).facts["step"] < 6
    train(workspace=workspace, device="cpu", continue_training=True)
    assert_same_run(folder, unbroken)
    assert not list(folder.glob(".*"))


@pytest.mark.parametrize("setting", ["seed=1", "lift.losses.delta_z=0.25"])
def test_plan_changes_need_a_restart(workspace, setting):
    """Another plan or recipe is refused and leaves the run alone; --restart begins anew."""
    with pytest.raises(CheckpointError, match="There is no training run to continue"):
        train(workspace=workspace, device="cpu", continue_training=True)
    settings = [f"lift.{STAGE}.num_steps=2", f"lift.{STAGE}.validation_cases=1"]
    make = partial(plan, workspace=workspace, gpu_memory=0.03, steps=2)
    make(settings=settings)
    train(workspace=workspace, device="cpu")
    folder = run_folder(workspace)
    old = (folder / LATEST).read_bytes()
    make(settings=[*settings, f"lift.{STAGE}.checkpoint_minutes=1", "lift.feeding=read"])
    train(workspace=workspace, device="cpu")  # changes nothing but time
    make(settings=[*settings, setting])
    changed = "The plan or its recipe has changed since this run began"
    with pytest.raises(CheckpointError, match=changed) as caught:
        train(workspace=workspace, device="cpu")
    assert "--restart" in str(caught.value)
    assert (folder / LATEST).read_bytes() == old
    train(workspace=workspace, device="cpu", restart=True)
    assert load_checkpoint(folder / LATEST).facts["step"] == 2
    assert [row["step"] for row in rows(folder)] == [0, 1, 2, 2]


def test_the_ablation_has_its_own_place(workspace, unbroken):
    """no_mapper is trained beside lift and has no mixer; otherwise it is as long."""
    [folder] = train(workspace=workspace, device="cpu", method="no_mapper")
    assert folder == run_folder(workspace, "no_mapper").parent
    weights = load_checkpoint(folder / STAGE / LATEST).groups["network"]
    assert all(name.startswith("translator.") for name in weights)
    full = load_checkpoint(unbroken / LATEST).groups["network"]
    assert {n for n in full if n.startswith("translator.")} == set(weights)
    assert not run_folder(workspace).exists()


def test_the_ablation_of_pairs_has_its_own_run(pairs):
    """It trains the translator alone, whose weights are those of the first stage of lift."""
    [folder] = train(workspace=pairs, device="cpu", method="no_mapper")
    run = pairs / "results" / "Dataset009_Heads" / "default"
    assert folder == run / "no_mapper" / "fold_0"
    assert [path.name for path in folder.iterdir() if path.is_dir()] == ["slice_translation"]
    [whole] = train(workspace=pairs, device="cpu")
    assert whole == run / "lift" / "fold_0"
    assert (whole / "residual_context" / LATEST).is_file()
    alone, first = (load_checkpoint(f / "slice_translation" / LATEST) for f in (folder, whole))
    assert alone.facts == first.facts
    for name, tensor in first.groups["average"].items():
        assert torch.equal(alone.groups["average"][name], tensor), name


@pytest.mark.parametrize("poison", ["loss", "gradient"])
def test_nan_stops_before_weights_are_spoiled(workspace, monkeypatch, poison):
    """A loss or gradient that is not finite stops with step, case and term; nothing is saved."""
    loss = ContextTranslation.loss
    calls = []

    def poisoned(self, network, memory, batch, generator):
        terms = loss(self, network, memory, batch, generator)
        calls.append(1)
        if len(calls) == 3:
            weight = next(network.parameters()).sum()
            if poison == "loss":
                terms["ms_ssim"] = terms["ms_ssim"] * float("nan")
            else:  # sqrt at 0: finite value, infinite slope
                terms["l1"] = terms["l1"] + (weight - weight.detach()).abs().sqrt()
        return terms

    monkeypatch.setattr(ContextTranslation, "loss", poisoned)
    what = "ms_ssim is nan" if poison == "loss" else "its gradient is nan"
    with pytest.raises(LiftnetError, match=f"The loss is not finite: {what}") as caught:
        train(workspace=workspace, device="cpu")
    assert caught.value.where.startswith("step 2, case p")
    assert not (run_folder(workspace) / LATEST).exists()


def test_wrong_calls(workspace):
    """Every wrong fold and device is refused before anything is trained or written."""
    for fold in (("0", "5"), ("-1",), ("²",), ("x",)):
        with pytest.raises(PlanError, match=f"There is no fold '{fold[-1]}'") as caught:
            train(workspace=workspace, fold=fold, device="cpu")
        assert caught.value.remedy == "Choose 0 to 4, or all."
    with pytest.raises(LiftnetError, match="expected one of the devices cpu"):
        train(workspace=workspace, device="abacus")
    assert not (workspace / "results").exists()
    for path in (workspace / "preprocessed" / DATASET / "default" / "cases").iterdir():
        path.unlink()
    with pytest.raises(DatasetError, match="There is no preprocessed case"):
        train(workspace=workspace, device="cpu")


def test_cases_without_the_target_are_left_out(workspace, capsys):
    """With a fixed target only cases that have it are drawn; a fold without one is refused."""
    settings = ['targets=["b"]', f"lift.{STAGE}.volumes_per_step=1"]
    plan(workspace=workspace, gpu_memory=0.03, steps=6, settings=settings)
    write_json(
        workspace / "preprocessed" / DATASET / "splits.json",
        [
            {"train": ["p1", "p6"], "validation": ["p2", "p6"]},
            {"train": ["p1", "p2"], "validation": ["p6"]},
        ],
    )
    [folder] = train(workspace=workspace, device="cpu")
    printed = capsys.readouterr().out
    assert "warning: 1 of the training cases of fold 0 have no target or source" in printed
    assert "warning: 3 cases are in no fold, such as p3" in printed
    log = rows(folder / STAGE)
    assert all(np.isfinite(row["validation"]) for row in log if "validation" in row)
    assert list(log[0]["validation_psnr"]) == ["b"]
    assert all(row["validation_sharpness"]["b"] > 0 for row in log if "validation" in row)
    with pytest.raises(DatasetError, match="None of the validation cases of fold 1 has a target"):
        train(workspace=workspace, fold=("1",), device="cpu")


@pytest.mark.parametrize(("count", "folds"), [(12, 5), (5, 5), (4, 4), (2, 2), (1, 1)])
def test_splits(count, folds):
    """Every case is validated on once and never trained on in that fold, but for a single one."""
    cases = [f"c{i:02d}" for i in range(count)]
    splits = make_splits(cases, {})
    assert len(splits) == folds
    assert sorted(c for fold in splits for c in fold["validation"]) == cases
    for fold in splits:
        assert fold["train"]
        if count > 1:
            assert sorted(fold["train"] + fold["validation"]) == cases
    assert make_splits(list(reversed(cases)), {}) == splits


def test_splits_file(tmp_path):
    """It is written once and then followed; what does not fit is refused."""
    path = tmp_path / "splits.json"
    cases = ("a", "b", "c")
    splits = load_splits(path, cases, {})
    assert load_splits(path, cases, {}) == splits
    assert pick_fold(splits, "1", cases, tmp_path) == (splits[1]["train"], splits[1]["validation"])
    assert pick_fold(splits, "all", cases, tmp_path) == (["a", "b", "c"], ["a", "b", "c"])
    with pytest.raises(PlanError, match=r"splits.json names cases that are not preprocessed: c"):
        load_splits(path, ("a", "b"), {})
    for wrong in ({}, [{"train": ["a"]}], [{"train": [], "validation": ["a"]}], [3]):
        write_json(path, wrong)
        with pytest.raises(PlanError, match=r"Expected a list|needs cases|Expected an object"):
            load_splits(path, cases, {})


def test_every_case_once_per_pass():
    """Each pass holds every case, in an order that changes and depends on the seed."""
    cases = list("abcdefg")
    passes = [[case_of_draw(cases, 3, 7 * p + i) for i in range(7)] for p in range(4)]
    assert all(sorted(p) == cases for p in passes)
    assert len({tuple(p) for p in passes}) == 4
    assert [case_of_draw(cases, 4, i) for i in range(7)] != passes[0]


def test_rates():
    """A linear warm-up to the plan's rates, then half a cosine to the final fraction."""
    schedule = Schedule(
        110, 1, 1, 8, {"a": 1e-3, "b": 1e-2}, 0.0, (0.9, 0.99), 10, 0.1, 1.0, 1, 1, 1, 1.0, 0
    )
    network = nn.ModuleDict({"a": nn.Linear(1, 1), "b": nn.Linear(1, 1), "c": nn.Linear(1, 1)})
    optimizer = make_optimizer(network, schedule)
    assert [group["name"] for group in optimizer.param_groups] == ["a", "b"]
    assert not any(p.requires_grad for p in network["c"].parameters())  # frozen
    rates = []
    for i in range(110):
        set_rates(optimizer, schedule, i)
        rates.append([group["lr"] for group in optimizer.param_groups])
    a, b = np.array(rates).T
    np.testing.assert_allclose(b, 10 * a)
    np.testing.assert_allclose(a[:10], 1e-3 * np.arange(1, 11) / 10)
    assert a[60] == pytest.approx(1e-3 * 0.55)  # half way
    assert a[-1] == pytest.approx(1e-4, rel=0.01)
    assert (np.diff(a[10:]) <= 0).all()
    with pytest.raises(PlanError, match="Nothing would be trained"):
        make_optimizer(network, replace(schedule, learning_rates={}))


def test_compiling_is_asked_for_on_a_cpu(workspace, monkeypatch, capsys):
    """By default a CPU does not; with it each stage is, and what cannot be costs one line."""
    asked = []

    def compile_blocks(network):
        asked.append(network)
        return "there is no compiler"

    monkeypatch.setattr(step, "compile_blocks", compile_blocks)
    train(workspace=workspace, device="cpu", fold=(0,))
    assert not asked
    capsys.readouterr()
    train(workspace=workspace, device="cpu", fold=(1,), compiled=True)
    assert len(asked) == 1
    said = capsys.readouterr().out
    assert f"warning: {STAGE} is not compiled, which is slower: there is no compiler" in said


def test_recomputed_training_is_the_same(workspace, unbroken):
    """Maps that are computed again for the gradient change nothing but time and memory."""
    recipe_file = workspace / "preprocessed" / DATASET / "default" / "recipes" / "lift.json"
    text = recipe_file.read_text()
    assert '"recompute": false' in text and '"feeding": "resident"' in text
    changed = text.replace('"recompute": false', '"recompute": true')
    recipe_file.write_text(changed.replace('"feeding": "resident"', '"feeding": "read"'))
    train(workspace=workspace, device="cpu")
    one, two = (load_checkpoint(f / LATEST) for f in (run_folder(workspace), unbroken))
    for name, tensor in two.groups["network"].items():
        torch.testing.assert_close(one.groups["network"][name], tensor, rtol=1e-3, atol=1e-4)


LIGHT = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("SimpleITK", "zlib_ng"):
            raise ImportError(f"{name} is not installed")

sys.meta_path.insert(0, Absent())
import torch
torch.set_num_threads(1)
import liftnet.visual.figures as figures
figures.plot_progress = lambda *args: None
from liftnet.pipeline.train.train import train
train(workspace=sys.argv[1], device="cpu")
"""


def test_training_needs_no_image_library(workspace):
    """On a GPU machine a preprocessed folder is enough: SimpleITK and others may be missing."""
    done = subprocess.run(
        [sys.executable, "-c", LIGHT, str(workspace)], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert load_checkpoint(run_folder(workspace) / LATEST).facts["step"] == 6
