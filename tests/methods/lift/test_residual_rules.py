"""From fingerprint and memory to a translation plan."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from like_cases import like_cases

from liftnet.core.dataset import Channel, Dataset, DatasetDescription
from liftnet.core.errors import DatasetError, PlanError
from liftnet.core.fingerprint import Fingerprint
from liftnet.core.jsonable import from_json, to_json
from liftnet.core.network_specs import MixerSpec, ResidualSpec, TranslatorSpec
from liftnet.core.plan import Budget, ClipAndScale, PercentileScale, Plan, ZScore
from liftnet.methods.lift.residual_rules import make_plan, plan_stages, refresh
from liftnet.pipeline.plan import apply_setting, explain

SLICES, RESIDUAL = "slice_translation", "residual_context"
MR, CT = Channel("mr", "MR"), Channel("ct", "CT")
T1, T2 = Channel("t1", "MR"), Channel("t2", "MR")
HU = ClipAndScale(-1000.0, 2000.0, (-1.0, 1.0))


def dataset_of(sources: tuple[Channel, ...] = (MR,), targets: tuple[Channel, ...] = (CT,)):
    """A dataset without files."""
    channels, made = ({str(i): c for i, c in enumerate(group)} for group in (sources, targets))
    return Dataset(Path("raw"), DatasetDescription("D", "translation", channels, made), ())


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


@cache
def small_plan() -> Plan:
    """A plan of a small volume."""
    fingerprint = fingerprint_of((12, 28, 36), (2.5, 1.0, 1.0))
    return make_plan(dataset_of(), fingerprint, Budget(0.1, 4, None), "default")


@pytest.mark.parametrize("budget", [24.0, 48.0])
def test_the_papers_input_gives_the_papers_setting(budget):
    """T1 MR and CT at 1 mm: Tab. 10's rates and batches, Sec. 5.3's intensities."""
    plan = make_plan(dataset_of(), fingerprint_of(), Budget(budget, 2, None), "default")
    first, second = plan.stages[SLICES], plan.stages[RESIDUAL]
    assert (first.learning_rates, first.weight_decay) == ({"translator": 2e-4}, 0.0)
    assert first.volumes_per_step * first.windows_per_volume * first.decoded_slices == 32
    assert first.decoded_slices == 1
    assert second.learning_rates == {"mixer": 2e-4, "residual": 2e-4}
    assert second.weight_decay > 0
    assert second.volumes_per_step * second.windows_per_volume == 32
    assert second.decoded_slices == 3
    assert isinstance(plan.channel("mr").normalization, ZScore)
    assert plan.channel("ct").normalization == HU
    assert (plan.grid.slice_axis, plan.grid.spacing_mm) == ("axial", (1.0, 1.0, 1.0))
    assert (plan.grid.num_slices, plan.grid.box, plan.grid.mask) == (150, None, "body")
    assert plan.grid.in_plane >= (210, 180) and not plan.grid.crop_in_plane
    translator, mixer = plan.networks["translator"], plan.networks["mixer"]
    assert isinstance(translator, TranslatorSpec) and isinstance(mixer, MixerSpec)
    assert isinstance(plan.networks["residual"], ResidualSpec)
    assert (translator.source_channels, translator.target_channels) == (1, 1)
    assert translator.widths[0] == 64
    assert (mixer.descriptor, mixer.inject) == ("mean", "none")
    assert plan.source_dropout == 0
    assert max(plan.memory.training_gib, plan.memory.prediction_gib) <= 0.9 * budget


def test_typical_values_are_the_fingerprints():
    """The z-score's typical mean and spread are medians over the training cases."""
    rule = small_plan().channel("mr").normalization
    assert rule == ZScore("foreground", 400.0, 120.0)


def test_the_papers_box():
    """`--set grid.box` brings size, number of slices and resampling along."""
    plan = make_plan(dataset_of(), fingerprint_of(), Budget(24.0, 2, None), "default")
    boxed = refresh(apply_setting(plan, "grid.box=[96,128,160]"))
    assert boxed.grid.box == (96, 128, 160)
    assert (boxed.grid.num_slices, boxed.grid.in_plane) == (96, (128, 160))
    assert boxed.grid.resample_in_plane and boxed.grid.resample_through_plane
    assert not boxed.grid.crop_in_plane
    assert boxed.memory.training_gib < plan.memory.training_gib
    assert from_json(Plan, to_json(boxed), where="plan.json") == boxed
    with pytest.raises(PlanError, match=r"grid.in_plane \(130, 128\) is not a multiple of"):
        refresh(apply_setting(plan, "grid.box=[128,130,128]"))


