"""Unconditional generation: the decisions about data, and what is asked for."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from like_cases import like_cases
from small_generation import make_plan

from liftnet.core.dataset import Channel, Dataset, DatasetDescription
from liftnet.core.errors import DatasetError, PlanError
from liftnet.core.fingerprint import Fingerprint
from liftnet.core.plan import Budget, ClipAndScale, PercentileScale, Plan, ZScore
from liftnet.core.request import Request
from liftnet.core.storage.jsonable import from_json, to_json
from liftnet.pipeline.plan import apply_setting, explain
from liftnet.planning.grid import GridChoice
from liftnet.tasks.unconditional import TASK

T1 = Channel("t1n", "MR")
SMALL = ((20, 40, 30), (4.0, 4.0, 4.0), ((2, 2, 2), (18, 38, 28)))


def fingerprint_of(
    shape: tuple[int, int, int] = (155, 240, 240),
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0),
    box: tuple[tuple[int, int, int], tuple[int, int, int]] = ((5, 30, 50), (146, 216, 197)),
    *,
    count: int = 100,
    names: tuple[str, ...] = ("t1n",),
    stripped: bool = True,
) -> Fingerprint:
    """Like cases; BraTS by default."""
    like = like_cases(
        shape, spacing, box, names=names, stripped=stripped, fraction=0.25,
        low=0.0 if stripped else 3.0,
    )  # fmt: skip
    return replace(like, cases={f"c{i}": like.cases["x"] for i in range(count)})


def plans(
    fingerprint: Fingerprint,
    channels: tuple[Channel, ...] = (T1,),
    targets: tuple[Channel, ...] = (),
    choice: GridChoice | None = None,
) -> Iterator[Plan]:
    """The plans of a dataset without files."""
    own, made = ({str(i): c for i, c in enumerate(group)} for group in (channels, targets))
    dataset = Dataset(Path("raw"), DatasetDescription("D", TASK.name, own, made), ())
    return TASK.plans(dataset, fingerprint, Budget(1.0, 4, None), "default", choice)


def small_plan() -> Plan:
    """The best plan of a small volume."""
    return next(plans(fingerprint_of(*SMALL)))


def test_the_papers_cube_is_best():
    """Sec. 5.1: 128^3 of one channel from nothing; what follows is ever coarser."""
    best, tight, *coarser = plans(fingerprint_of())
    assert (best.grid.box, best.grid.slice_axis) == ((128, 128, 128), "axial")
    assert (best.sources, best.targets, best.guides) == ((), ("t1n",), ("t1n",))
    assert len(coarser) > 5
    for finer, other in pairwise([tight, *coarser]):
        assert finer.grid.spacing_mm < other.grid.spacing_mm
    for plan in (best, tight, *coarser):
        assert TASK.refresh(plan) == plan
    assert from_json(Plan, to_json(best), where="plan.json") == best


def test_intensities():
    """MR: the percentiles that WDM takes; CT: the fixed range; both to [-1, 1]."""
    rule = small_plan().channel("t1n").normalization
    # 0.1 % of the grid is 0.4 % of a foreground that fills a quarter of it.
    assert rule == PercentileScale("foreground", 0.0, pytest.approx(0.996), 0.0, 900.0, (-1.0, 1.0))
    plan = next(plans(fingerprint_of(*SMALL, stripped=False)))
    assert plan.channel("t1n").normalization == PercentileScale(
        "grid", 0.001, 0.999, 3.0, 900.0, (-1.0, 1.0)
    )
    plan = next(plans(fingerprint_of(*SMALL, names=("ct",)), (Channel("ct", "CT"),)))
    assert plan.channel("ct").normalization == ClipAndScale(-1000.0, 2000.0, (-1.0, 1.0))
    assert plan.grid.foreground == "otsu"


def test_few_cases():
    """Below 8 nothing is planned."""
    with pytest.raises(DatasetError, match="needs 8 cases or more; there are 7"):
        next(plans(fingerprint_of(*SMALL, count=7)))
    assert next(plans(fingerprint_of(*SMALL, count=8))).targets == ("t1n",)


@pytest.mark.parametrize(
    ("channels", "targets"),
    [((T1, Channel("t2w", "MR")), ()), ((T1,), (Channel("ct", "CT"),)), ((), (T1,))],
)
def test_one_channel_alone(channels, targets):
    """Several contrasts, and targets, are another task's."""
    with pytest.raises(DatasetError, match="takes one channel and no targets, not "):
        next(plans(fingerprint_of(), channels, targets))


