"""A generation task of a few numbers, and a workspace in which it counts as trained."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
import torch
from small_generation import make_plan
from torch import Tensor, nn

from liftnet import tasks
from liftnet.core.jsonable import write_json
from liftnet.core.plan import Plan
from liftnet.core.request import Request
from liftnet.pipeline.models.checkpoint import save_checkpoint
from liftnet.pipeline.models.runs import BEST
from liftnet.tasks.base import GenerationTask

NAME = "tiny"
DATASET = "Dataset008_Tiny"
STAGE = "tiny_stage"
SHAPE = (6, 9, 8)
SPACING = (4.0, 2.0, 3.0)
LATENT = 5


class TinyGeneration(GenerationTask):
    """Ellipsoids that differ in size and brightness, brighter to +D, +H and +W."""

    name = NAME
    summary = "for tests"
    protocols: dict[str, Any] = {}  # noqa: RUF012

    def plan(self, *args: object) -> Plan:
        """The tests make their plans themselves."""
        raise AssertionError("expected no planning")

    def refresh(self, plan: Plan, *, estimate: bool = True) -> Plan:
        """The plan as it is."""
        return plan

    def stages(self, plan: Plan, *, mapper: bool) -> tuple[Any, ...]:
        """One stage, with what loading needs of it."""
        return (SimpleNamespace(name=STAGE, build=lambda: nn.Linear(LATENT, 4)),)

    def accepts(self, plan: Plan, present: Sequence[str]) -> bool:
        """Nothing is trained."""
        raise AssertionError("expected no training")

    def draw_request(self, plan: Plan, present: Sequence[str], rng: np.random.Generator) -> Request:
        """Nothing is trained."""
        raise AssertionError("expected no training")

    def run_name(self, *, mapper: bool) -> str:
        """Where it is trained."""
        return "lift_u"

    def latent(self, plan: Plan, seed: int, number: int) -> Tensor:
        """Random numbers of this volume's own."""
        rng = np.random.default_rng([seed, number])
        return torch.from_numpy(rng.standard_normal(LATENT, dtype=np.float32))

    def generate(
        self,
        plan: Plan,
        network: nn.Module,
        latent: Tensor,
        *,
        temperature: float,
        sigma_z: float = 0.0,
    ) -> Tensor:
        """An ellipsoid on a background of -1."""
        *radii, bright = torch.sigmoid(network(temperature * latent))
        axes = [torch.linspace(-1, 1, n) for n in (plan.grid.num_slices, *plan.grid.in_plane)]
        d, h, w = torch.meshgrid(*axes, indexing="ij")
        inside = sum((x / (0.6 + r)) ** 2 for x, r in zip((d, h, w), radii, strict=True)) < 1
        d = d / (1 + sigma_z)
        return torch.where(inside, bright - 0.1 + 0.3 * d + 0.2 * h + 0.1 * w, -1.0).clamp(-1, 1)

    def trajectory(
        self,
        plan: Plan,
        network: nn.Module,
        latent: Tensor,
        *,
        temperature: float,
        sigma_z: float = 0.0,
    ) -> Tensor:
        """What the network makes of a growing part of the latent."""
        parts = torch.linspace(0, 1, plan.grid.num_slices)[:, None]
        parts = parts / (1 + sigma_z)
        codes: Tensor = network(temperature * parts * latent).detach()
        return codes

    def describe(self, plan: Plan, network: nn.Module, volume: Tensor) -> Tensor:
        """Its mean."""
        return volume.mean()[None].cpu()

    def feature_name(self, plan: Plan) -> str:
        """Mean."""
        return "mean"


TASK = TinyGeneration()


@contextmanager
def installed() -> Iterator[None]:
    """A context in which the task is one of liftnet's."""
    module = ModuleType(f"liftnet.tasks.{NAME}")
    module.TASK = TASK  # type: ignore[attr-defined]
    names = [*tasks.task_names(), NAME]
    sys.modules[module.__name__] = module
    try:
        with mock.patch.object(tasks, "task_names", lambda: names):
            yield
    finally:
        del sys.modules[module.__name__]


def tiny_plan(slice_axis: str = "axial") -> Plan:
    """The plan of the task."""
    plan = make_plan(task=NAME, dataset=DATASET)
    grid = replace(
        plan.grid,
        slice_axis=slice_axis,
        spacing_mm=SPACING,
        num_slices=SHAPE[0],
        in_plane=SHAPE[1:],
        box=SHAPE,
    )
    return replace(plan, grid=grid)


def add_fold(workspace: Path, fold: str, seed: int, *, plan: Plan | None = None) -> Path:
    """Store a network of the task with random weights as if it were trained."""
    plan = plan or tiny_plan()
    torch.manual_seed(seed)
    return store_fold(workspace, fold, plan, TASK.stages(plan, mapper=True)[-1].build())


def store_fold(workspace: Path, fold: str, plan: Plan, network: nn.Module) -> Path:
    """Store a plan and a network as if it were trained, and say where."""
    write_json(workspace / "preprocessed" / plan.dataset / plan.name / "plan.json", plan)
    task = tasks.load_task(plan.task)
    run = workspace / "results" / plan.dataset / plan.name / task.run_name(mapper=True)
    folder = run / f"fold_{fold}"
    write_json(folder / "plan.json", plan)
    path = folder / task.stages(plan, mapper=True)[-1].name / BEST
    save_checkpoint(path, {"network": network.state_dict()}, {"step": 1})
    return folder
