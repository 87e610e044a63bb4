"""What goes in and comes out. A file whose `TASK` is set is a task of its name."""

import pkgutil
from importlib import import_module
from typing import cast

from liftnet.core.errors import PlanError
from liftnet.core.storage.jsonable import did_you_mean
from liftnet.tasks.base import GenerationTask, SynthesisTask, Task

__all__ = ["load_generation", "load_synthesis", "load_task", "task_names"]


def task_names() -> list[str]:
    """The tasks there are: the files beside this one."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if module.name != "base")


def load_task(name: str) -> Task:
    """The task of this name.

    Raises:
        PlanError: If there is no such task.
    """
    if name not in task_names():
        raise PlanError(f"No task '{name}'", remedy=did_you_mean(name, task_names()))
    return cast(Task, import_module(f"liftnet.tasks.{name}").TASK)


def load_synthesis(name: str) -> SynthesisTask:
    """The task of this name, which makes images from others.

    Raises:
        PlanError: If there is no such task, or it needs no images.
    """
    task = load_task(name)
    if not isinstance(task, SynthesisTask):
        raise PlanError(
            f"Task '{name}' makes volumes from nothing, not from images",
            remedy="Give liftnet_predict a number of volumes with -n, and no -i.",
        )
    return task


def load_generation(name: str) -> GenerationTask:
    """The task of this name, which makes volumes from nothing.

    Raises:
        PlanError: If there is no such task, or it needs images.
    """
    task = load_task(name)
    if not isinstance(task, GenerationTask):
        raise PlanError(
            f"Task '{name}' makes images from others, not from nothing",
            remedy="Give liftnet_predict a folder of images with -i, and no -n.",
        )
    return task
