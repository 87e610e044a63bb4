"""From fingerprint and memory to a plan of unconditional generation."""

import hashlib
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from like_cases import like_cases

from liftnet.core.dataset import Channel, Dataset, DatasetDescription
from liftnet.core.errors import DatasetError, PlanError
from liftnet.core.fingerprint import Fingerprint
from liftnet.core.jsonable import from_json, to_json
from liftnet.core.network_specs import CriticSpec, FeatureSpec, GeneratorSpec, ResNetSpec
from liftnet.core.plan import Budget, ClipAndScale, PercentileScale, Plan, ZScore
from liftnet.methods.lift_u.rules import MAPPER, make_plan, plan_generator, refresh
from liftnet.methods.lift_u.schedule import plan_stages
from liftnet.networks.depth_mapper import DepthMapper
from liftnet.pipeline.plan import apply_setting, explain
from liftnet.planning.grid import GridChoice
from liftnet.planning.memory import num_parameters
from liftnet.tasks.unconditional import TASK

STAGES = ["slice_features", "slice_generation", "code_trajectories", "depth_mapping"]
T1 = Channel("t1n", "MR")


def dataset_of(channels: tuple[Channel, ...] = (T1,), targets: tuple[Channel, ...] = ()) -> Dataset:
    """A dataset without files."""
    own, made = ({str(i): c for i, c in enumerate(group)} for group in (channels, targets))
    return Dataset(Path("raw"), DatasetDescription("D", "unconditional", own, made), ())


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


@cache
def small_plan() -> Plan:
    """A plan of a small volume."""
    fingerprint = fingerprint_of((20, 40, 30), (4.0, 4.0, 4.0), ((2, 2, 2), (18, 38, 28)))
    return make_plan(dataset_of(), fingerprint, Budget(1.0, 4, None), "default")


def test_brats_on_the_papers_gpu_gives_the_papers_setting():
    """Sec. 5.1, App. F and Tab. 10 on 24 GB: size, intensities, batches, rates, mapper, memory."""
    plan = make_plan(dataset_of(), fingerprint_of(), Budget(24.0, 2, None), "default")
    assert (plan.grid.box, plan.grid.slice_axis) == ((128, 128, 128), "axial")
    assert list(plan.stages) == STAGES
    slices, depth = plan.stages["slice_generation"], plan.stages["depth_mapping"]
    assert slices.volumes_per_step * slices.windows_per_volume * slices.decoded_slices == 128
    assert slices.learning_rates == {"generator": 2e-4, "critic": 2e-4}
    assert slices.betas == (0.5, 0.9)
    assert (depth.volumes_per_step, depth.learning_rates) == (8, {"mapper": 2e-4})
    assert depth.decoded_slices == 128
    assert all(stage.weight_decay == 0 for stage in plan.stages.values())
    generator, features = plan.networks["generator"], plan.networks["features"]
    assert isinstance(generator, GeneratorSpec) and isinstance(features, FeatureSpec)
    assert generator.widths == (32, 64, 128, 256, 256)
    assert generator.in_plane == (128, 128)
    assert features.widths == (48, 96, 192)
    assert plan.networks["critic"] == CriticSpec((64, 128, 256))
    assert num_parameters(DepthMapper(MAPPER)) == pytest.approx(1.455e6, rel=0.03)
    assert plan.networks["mapper"] == MAPPER
    assert (plan.sources, plan.targets, plan.guides) == ((), ("t1n",), ("t1n",))
    assert plan.drift is not None and plan.drift.positives == 64
    assert (plan.drift.mode, plan.drift.bank) == ("attract_repel", "matched")
    assert plan.memory.training_gib <= 0.9 * 24
    assert plan.memory.prediction_gib * 2**30 < 0.41e9
    assert from_json(Plan, to_json(plan), where="plan.json") == plan


@pytest.mark.parametrize("number_bytes", [2, 4])
@pytest.mark.parametrize("budget", [2.0, 8.0, 80.0])
def test_generation_is_as_small_as_the_papers(budget, number_bytes):
    """Below 0.41 GB in bfloat16 and float32, with 8 to 16 slices at a time."""
    plan = make_plan(dataset_of(), fingerprint_of(), Budget(budget, number_bytes, None), "x")
    assert plan.memory.prediction_gib * 2**30 < 0.41e9
    assert 8 <= plan.inference.slice_batch <= 16


