"""What is said of the length of a training before it begins, and the command of a short trial."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from liftnet.core.errors import PlanError
from liftnet.core.plan import Plan
from liftnet.core.recipe import Recipe
from liftnet.core.workspace import Workspace, command_line, find_workspace
from liftnet.host.progress import say
from liftnet.methods.base import Method
from liftnet.ops.compute.host_memory import is_out_of_memory
from liftnet.pipeline.models.runs import find_device
from liftnet.pipeline.plan import Asked, decide, load_plan, load_recipe, method_of
from liftnet.pipeline.train.duration import StageCost, held_out_cases, measure_training

__all__ = ["say_training_time", "spoken"]

LONG_SECONDS = 7200.0  # ours: who waits for longer should try first
TRIAL_SECONDS = 1800.0  # ours
TRIAL_STEPS = 1000  # ours: as many are planned to find out what a step of a trial costs
LEAST_STEPS = 300  # ours: fewer show nothing
SMALLER_GIB = (1.0, 0.4)  # ours: networks for a machine that is too slow for those of its memory


def say_training_time(
    command: str,
    dataset: int | str | None,
    asked: Asked,
    *,
    workspace: Path | str | None = None,
) -> None:
    """Say about how long the training of a plan takes here; if long, how to make a short trial.

    Args:
        command: "liftnet_plan" or another that takes its options.
        dataset: as for `plan`.
        asked: of the plan.
        workspace: the workspace folder.
    """
    space = find_workspace(workspace)
    name = space.dataset_name(dataset)
    plan, device = load_plan(space, name, asked.plan_name), find_device(None)
    method = method_of(plan, asked.method)
    recipe = load_recipe(space, plan, method)
    held_out = held_out_cases(space, name)
    costs = _measured(method, plan, recipe, device)
    if costs is None:
        say("How long training takes is unknown: this machine has too little memory for a step.")
        return
    seconds = sum(cost.seconds(held_out) for cost in costs)
    where = "the CPU of this machine" if device.type == "cpu" else "this machine"
    text = f"Training takes about {spoken(seconds)} on {where} (estimated from a few steps)."
    if seconds <= LONG_SECONDS:
        say(text)
        return
    steps = sum(cost.schedule.num_steps for cost in costs)
    smaller: list[float | None] = [gib for gib in SMALLER_GIB if gib < recipe.memory.budget_gib]
    hopeless = seconds / steps > TRIAL_SECONDS / LEAST_STEPS
    tried = smaller if hopeless and smaller else [asked.gpu_memory, *smaller]
    trial = _find_trial(space, name, asked, tried, device, held_out)
    if trial is None:
        say(f"{text} --steps N makes it shorter.")
        return
    chosen, takes = trial
    line = command_line([command, *chosen.words()], dataset=dataset, workspace=workspace)
    say(f"{text} A trial of about {spoken(takes)}:\n  {line}")


def _find_trial(
    space: Workspace,
    name: str,
    asked: Asked,
    memory: Sequence[float | None],
    device: torch.device,
    held_out: int,
) -> tuple[Asked, float] | None:
    """The options of a plan that trains in half an hour, and how many seconds that takes.

    Of these GiB, the first for which half an hour is enough steps to learn anything; else the last
    for which there is a plan, which takes longer.
    """
    found = None
    for gib in memory:
        tried = replace(asked, gpu_memory=gib, steps=TRIAL_STEPS)
        try:
            plan, recipe = decide(space, name, tried)
        except PlanError:  # no network is so small, or the settings fix the steps
            continue
        costs = _measured(method_of(plan, asked.method), plan, recipe, device)
        if costs is None:
            continue
        whole = sum(cost.seconds(held_out) for cost in costs)
        each = sum(cost.schedule.num_steps * cost.step for cost in costs) / TRIAL_STEPS
        checks = whole - TRIAL_STEPS * each
        steps = max(LEAST_STEPS, _rounded_down((TRIAL_SECONDS - checks) / each))
        found = replace(tried, steps=steps), checks + steps * each
        if steps > LEAST_STEPS:
            return found
    return found


def _measured(
    method: Method[Any], plan: Plan, recipe: Recipe, device: torch.device
) -> list[StageCost] | None:
    """What each stage costs; None where the memory of the machine is too small for a step."""
    try:
        return measure_training(method, plan, recipe, device)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return None


def _rounded_down(steps: float) -> int:
    """To two digits.

    >>> _rounded_down(1234.5), _rounded_down(87.0), _rounded_down(-3.0)
    (1200, 87, 0)
    """
    whole = max(0, int(steps))
    unit = 10 ** max(0, len(str(whole)) - 2)
    return whole // unit * unit


def spoken(seconds: float) -> str:
    """A duration as one says it, to two digits.

    >>> spoken(40), spoken(300), spoken(7300), spoken(12_700_000)
    ('a minute', '5 minutes', '2 hours', '3500 hours (150 days)')
    """
    minutes, hours = seconds / 60, seconds / 3600
    if minutes < 1.5:
        return "a minute"
    if minutes < 90:
        return f"{_two_digits(minutes)} minutes"
    days = f" ({_two_digits(hours / 24)} days)" if hours >= 72 else ""
    return f"{_two_digits(hours)} hours{days}"


def _two_digits(value: float) -> str:
    return f"{float(f'{value:.2g}'):.0f}"
