"""From a plan and its budget to a recipe of LiFT-U."""

import hashlib
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from like_cases import like_cases

from liftnet.core.dataset import Channel, Dataset, DatasetDescription
from liftnet.core.errors import PlanError
from liftnet.core.fingerprint import Fingerprint
from liftnet.core.network_specs import CriticSpec, ResNetSpec
from liftnet.core.plan import Budget, Plan
from liftnet.core.recipe import schedules
from liftnet.core.storage.jsonable import from_json, to_json
from liftnet.methods import load_method
from liftnet.methods.lift_u.recipe import LiftURecipe
from liftnet.methods.lift_u.rules import MAPPER, plan_generator
from liftnet.methods.lift_u.schedule import plan_stages
from liftnet.networks.depth_mapper import DepthMapper
from liftnet.pipeline.plan import apply_setting, explain
from liftnet.planning.cost import TooLargeError
from liftnet.planning.grid import GridChoice
from liftnet.planning.memory import num_parameters
from liftnet.tasks import load_task

STAGES = ["slice_features", "slice_generation", "code_trajectories", "depth_mapping"]
LIFT_U, TASK = load_method("lift_u"), load_task("unconditional")
SMALL = ((20, 40, 30), (4.0, 4.0, 4.0), ((2, 2, 2), (18, 38, 28)))


def fingerprint_of(
    shape: tuple[int, int, int] = (155, 240, 240),
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0),
    box: tuple[tuple[int, int, int], tuple[int, int, int]] = ((5, 30, 50), (146, 216, 197)),
    *,
    count: int = 100,
) -> Fingerprint:
    """Like cases; BraTS by default."""
    like = like_cases(shape, spacing, box, names=("t1n",), stripped=True, fraction=0.25, low=0.0)
    return replace(like, cases={f"c{i}": like.cases["x"] for i in range(count)})


def plans(fingerprint: Fingerprint, budget: Budget, choice: GridChoice | None = None) -> list[Plan]:
    """The plans of a dataset without files."""
    described = DatasetDescription("D", TASK.name, {"0": Channel("t1n", "MR")}, {})
    dataset = Dataset(Path("raw"), described, ())
    return list(TASK.plans(dataset, fingerprint, budget, "default", choice))


def decided(
    fingerprint: Fingerprint, budget: Budget, choice: GridChoice | None = None
) -> tuple[Plan, LiftURecipe]:
    """The first plan on whose grid something fits, and the recipe."""
    found = plans(fingerprint, budget, choice)
    for plan, squeeze in [*((plan, False) for plan in found), (found[-1], True)]:
        assert LIFT_U.unfit(plan) is None
        try:
            return plan, LIFT_U.decide(plan, fingerprint, squeeze=squeeze)
        except TooLargeError as error:
            problem = error
    raise problem


@cache
def small() -> tuple[Plan, LiftURecipe]:
    """A plan of a small volume, and its recipe."""
    return decided(fingerprint_of(*SMALL), Budget(1.0, 4, None))


def test_brats_on_the_papers_gpu_gives_the_papers_setting():
    """Sec. 5.1, App. F and Tab. 10 on 24 GB: size, batches, rates, mapper, memory."""
    plan, recipe = decided(fingerprint_of(), Budget(24.0, 2, None))
    assert plan.grid.box == (128, 128, 128)
    assert list(schedules(recipe)) == STAGES
    slices, depth = recipe.slice_generation, recipe.depth_mapping
    assert slices.volumes_per_step * slices.windows_per_volume * slices.decoded_slices == 128
    assert slices.learning_rates == {"generator": 2e-4, "critic": 2e-4}
    assert slices.betas == (0.5, 0.9)
    assert (depth.volumes_per_step, depth.learning_rates) == (8, {"mapper": 2e-4})
    assert depth.decoded_slices == 128
    assert all(stage.weight_decay == 0 for stage in schedules(recipe).values())
    assert recipe.generator.widths == (32, 64, 128, 256, 256)
    assert recipe.generator.in_plane == (128, 128)
    assert recipe.features.widths == (48, 96, 192)
    assert recipe.critic == CriticSpec((64, 128, 256))
    assert num_parameters(DepthMapper(MAPPER)) == pytest.approx(1.455e6, rel=0.03)
    assert recipe.mapper == MAPPER
    assert recipe.drift.positives == 64
    assert (recipe.drift.mode, recipe.drift.bank) == ("attract_repel", "matched")
    assert (recipe.temperature, recipe.sigma_z) == (1.0, 0.0)
    assert recipe.memory.training_gib <= 0.9 * 24
    assert recipe.memory.prediction_gib * 2**30 < 0.41e9
    assert from_json(LiftURecipe, to_json(recipe), where="lift_u.json") == recipe


