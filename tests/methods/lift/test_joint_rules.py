"""From a plan and its budget to a recipe of the joint form."""

import itertools
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from like_cases import like_cases

from liftnet.core.dataset import Channel, Dataset, DatasetDescription
from liftnet.core.errors import PlanError
from liftnet.core.fingerprint import Fingerprint
from liftnet.core.plan import Budget, Plan
from liftnet.core.recipe import schedules
from liftnet.core.storage.jsonable import from_json, to_json
from liftnet.methods import load_method
from liftnet.methods.lift.recipes import JointRecipe
from liftnet.pipeline.plan import apply_setting, explain
from liftnet.planning.cost import TooLargeError
from liftnet.tasks import load_task

NAMES = ("t1n", "t1c", "t2w", "t2f")
LIFT, TASK = load_method("lift"), load_task("missing_modality")
PAPER = ((155, 240, 240), (1.0, 1.0, 1.0), (150, 180, 140))
SMALL = ((10, 28, 36), (4.0, 2.5, 2.0), (9, 26, 30))


def fingerprint_of(
    shape: tuple[int, int, int], spacing: tuple[float, float, float], box: tuple[int, int, int]
) -> Fingerprint:
    """A fingerprint of three like cases."""
    start = tuple((n - b) // 2 for n, b in zip(shape, box, strict=True))
    stop = tuple(s + b for s, b in zip(start, box, strict=True))
    return like_cases(
        shape, spacing, (start, stop), names=NAMES, stripped=True, fraction=0.16, low=0.0
    )


def decided(fingerprint: Fingerprint, budget: Budget) -> tuple[Plan, JointRecipe]:
    """What task and method decide."""
    channels = {str(i): Channel(name, "MR") for i, name in enumerate(NAMES)}
    dataset = Dataset(Path("raw"), DatasetDescription("D", TASK.name, channels), ())
    (plan,) = TASK.plans(dataset, fingerprint, budget, "default")
    assert LIFT.unfit(plan) is None
    recipe = LIFT.decide(plan, fingerprint, squeeze=False)
    assert isinstance(recipe, JointRecipe)
    return plan, recipe


@cache
def small(steps: int | None = None) -> tuple[Plan, JointRecipe]:
    """A plan of a small volume, and its recipe."""
    return decided(fingerprint_of(*SMALL), Budget(0.1, 4, steps))


@pytest.mark.parametrize("budget", [24.0, 32.0])
def test_the_papers_input_gives_the_papers_setting(budget):
    """240x240x155 at 1 mm and 24 to 32 GiB: 48 slices, 2e-5 and 2e-4, all 155 slices as context."""
    plan, recipe = decided(fingerprint_of(*PAPER), Budget(budget, 2, None))
    translator, mixer = recipe.translator, recipe.mixer
    assert recipe.slice_translation is None
    schedule = recipe.context_translation
    assert schedule.decoded_slices == 48
    assert schedule.learning_rates == {"translator": 2e-5, "mixer": 2e-4}
    assert translator.widths[0] == 64
    assert translator.source_channels == translator.condition_size == 4
    assert (mixer.inject, mixer.through_plane_kernel) == ("decoder", 3)  # ours: measured
    assert recipe.losses.keys() == {"l1", "ms_ssim", "delta_z"}
    assert recipe.memory.training_gib <= 0.9 * budget
    stride = 2 ** (len(translator.widths) - 1)
    assert not any(side % stride for side in plan.grid.in_plane)
    assert from_json(LIFT.recipe, to_json(recipe), where="lift.json") == recipe


def test_smaller_budgets_never_get_more():
    """Width and slab shrink with the budget, the estimate fits it, and too little is refused."""
    fingerprint = fingerprint_of((24, 40, 30), (2.0, 2.0, 2.0), (20, 36, 27))
    sizes = []
    for budget in (0.5, 0.1, 0.03, 0.002):
        try:
            _, recipe = decided(fingerprint, Budget(budget, 4, None))
        except TooLargeError as error:
            assert "The smallest network needs" in str(error)
            break
        assert recipe.memory.training_gib <= 0.9 * budget
        assert recipe.memory.prediction_gib <= 0.9 * budget
        sizes.append((recipe.translator.widths[0], recipe.context_translation.decoded_slices))
    else:
        pytest.fail("no budget was refused")
    assert len(set(sizes)) > 2
    assert all(a >= b for a, b in itertools.pairwise(sizes))


def test_steps_scale_the_rates():
    """Short trainings learn faster, within a limit; long ones as the paper; steps add up."""
    _, medium = small(steps=125_000)
    assert medium.context_translation.learning_rates == pytest.approx(
        {"translator": 4e-5, "mixer": 4e-4}
    )
    _, long = small(steps=500_000)
    assert long.context_translation.learning_rates["translator"] == 2e-5
    for steps in (1, 2, 3, 50, 500_000):
        stages = schedules(small(steps=steps)[1]).values()
        assert sum(schedule.num_steps for schedule in stages) == steps
        for schedule in stages:
            assert min(schedule.num_steps, schedule.validate_every, schedule.warmup_steps) >= 1
            assert max(schedule.learning_rates.values()) <= 1e-3


@pytest.mark.parametrize("steps", [None, 1000])
def test_every_reason_names_a_setting(steps):
    """Explain finds the value of every reason, also of settings made by hand."""
    _, recipe = small(steps)
    assert ("slice_translation" in recipe.reasons) is (steps == 1000)
    recipe = apply_setting(recipe, "losses.delta_z=1")
    text = explain(recipe, prefix="lift.")
    for key in recipe.reasons:
        assert f"lift.{key} = " in text
        assert f"lift.{key} = null" not in text
    assert "lift.losses.delta_z = 1.0\n    set by hand" in text


STAGE = "context_translation"


@pytest.mark.parametrize(
    ("setting", "problem"),
    [
        ("translator.source_channels=3", "takes 3 channels and a code of 4"),
        ("translator.condition_size=2", "a code of 2, the plan has 4"),
        ("translator.widths=[12,24]", "not all multiples of 8"),
        ("translator.convolutions_per_stage=0", "convolutions_per_stage must be 1 or more"),
        ("mixer.through_plane_kernel=2", "expected 0 or an odd number"),
        ("mixer.through_plane_kernel=-3", "expected 0 or an odd number"),
        ("mixer.num_layers=0", "mixer.num_layers must be 1 or more"),
        ("mixer.inject=none", "mixer.inject is none"),
        ("losses.l1=-1", "a loss weight is negative"),
        ('losses={"l1":1}', "losses are l1; expected"),
        ('losses={"l1":0,"ms_ssim":0,"delta_z":1}', "losses.l1 and losses.ms_ssim are both 0"),
        (f"{STAGE}.num_steps=0", f"{STAGE}.num_steps must be 1 or more"),
        (f"{STAGE}.validate_every=0", "validate_every must be 1 or more"),
        (f"{STAGE}.decoded_slices=0", "decoded_slices must be 1 or more"),
        (f"{STAGE}.windows_per_volume=2", "windows_per_volume is 2; one slab"),
        ("inference.slice_batch=0", "inference.slice_batch must be 1 or more"),
        (f'{STAGE}.learning_rates={{"translater":1e-4}}', "learning_rates name translater"),
        (f"{STAGE}.learning_rates={{}}", "learning_rates are empty"),
        (f"{STAGE}.gradient_clip=0", f"{STAGE}.gradient_clip is 0"),
        ("augmentation.gamma_range=[1.2,0.8]", "augmentation.gamma_range"),
    ],
)
def test_contradictions_are_refused(setting, problem):
    """A recipe whose parts do not fit is met with what is wrong."""
    plan, recipe = small()
    changed = apply_setting(recipe, setting)
    with pytest.raises(PlanError, match=f"The recipe contradicts itself: .*{problem}"):
        LIFT.refresh(plan, changed)


def test_the_grid_fits_the_network():
    """A plan whose slices the U-Net cannot halve is refused with the recipe."""
    plan, recipe = small()
    odd = replace(plan, grid=replace(plan.grid, in_plane=(31, 28)))
    with pytest.raises(PlanError, match=r"grid.in_plane \(31, 28\) is not a multiple of"):
        LIFT.refresh(odd, recipe)


def test_a_fixed_target_makes_one_output():
    """With targets set to one name, the network gets one output (the paper's protocol)."""
    plan, recipe = small()
    fixed = TASK.refresh(apply_setting(plan, 'targets=["t2w"]'))
    assert fixed.targets == ("t2w",)
    assert recipe.translator.target_channels == 4
    assert LIFT.refresh(fixed, recipe).translator.target_channels == 1
