"""A task and a method of a few numbers, and a workspace in which the method counts as trained."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
import torch
from small_generation import make_plan, make_recipe
from torch import Tensor, nn

from liftnet import methods, tasks
from liftnet.core.network_specs import FeatureSpec, MapperSpec, ResNetSpec
from liftnet.core.plan import Plan
from liftnet.core.recipe import Recipe
from liftnet.core.request import Request
from liftnet.core.storage.jsonable import write_json
from liftnet.methods.base import Method
from liftnet.metrics.protocols.cohort_protocols import PROTOCOLS
from liftnet.pipeline.models.checkpoint import save_checkpoint
from liftnet.pipeline.models.runs import BEST
from liftnet.tasks.base import GenerationTask

NAME = "tiny"
DATASET = "Dataset008_Tiny"
STAGE = "tiny_stage"
SHAPE = (6, 9, 8)
SPACING = (4.0, 2.0, 3.0)
LATENT = 5


@dataclass(frozen=True, kw_only=True)
class TinyRecipe(Recipe):
    """What every recipe has, a network and a file of features, and how volumes are drawn."""

    features: FeatureSpec | ResNetSpec
    mapper: MapperSpec
    temperature: float = 1.0
    sigma_z: float = 0.0


class TinyGeneration(GenerationTask):
    """Volumes of one channel."""

    name = NAME
    summary = "for tests"
    default_method = NAME
    protocols = PROTOCOLS

    def plans(self, *args: object) -> Iterator[Plan]:
        """The tests make their plans themselves."""
        raise AssertionError("expected no planning")

    def refresh(self, plan: Plan) -> Plan:
        """The plan as it is."""
        return plan

    def accepts(self, plan: Plan, present: Sequence[str]) -> bool:
        """Whether the case has the channel."""
        return plan.targets[0] in present

    def draw_request(self, plan: Plan, present: Sequence[str], rng: np.random.Generator) -> Request:
        """The channel from nothing."""
        return Request((), plan.targets)


class TinyMethod(Method[TinyRecipe]):
    """Ellipsoids that differ in size and brightness, brighter to +D, +H and +W."""

    name = NAME
    label = "Tiny"
    summary = "for tests"
    serves = "volumes from nothing"
    paper = ""
    recipe = TinyRecipe

    def unfit(self, plan: Plan) -> str | None:
        """It serves every plan."""
        return None

    def decide(self, *args: object, **options: object) -> TinyRecipe:
        """The tests make their recipes themselves."""
        raise AssertionError("expected no planning")

    def refresh(self, plan: Plan, recipe: TinyRecipe, *, estimate: bool = True) -> TinyRecipe:
        """The recipe as it is."""
        return recipe

    def stages(self, plan: Plan, recipe: TinyRecipe) -> tuple[Any, ...]:
        """One stage, with what loading needs of it."""
        return (SimpleNamespace(name=STAGE, build=lambda: nn.Linear(LATENT, 4)),)

    def latent(self, plan: Plan, recipe: TinyRecipe, seed: int, number: int) -> Tensor:
        """Random numbers of this volume's own."""
        rng = np.random.default_rng([seed, number])
        return torch.from_numpy(rng.standard_normal(LATENT, dtype=np.float32))

    def generate(
        self,
        plan: Plan,
        recipe: TinyRecipe,
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

    def codes(
        self,
        plan: Plan,
        recipe: TinyRecipe,
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

    def describe(
        self, plan: Plan, recipe: TinyRecipe, network: nn.Module, volume: Tensor
    ) -> Tensor:
        """Its mean."""
        return volume.mean()[None].cpu()

    def feature_name(self, plan: Plan, recipe: TinyRecipe) -> str:
        """Mean."""
        return "mean"


TASK = TinyGeneration()
METHOD = TinyMethod()


@contextmanager
def installed() -> Iterator[None]:
    """A context in which task and method are liftnet's."""
    task, method = ModuleType(f"liftnet.tasks.{NAME}"), ModuleType(f"liftnet.methods.{NAME}")
    task.TASK, method.METHOD = TASK, METHOD  # type: ignore[attr-defined]
    names = [*tasks.task_names(), NAME]
    places = {**methods.places(), NAME: method.__name__}
    sys.modules |= {module.__name__: module for module in (task, method)}
    try:
        with (
            mock.patch.object(tasks, "task_names", lambda: names),
            mock.patch.object(methods, "places", lambda: places),
        ):
            yield
    finally:
        for module in (task, method):
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


def tiny_recipe() -> TinyRecipe:
    """The recipe of the method."""
    known = make_recipe()
    return TinyRecipe(
        augmentation=known.augmentation,
        inference=known.inference,
        memory=known.memory,
        reasons={},
        features=known.features,
        mapper=known.mapper,
    )


def add_fold(
    workspace: Path,
    fold: str,
    seed: int,
    *,
    plan: Plan | None = None,
    recipe: TinyRecipe | None = None,
) -> Path:
    """Store a network of the method with random weights as if it were trained."""
    plan, recipe = plan or tiny_plan(), recipe or tiny_recipe()
    torch.manual_seed(seed)
    network = METHOD.stages(plan, recipe)[-1].build()
    return store_fold(workspace, fold, plan, recipe, network)


def store_fold(workspace: Path, fold: str, plan: Plan, recipe: Recipe, network: nn.Module) -> Path:
    """Store plan, recipe and network as if it were trained, and say where."""
    method = methods.load_method(tasks.load_task(plan.task).default_method)
    planned = workspace / "preprocessed" / plan.dataset / plan.name
    write_json(planned / "plan.json", plan)
    write_json(planned / "recipes" / f"{method.name}.json", recipe)
    folder = workspace / "results" / plan.dataset / plan.name / method.name / f"fold_{fold}"
    write_json(folder / "plan.json", plan)
    write_json(folder / "recipe.json", recipe)
    path = folder / method.stages(plan, recipe)[-1].name / BEST
    save_checkpoint(path, {"network": network.state_dict()}, {"step": 1})
    return folder