def test_every_reason_names_a_setting():
    """Explain finds the value of every reason, also of settings made by hand."""
    plan = small_plan()
    for setting in ("channels.t1n.normalization.upper=0.99", "seed=4"):
        plan = apply_setting(plan, setting)
    text = explain(plan)
    for key in plan.reasons:
        assert f"{key} = " in text
    assert "channels.t1n.normalization.upper = 0.99\n    set by hand" in text


def test_edits_bring_along_what_follows():
    """The sizes follow the box."""
    boxed = TASK.refresh(apply_setting(small_plan(), "grid.box=[16,48,24]"))
    assert (boxed.grid.num_slices, boxed.grid.in_plane) == (16, (48, 24))


@pytest.mark.parametrize(
    ("setting", "problem"),
    [
        ("targets=[]", "there is no target"),
        ('targets=["t2w"]', "t2w are not channels"),
        ('sources=["t1n"]', "sources must be empty"),
        ("source_dropout=0.2", "source_dropout must be 0"),
        ("grid.box=null", "grid.box must be a size and grid.pad_to_box true"),
        ("grid.pad_to_box=false", "grid.box must be a size and grid.pad_to_box true"),
        ("grid.box=[0,48,40]", "grid.num_slices must be 1 or more"),
        ("grid.spacing_mm=[2,4,4]", "is not isotropic"),
        ("grid.mask=body", "grid.mask must be none"),
        ("seed=-1", "seed is negative"),
    ],
)
def test_contradictions_are_refused(setting, problem):
    """A plan whose parts do not fit is met with what is wrong."""
    changed = apply_setting(small_plan(), setting)
    with pytest.raises(PlanError, match=f"The plan contradicts itself: .*{problem}"):
        TASK.refresh(changed)


def test_a_range_without_width_is_refused():
    """Such a plan cannot even be made."""
    with pytest.raises(PlanError, match="low is not below high"):
        apply_setting(small_plan(), "channels.t1n.normalization.limits=[1,1]")


def test_a_volume_needs_limits():
    """A z-score has none; two channels cannot be made."""
    plan = small_plan()
    free = tuple(replace(c, normalization=ZScore("grid", 0.0, 1.0)) for c in plan.channels)
    with pytest.raises(PlanError, match="the normalization of t1n has no limits"):
        TASK.refresh(replace(plan, channels=free))
    two = (*plan.channels, replace(plan.channels[0], name="t2w"))
    with pytest.raises(PlanError, match="channels are t1n, t2w; expected one"):
        TASK.refresh(replace(plan, channels=two))


def test_a_slice_axis_by_hand_turns_the_box():
    """The box lies in the order of its axes."""
    fingerprint = fingerprint_of((40, 50, 30), (2.0, 2.0, 2.0), ((2, 2, 1), (38, 48, 29)))
    first = next(plans(fingerprint))
    turned = next(plans(fingerprint, choice=GridChoice("sagittal")))
    assert (first.grid.slice_axis, turned.grid.slice_axis) == ("axial", "sagittal")
    depth, height, width = first.grid.box
    assert turned.grid.box == (width, depth, height)


def test_a_case_without_the_channel_is_of_no_use():
    """With it everything is made from nothing."""
    plan = make_plan()
    assert TASK.accepts(plan, ("t1n",))
    assert not TASK.accepts(plan, ())
    request = TASK.draw_request(plan, ("t1n",), np.random.default_rng(0))
    assert request == Request((), ("t1n",))
