"""Memory estimates against the peak of live tensors in real training steps."""

from contextlib import nullcontext
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from drawn_cases import drawn
from peak_bytes import PeakBytes
from small_generation import make_plan as tiny_plan
from small_generation import make_recipe as tiny_recipe

from liftnet.core.geometry import AxisOrder, Geometry, Placement
from liftnet.core.network_specs import (
    CriticSpec,
    FeatureSpec,
    GeneratorSpec,
    MapperSpec,
    ResNetSpec,
)
from liftnet.core.plan import Grid, Plan
from liftnet.core.recipe import Inference
from liftnet.data.store import Store, StoredCase, write_case
from liftnet.methods.base import Stage, Surveys
from liftnet.methods.lift_u import memory
from liftnet.methods.lift_u.depth_mapping import CODE_STAGE, DepthMapping
from liftnet.methods.lift_u.depth_mapping import STAGE as DEPTH_STAGE
from liftnet.methods.lift_u.generation import generate_volume, latent_of
from liftnet.methods.lift_u.recipe import LiftURecipe
from liftnet.methods.lift_u.rules import MAPPER
from liftnet.methods.lift_u.slice_features import SliceFeatures
from liftnet.methods.lift_u.slice_generation import SliceGeneration
from liftnet.networks.features import ResNet18
from liftnet.pipeline.train.state import Run, make_optimizer
from liftnet.pipeline.train.step import take_step
from liftnet.planning.memory import GIB

SHAPE = (20, 32, 48)
CASES = tuple(f"v{i}" for i in range(8))


def make_plan(shape: tuple[int, int, int] = SHAPE) -> Plan:
    """Volumes of one size."""
    grid = Grid(
        "axial", (2.0, 2.0, 2.0), shape[1:], shape[0], "nonzero", False, True, True, "none",
        shape, True,
    )  # fmt: skip
    return tiny_plan(grid=grid)


def make_recipe(
    *, volumes: int = 4, slice_batch: int = 5, base: int = 16, slices: int = 4
) -> LiftURecipe:
    """Networks whose maps outweigh their weights, or the other way round."""
    recipe = tiny_recipe()
    fewer = {"volumes_per_step": volumes}
    return replace(
        recipe,
        features=FeatureSpec((16, 32), 8, 0.5),
        generator=GeneratorSpec(SHAPE[1:], 32, (base, 2 * base, 4 * base)),
        critic=CriticSpec((16, 32)),
        mapper=MapperSpec(32, 32, 64, 2, 4, 3),
        slice_features=replace(recipe.slice_features, **fewer, windows_per_volume=6),
        slice_generation=replace(recipe.slice_generation, **fewer, windows_per_volume=6),
        code_trajectories=replace(recipe.code_trajectories, **fewer),
        depth_mapping=replace(recipe.depth_mapping, **fewer),
        inference=Inference(slice_batch, "one"),
        drift=replace(recipe.drift, positives=6, slices_per_plane=slices),
    )


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Store:
    """Eight random volumes."""
    folder = tmp_path_factory.mktemp("store")
    geometry = Geometry(SHAPE, (2.0,) * 3, (0.0,) * 3, ((0, 0, 1), (0, 1, 0), (1, 0, 0)))
    placement = Placement(geometry, AxisOrder((0, 1, 2), (False,) * 3), (0, 0, 0), SHAPE, SHAPE)
    for i, case in enumerate(CASES):
        voxels = np.random.default_rng(i).uniform(-1, 1, size=(1, *SHAPE)).astype(np.float32)
        stored = StoredCase(case, "key", ("t1n",), SHAPE, {"t1n": (450.0, 900.0)}, placement)
        write_case(folder, voxels, stored)
    return Store(folder)


@pytest.fixture(autouse=True)
def full_precision(monkeypatch):
    """Float32, as the recipe of these tests says, also on processors with bfloat16."""
    stages = ("methods.lift_u.slice_features", "methods.lift_u.slice_generation")
    for module in (*stages, "networks.volume_generator"):
        monkeypatch.setattr(f"liftnet.{module}.autocast", lambda _: nullcontext())


def measured_gib(recipe: LiftURecipe, stage: Stage, store: Store, folder: Path) -> float:
    """The peak of two steps, with optimizer and moving average, in float32."""
    plan, found = make_plan(), None
    if isinstance(stage, Surveys):  # the bank is on the disk
        first = stage.build()
        first.generator.fit(torch.randn(40, 1, *plan.grid.in_plane))
        found = stage.survey(first, store, CASES, folder / stage.name)
    with PeakBytes() as measured:
        network = stage.build()
        run = Run(network, deepcopy(network), make_optimizer(network, stage.schedule), recent=[])
        cases = CASES[: stage.schedule.volumes_per_step]
        for seed in range(2):
            batch = drawn(plan, stage, store, cases, seed)
            take_step(run, plan, recipe, stage, found, batch, torch.Generator().manual_seed(0))
    return measured.peak / GIB