def test_intensities():
    """MR: the percentiles that WDM takes; CT: the fixed range; both to [-1, 1]."""
    rule = small_plan().channel("t1n").normalization
    # 0.1 % of the grid is 0.4 % of a foreground that fills a quarter of it.
    assert rule == PercentileScale("foreground", 0.0, pytest.approx(0.996), 0.0, 900.0, (-1.0, 1.0))
    head = fingerprint_of((20, 40, 30), (4.0, 4.0, 4.0), ((2, 2, 2), (18, 38, 28)), stripped=False)
    plan = make_plan(dataset_of(), head, Budget(1.0, 4, None), "x")
    assert plan.channel("t1n").normalization == PercentileScale(
        "grid", 0.001, 0.999, 3.0, 900.0, (-1.0, 1.0)
    )
    ct = fingerprint_of((20, 40, 30), (4.0, 4.0, 4.0), names=("ct",), box=((2, 2, 2), (18, 38, 28)))
    plan = make_plan(dataset_of((Channel("ct", "CT"),)), ct, Budget(1.0, 4, None), "x")
    assert plan.channel("ct").normalization == ClipAndScale(-1000.0, 2000.0, (-1.0, 1.0))
    assert plan.grid.foreground == "otsu"


def test_smaller_budgets_never_get_more():
    """Fewer slices, narrower generators, coarser grids; too little is refused."""
    fingerprint = fingerprint_of((80, 110, 90), (2.0, 2.0, 2.0), ((2, 10, 8), (71, 98, 80)))
    before = None
    for budget in (8.0, 4.0, 1.0, 0.5, 0.2, 0.01):
        try:
            plan = make_plan(dataset_of(), fingerprint, Budget(budget, 2, None), "default")
        except PlanError as error:
            assert "Raise --gpu-memory" in str(error)
            break
        assert plan.memory.training_gib <= 0.9 * budget
        generator = plan.networks["generator"]
        assert isinstance(generator, GeneratorSpec)
        slices = plan.stages["slice_generation"].volumes_per_step
        now = (-plan.grid.spacing_mm[0], slices, generator.widths[0])
        assert before is None or now <= before
        before = now
    else:
        pytest.fail("no budget was refused")
    assert budget == 0.01
    assert before is not None and before[0] < -2


@pytest.mark.parametrize(
    ("sides", "stages"),
    [((128, 128), 5), ((96, 112), 5), ((80, 96), 4), ((72, 64), 4), ((40, 48), 3), ((32, 40), 3)],
)
def test_the_generator_starts_from_six_pixels(sides, stages):
    """Stages divide the size and leave at least six pixels."""
    spec = plan_generator(sides, 24)
    assert len(spec.widths) == stages
    assert min(sides) // spec.stride >= 6
    assert not any(side % spec.stride for side in sides)


def test_steps_are_divided():
    """`--steps` is the length of all stages together; what a stage has follows its own."""
    for steps in (10, 1000, 50_001):
        for features in (True, False):
            stages = plan_stages(steps, 128, 40, {}, features=features)
            assert sum(stage.num_steps for stage in stages.values()) == steps
            assert list(stages) == STAGES[not features :]
            for stage in stages.values():
                assert 1 <= stage.validate_every <= stage.num_steps
                assert stage.warmup_steps <= stage.num_steps
            codes = stages["code_trajectories"]  # of which a validation costs hundreds
            assert codes.validate_every >= min(codes.num_steps, 500)
    shares = [stage.num_steps for stage in plan_stages(1000, 128, 40, {}, features=True).values()]
    assert shares == [100, 500, 80, 320]
    for steps in (1, 4):
        assert all(
            s.num_steps == 1 for s in plan_stages(steps, 128, 40, {}, features=True).values()
        )


def test_few_cases():
    """Below 8 nothing is planned, below 64 the reasons warn, and positives are training cases."""
    budget = Budget(1.0, 4, None)
    box = ((2, 2, 2), (18, 38, 28))
    with pytest.raises(DatasetError, match="needs 8 cases or more; there are 7"):
        make_plan(
            dataset_of(), fingerprint_of((20, 40, 30), (4.0, 4.0, 4.0), box, count=7), budget, "x"
        )
    few = make_plan(
        dataset_of(), fingerprint_of((20, 40, 30), (4.0, 4.0, 4.0), box, count=20), budget, "x"
    )
    assert few.drift is not None and few.drift.positives == 16
    assert "warning: 20 cases are few" in few.reasons["drift.positives"]
    assert "warning" not in "".join(small_plan().reasons.values())


