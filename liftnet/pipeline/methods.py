"""The methods there are, what each serves, and how large it is under a plan."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from liftnet.core.arguments import checked
from liftnet.core.plan import Plan
from liftnet.core.workspace import Workspace, find_workspace
from liftnet.host.progress import say
from liftnet.host.text_table import aligned
from liftnet.methods import load_method, method_names
from liftnet.pipeline.plan import DEFAULT_PLAN, load_plan, read_recipe
from liftnet.tasks import load_task

__all__ = ["list_methods"]

COLUMNS = ("method", "serves", "what it is", "paper")


@checked
def list_methods(
    dataset: int | str | None = None,
    *,
    plan_name: str = DEFAULT_PLAN,
    workspace: Path | str | None = None,
) -> list[str]:
    """List the methods, or those that serve the plan of a dataset.

    Args:
        dataset: id or name; without one all methods are listed.
        plan_name: which plan.
        workspace: the workspace folder.

    Returns:
        Their names.

    Raises:
        DatasetError: If there is no such dataset.
        PlanError: If it has no such plan.
    """
    if dataset is None:
        names = method_names()
        _say_table([COLUMNS, *map(_described, names)])
        return names
    space = find_workspace(workspace)
    plan = load_plan(space, space.dataset_name(dataset), plan_name)
    names = [name for name in method_names() if load_method(name).unfit(plan) is None]
    sized = [(*_described(name), _size(space, plan, name)) for name in names]
    _say_table([(*COLUMNS, "parameters"), *sized])
    default = load_task(plan.task).default_method
    say(f"Default: {default}. A recipe is made when a method is planned or trained: --method NAME")
    return names


def _say_table(rows: Sequence[Sequence[str]]) -> None:
    for line in aligned(rows):
        say(line)


def _described(name: str) -> tuple[str, str, str, str]:
    method = load_method(name)
    return name, method.serves, method.summary, method.paper or "-"


def _size(space: Workspace, plan: Plan, name: str) -> str:
    """The parameters that prediction has, where there is a recipe."""
    path = space.recipe_file(plan.dataset, plan.name, name)
    if not path.is_file():
        return "no recipe yet"
    method = load_method(name)
    with torch.device("meta"):
        network = method.stages(plan, read_recipe(path, plan, method))[-1].build()
    return f"{sum(_numbers(network)):,}"


def _numbers(network: torch.nn.Module) -> Iterator[int]:
    return (parameter.numel() for parameter in network.parameters())
