"""The memory estimate against the peak of live tensors."""

import numpy as np
import pytest
import torch
from peak_bytes import PeakBytes

from liftnet.core.plan import PLAN_VERSION, Budget, ChannelPlan, ClipAndScale, Grid, Plan
from liftnet.core.request import Request
from liftnet.data.crops import whole
from liftnet.methods import load_method
from liftnet.ops.chunks import Chunk
from liftnet.planning.memory import GIB

SHAPE = (60, 96, 96)
MR, CT = ClipAndScale(0.0, 1.0, (0.0, 1.0)), ClipAndScale(-1024.0, 3000.0, (-1.0, 1.0))


def make_plan(task: str) -> Plan:
    """Four contrasts of each other, or CT from MR."""
    channels = [ChannelPlan(name, "MR", MR) for name in "abcd"]
    sources = targets = tuple("abcd")
    if task == "translation":
        channels = [ChannelPlan("mr", "MR", MR), ChannelPlan("ct", "CT", CT)]
        sources, targets = ("mr",), ("ct",)
    mask = "body" if task == "translation" else "none"
    depth, *in_plane = SHAPE
    return Plan(
        version=PLAN_VERSION,
        task=task,
        dataset="d",
        name="n",
        channels=tuple(channels),
        sources=sources,
        targets=targets,
        source_dropout=0.5,
        grid=Grid(
            "axial",
            (1.0, 1.0, 1.0),
            tuple(in_plane),
            depth,
            "nonzero",
            True,
            True,
            False,
            mask,
            None,
        ),
        seed=0,
        reasons={},
        budget=Budget(8.0, 4, None),
    )


@pytest.mark.parametrize(
    ("task", "name"),
    [
        ("missing_modality", "regression_linear"),
        ("missing_modality", "regression_quadratic"),
        ("translation", "regression_quadratic"),
        ("translation", "conditional_median"),
    ],
)
def test_the_memory_estimate_is_within_a_quarter(task, name):
    """Of the peak while a volume is made."""
    plan, method = make_plan(task), load_method(name)
    recipe = method.decide(plan, None, squeeze=False)
    network = method.stages(plan, recipe)[-1].build()
    network.known.fill_(1)
    voxels = torch.rand(len(plan.channels), *SHAPE)
    mask = np.ones(SHAPE, bool) if task == "translation" else None
    ranges = dict.fromkeys(plan.channel_names, (0.0, 1000.0))
    request = Request(plan.sources, plan.targets[-1:])
    with PeakBytes() as measured:
        example = whole(plan, request, voxels, ranges, "x", seed=0, mask=mask)
        chunk = Chunk(recipe.inference.slice_batch, "one")
        method.synthesize(plan, recipe, network, example, torch.Generator(), chunk)
    assert recipe.memory.prediction_gib == pytest.approx(measured.peak / GIB, rel=0.25)