@pytest.mark.parametrize(
    ("channels", "targets"),
    [((T1, Channel("t2w", "MR")), ()), ((T1,), (Channel("ct", "CT"),)), ((), (T1,))],
)
def test_one_channel_alone(channels, targets):
    """Several contrasts, and targets, are another task's."""
    with pytest.raises(DatasetError, match="takes one channel and no targets, not "):
        make_plan(dataset_of(channels, targets), fingerprint_of(), Budget(8.0, 2, None), "x")


def test_given_features(tmp_path):
    """A file's path and SHA-256 are kept, its stage is gone, another file is warned of."""
    path = tmp_path / "resnet18.pth"
    path.write_bytes(b"weights")
    fingerprint = fingerprint_of((20, 40, 30), (4.0, 4.0, 4.0), ((2, 2, 2), (18, 38, 28)))
    plan = make_plan(dataset_of(), fingerprint, Budget(1.0, 4, 1000, path), "x")
    digest = hashlib.sha256(b"weights").hexdigest()
    assert plan.networks["features"] == ResNetSpec(str(path), digest)
    assert list(plan.stages) == STAGES[1:]
    assert sum(stage.num_steps for stage in plan.stages.values()) == 1000
    assert "warning: the file is not torchvision's" in plan.reasons["lift_u.features"]
    assert "lift_u.features = " in explain(plan)
    path.unlink()  # a plan is read without it
    assert refresh(plan) == plan
    with pytest.raises(PlanError, match="No file with weights of features"):
        make_plan(dataset_of(), fingerprint, Budget(1.0, 4, None, path), "x")


def test_every_reason_names_a_setting():
    """Explain finds the value of every reason, also of settings made by hand."""
    plan = small_plan()
    for setting in ("channels.t1n.normalization.upper=0.99", "lift_u.drift.mode=attract", "seed=4"):
        plan = apply_setting(plan, setting)
    text = explain(plan)
    for key in plan.reasons:
        assert f"{key} = " in text
    assert 'drift.mode = "attract"\n    set by hand' in text


def test_edits_bring_along_what_follows():
    """Sizes, slices and the mapper's codes follow the box and the generator's code."""
    plan = small_plan()
    assert refresh(plan) == plan
    boxed = refresh(apply_setting(plan, "grid.box=[16,48,24]"))
    assert (boxed.grid.num_slices, boxed.grid.in_plane) == (16, (48, 24))
    generator, mapper = boxed.networks["generator"], boxed.networks["mapper"]
    assert generator.in_plane == (48, 24)  # type: ignore[union-attr]
    assert boxed.stages["depth_mapping"].decoded_slices == 16
    longer = refresh(apply_setting(plan, "lift_u.generator.code_size=64"))
    assert longer.networks["mapper"].code_size == 64  # type: ignore[union-attr]
    assert mapper.code_size == 256  # type: ignore[union-attr]
    assert longer.memory != plan.memory
    assert TASK.refresh(plan) == plan


@pytest.mark.parametrize(
    ("setting", "problem"),
    [
        ("targets=[]", "targets are none; expected t1n"),
        ('sources=["t1n"]', "sources must be empty"),
        ("source_dropout=0.2", "source_dropout must be 0"),
        ("grid.box=null", "grid.box must be a size and grid.pad_to_box true"),
        ("grid.pad_to_box=false", "grid.box must be a size and grid.pad_to_box true"),
        ("grid.box=[16,44,30]", r"slices of \(44, 30\), which is not a multiple of"),
        ("grid.box=[0,48,40]", "grid.num_slices, .* must be 1 or more"),
        ("grid.spacing_mm=[2,4,4]", "is not isotropic"),
        ("grid.mask=body", "grid.mask must be none"),
        ("networks={}", "networks must be features, a generator, a critic and a mapper"),
        ("lift_u.generator.widths=[24]", "lift_u.generator.widths needs two or more"),
        ("lift_u.generator.widths=[20,40]", "not all multiples of 8"),
        ("lift_u.critic.widths=[]", "lift_u.critic.widths is empty"),
        ("lift_u.mapper.latent_size=9", "latent_size is 9; its waves need 33"),
        ("lift_u.features.masked=1", "lift_u.features.masked must lie between 0 and 1"),
        ("lift_u.features.widths=[]", "lift_u.features.widths"),
        ("stages={}", "stages are none; expected slice_features, slice_generation"),
        ("lift_u.slice_generation.decoded_slices=2", "decoded_slices must be 1"),
        ("lift_u.slice_features.windows_per_volume=4", "is 4; expected a multiple of 3"),
        ("lift_u.depth_mapping.windows_per_volume=2", "windows_per_volume must be 1"),
        ("lift_u.depth_mapping.volumes_per_step=1", "volumes_per_step must be 2 or more"),
        (
            'lift_u.slice_generation.learning_rates={"generator":1e-4}',
            "learning_rates of slice_generation name generator; expected critic, generator",
        ),
        (
            'lift_u.depth_mapping.learning_rates={"mapper":1e-4,"generator":1e-4}',
            "learning_rates of depth_mapping name mapper, generator; expected mapper",
        ),
        ("lift_u.depth_mapping.num_steps=0", "lift_u.depth_mapping.num_steps must be 1 or more"),
        ("drift=null", "drift is null"),
        ("lift_u.drift.positives=1", "drift.positives must be 2 or more"),
        ("lift_u.drift.slices_per_plane=500", "drift.slices_per_plane is 500; grid.box has"),
        ("lift_u.drift.temperatures=[]", "drift.temperatures must be above 0"),
        ("lift_u.drift.bandwidth=0", "drift.bandwidth must be above 0"),
        ("lift_u.drift.checked_volumes=1", "drift.checked_volumes must be 2 or more"),
        ("inference.slice_batch=0", "inference.slice_batch must be 1 or more"),
        ("inference.temperature=0", "inference.temperature must be above 0"),
        ("losses.features=-1", "a loss weight is negative"),
        ('losses={"l1":1}', "losses are l1; expected l1, features, adversarial, drift"),
        ("losses={}", "losses are none; expected l1"),
        ("seed=-1", "seed is negative"),
    ],
)
def test_contradictions_are_refused(setting, problem):
    """A plan whose parts do not fit is met with what is wrong."""
    changed = apply_setting(small_plan(), setting)
    with pytest.raises(PlanError, match=f"The plan contradicts itself: .*{problem}"):
        refresh(changed)


