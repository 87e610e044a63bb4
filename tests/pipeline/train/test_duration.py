"""How long a training takes: what is measured, and the trial that is offered."""

import shlex

import pytest
import torch
from small_generation import make_plan

from liftnet.core.errors import PlanError
from liftnet.pipeline.plan import plan, read_plan
from liftnet.pipeline.train import trial
from liftnet.pipeline.train.duration import StageCost, measure_training
from liftnet.pipeline.train.trial import PlanOptions, say_training_time
from liftnet.tasks import load_task

CPU = torch.device("cpu")


def test_every_stage_is_measured(_prepared):
    """Its steps, and its validations where they are by case; no case is needed for it."""
    (path,) = _prepared.glob("preprocessed/*/default/plan.json")
    for planned in (read_plan(path), make_plan()):
        costs = measure_training(planned, CPU)
        assert [cost.schedule for cost in costs] == list(planned.stages.values())
        assert all(cost.step > 0 for cost in costs)
        checked = load_task(planned.task).name != "unconditional"
        assert all((cost.case > 0) == checked for cost in costs)


def test_seconds_of_a_stage(_prepared):
    """Steps, and the volumes of every validation, of which the fold may have fewer."""
    (path,) = _prepared.glob("preprocessed/*/default/plan.json")
    schedule = next(iter(read_plan(path).stages.values()))
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

    def measured(planned, device):
        step = planned.memory.budget_gib * measured.seconds
        return [StageCost(schedule, step, step) for schedule in planned.stages.values()]

    measured.seconds = 100.0
    monkeypatch.setattr(trial, "measure_training", measured)
    return measured


def test_a_long_training_is_told_with_the_command_of_a_trial(slow, tmp_path, capsys):
    """With the options, the dataset and the workspace in use; planned so, it is half an hour."""
    settings = ["losses.delta_z=0.25"]
    plan(workspace=tmp_path, gpu_memory=0.03, plan_name="mine", settings=settings)
    capsys.readouterr()
    options = PlanOptions(0.03, None, None, "mine", settings)
    say_training_time("liftnet_plan", "7", options, workspace=tmp_path)
    said, command = capsys.readouterr().out.splitlines()
    assert (
        said.startswith("Training takes about 210 hours (9 days) on ")
        and "A trial of about" in said
    )
    words = shlex.split(command)
    steps = int(words[words.index("--steps") + 1])
    assert words == [
        *("liftnet_plan", "-d", "7", "-p", "mine", "--gpu-memory", "0.03"),
        *("--steps", str(steps), "--set", *settings, "--workspace", str(tmp_path)),
    ]
    again = plan(
        workspace=tmp_path, gpu_memory=0.03, steps=steps, plan_name="mine", settings=settings
    )
    seconds = sum(cost.seconds(1) for cost in slow(again, CPU))
    assert 1500 < seconds < 2000


def test_a_slow_machine_is_offered_smaller_networks(slow, tmp_path, capsys):
    """Where half an hour of the planned ones is too few steps to learn anything."""
    plan(workspace=tmp_path, gpu_memory=8)
    capsys.readouterr()
    slow.seconds = 10.0
    say_training_time(
        "liftnet_plan", None, PlanOptions(8, None, None, "default", ()), workspace=tmp_path
    )
    _, command = capsys.readouterr().out.splitlines()
    assert "--gpu-memory 0.4 --steps" in command


def test_short_or_unknown(slow, tmp_path, capsys, monkeypatch):
    """A short training needs no trial; where memory runs out, or no trial fits, that is said."""
    plan(workspace=tmp_path, gpu_memory=0.03, steps=40)
    options = PlanOptions(0.03, 40, None, "default", ())
    capsys.readouterr()
    say_training_time("liftnet_plan", None, options, workspace=tmp_path)
    assert capsys.readouterr().out.startswith("Training takes about 3 minutes on ")

    slow.seconds = 1e6
    monkeypatch.setattr(trial, "decide", lambda *_: (_ for _ in ()).throw(PlanError("none")))
    say_training_time("liftnet_plan", None, options, workspace=tmp_path)
    assert capsys.readouterr().out.rstrip().endswith("--steps N makes it shorter.")

    def full(planned, device):
        raise MemoryError

    monkeypatch.setattr(trial, "measure_training", full)
    say_training_time("liftnet_plan", None, options, workspace=tmp_path)
    assert "too little memory" in capsys.readouterr().out