PLAN = make_plan()


@pytest.mark.parametrize(("volumes", "base"), [(2, 32), (6, 16)])
def test_feature_stage_is_within_a_quarter(volumes, base, store, tmp_path):
    """Stage 0: an encoder, its moments, and maps of slices in three planes."""
    recipe = make_recipe(volumes=volumes, base=base)
    expected = measured_gib(recipe, SliceFeatures(PLAN, recipe), store, tmp_path)
    estimate = memory._feature_bytes(PLAN, recipe, recipe.slice_features) / GIB
    assert estimate == pytest.approx(expected, rel=0.25)


@pytest.mark.parametrize(("volumes", "base"), [(1, 32), (4, 16), (4, 8)])
def test_slice_stage_is_within_a_quarter(volumes, base, store, tmp_path):
    """Stage 1: generator, features and critic in one graph."""
    recipe = make_recipe(volumes=volumes, base=base)
    expected = measured_gib(recipe, SliceGeneration(PLAN, recipe), store, tmp_path)
    assert memory._slice_bytes(PLAN, recipe) / GIB == pytest.approx(expected, rel=0.25)


def test_code_stage_is_within_a_quarter(store, tmp_path):
    """Stage 2: weights, and trajectories of codes."""
    recipe = make_recipe()
    expected = measured_gib(recipe, DepthMapping(PLAN, recipe, CODE_STAGE), store, tmp_path)
    assert memory._code_bytes(PLAN, recipe) / GIB == pytest.approx(expected, rel=0.25)


@pytest.mark.parametrize(
    ("volumes", "slices", "slice_batch"), [(2, 2, 4), (4, 8, 4), (4, 4, 40), (8, 4, 8)]
)
def test_depth_stage_is_within_a_quarter(volumes, slices, slice_batch, store, tmp_path):
    """Stage 3: volumes, features of some slices, or a chunk of the generator's maps."""
    recipe = make_recipe(volumes=volumes, slices=slices, slice_batch=slice_batch)
    expected = measured_gib(recipe, DepthMapping(PLAN, recipe, DEPTH_STAGE), store, tmp_path)
    assert memory._depth_bytes(PLAN, recipe) / GIB == pytest.approx(expected, rel=0.25)


def test_given_features_are_counted(store, tmp_path, monkeypatch):
    """ResNet-18 in place of the autoencoder: more weights, no stage of its own."""
    name = "liftnet.methods.lift_u.slice_generation.load_resnet18"
    monkeypatch.setattr(name, lambda path, sha256: ResNet18())
    features = ResNetSpec("weights.pth", "0" * 64)
    recipe = replace(make_recipe(volumes=2), features=features, slice_features=None)
    expected = measured_gib(recipe, SliceGeneration(PLAN, recipe), store, tmp_path)
    assert memory._slice_bytes(PLAN, recipe) / GIB == pytest.approx(expected, rel=0.25)


def test_training_is_the_hungriest_stage():
    """The estimate is the largest; half the bytes per number save much."""
    recipe = make_recipe()
    each = [
        memory._feature_bytes(PLAN, recipe, recipe.slice_features),
        *(
            stage(PLAN, recipe)
            for stage in (memory._slice_bytes, memory._code_bytes, memory._depth_bytes)
        ),
    ]
    assert memory.training_gib(PLAN, recipe) == max(each) / GIB
    half = replace(recipe, memory=replace(recipe.memory, bytes_per_number=2))
    assert memory.training_gib(PLAN, half) < 0.8 * memory.training_gib(PLAN, recipe)


@pytest.mark.parametrize("slice_batch", [1, 8, 40])
def test_prediction_is_within_a_quarter(slice_batch):
    """Weights, a volume, and the maps of a few slices."""
    recipe = make_recipe(slice_batch=slice_batch)
    with PeakBytes() as measured:
        network = DepthMapping(PLAN, recipe).build()
        latent = latent_of(recipe.mapper, 0, 0)
        generate_volume(PLAN, slice_batch, network, latent, temperature=1.0)
    assert memory.prediction_gib(PLAN, recipe) == pytest.approx(measured.peak / GIB, rel=0.25)


def test_the_papers_generation_fits_the_papers_memory():
    """A 128^3 volume by the widest generator: below 0.41 GB (LiFT Tab. 1)."""
    plan = make_plan((128, 128, 128))
    recipe = replace(
        make_recipe(slice_batch=8),
        features=FeatureSpec((48, 96, 192), 8, 0.5),
        generator=GeneratorSpec((128, 128), 256, (64, 128, 256, 512, 512)),
        mapper=MAPPER,
    )
    with PeakBytes() as measured, torch.device("meta"):  # shapes alone
        network = DepthMapping(plan, recipe).build()
        latent = torch.empty(128)
        generate_volume(plan, 8, network, latent, temperature=1.0)
    assert measured.peak < 0.41e9
    assert memory.prediction_gib(plan, recipe) == pytest.approx(measured.peak / GIB, rel=0.25)
