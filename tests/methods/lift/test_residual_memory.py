"""The memory estimates against the peak of live tensors in real steps and synthesis."""

from contextlib import nullcontext
from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from liftnet.tasks.translation.synthesis import synthesize
from peak_bytes import PeakBytes

from liftnet.core.network_specs import MixerSpec, ResidualSpec, TranslatorSpec
from liftnet.core.plan import ChannelPlan, ClipAndScale, Grid, Plan
from liftnet.core.recipe import Inference, MemoryEstimate, Schedule
from liftnet.core.request import Request
from liftnet.data.example import Example
from liftnet.methods.lift.residual import STAGE as RESIDUAL
from liftnet.methods.lift.residual import ResidualContext
from liftnet.methods.lift.slices import STAGE as SLICES
from liftnet.methods.lift.slices import SliceTranslation
from liftnet.pipeline.train.state import Run, make_optimizer
from liftnet.pipeline.train.step import take_step
from liftnet.planning.augmentation import plan_augmentation
from liftnet.planning.memory import GIB
from liftnet.tasks.translation import memory

DEPTH, SIZE = 12, (48, 64)
HU = ClipAndScale(-1000.0, 2000.0, (-1.0, 1.0))


def make_plan(*, sources: int = 1, volumes: int = 2, slice_batch: int = 4) -> Plan:
    """A middling network on 12 slices, without augmentation."""
    names = ("a", "b")[:sources]
    widths = (16, 32, 64, 128)
    shared = (0.0, (0.9, 0.99), 1, 1.0, 1.0, 1, 1, 1, 1.0, 0)
    still = {
        k: (0.0, 0.0, 0.0) if isinstance(v, tuple) else 0.0
        for k, v in vars(plan_augmentation("axial")).items()
        if k.endswith("probability")
    }
    return Plan(
        version=2,
        task="translation",
        dataset="d",
        name="n",
        channels=tuple(ChannelPlan(c, "CT", HU) for c in (*names, "ct")),
        sources=names,
        targets=("ct",),
        source_dropout=0.0,
        grid=Grid(
            "axial", (1.0, 1.0, 1.0), SIZE, DEPTH, "otsu", False, True, False, "body", None
        ),
        networks={
            "translator": TranslatorSpec(sources, 1, sources, widths, 2, "none"),
            "mixer": MixerSpec("mean", "bottleneck", 32, 1, 4, "none", 0),
            "residual": ResidualSpec(16, 2, 1),
        },
        losses={
            "l1": 1.0, "ms_ssim": 0.2, "charbonnier": 1.0, "residual": 0.05, "gradient": 0.5,
            "outside_mask": 0.1,
        },
        augmentation=replace(plan_augmentation("axial"), **still),
        stages={
            SLICES: Schedule(9, 12, 1, 1, {"translator": 1e-3}, *shared),
            RESIDUAL: Schedule(
                9, volumes, 8 // volumes, 3, {"mixer": 1e-3, "residual": 1e-3}, *shared
            ),
        },
        inference=Inference(slice_batch, "one"),
        memory=MemoryEstimate(1.0, 4, 0.0, 0.0),
        seed=0,
        reasons={},
    )  # fmt: skip


def examples_of(plan: Plan, stage: str) -> list[Example]:
    """A step's data: single slices, or whole volumes with windows."""
    schedule = plan.stages[stage]
    depth = DEPTH if stage == RESIDUAL else schedule.decoded_slices
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


def measured_gib(plan: Plan, stage: SliceTranslation | ResidualContext) -> float:
    """The peak of two steps, with optimizer and moving average, in float32."""
    with PeakBytes() as measured:
        network = stage.build()
        run = Run(network, deepcopy(network), make_optimizer(network, stage.schedule), recent=[])
        batch = examples_of(plan, stage.name)
        for _ in range(2):
            take_step(run, plan, stage, batch, torch.Generator())
    return measured.peak / GIB


@pytest.fixture(autouse=True)
def full_precision(monkeypatch):
    """Float32, as the plan of these tests says, also on processors with bfloat16."""
    stages = ("tasks.translation.slice_translation", "tasks.translation.residual_context")
    for module in (*stages, "networks.synthesis"):
        monkeypatch.setattr(f"liftnet.{module}.autocast", lambda _: nullcontext())


@pytest.mark.parametrize("sources", [1, 2])
def test_slice_stage_is_within_a_quarter(sources):
    """Stage 1: weights, moments, average, inputs and all kept maps."""
    plan = make_plan(sources=sources)
    expected = measured_gib(plan, SliceTranslation(plan))
    assert memory._slice_bytes(plan) / GIB == pytest.approx(expected, rel=0.25)


@pytest.mark.parametrize(("volumes", "slice_batch"), [(1, 4), (2, 12), (4, 2)])
def test_residual_stage_is_within_a_quarter(volumes, slice_batch):
    """Stage 2: whole volumes, the frozen maps of the windows, the head's graph."""
    plan = make_plan(volumes=volumes, slice_batch=slice_batch)
    expected = measured_gib(plan, ResidualContext(plan))
    assert memory._residual_bytes(plan) / GIB == pytest.approx(expected, rel=0.25)


def test_training_is_the_hungrier_stage():
    """The estimate of the plan is the larger of both; half the bytes per number save much."""
    plan = make_plan()
    both = [memory._slice_bytes(plan), memory._residual_bytes(plan)]
    assert memory.training_gib(plan) == max(both) / GIB
    half = replace(plan, memory=replace(plan.memory, bytes_per_number=2))
    assert memory.training_gib(half) < 0.8 * memory.training_gib(plan)


@pytest.mark.parametrize("passes", ["one", "two"])
@pytest.mark.parametrize("slice_batch", [1, 2, 5, 64])
@pytest.mark.parametrize("width", [16, 48])
def test_synthesis_is_within_a_quarter(passes, slice_batch, width):
    """The maps that one pass keeps, those of a batch, a wide head, and the volumes."""
    plan = replace(make_plan(), inference=Inference(slice_batch, passes))
    plan = replace(plan, networks=plan.networks | {"residual": ResidualSpec(width, 2, 1)})
    with PeakBytes() as measured:
        network = ResidualContext(plan).build()
        source = torch.rand(2, DEPTH, *SIZE)
        synthesize(plan, [network], source, Request(("a",), ("ct",)), [-1.0] * 2)
    assert memory.synthesis_gib(plan) == pytest.approx(measured.peak / GIB, rel=0.25)
