"""Translation: the decisions about data, what is asked for, how a volume ends."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from four_channels import NAMES, four_channels
from like_cases import like_cases

from liftnet.core.dataset import Channel, Dataset, DatasetDescription
from liftnet.core.errors import DatasetError, PlanError
from liftnet.core.fingerprint import Fingerprint
from liftnet.core.plan import Budget, ClipAndScale, PercentileScale, Plan, ZScore
from liftnet.core.request import Request
from liftnet.core.storage.jsonable import from_json, to_json
from liftnet.data.crops import whole
from liftnet.pipeline.plan import apply_setting, explain, read_plan
from liftnet.tasks.translation import TASK

MR, CT = Channel("mr", "MR"), Channel("ct", "CT")
T1, T2 = Channel("t1", "MR"), Channel("t2", "MR")
HU = ClipAndScale(-1000.0, 2000.0, (-1.0, 1.0))
BUDGET = Budget(1.0, 4, None)


@pytest.fixture
def heads(pairs: Path) -> Plan:
    """The plan of the MR and CT heads."""
    return read_plan(pairs / "preprocessed" / "Dataset009_Heads" / "default" / "plan.json")


def fingerprint_of(
    shape: tuple[int, int, int] = (150, 210, 180),
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0),
    *,
    names: tuple[str, ...] = ("mr", "ct"),
    stripped: bool = False,
) -> Fingerprint:
    """A fingerprint of three like cases; a SynthRAD head by default."""
    box = tuple(n // 8 for n in shape), tuple(n - n // 8 for n in shape)
    return like_cases(
        shape, spacing, box, names=names, stripped=stripped, fraction=0.3,
        low=3.0,
    )  # fmt: skip


def plan_of(
    fingerprint: Fingerprint,
    sources: tuple[Channel, ...] = (MR,),
    targets: tuple[Channel, ...] = (CT,),
) -> Plan:
    """The plan of a dataset without files."""
    channels, made = ({str(i): c for i, c in enumerate(group)} for group in (sources, targets))
    dataset = Dataset(Path("raw"), DatasetDescription("D", TASK.name, channels, made), ())
    (plan,) = TASK.plans(dataset, fingerprint, BUDGET, "default")
    return plan


def small_plan() -> Plan:
    """A plan of a small volume."""
    return plan_of(fingerprint_of((12, 28, 36), (2.5, 1.0, 1.0)))


def test_the_papers_input_gives_the_papers_setting():
    """T1 MR and CT at 1 mm: Sec. 5.3's intensities, the whole volume, a mask of the body."""
    plan = plan_of(fingerprint_of())
    assert isinstance(plan.channel("mr").normalization, ZScore)
    assert plan.channel("ct").normalization == HU
    assert (plan.grid.slice_axis, plan.grid.spacing_mm) == ("axial", (1.0, 1.0, 1.0))
    assert (plan.grid.num_slices, plan.grid.box, plan.grid.mask) == (150, None, "body")
    assert plan.grid.in_plane >= (210, 180) and not plan.grid.crop_in_plane
    assert plan.source_dropout == 0
    assert TASK.refresh(plan) == plan


def test_typical_values_are_the_fingerprints():
    """The z-score's typical mean and spread are medians over the training cases."""
    rule = small_plan().channel("mr").normalization
    assert rule == ZScore("foreground", 400.0, 120.0)


def test_the_papers_box():
    """`--set grid.box` brings size, number of slices and resampling along."""
    boxed = TASK.refresh(apply_setting(plan_of(fingerprint_of()), "grid.box=[96,128,160]"))
    assert boxed.grid.box == (96, 128, 160)
    assert (boxed.grid.num_slices, boxed.grid.in_plane) == (96, (128, 160))
    assert boxed.grid.resample_in_plane and boxed.grid.resample_through_plane
    assert not boxed.grid.crop_in_plane
    assert from_json(Plan, to_json(boxed), where="plan.json") == boxed


