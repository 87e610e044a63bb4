"""Missing modality: the decisions about data, what is asked for, how a volume ends."""

from pathlib import Path

import numpy as np
import pytest
import torch
from like_cases import like_cases

from liftnet.core.dataset import Channel, Dataset, DatasetDescription
from liftnet.core.errors import DatasetError, PlanError
from liftnet.core.fingerprint import Fingerprint
from liftnet.core.plan import Budget, ClipAndScale, PercentileScale, Plan
from liftnet.core.request import Request
from liftnet.core.storage.jsonable import from_json, to_json
from liftnet.data.crops import whole
from liftnet.pipeline.plan import apply_setting, explain, read_plan
from liftnet.tasks.missing_modality import TASK

NAMES = ("t1n", "t1c", "t2w", "t2f")
BUDGET = Budget(1.0, 4, None)


@pytest.fixture
def plan(workspace: Path) -> Plan:
    """The plan of the phantom dataset."""
    return read_plan(workspace / "preprocessed" / "Dataset007_Phantom" / "default" / "plan.json")


def dataset_of(names: tuple[str, ...] = NAMES, ct: str | None = None) -> Dataset:
    """A dataset without files."""
    channels = {str(i): Channel(n, "CT" if n == ct else "MR") for i, n in enumerate(names)}
    return Dataset(Path("raw"), DatasetDescription("D", "missing_modality", channels), ())


