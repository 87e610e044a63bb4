"""From fingerprint and memory to a plan."""

import itertools
from functools import cache
from pathlib import Path

import pytest
from like_cases import like_cases

from liftnet.core.dataset import Channel, Dataset, DatasetDescription
from liftnet.core.errors import DatasetError, PlanError
from liftnet.core.fingerprint import Fingerprint
from liftnet.core.network_specs import MixerSpec, TranslatorSpec
from liftnet.core.plan import Budget, ClipAndScale, PercentileScale, Plan
from liftnet.methods.lift.joint_rules import make_plan, refresh
from liftnet.pipeline.plan import apply_setting, explain

STAGE = "context_translation"
NAMES = ("t1n", "t1c", "t2w", "t2f")


def dataset_of(names: tuple[str, ...] = NAMES, ct: str | None = None) -> Dataset:
    """A dataset without files."""
    channels = {str(i): Channel(n, "CT" if n == ct else "MR") for i, n in enumerate(names)}
    return Dataset(Path("raw"), DatasetDescription("D", "missing_modality", channels), ())


def fingerprint_of(
    shape: tuple[int, int, int] = (155, 240, 240),
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0),
    box: tuple[int, int, int] = (150, 180, 140),
    *,
    names: tuple[str, ...] = NAMES,
    stripped: bool = True,
) -> Fingerprint:
    """A fingerprint of three like cases; the paper's input by default."""
    start = tuple((n - b) // 2 for n, b in zip(shape, box, strict=True))
    stop = tuple(s + b for s, b in zip(start, box, strict=True))
    return like_cases(
        shape, spacing, (start, stop), names=names, stripped=stripped, fraction=0.16,
        low=0.0,
    )  # fmt: skip


@cache
def small_plan(steps: int | None = None) -> Plan:
    """A plan of a small volume."""
    fingerprint = fingerprint_of((10, 28, 36), (4.0, 2.5, 2.0), (9, 26, 30))
    return make_plan(dataset_of(), fingerprint, Budget(0.1, 4, steps), "default")


@pytest.mark.parametrize("budget", [24.0, 32.0])
def test_the_papers_input_gives_the_papers_setting(budget):
    """240x240x155 at 1 mm and 24 to 32 GiB: 48 slices, 2e-5 and 2e-4, all 155 slices as context."""
    plan = make_plan(dataset_of(), fingerprint_of(), Budget(budget, 2, None), "default")
    translator, mixer = plan.networks["translator"], plan.networks["mixer"]
    assert isinstance(translator, TranslatorSpec) and isinstance(mixer, MixerSpec)
    schedule = plan.stages[STAGE]
    assert schedule.decoded_slices == 48
    assert schedule.learning_rates == {"translator": 2e-5, "mixer": 2e-4}
    assert translator.widths[0] == 64
    assert translator.source_channels == translator.condition_size == 4
    assert (plan.grid.slice_axis, plan.grid.num_slices) == ("axial", 155)
    assert plan.grid.spacing_mm == (1.0, 1.0, 1.0)
    assert (mixer.inject, mixer.through_plane_kernel) == ("decoder", 3)  # ours: measured
    assert plan.losses.keys() == {"l1", "ms_ssim", "delta_z"}
    assert plan.memory.training_gib <= 0.9 * budget
    height, width = plan.grid.in_plane
    assert 184 <= height < 240 and 144 <= width < 240  # the brain with a margin, not the grid
    assert height % translator_stride(translator) == width % translator_stride(translator) == 0


def translator_stride(translator: TranslatorSpec) -> int:
    """How much the U-Net shrinks a side."""
    return 2 ** (len(translator.widths) - 1)


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
    plan = make_plan(dataset_of(), fingerprint, Budget(1.0, 4, None), "default")
    assert plan.grid.slice_axis == axis
    assert plan.grid.spacing_mm == grid_spacing
    assert plan.grid.num_slices == slices
    in_plane = {"axial": (44, 48), "coronal": (40, 48), "sagittal": (40, 44)}[axis]
    for size, box in zip(plan.grid.in_plane, in_plane, strict=True):
        assert box + 4 <= size < box + 4 + 16
    isotropic = max(spacing) < 1.2
    assert ("isotropic" in plan.reasons["grid.slice_axis"]) is isotropic


def test_smaller_budgets_never_get_more():
    """Width and slab shrink with the budget, the estimate fits it, and too little is refused."""
    fingerprint = fingerprint_of((24, 40, 30), (2.0, 2.0, 2.0), (20, 36, 27))
    sizes = []
    for budget in (0.5, 0.1, 0.03, 0.002):
        try:
            plan = make_plan(dataset_of(), fingerprint, Budget(budget, 4, None), "default")
        except PlanError as error:
            assert "The smallest network needs" in str(error)
            assert "Raise --gpu-memory" in str(error)
            break
        assert plan.memory.training_gib <= 0.9 * budget
        assert plan.memory.prediction_gib <= 0.9 * budget
        widths = plan.networks["translator"].widths
        sizes.append((widths[0], plan.stages[STAGE].decoded_slices))
    else:
        pytest.fail("no budget was refused")
    assert len(set(sizes)) > 2
    assert all(a >= b for a, b in itertools.pairwise(sizes))


def test_steps_scale_the_rates():
    """Short trainings learn faster, within a limit; long ones as the paper; steps add up."""
    assert small_plan(steps=125_000).stages[STAGE].learning_rates == pytest.approx(
        {"translator": 4e-5, "mixer": 4e-4}
    )
    assert small_plan(steps=500_000).stages[STAGE].learning_rates["translator"] == 2e-5
    for steps in (1, 2, 3, 50, 500_000):
        stages = small_plan(steps=steps).stages.values()
        assert sum(schedule.num_steps for schedule in stages) == steps
        for schedule in stages:
            assert min(schedule.num_steps, schedule.validate_every, schedule.warmup_steps) >= 1
            assert max(schedule.learning_rates.values()) <= 1e-3


def test_normalization():
    """Stripped MR by the head's own percentiles, other MR by the grid's, CT by fixed limits."""
    stripped = small_plan().channel("t2w").normalization
    assert isinstance(stripped, PercentileScale)
    assert (stripped.region, stripped.lower) == ("foreground", 0.0)
    assert stripped.upper == pytest.approx(1 - 0.001 / 0.16)
    assert (stripped.typical_low, stripped.typical_high) == (0.0, 900.0)
    names = ("t1n", "ct")
    fingerprint = fingerprint_of((40, 60, 50), box=(36, 56, 44), names=names, stripped=False)
    plan = make_plan(dataset_of(names, "ct"), fingerprint, Budget(1.0, 4, None), "default")
    assert plan.channel("ct").normalization == ClipAndScale(-1000.0, 2000.0, (0.0, 1.0))
    whole = plan.channel("t1n").normalization
    assert isinstance(whole, PercentileScale)
    assert (whole.region, whole.lower, whole.upper) == ("grid", 0.001, 0.999)
    assert not plan.grid.crop_in_plane and plan.grid.foreground == "otsu"
    assert plan.grid.in_plane >= (60, 50)


def test_impossible_datasets():
    """One channel is too few; a channel without images is named."""
    with pytest.raises(DatasetError, match="needs at least two channels"):
        make_plan(dataset_of(("a",)), fingerprint_of(names=("a",)), Budget(8.0, 2, None), "x")
    with pytest.raises(DatasetError, match="No case has channel t2f"):
        make_plan(dataset_of(), fingerprint_of(names=NAMES[:3]), Budget(8.0, 2, None), "x")


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
        ("grid.in_plane=[31,28]", r"grid.in_plane \(31, 28\) is not a multiple of"),
        ("grid.in_plane=[0,28]", "grid.in_plane"),
        ("grid.spacing_mm=[4,0,2]", "is not positive"),
        ("lift.translator.source_channels=3", "takes 3 channels and a code of 4"),
        ("lift.translator.condition_size=2", "a code of 2, the plan has 4"),
        ("lift.translator.widths=[12,24]", "not all multiples of 8"),
        ("lift.mixer.through_plane_kernel=2", "expected 0 or an odd number"),
        ('targets=["t1c","t1c"]', "a target or a source is named twice"),
        ("lift.mixer.through_plane_kernel=-3", "expected 0 or an odd number"),
        ("source_dropout=1.5", "source_dropout is not a probability"),
        ("losses.l1=-1", "a loss weight is negative"),
        ('losses={"l1":1}', "losses are l1; expected"),
        (f"stages.{STAGE}.num_steps=0", f"stages.{STAGE}.num_steps must be 1 or more"),
        (f"stages.{STAGE}.validate_every=0", "validate_every must be 1 or more"),
        (f"stages.{STAGE}.decoded_slices=0", "decoded_slices must be 1 or more"),
        ("inference.slice_batch=0", "inference.slice_batch must be 1 or more"),
        (f'stages.{STAGE}.learning_rates={{"translater":1e-4}}', "learning_rates name translater"),
        (f"stages.{STAGE}.learning_rates={{}}", "learning_rates are empty"),
        ("seed=-1", "seed is negative"),
        ("stages={}", f"there is no stage {STAGE}"),
        ("networks={}", "networks must be a translator and a mixer"),
    ],
)
def test_contradictions_are_refused(setting, problem):
    """A plan whose parts do not fit is met with what is wrong."""
    changed = apply_setting(small_plan(), setting)
    with pytest.raises(PlanError, match=f"The plan contradicts itself: .*{problem}"):
        refresh(changed)


def test_a_fixed_target_makes_one_output():
    """With targets set to one name, the network gets one output (the paper's protocol)."""
    plan = refresh(apply_setting(small_plan(), 'targets=["t2w"]'))
    assert plan.targets == ("t2w",)
    assert plan.networks["translator"].target_channels == 1