@pytest.mark.parametrize("number_bytes", [2, 4])
@pytest.mark.parametrize("budget", [2.0, 8.0, 80.0])
def test_generation_is_as_small_as_the_papers(budget, number_bytes):
    """Below 0.41 GB in bfloat16 and float32, with 8 to 16 slices at a time."""
    _, recipe = decided(fingerprint_of(), Budget(budget, number_bytes, None))
    assert recipe.memory.prediction_gib * 2**30 < 0.41e9
    assert 8 <= recipe.inference.slice_batch <= 16


def test_smaller_budgets_never_get_more():
    """Fewer slices, narrower generators, coarser grids; too little is refused."""
    fingerprint = fingerprint_of((80, 110, 90), (2.0, 2.0, 2.0), ((2, 10, 8), (71, 98, 80)))
    before = None
    for budget in (8.0, 4.0, 1.0, 0.5, 0.2, 0.01):
        try:
            plan, recipe = decided(fingerprint, Budget(budget, 2, None))
        except TooLargeError as error:
            assert "The smallest network needs" in str(error)
            break
        assert recipe.memory.training_gib <= 0.9 * budget
        slices = recipe.slice_generation.volumes_per_step
        now = (-plan.grid.spacing_mm[0], slices, recipe.generator.widths[0])
        assert before is None or now <= before
        before = now
    else:
        pytest.fail("no budget was refused")
    assert budget == 0.01
    assert before is not None and before[0] < -2


def test_squeezing_takes_narrower_networks():
    """Those too small to be good only when asked to; too little memory is too little for them."""
    plan, recipe = small()
    fingerprint = fingerprint_of(*SMALL)
    narrow = LIFT_U.decide(plan, fingerprint, squeeze=True)
    assert narrow.generator.widths[0] == 8 < 16 <= recipe.generator.widths[0]
    tiny = Budget(0.05, 4, None)
    for squeeze in (False, True):
        with pytest.raises(TooLargeError, match=r"volumes of \d+ x \d+ x \d+"):
            LIFT_U.decide(replace(plan, budget=tiny), fingerprint, squeeze=squeeze)


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
    """Below 64 the reasons warn, and positives are training cases."""
    _, few = decided(fingerprint_of(*SMALL, count=20), Budget(1.0, 4, None))
    assert few.drift.positives == 16
    assert "warning: 20 cases are few" in few.reasons["drift.positives"]
    assert "warning" not in "".join(small()[1].reasons.values())


def test_given_features(tmp_path):
    """A file's path and SHA-256 are kept, its stage is gone, another file is warned of."""
    path = tmp_path / "resnet18.pth"
    path.write_bytes(b"weights")
    fingerprint, budget = fingerprint_of(*SMALL), Budget(1.0, 4, 1000, str(path))
    plan, recipe = decided(fingerprint, budget)
    digest = hashlib.sha256(b"weights").hexdigest()
    assert recipe.features == ResNetSpec(str(path), digest)
    assert list(schedules(recipe)) == STAGES[1:] and recipe.slice_features is None
    assert [stage.name for stage in LIFT_U.stages(plan, recipe)] == STAGES[1:]
    assert sum(stage.num_steps for stage in schedules(recipe).values()) == 1000
    assert "warning: the file is not torchvision's" in recipe.reasons["features"]
    assert "lift_u.features = " in explain(recipe, prefix="lift_u.")
    path.unlink()  # a recipe is read without it
    assert LIFT_U.refresh(plan, recipe) == recipe
    with pytest.raises(PlanError, match="No file with weights of features"):
        decided(fingerprint, budget)


def test_every_reason_names_a_setting():
    """Explain finds the value of every reason, also of settings made by hand."""
    recipe = apply_setting(small()[1], "drift.mode=attract")
    text = explain(recipe, prefix="lift_u.")
    for key in recipe.reasons:
        assert f"lift_u.{key} = " in text
        assert f"lift_u.{key} = null" not in text
    assert 'lift_u.drift.mode = "attract"\n    set by hand' in text


def test_edits_bring_along_what_follows():
    """Sizes, slices and the mapper's codes follow the plan's box and the generator's code."""
    plan, recipe = small()
    assert LIFT_U.refresh(plan, recipe) == recipe
    boxed = TASK.refresh(apply_setting(plan, "grid.box=[16,48,24]"))
    followed = LIFT_U.refresh(boxed, recipe)
    assert followed.generator.in_plane == (48, 24)
    assert followed.depth_mapping.decoded_slices == 16
    assert followed.code_trajectories.decoded_slices == 16
    longer = LIFT_U.refresh(plan, apply_setting(recipe, "generator.code_size=64"))
    assert longer.mapper.code_size == 64
    assert recipe.mapper.code_size == 256
    assert longer.memory != recipe.memory