def test_mr_to_mr():
    """No CT rule; a skull-stripped head is cropped, another one not."""
    names = ("t1", "t2")
    dataset = dataset_of((T1,), (T2,))
    budget = Budget(1.0, 4, None)
    stripped = fingerprint_of((30, 44, 36), names=names, stripped=True)
    plan = make_plan(dataset, stripped, budget, "default")
    assert plan.grid.crop_in_plane and plan.grid.foreground == "nonzero"
    assert plan.grid.in_plane < (44, 36)
    assert isinstance(plan.channel("t1").normalization, ZScore)
    target = plan.channel("t2").normalization
    assert isinstance(target, PercentileScale) and target.region == "foreground"
    assert (target.typical_low, target.typical_high) == (0.0, 900.0)
    assert "HU" not in "".join(plan.reasons[k] for k in plan.reasons if k.startswith("channels"))
    whole = make_plan(dataset, fingerprint_of((30, 44, 36), names=names), budget, "default")
    assert not whole.grid.crop_in_plane and whole.grid.foreground == "otsu"
    target = whole.channel("t2").normalization
    assert isinstance(target, PercentileScale) and target.region == "grid"


@pytest.mark.parametrize("stripped", [False, True])
def test_ct_as_a_source(stripped):
    """CT has no zero background: Otsu and no crop, also where its air is stored as 0."""
    names = ("ct", "mr")
    fingerprint = fingerprint_of((30, 44, 36), names=names, stripped=stripped)
    plan = make_plan(dataset_of((CT,), (MR,)), fingerprint, Budget(1.0, 4, None), "default")
    assert plan.channel("ct").normalization == HU
    assert isinstance(plan.channel("mr").normalization, PercentileScale)
    assert plan.grid.foreground == "otsu" and not plan.grid.crop_in_plane


def test_a_ct_target_is_never_cropped():
    """Also not where the MR is skull-stripped: the CT has more."""
    plan = make_plan(
        dataset_of(), fingerprint_of((30, 44, 36), stripped=True), Budget(1.0, 4, None), "default"
    )
    assert not plan.grid.crop_in_plane and plan.grid.in_plane >= (44, 36)
    assert plan.grid.foreground == "nonzero"


def test_several_sources_and_targets():
    """Some sources are hidden now and then; every channel is where the files number it."""
    names = ("t1", "t2", "ct", "mr")
    plan = make_plan(
        dataset_of((T1, T2), (CT, MR)), fingerprint_of((12, 28, 36), names=names),
        Budget(1.0, 4, None), "default",
    )  # fmt: skip
    assert plan.channel_names == names
    assert (plan.sources, plan.targets) == (("t1", "t2"), ("ct", "mr"))
    assert 0 < plan.source_dropout < 1
    assert [plan.file_number(name) for name in names] == [0, 1, 0, 1]
    translator = plan.networks["translator"]
    assert (translator.source_channels, translator.target_channels) == (2, 2)
    one = refresh(apply_setting(plan, 'targets=["mr"]'))
    assert one.networks["translator"].target_channels == 1
    assert one.file_number("mr") == 1  # as in targetsTr


def test_smaller_budgets_never_get_more():
    """Networks and batches shrink with the budget, the estimate fits it, too little is refused."""
    fingerprint = fingerprint_of((24, 40, 30), (2.0, 2.0, 2.0))
    widths = []
    for budget in (0.3, 0.06, 0.02, 0.0005):
        try:
            plan = make_plan(dataset_of(), fingerprint, Budget(budget, 4, None), "default")
        except PlanError as error:
            assert "Raise --gpu-memory" in str(error)
            break
        assert plan.memory.training_gib <= 0.9 * budget
        assert plan.memory.prediction_gib <= 0.9 * budget
        widths.append(plan.networks["translator"].widths[0])
    else:
        pytest.fail("no budget was refused")
    assert len(set(widths)) > 1 and widths == sorted(widths, reverse=True)


