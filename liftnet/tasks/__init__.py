"""Floor 3: everything that differs between tasks. A folder whose `TASK` is set is a task."""

import pkgutil
from importlib import import_module
from typing import cast

from liftnet.core.errors import PlanError
from liftnet.core.jsonable import did_you_mean
from liftnet.tasks.base import Task

__all__ = ["load_task", "task_names"]


def task_names() -> list[str]:
    """The tasks there are: the folders beside this file."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if module.ispkg)


def load_task(name: str) -> Task:
    """The task of this name.

    Raises:
        PlanError: If there is no such task.
    """
    if name not in task_names():
        raise PlanError(f"No task '{name}'", remedy=did_you_mean(name, task_names()))
    return cast(Task, import_module(f"liftnet.tasks.{name}").TASK)