def test_a_range_without_width_is_refused():
    """Such a plan cannot even be made."""
    with pytest.raises(PlanError, match="low is not below high"):
        apply_setting(small_plan(), "channels.t1n.normalization.limits=[1,1]")


def test_losses_that_train_nothing_are_refused():
    """Each of the two trainings needs a term of its own."""
    plan = small_plan()
    for names, problem in (
        (("l1", "features"), "losses.l1 and losses.features are both 0"),
        (("drift", "energy", "trajectory"), "are all 0"),
    ):
        losses = plan.losses | dict.fromkeys(names, 0.0)
        with pytest.raises(PlanError, match=problem):
            refresh(replace(plan, losses=losses))


def test_a_volume_needs_limits():
    """A z-score has none; two channels cannot be made."""
    plan = small_plan()
    free = tuple(replace(c, normalization=ZScore("grid", 0.0, 1.0)) for c in plan.channels)
    with pytest.raises(PlanError, match="the normalization of t1n has no limits"):
        refresh(replace(plan, channels=free))
    two = (*plan.channels, replace(plan.channels[0], name="t2w"))
    with pytest.raises(PlanError, match="channels are t1n, t2w; expected one"):
        refresh(replace(plan, channels=two))


def test_a_slice_axis_by_hand_turns_the_box():
    """The box lies in the order of its axes, and the flips follow."""
    fingerprint = fingerprint_of((40, 50, 30), (2.0, 2.0, 2.0), ((2, 2, 1), (38, 48, 29)))
    first = make_plan(dataset_of(), fingerprint, Budget(1.0, 4, None), "x")
    chosen = Budget(1.0, 4, None, grid=GridChoice("sagittal"))
    turned = make_plan(dataset_of(), fingerprint, chosen, "x")
    assert (first.grid.slice_axis, turned.grid.slice_axis) == ("axial", "sagittal")
    depth, height, width = first.grid.box
    assert turned.grid.box == (width, depth, height)
    assert turned.augmentation.flip_probability == (0.0, 0.0, 0.0)
    assert first.augmentation.flip_probability == (0.0, 0.0, 0.5)


def test_slices_along_left_and_right_are_not_flipped():
    """The last axis of a sagittal slice runs from front to back."""
    fingerprint = fingerprint_of((40, 50, 10), (4.0, 4.0, 20.0), ((2, 2, 1), (38, 48, 9)))
    plan = make_plan(dataset_of(), fingerprint, Budget(1.0, 4, None), "x")
    assert plan.grid.slice_axis == "sagittal"
    assert plan.augmentation.flip_probability == (0.0, 0.0, 0.0)
    assert small_plan().augmentation.flip_probability == (0.0, 0.0, 0.5)
    assert small_plan().augmentation.noise_probability == 0
    assert small_plan().augmentation.rotation_probability == 0
