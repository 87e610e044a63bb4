"""How long a training takes: what is measured, and the trial that is offered."""

import shlex

import pytest
import torch
from small_generation import make_plan, make_recipe

from liftnet.core.errors import PlanError
from liftnet.core.recipe import schedules
from liftnet.core.workspace import find_workspace
from liftnet.methods import load_method
from liftnet.pipeline.plan import Asked, load_plan, load_recipe, plan, read_plan, read_recipe
from liftnet.pipeline.train import trial
from liftnet.pipeline.train.duration import StageCost, measure_training
from liftnet.pipeline.train.trial import say_training_time

CPU = torch.device("cpu")


@pytest.fixture
def prepared(_prepared):
    """Method, plan and recipe of the prepared dataset."""
    (path,) = _prepared.glob("preprocessed/*/default/plan.json")
    planned, method = read_plan(path), load_method("lift")
    return method, planned, read_recipe(path.parent / "recipes" / "lift.json", planned, method)


def test_every_stage_is_measured(prepared):
    """Its steps, and its validations where they are by case; no case is needed for it."""
    for method, planned, recipe in (
        prepared,
        (load_method("lift_u"), make_plan(), make_recipe()),
    ):
        costs = measure_training(method, planned, recipe, CPU)
        assert [cost.schedule for cost in costs] == list(schedules(recipe).values())
        assert all(cost.step > 0 for cost in costs)
        assert all((cost.case > 0) == (method.name != "lift_u") for cost in costs)


def test_seconds_of_a_stage(prepared):
    """Steps, and the volumes of every validation, of which the fold may have fewer."""
    schedule = prepared[2].context_translation
    steps, every, most = schedule.num_steps, schedule.validate_every, schedule.validation_cases
    cost = StageCost(schedule, 2.0, 3.0)
    assert cost.seconds(100) == 2 * steps + 3 * most * -(-steps // every)
    assert cost.seconds(0) == 2 * steps


@pytest.fixture
def slow(monkeypatch, write_raw, tmp_path):
    """A dataset, and a machine that needs so many seconds for a step of a plan of so many GiB."""
    from liftnet.pipeline.fingerprint.extract_fingerprint import extract_fingerprint

    write_raw(tmp_path)
    extract_fingerprint(workspace=tmp_path, num_processes=1)

    def measured(method, planned, recipe, device):
        step = recipe.memory.budget_gib * measured.seconds
        return [StageCost(schedule, step, step) for schedule in schedules(recipe).values()]

    measured.seconds = 100.0
    monkeypatch.setattr(trial, "measure_training", measured)
    return measured


def test_a_long_training_is_told_with_the_command_of_a_trial(slow, tmp_path, capsys):
    """With the options, the dataset and the workspace in use; planned so, it is half an hour."""
    settings = ["lift.losses.delta_z=0.25"]
    plan(workspace=tmp_path, gpu_memory=0.03, plan_name="mine", settings=settings)
    capsys.readouterr()
    asked = Asked("lift", 0.03, plan_name="mine", settings=tuple(settings))
    say_training_time("liftnet_plan", "7", asked, workspace=tmp_path)
    said, command = capsys.readouterr().out.splitlines()
    assert (
        said.startswith("Training takes about 210 hours (9 days) on ")
        and "A trial of about" in said
    )
    words = shlex.split(command)
    steps = int(words[words.index("--steps") + 1])
    assert words == [
        *("liftnet_plan", "-d", "7", "--method", "lift", "-p", "mine", "--gpu-memory", "0.03"),
        *("--steps", str(steps), "--set", *settings, "--workspace", str(tmp_path)),
    ]
    again = plan(
        workspace=tmp_path, gpu_memory=0.03, steps=steps, plan_name="mine", settings=settings
    )
    seconds = sum(cost.seconds(1) for cost in slow(None, *again, CPU))
    assert 1500 < seconds < 2000


def test_a_slow_machine_is_offered_smaller_networks(slow, tmp_path, capsys):
    """Where half an hour of the planned ones is too few steps to learn anything."""
    plan(workspace=tmp_path, gpu_memory=8)
    capsys.readouterr()
    slow.seconds = 10.0
    say_training_time("liftnet_plan", None, Asked(gpu_memory=8.0), workspace=tmp_path)
    _, command = capsys.readouterr().out.splitlines()
    assert "--gpu-memory 0.4 --steps" in command


def test_short_or_unknown(slow, tmp_path, capsys, monkeypatch):
    """A short training needs no trial; where memory runs out, or no trial fits, that is said."""
    plan(workspace=tmp_path, gpu_memory=0.03, steps=40)
    asked = Asked(gpu_memory=0.03, steps=40)
    capsys.readouterr()
    say_training_time("liftnet_plan", None, asked, workspace=tmp_path)
    assert capsys.readouterr().out.startswith("Training takes about 3 minutes on ")

    slow.seconds = 1e6
    monkeypatch.setattr(trial, "decide", lambda *_: (_ for _ in ()).throw(PlanError("none")))
    say_training_time("liftnet_plan", None, asked, workspace=tmp_path)
    assert capsys.readouterr().out.rstrip().endswith("--steps N makes it shorter.")

    def full(*_):
        raise MemoryError

    monkeypatch.setattr(trial, "measure_training", full)
    say_training_time("liftnet_plan", None, asked, workspace=tmp_path)
    assert "too little memory" in capsys.readouterr().out


def test_boxes_are_measured_in_whole_volumes(workspace, monkeypatch):
    """A box has as many voxels where a volume has few slices: no time follows from a part of it."""
    space, name = find_workspace(workspace), "Dataset007_Phantom"
    found = load_plan(space, name, "default")
    seen = []
    monkeypatch.setattr(
        "liftnet.pipeline.train.duration._step_seconds",
        lambda part, *rest: seen.append(part.plan.grid.num_slices) or 1.0,
    )
    for method, whole in (("unet3d", True), ("lift", False)):
        seen.clear()
        used = load_method(method)
        measure_training(used, found, load_recipe(space, found, used), CPU)
        assert (set(seen) == {found.grid.num_slices}) == whole