def fingerprint_of(
    shape: tuple[int, int, int],
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0),
    box: tuple[int, int, int] = (150, 180, 140),
    *,
    names: tuple[str, ...] = NAMES,
    stripped: bool = True,
) -> Fingerprint:
    """A fingerprint of three like cases."""
    start = tuple((n - b) // 2 for n, b in zip(shape, box, strict=True))
    stop = tuple(s + b for s, b in zip(start, box, strict=True))
    return like_cases(
        shape, spacing, (start, stop), names=names, stripped=stripped, fraction=0.16,
        low=0.0,
    )  # fmt: skip


def small_plan() -> Plan:
    """A plan of a small volume."""
    fingerprint = fingerprint_of((10, 28, 36), (4.0, 2.5, 2.0), (9, 26, 30))
    (plan,) = TASK.plans(dataset_of(), fingerprint, BUDGET, "default")
    return plan


def test_the_papers_input():
    """240x240x155 at 1 mm: all 155 slices, the brain with a margin, every contrast a target."""
    fingerprint = fingerprint_of((155, 240, 240))
    (plan,) = TASK.plans(dataset_of(), fingerprint, BUDGET, "default")
    assert plan.channel_names == plan.sources == plan.targets == NAMES
    assert (plan.grid.slice_axis, plan.grid.num_slices) == ("axial", 155)
    assert plan.grid.spacing_mm == (1.0, 1.0, 1.0)
    height, width = plan.grid.in_plane
    assert 184 <= height < 240 and 144 <= width < 240  # not the grid
    assert TASK.refresh(plan) == plan
    assert from_json(Plan, to_json(plan), where="plan.json") == plan


@pytest.mark.parametrize(
    ("spacing", "axis", "grid_spacing", "slices"),
    [
        ((1.0, 1.1, 1.15), "axial", (1.0, 1.1, 1.15), 50),
        ((4.0, 1.0, 1.5), "axial", (4.0, 1.0, 1.5), 50),
        ((1.0, 4.0, 1.5), "coronal", (4.0, 1.0, 1.5), 60),
        ((1.0, 1.5, 4.0), "sagittal", (4.0, 1.0, 1.5), 70),
    ],
)
def test_slice_axis_is_the_coarsest(spacing, axis, grid_spacing, slices):
    """Slices lie along the coarsest spacing; nearly isotropic data is axial, and says so."""
    fingerprint = fingerprint_of((50, 60, 70), spacing, (40, 44, 48))
    (plan,) = TASK.plans(dataset_of(), fingerprint, BUDGET, "default")
    assert plan.grid.slice_axis == axis
    assert plan.grid.spacing_mm == grid_spacing
    assert plan.grid.num_slices == slices
    in_plane = {"axial": (44, 48), "coronal": (40, 48), "sagittal": (40, 44)}[axis]
    for size, box in zip(plan.grid.in_plane, in_plane, strict=True):
        assert box + 4 <= size < box + 4 + 16
    isotropic = max(spacing) < 1.2
    assert ("isotropic" in plan.reasons["grid.slice_axis"]) is isotropic


def test_normalization():
    """Stripped MR by the head's own percentiles, other MR by the grid's, CT by fixed limits."""
    stripped = small_plan().channel("t2w").normalization
    assert isinstance(stripped, PercentileScale)
    assert (stripped.region, stripped.lower) == ("foreground", 0.0)
    assert stripped.upper == pytest.approx(1 - 0.001 / 0.16)
    assert (stripped.typical_low, stripped.typical_high) == (0.0, 900.0)
    names = ("t1n", "ct")
    fingerprint = fingerprint_of((40, 60, 50), box=(36, 56, 44), names=names, stripped=False)
    (plan,) = TASK.plans(dataset_of(names, "ct"), fingerprint, BUDGET, "default")
    assert plan.channel("ct").normalization == ClipAndScale(-1000.0, 2000.0, (0.0, 1.0))
    whole_grid = plan.channel("t1n").normalization
    assert isinstance(whole_grid, PercentileScale)
    assert (whole_grid.region, whole_grid.lower, whole_grid.upper) == ("grid", 0.001, 0.999)
    assert not plan.grid.crop_in_plane and plan.grid.foreground == "otsu"
    assert plan.grid.in_plane >= (60, 50)


def test_impossible_datasets():
    """One channel is too few, targets are another task's, a channel without images is named."""

    def plans(dataset: Dataset, names: tuple[str, ...]) -> list[Plan]:
        fingerprint = fingerprint_of((155, 240, 240), names=names)
        return list(TASK.plans(dataset, fingerprint, BUDGET, "x"))

    with pytest.raises(DatasetError, match="needs at least two channels"):
        plans(dataset_of(("a",)), ("a",))
    with pytest.raises(DatasetError, match="No case has channel t2f"):
        plans(dataset_of(), NAMES[:3])
    described = DatasetDescription(
        "D", TASK.name, dataset_of().description.channels, {"0": Channel("ct", "CT")}
    )
    with pytest.raises(DatasetError, match="has no targets of its own"):
        plans(Dataset(Path("raw"), described, ()), NAMES)


def test_every_reason_names_a_setting():
    """Explain finds the value of every reason, also of settings made by hand."""
    plan = small_plan()
    for setting in ("channels.t1n.normalization.upper=0.9", "channels.0.modality=CT", "seed=4"):
        plan = apply_setting(plan, setting)
    text = explain(plan)
    for key in plan.reasons:
        assert f"{key} = " in text
    assert 'grid.slice_axis = "axial"' in text
    assert "channels.t1n.normalization.upper = 0.9\n    set by hand" in text
    assert "seed = 4\n    set by hand" in text


@pytest.mark.parametrize(
    ("setting", "problem"),
    [
        ('targets=["t1x"]', "t1x are not channels"),
        ("targets=[]", "there is no target"),
        ('targets=["t1c","t1c"]', "a target or a source is named twice"),
        ('sources=["t1c","t2w"]', "every channel must be a source"),
        ("sources=[]", "there is no source"),
        ("grid.in_plane=[0,28]", r"grid.in_plane \(0, 28\) is not a size"),
        ("grid.spacing_mm=[4,0,2]", "is not positive"),
        ("grid.num_slices=0", "grid.num_slices must be 1 or more"),
        ("grid.mask=body", "grid.mask must be none"),
        ("grid.box=[8,24,24]", "grid.box null"),
        ("channels.t1c.normalization.limits=[-1,1]", "t1c must be normalized to limits 0 and 1"),
        ("seed=-1", "seed is negative"),
    ],
)
def test_contradictions_are_refused(setting, problem):
    """A plan whose parts do not fit is met with what is wrong."""
    changed = apply_setting(small_plan(), setting)
    with pytest.raises(PlanError, match=f"The plan contradicts itself: .*{problem}"):
        TASK.refresh(changed)


def test_a_share_is_a_share():
    """What is no probability cannot even be set."""
    with pytest.raises(PlanError, match="source_dropout"):
        apply_setting(small_plan(), "source_dropout=1.5")


def test_hidden_contrasts(plan):
    """Always a target is hidden and a source kept; each contrast and number gets its share."""
    rng = np.random.default_rng(0)

    def hidden(plan: Plan, present: tuple[str, ...]) -> set[str]:
        request = TASK.draw_request(plan, present, rng)
        assert request.given and request.made
        found = set(present) - set(request.given)
        assert request.made == tuple(name for name in plan.targets if name in found)
        return found

    draws = [hidden(plan, ("a", "b", "c")) for _ in range(3000)]
    assert {len(d) for d in draws} == {1, 2}
    # A quarter of the draws hide more, and with three contrasts that is always one more.
    share = plan.source_dropout
    assert share == 0.25
    assert np.mean([len(d) == 2 for d in draws]) == pytest.approx(share, abs=0.04)
    for name in "abc":
        assert np.mean([name in d for d in draws]) == pytest.approx((1 + share) / 3, abs=0.04)
    assert all(len(hidden(plan, ("a", "c"))) == 1 for _ in range(50))
    fixed = apply_setting(plan, 'targets=["c"]')
    assert all("c" in hidden(fixed, ("a", "b", "c")) for _ in range(50))
    alone = apply_setting(plan, "source_dropout=0")
    assert all(len(hidden(alone, ("a", "b", "c"))) == 1 for _ in range(50))


def test_accepts_cases_with_a_target_and_a_source(plan):
    """A fixed target rules out the cases that lack it."""
    fixed = apply_setting(plan, 'targets=["b"]')
    assert TASK.accepts(fixed, ("a", "b", "c"))
    assert not TASK.accepts(fixed, ("a", "c"))
    assert TASK.accepts(plan, ("a", "c"))
    assert not TASK.accepts(plan, ("a",))


def test_requests(plan):
    """Absent targets by default, wanted ones otherwise; what cannot be done is refused."""
    assert TASK.request(plan, ["c", "a"], None) == Request(("a", "c"), ("b",))
    assert TASK.request(plan, ["a", "b", "c"], ["c"]) == Request(("a", "b"), ("c",))
    assert TASK.request(plan, ["b"], None) == Request(("b",), ("a", "c"))
    with pytest.raises(DatasetError, match="No contrast is missing: a, b, c"):
        TASK.request(plan, ["a", "b", "c"], None)
    with pytest.raises(DatasetError, match="No source contrast is left"):
        TASK.request(plan, ["a"], ["a"])
    with pytest.raises(DatasetError, match="No channel 'd'"):
        TASK.request(plan, ["a"], ["d"])


def test_what_is_checked_in_training(plan):
    """Each target that the case has from all others; nothing of a case with one contrast."""
    assert TASK.checked_requests(plan, ("a", "c")) == [
        Request(("c",), ("a",)),
        Request(("a",), ("c",)),
    ]
    fixed = apply_setting(plan, 'targets=["b"]')
    assert TASK.checked_requests(fixed, ("a", "b", "c")) == [Request(("a", "c"), ("b",))]
    assert TASK.checked_requests(plan, ("a",)) == []
    assert TASK.judged_by(plan) == ("psnr", -1)


def test_a_volume_ends_where_its_sources_do(plan):
    """Within [0, 1], and 0 where every given source is."""
    voxels = torch.rand(3, 4, 5, 6)
    voxels[1:, 2, 3] = 0
    ranges = dict.fromkeys("abc", (0.0, 1.0))
    example = whole(plan, Request(("b", "c"), ("a",)), voxels, ranges, "x", seed=0)
    made = torch.tensor([-0.5, 0.4, 1.5])[:, None, None, None].expand(3, 4, 5, 6)
    got = TASK.finish(plan, made, example)
    inside = (voxels[1:] > 0).any(dim=0)
    assert not inside[2, 3].any() and inside.sum() == 4 * 5 * 6 - 6
    for value, volume in zip((0.0, 0.4, 1.0), got, strict=True):
        torch.testing.assert_close(volume, torch.where(inside, value, 0.0))
