"""The memory estimates against the peak of live tensors in real steps and synthesis."""

from contextlib import nullcontext
from copy import deepcopy
from dataclasses import fields, replace

import pytest
import torch
from four_channels import still
from peak_bytes import PeakBytes

from liftnet.core.network_specs import MixerSpec, ResidualSpec, TranslatorSpec
from liftnet.core.plan import PLAN_VERSION, Budget, ChannelPlan, ClipAndScale, Grid, Plan
from liftnet.core.recipe import Inference, MemoryEstimate, Schedule
from liftnet.core.request import Request
from liftnet.data.crops import whole
from liftnet.data.example import Example
from liftnet.methods import load_method
from liftnet.methods.lift.recipes import ResidualRecipe, SliceRecipe
from liftnet.methods.lift.residual import STAGE as RESIDUAL
from liftnet.methods.lift.residual import ResidualContext
from liftnet.methods.lift.residual_rules import stages_of
from liftnet.methods.lift.slices import SliceTranslation
from liftnet.methods.lift.synthesis import synthesize
from liftnet.pipeline.models.volumes import Training, make_volumes
from liftnet.pipeline.train.state import Run, make_optimizer
from liftnet.pipeline.train.step import take_step
from liftnet.planning.cost import synthesis_gib, training_gib
from liftnet.planning.memory import GIB
from liftnet.tasks import load_task

DEPTH, SIZE = 12, (48, 64)
HU = ClipAndScale(-1000.0, 2000.0, (-1.0, 1.0))


def make_plan(sources: int = 1) -> Plan:
    """CT to CT on 12 slices."""
    names = ("a", "b")[:sources]
    return Plan(
        version=PLAN_VERSION,
        task="translation",
        dataset="d",
        name="n",
        channels=tuple(ChannelPlan(c, "CT", HU) for c in (*names, "ct")),
        sources=names,
        targets=("ct",),
        source_dropout=0.0,
        grid=Grid("axial", (1.0, 1.0, 1.0), SIZE, DEPTH, "otsu", False, True, False, "body", None),
        seed=0,
        reasons={},
        budget=Budget(1.0, 4, None),
    )


def make_recipe(*, sources: int = 1, volumes: int = 2, slice_batch: int = 4) -> ResidualRecipe:
    """A middling network, without augmentation."""
    shared = (0.0, (0.9, 0.99), 1, 1.0, 1.0, 1, 1, 1, 1.0, 0)
    return ResidualRecipe(
        augmentation=still(),
        inference=Inference(slice_batch, "one"),
        memory=MemoryEstimate(1.0, 4, 0.0, 0.0),
        reasons={},
        translator=TranslatorSpec(sources, 1, sources, (16, 32, 64, 128), 2, "none"),
        mixer=MixerSpec("mean", "bottleneck", 32, 1, 4, "none", 0),
        residual=ResidualSpec(16, 2, 1),
        losses={
            "l1": 1.0, "ms_ssim": 0.2, "charbonnier": 1.0, "residual": 0.05, "gradient": 0.5,
            "outside_mask": 0.1,
        },
        slice_translation=Schedule(9, 12, 1, 1, {"translator": 1e-3}, *shared),
        residual_context=Schedule(
            9, volumes, 8 // volumes, 3, {"mixer": 1e-3, "residual": 1e-3}, *shared
        ),
    )  # fmt: skip


def examples_of(plan: Plan, stage: SliceTranslation | ResidualContext) -> list[Example]:
    """A step's data: single slices, or whole volumes with windows."""
    schedule = stage.schedule
    depth = DEPTH if stage.name == RESIDUAL else schedule.decoded_slices
    number = len(plan.sources)
    return [
        Example(
            case="x",
            source=torch.rand(1, number, depth, *SIZE),
            target=torch.rand(1, 1, depth, *SIZE),
            mask=torch.ones(1, 1, depth, *SIZE),
            air=-torch.ones(1, number + 1),
            given=torch.ones(1, number),
            made=torch.ones(1, 1, dtype=torch.bool),
            seeds=torch.zeros(1, dtype=torch.int64),
            windows=tuple(range(schedule.windows_per_volume)),
            count=schedule.decoded_slices,
        )
        for _ in range(schedule.volumes_per_step)
    ]


