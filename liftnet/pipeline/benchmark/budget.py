"""The recipe with which a method trains as long as the others of a benchmark do."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from liftnet.core.errors import CheckpointError, PlanError
from liftnet.core.plan import Plan
from liftnet.core.recipe import Recipe
from liftnet.core.storage.jsonable import from_json, read_json, write_json
from liftnet.core.workspace import Workspace
from liftnet.host.progress import say
from liftnet.host.text_table import counted
from liftnet.methods import load_method
from liftnet.methods.base import Method
from liftnet.ops.compute.machine import describe_machine
from liftnet.pipeline.models.runs import begun_otherwise, fold_folder
from liftnet.pipeline.plan import (
    Asked,
    Decided,
    by_hand,
    decide,
    is_like,
    load_recipe,
    num_steps,
    read_recipe,
    recipe_of_length,
    training_work,
    write_recipe,
)
from liftnet.pipeline.train.duration import StageCost, held_out_cases, measure_training

__all__ = ["Budget", "equal_budget", "equal_recipe"]

KEPT = "budget.json"
ROUNDS, TOLERANCE = 6, 0.02  # ours: to find the steps; measured seconds vary by more
TOO_LONG = 1.5  # ours: times what was asked for


@dataclass(frozen=True)
class Budget:
    """What is equal of the trainings: operations, or minutes on this machine."""

    like: str  # the method whose operations the others take
    operations: int
    minutes: float | None  # in place of that

    def __str__(self) -> str:
        none = "closed forms take no steps"
        if self.minutes is not None:
            return f"{self.minutes:g} min of training, validations included; {none}"
        return f"{self.operations / 1e15:.3g} PFLOP of training, as {self.like} takes them; {none}"


@dataclass(frozen=True)
class Found:
    """How many steps take the minutes asked for; kept, as measured again they would differ."""

    minutes: float
    steps: int
    seconds: float  # that they are expected to take
    hardware: str


def equal_budget(space: Workspace, plan: Plan, like: str, minutes: float | None) -> Budget:
    """The budget of all methods.

    Raises:
        PlanError: If the operations of `like` cannot be counted, or it takes none.
    """
    if minutes is not None:
        return Budget(like, 0, minutes)
    other = load_method(like)
    return Budget(like, training_work(plan, other, load_recipe(space, plan, other)), None)


def equal_recipe(
    space: Workspace,
    plan: Plan,
    method: Method[Any],
    budget: Budget,
    *,
    fold: str,
    folder: Path,
    device: torch.device,
) -> Recipe:
    """The recipe of a method for this budget, which training will find in the workspace.

    One that is there and fits stays as it is. Of another, what was set by hand is kept.

    Args:
        space: where the plan is stored.
        plan: of the dataset.
        method: whose recipe.
        budget: that all have.
        fold: that will be trained; one that was trained with another recipe is left alone.
        folder: of the method in the results, where the steps that were found are kept.
        device: that trains.

    Raises:
        PlanError: If no number of steps makes the training as long.
        CheckpointError: If the fold was begun with another recipe.
    """
    path = space.recipe_file(plan.dataset, plan.name, method.name)
    stored = read_recipe(path, plan, method) if path.is_file() else None
    given = method.closed_form or (budget.minutes is None and method.name == budget.like)
    if given or (stored and _fits(plan, method, stored, budget, folder)):
        recipe = stored or load_recipe(space, plan, method)
    else:
        recipe = _planned(space, plan, method, stored, budget, folder, device)
    run = fold_folder(space.run_folder(plan.dataset, plan.name), method.name, fold)
    if begun_otherwise(run, plan, recipe):
        raise CheckpointError(
            f"{method.name} is trained already, and not with the recipe of an equal budget, which "
            f"has {num_steps(recipe)} steps",
            where=str(run),
            remedy="Delete this folder, and the same command trains it anew. Or keep it, and use a "
            "plan of another name: liftnet_plan_and_preprocess -p NAME, then -p NAME here too.",
        )
    if recipe is not stored:
        write_recipe(space, Decided(plan, recipe), method)
    return recipe


def _fits(plan: Plan, method: Method[Any], recipe: Recipe, budget: Budget, folder: Path) -> bool:
    """Whether a recipe that is there has this budget."""
    if budget.minutes is not None:
        return num_steps(recipe) == _kept_steps(folder, budget.minutes)
    try:
        work = training_work(plan, method, recipe)
    except PlanError:  # it takes no steps
        return False
    return is_like(recipe, work, budget.operations)


def _planned(
    space: Workspace,
    plan: Plan,
    method: Method[Any],
    stored: Recipe | None,
    budget: Budget,
    folder: Path,
    device: torch.device,
) -> Recipe:
    """A new recipe, with the settings by hand of the one that is there.

    Raises:
        PlanError: If no number of steps makes the training as long.
    """
    settings = [] if stored is None else by_hand(stored)
    if budget.minutes is None:
        named = tuple(f"{method.name}.{setting}" for setting in settings)
        asked = Asked(method.name, plan_name=plan.name, settings=named, like=budget.like)
        return decide(space, plan.dataset, asked).recipe
    steps = _kept_steps(folder, budget.minutes)
    if steps is not None:
        return recipe_of_length(space, plan, method, steps, settings=settings)
    return _of_minutes(space, plan, method, settings, budget.minutes, folder, device)


def _of_minutes(
    space: Workspace,
    plan: Plan,
    method: Method[Any],
    settings: list[str],
    minutes: float,
    folder: Path,
    device: torch.device,
) -> Recipe:
    """The recipe whose training takes so many minutes here.

    Raises:
        PlanError: If it takes longer however short, or the steps are set by hand.
    """
    held_out, goal = held_out_cases(space, plan.dataset), 60 * minutes
    costs: dict[str, StageCost] = {}
    steps, tried = None, []
    for _ in range(ROUNDS):
        recipe = recipe_of_length(space, plan, method, steps, settings=settings)
        if steps is not None and num_steps(recipe) != steps:
            raise PlanError(
                f"The steps of {method.name} are set by hand: {num_steps(recipe)}, and "
                f"{minutes:g} min are about {steps}",
                where=f"--minutes {minutes:g}",
                remedy=f"Plan it without that setting: liftnet_plan --method {method.name}.",
            )
        seconds = _seconds(plan, method, recipe, costs, held_out, device)
        tried.append((num_steps(recipe), seconds))
        steps = _nearer(tried, goal)
        if abs(seconds / goal - 1) <= TOLERANCE or steps == num_steps(recipe):
            break
    if seconds > TOO_LONG * goal:
        raise PlanError(
            f"{minutes:g} min are too few for {method.name}: with validations "
            f"{counted(num_steps(recipe), 'step')} take about {seconds / 60:.3g}",
            where=f"--minutes {minutes:g}",
            remedy="Give more minutes, or leave this method out.",
        )
    found = Found(minutes, num_steps(recipe), round(seconds, 3), describe_machine(str(device)))
    say(f"{found.steps} steps of {method.name} take about {seconds / 60:.3g} min here")
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / KEPT, found)
    return recipe


def _nearer(tried: list[tuple[int, float]], goal: float) -> int:
    """The steps that take about so many seconds, by the steps and seconds that were tried.

    In proportion at first; then on the line through the last two, as validations may be as many
    for any number of steps.

    >>> _nearer([(1000, 50.0)], 10.0), _nearer([(1000, 50.0), (200, 18.0)], 10.0)
    (200, 1)
    """
    (steps, seconds), *before = reversed(tried)
    if before and before[0][0] != steps and before[0][1] != seconds:
        other, taken = before[0]
        return max(1, round(steps + (goal - seconds) * (other - steps) / (taken - seconds)))
    return max(1, round(steps * goal / seconds))


def _seconds(
    plan: Plan,
    method: Method[Any],
    recipe: Recipe,
    costs: dict[str, StageCost],
    held_out: int,
    device: torch.device,
) -> float:
    """The seconds of a training; what a stage costs is measured where `costs` does not know it."""
    stages = method.stages(plan, recipe)
    if any(stage.name not in costs for stage in stages):
        found = measure_training(method, plan, recipe, device)
        costs.update(zip((stage.name for stage in stages), found, strict=True))
    own = [replace(costs[stage.name], schedule=stage.schedule) for stage in stages]
    return sum(cost.seconds(held_out) for cost in own)


def _kept_steps(folder: Path, minutes: float) -> int | None:
    """The steps that were found before for so many minutes."""
    path = folder / KEPT
    if not path.is_file():
        return None
    found = from_json(Found, read_json(path), where=path)
    return found.steps if found.minutes == minutes else None