def test_mr_to_mr():
    """No CT rule; a skull-stripped head is cropped, another one not."""
    names = ("t1", "t2")
    plan = plan_of(fingerprint_of((30, 44, 36), names=names, stripped=True), (T1,), (T2,))
    assert plan.grid.crop_in_plane and plan.grid.foreground == "nonzero"
    assert plan.grid.in_plane < (44, 36)
    assert isinstance(plan.channel("t1").normalization, ZScore)
    target = plan.channel("t2").normalization
    assert isinstance(target, PercentileScale) and target.region == "foreground"
    assert (target.typical_low, target.typical_high) == (0.0, 900.0)
    assert "HU" not in "".join(plan.reasons[k] for k in plan.reasons if k.startswith("channels"))
    unstripped = plan_of(fingerprint_of((30, 44, 36), names=names), (T1,), (T2,))
    assert not unstripped.grid.crop_in_plane and unstripped.grid.foreground == "otsu"
    target = unstripped.channel("t2").normalization
    assert isinstance(target, PercentileScale) and target.region == "grid"


@pytest.mark.parametrize("stripped", [False, True])
def test_ct_as_a_source(stripped):
    """CT has no zero background: Otsu and no crop, also where its air is stored as 0."""
    fingerprint = fingerprint_of((30, 44, 36), names=("ct", "mr"), stripped=stripped)
    plan = plan_of(fingerprint, (CT,), (MR,))
    assert plan.channel("ct").normalization == HU
    assert isinstance(plan.channel("mr").normalization, PercentileScale)
    assert plan.grid.foreground == "otsu" and not plan.grid.crop_in_plane


def test_a_ct_target_is_never_cropped():
    """Also not where the MR is skull-stripped: the CT has more."""
    plan = plan_of(fingerprint_of((30, 44, 36), stripped=True))
    assert not plan.grid.crop_in_plane and plan.grid.in_plane >= (44, 36)
    assert plan.grid.foreground == "nonzero"


def test_several_sources_and_targets():
    """Some sources are hidden now and then; every channel is where the files number it."""
    names = ("t1", "t2", "ct", "mr")
    plan = plan_of(fingerprint_of((12, 28, 36), names=names), (T1, T2), (CT, MR))
    assert plan.channel_names == names
    assert (plan.sources, plan.targets) == (("t1", "t2"), ("ct", "mr"))
    assert 0 < plan.source_dropout < 1
    assert [plan.file_number(name) for name in names] == [0, 1, 0, 1]
    one = TASK.refresh(apply_setting(plan, 'targets=["mr"]'))
    assert one.file_number("mr") == 1  # as in targetsTr


def test_impossible_datasets():
    """No target, and a channel without images, are named."""
    with pytest.raises(DatasetError, match="Translation needs a source and a target"):
        plan_of(fingerprint_of(), (MR,), ())
    with pytest.raises(DatasetError, match="No case has channel mr"):
        plan_of(fingerprint_of(names=("ct",)))


def test_every_reason_names_a_setting():
    """Explain finds the value of every reason, also of settings made by hand."""
    plan = small_plan()
    for setting in ("channels.ct.normalization.high=1500", "seed=4"):
        plan = apply_setting(plan, setting)
    text = explain(plan)
    for key in plan.reasons:
        assert f"{key} = " in text
    assert "grid.box = null" in text
    assert "channels.ct.normalization.high = 1500\n    set by hand" in text.replace(
        "1500.0", "1500"
    )


@pytest.mark.parametrize(
    ("setting", "problem"),
    [
        ('targets=["cct"]', "cct are not channels"),
        ("targets=[]", "there is no target"),
        ("sources=[]", "there is no source"),
        ('targets=["mr"]', "mr is both source and target"),
        ("grid.mask=none", "grid.mask must be body"),
        ("channels.ct.normalization.high=-2000", "low is not below high"),
        ("channels.ct.normalization.limits=[1,1]", "low is not below high"),
        ("grid.box=[0,32,32]", "num_slices must be 1 or more"),
        ("seed=-1", "seed is negative"),
    ],
)
def test_contradictions_are_refused(setting, problem):
    """A plan whose parts do not fit is met with what is wrong."""
    changed = apply_setting(small_plan(), setting)
    with pytest.raises(PlanError, match=f"The plan contradicts itself: .*{problem}"):
        TASK.refresh(changed)