def measured_gib(
    plan: Plan, recipe: ResidualRecipe, stage: SliceTranslation | ResidualContext
) -> float:
    """The peak of two steps, with optimizer and moving average, in float32."""
    with PeakBytes() as measured:
        network = stage.build()
        run = Run(network, deepcopy(network), make_optimizer(network, stage.schedule), recent=[])
        batch = examples_of(plan, stage)
        for _ in range(2):
            take_step(run, plan, recipe, stage, None, batch, torch.Generator())
    return measured.peak / GIB


@pytest.fixture(autouse=True)
def full_precision(monkeypatch):
    """Float32, as the recipe of these tests says, also on processors with bfloat16."""
    for module in ("methods.lift.slices", "methods.lift.residual", "networks.synthesis"):
        monkeypatch.setattr(f"liftnet.{module}.autocast", lambda _: nullcontext())


@pytest.mark.parametrize("sources", [1, 2])
def test_slice_stage_is_within_a_quarter(sources):
    """Stage 1: weights, moments, average, inputs and all kept maps."""
    plan, recipe = make_plan(sources), make_recipe(sources=sources)
    expected = measured_gib(plan, recipe, SliceTranslation(plan, recipe))
    assert training_gib(plan, recipe, [SliceTranslation(plan, recipe)]) == pytest.approx(
        expected, rel=0.25
    )


@pytest.mark.parametrize(("volumes", "slice_batch"), [(1, 4), (2, 12), (4, 2)])
def test_residual_stage_is_within_a_quarter(volumes, slice_batch):
    """Stage 2: whole volumes, the frozen maps of the windows, the head's graph."""
    plan, recipe = make_plan(), make_recipe(volumes=volumes, slice_batch=slice_batch)
    expected = measured_gib(plan, recipe, ResidualContext(recipe))
    assert training_gib(plan, recipe, [ResidualContext(recipe)]) == pytest.approx(
        expected, rel=0.25
    )


def test_a_step_in_bfloat16_is_within_a_tenth(monkeypatch):
    """Maps take half, copies of the weights are made, losses and gradients of weights stay."""
    monkeypatch.undo()
    monkeypatch.setattr("liftnet.ops.compute.precision.supports_bfloat16", lambda _: True)
    plan, recipe = make_plan(), make_recipe()
    recipe = replace(recipe, memory=replace(recipe.memory, bytes_per_number=2))
    for stage in stages_of(plan, recipe):
        expected = measured_gib(plan, recipe, stage)
        assert training_gib(plan, recipe, [stage]) == pytest.approx(expected, rel=0.1)


def test_training_is_the_hungrier_stage(monkeypatch):
    """The estimate is the larger of both, of slices alone their own; half the bytes save much."""
    plan, recipe = make_plan(), make_recipe()
    stages = SliceTranslation(plan, recipe), ResidualContext(recipe)
    both = [training_gib(plan, recipe, [stage]) for stage in stages]
    assert training_gib(plan, recipe, stages) == max(both)
    slices = SliceRecipe(
        **{field.name: getattr(recipe, field.name) for field in fields(SliceRecipe)}
    )
    assert training_gib(plan, slices, stages_of(plan, slices)) == both[0]
    monkeypatch.undo()
    half = replace(recipe, memory=replace(recipe.memory, bytes_per_number=2))
    stages = SliceTranslation(plan, half), ResidualContext(half)
    assert training_gib(plan, half, stages) < 0.8 * max(both)


@pytest.mark.parametrize("passes", ["one", "two"])
@pytest.mark.parametrize("slice_batch", [1, 2, 5, 64])
@pytest.mark.parametrize("width", [16, 48])
def test_synthesis_is_within_a_quarter(passes, slice_batch, width):
    """The maps that one pass keeps, those of a batch, a wide head, and the volumes."""
    plan = make_plan()
    recipe = replace(
        make_recipe(),
        inference=Inference(slice_batch, passes),
        residual=ResidualSpec(width, 2, 1),
    )
    of = Training(load_task(plan.task), load_method("lift"), plan, recipe)
    with PeakBytes() as measured:
        network = ResidualContext(recipe).build()
        ranges = dict.fromkeys(plan.channel_names, (0.0, 1.0))
        voxels = torch.rand(2, DEPTH, *SIZE)
        example = whole(plan, Request(("a",), ("ct",)), voxels, ranges, "x", seed=0)
        make_volumes(of, [network], example)
    estimate = synthesis_gib(plan, recipe, ResidualContext(recipe), synthesize)
    assert estimate == pytest.approx(measured.peak / GIB, rel=0.25)