@pytest.mark.parametrize(
    ("setting", "problem"),
    [
        ("generator.widths=[24]", "generator.widths needs two or more"),
        ("generator.widths=[20,40]", "not all multiples of 8"),
        ("critic.widths=[]", "critic.widths is empty"),
        ("mapper.latent_size=9", "latent_size is 9; its waves need 33"),
        ("mapper.num_blocks=0", "mapper.num_blocks must be 1 or more"),
        ("features.masked=1", "features.masked must lie between 0 and 1"),
        ("features.widths=[]", "features.widths"),
        ("slice_features=null", "slice_features is a schedule where features are trained"),
        ("slice_generation.decoded_slices=2", "decoded_slices must be 1"),
        ("slice_features.windows_per_volume=4", "is 4; expected a multiple of 3"),
        ("depth_mapping.windows_per_volume=2", "windows_per_volume must be 1"),
        ("depth_mapping.volumes_per_step=1", "volumes_per_step must be 2 or more"),
        (
            'slice_generation.learning_rates={"generator":1e-4}',
            "learning_rates of slice_generation name generator; expected critic, generator",
        ),
        (
            'depth_mapping.learning_rates={"mapper":1e-4,"generator":1e-4}',
            "learning_rates of depth_mapping name mapper, generator; expected mapper",
        ),
        ("depth_mapping.num_steps=0", "depth_mapping.num_steps must be 1 or more"),
        ("drift.positives=1", "drift.positives must be 2 or more"),
        ("drift.slices_per_plane=500", "drift.slices_per_plane is 500; grid.box has"),
        ("drift.temperatures=[]", "drift.temperatures must be above 0"),
        ("drift.bandwidth=0", "drift.bandwidth must be above 0"),
        ("drift.checked_volumes=1", "drift.checked_volumes must be 2 or more"),
        ("inference.slice_batch=0", "inference.slice_batch must be 1 or more"),
        ("temperature=0", "temperature must be above 0"),
        ("losses.features=-1", "a loss weight is negative"),
        ('losses={"l1":1}', "losses are l1; expected l1, features, adversarial, drift"),
        ("losses={}", "losses are none; expected l1"),
    ],
)
def test_contradictions_are_refused(setting, problem):
    """A recipe whose parts do not fit is met with what is wrong."""
    plan, recipe = small()
    changed = apply_setting(recipe, setting)
    with pytest.raises(PlanError, match=f"The recipe contradicts itself: .*{problem}"):
        LIFT_U.refresh(plan, changed)


def test_the_box_fits_the_generator():
    """A plan whose slices it cannot halve is refused with the recipe."""
    plan, recipe = small()
    boxed = TASK.refresh(apply_setting(plan, "grid.box=[16,44,30]"))
    with pytest.raises(PlanError, match=r"slices of \(44, 30\), which is not a multiple of"):
        LIFT_U.refresh(boxed, recipe)


def test_what_it_does_not_serve():
    """Sources, several channels, and volumes of any size."""
    plan, _ = small()
    assert LIFT_U.unfit(plan) is None
    assert "no use for sources" in LIFT_U.unfit(replace(plan, sources=("t1n",)))
    for other in (
        replace(plan, targets=("t1n", "t2w")),
        replace(plan, grid=replace(plan.grid, box=None)),
    ):
        assert "one channel in volumes of one size" in LIFT_U.unfit(other)


def test_losses_that_train_nothing_are_refused():
    """Each of the two trainings needs a term of its own."""
    plan, recipe = small()
    for names, problem in (
        (("l1", "features"), "losses.l1 and losses.features are both 0"),
        (("drift", "energy", "trajectory"), "are all 0"),
    ):
        losses = recipe.losses | dict.fromkeys(names, 0.0)
        with pytest.raises(PlanError, match=problem):
            LIFT_U.refresh(plan, replace(recipe, losses=losses))


def test_slices_along_left_and_right_are_not_flipped():
    """The last axis of a sagittal slice runs from front to back; of nature's or by hand."""
    even = fingerprint_of((40, 50, 30), (2.0, 2.0, 2.0), ((2, 2, 1), (38, 48, 29)))
    coarse = fingerprint_of((40, 50, 10), (4.0, 4.0, 20.0), ((2, 2, 1), (38, 48, 9)))
    for fingerprint, choice in ((even, GridChoice("sagittal")), (coarse, None)):
        plan, recipe = decided(fingerprint, Budget(1.0, 4, None), choice)
        assert plan.grid.slice_axis == "sagittal"
        assert recipe.augmentation.flip_probability == (0.0, 0.0, 0.0)
    spec = small()[1].augmentation
    assert spec.flip_probability == (0.0, 0.0, 0.5)
    assert spec.noise_probability == spec.rotation_probability == 0