def test_a_target_needs_limits():
    """A z-score has none, and cannot be a target."""
    plan = small_plan()
    channels = tuple(replace(c, normalization=ZScore("grid", 0.0, 1.0)) for c in plan.channels)
    with pytest.raises(PlanError, match="target ct is a z-score, which has no limits"):
        TASK.refresh(replace(plan, channels=channels))


def test_accepts(heads, pairs):
    """A case needs a source and a target, whichever."""
    assert TASK.accepts(heads, ("mr", "ct"))
    assert not any(TASK.accepts(heads, present) for present in (("mr",), ("ct",), ()))
    more = four_channels(pairs)
    assert TASK.accepts(more, ("t2", "ct"))
    assert not any(TASK.accepts(more, present) for present in (NAMES[:2], NAMES[2:]))


def test_hidden_sources(pairs):
    """One is always kept; half of the draws hide one; a lone source is never hidden."""
    plan, rng = four_channels(pairs), np.random.default_rng(0)
    draws = [TASK.draw_request(plan, NAMES, rng) for _ in range(2000)]
    assert {request.made for request in draws} == {NAMES[2:]}
    assert {request.given for request in draws} == {NAMES[:1], NAMES[1:2], NAMES[:2]}
    assert np.mean([len(request.given) == 1 for request in draws]) == pytest.approx(0.5, abs=0.05)
    assert np.mean(["t1" in request.given for request in draws]) == pytest.approx(0.75, abs=0.05)
    fewer = {TASK.draw_request(plan, ("t2", "ct"), rng) for _ in range(50)}
    assert fewer == {Request(("t2",), ("ct",))}
    always = replace(plan, source_dropout=0.0)
    assert {TASK.draw_request(always, NAMES, rng) for _ in range(50)} == {
        Request(NAMES[:2], NAMES[2:])
    }


def test_requests(heads):
    """All targets, or the wanted ones; a case without source is refused."""
    assert TASK.request(heads, ["mr"], None) == Request(("mr",), ("ct",))
    assert TASK.request(heads, ["ct", "mr"], ["ct"]) == Request(("mr",), ("ct",))
    with pytest.raises(DatasetError, match="The case has no source image"):
        TASK.request(heads, ["ct"], None)
    with pytest.raises(DatasetError, match="No channel 'cct'"):
        TASK.request(heads, ["mr"], ["cct"])


def test_what_is_checked_in_training(pairs):
    """All targets that the case has, from all its sources; in HU only where all are CT."""
    plan = four_channels(pairs)
    assert TASK.checked_requests(plan, ("t1", "t2", "ct")) == [Request(("t1", "t2"), ("ct",))]
    assert TASK.checked_requests(plan, ("t2", "t3", "ct")) == [Request(("t2",), ("ct", "t3"))]
    assert TASK.judged_by(plan) == ("mae", 1)
    assert TASK.judged_by(replace(plan, targets=("ct",))) == ("mae_hu", 1)


def test_a_volume_ends_within_the_limits_of_its_target(pairs):
    """Each target within its own, also outside of the subject."""
    plan = four_channels(pairs)
    voxels = torch.zeros(4, 2, 3, 4)
    ranges = dict.fromkeys(NAMES, (0.0, 1.0))
    example = whole(plan, Request(("t1",), ("ct", "t3")), voxels, ranges, "x", seed=0)
    made = torch.tensor([-3.0, -0.5, 0.5, 3.0]).expand(2, 2, 3, 4)
    ct, t3 = TASK.finish(plan, made, example)
    assert ct[0, 0].tolist() == [-1.0, -0.5, 0.5, 1.0]
    assert t3[0, 0].tolist() == [0.0, 0.0, 0.5, 1.0]