def test_steps_scale_the_rates():
    """Short trainings learn faster, within a limit; steps add up over both stages."""
    for steps in (2, 3, 50, 1000, 50_000, 500_000):
        first, second = plan_stages(steps, {}).values()
        assert first.num_steps + second.num_steps == steps
        rates = {*first.learning_rates.values(), *second.learning_rates.values()}
        assert rates == {min(max(2e-4, 2e-4 * 100_000 / steps), 1e-3)}
        for schedule in (first, second):
            assert min(schedule.num_steps, schedule.validate_every, schedule.warmup_steps) >= 1
        windows = second.volumes_per_step * second.windows_per_volume
        assert 1 <= windows <= 32 and first.volumes_per_step <= 32


def test_impossible_datasets():
    """No target, and a channel without images, are named."""
    with pytest.raises(DatasetError, match="Translation needs a source and a target"):
        make_plan(dataset_of((MR,), ()), fingerprint_of(), Budget(8.0, 2, None), "x")
    with pytest.raises(DatasetError, match="No case has channel mr"):
        make_plan(dataset_of(), fingerprint_of(names=("ct",)), Budget(8.0, 2, None), "x")


def test_every_reason_names_a_setting():
    """Explain finds the value of every reason, also of settings made by hand."""
    plan = small_plan()
    for setting in ("channels.ct.normalization.high=1500", "losses.outside_mask=0", "seed=4"):
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
        ("grid.in_plane=[31,28]", r"grid.in_plane \(31, 28\) is not a multiple of"),
        (f"stages.{SLICES}.windows_per_volume=2", f"windows_per_volume of {SLICES} must be 1"),
        (f"stages.{RESIDUAL}.windows_per_volume=0", "windows_per_volume must be 1 or more"),
        ("lift.mixer.inject=decoder", "inject must be none"),
        ("lift.mixer.through_plane_kernel=3", "through_plane_kernel 0"),
        ("lift.residual.width=0", "residual needs a width"),
        ("lift.residual.neighbours=-1", "neighbours or convolutions is negative"),
        (
            f'stages.{RESIDUAL}.learning_rates={{"translator":1e-4,"mixer":1e-4}}',
            f"the translator is frozen in {RESIDUAL}",
        ),
        (
            f'stages.{SLICES}.learning_rates={{"mixer":1e-4}}',
            f"learning_rates of {SLICES} must be of the translator alone",
        ),
        ("losses.outside_mask=1.5", "losses.outside_mask is above 1"),
        ("losses.l1=-1", "a loss weight is negative"),
        ('losses={"l1":1}', "losses are l1; expected l1, ms_ssim, charbonnier"),
        ("losses={}", "all are 0"),
        ("lift.translator.widths=[]", "widths"),
        ("lift.translator.source_channels=2", "takes 2 channels"),
        ("stages={}", f"there is no stage {RESIDUAL}, {SLICES}"),
        ("networks={}", "networks must be a translator, a mixer and a residual"),
        ("channels.ct.normalization.high=-2000", "low is not below high"),
        ("channels.ct.normalization.limits=[1,1]", "low is not below high"),
        ("grid.box=[0,32,32]", "num_slices must be 1 or more"),
    ],
)
def test_contradictions_are_refused(setting, problem):
    """A plan whose parts do not fit is met with what is wrong."""
    changed = apply_setting(small_plan(), setting)
    with pytest.raises(PlanError, match=f"The plan contradicts itself: .*{problem}"):
        refresh(changed)


def test_a_target_needs_limits():
    """A z-score has none, and cannot be a target."""
    plan = small_plan()
    channels = tuple(replace(c, normalization=ZScore("grid", 0.0, 1.0)) for c in plan.channels)
    with pytest.raises(PlanError, match="target ct is a z-score, which has no limits"):
        refresh(replace(plan, channels=channels))


def test_a_stage_of_another_name_is_refused():
    """A stage that no code trains would be left out silently."""
    plan = small_plan()
    stages = {**plan.stages, "more": plan.stages[SLICES]}
    with pytest.raises(PlanError, match=f"stages are {SLICES}, {RESIDUAL}, more; expected"):
        refresh(replace(plan, stages=stages))
