"""From a plan and its budget to a recipe of the residual form."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from like_cases import like_cases

from liftnet.core.dataset import Channel, Dataset, DatasetDescription
from liftnet.core.errors import PlanError
from liftnet.core.fingerprint import Fingerprint
from liftnet.core.plan import Budget, Plan
from liftnet.core.storage.jsonable import from_json, to_json
from liftnet.methods import load_method
from liftnet.methods.lift.recipes import ResidualRecipe
from liftnet.methods.lift.residual_rules import plan_stages
from liftnet.pipeline.plan import apply_setting, explain
from liftnet.planning.cost import TooLargeError
from liftnet.tasks import load_task

SLICES, RESIDUAL = "slice_translation", "residual_context"
MR, CT = Channel("mr", "MR"), Channel("ct", "CT")
T1, T2 = Channel("t1", "MR"), Channel("t2", "MR")
LIFT, TASK = load_method("lift"), load_task("translation")
PAPER = (150, 210, 180)  # voxels of 1 mm: a SynthRAD head


def fingerprint_of(
    shape: tuple[int, int, int],
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0),
    names: tuple[str, ...] = ("mr", "ct"),
) -> Fingerprint:
    """A fingerprint of three like cases."""
    box = tuple(n // 8 for n in shape), tuple(n - n // 8 for n in shape)
    return like_cases(shape, spacing, box, names=names, stripped=False, fraction=0.3, low=3.0)


def decided(
    fingerprint: Fingerprint,
    budget: Budget,
    sources: tuple[Channel, ...] = (MR,),
    targets: tuple[Channel, ...] = (CT,),
) -> tuple[Plan, ResidualRecipe]:
    """What task and method decide."""
    channels, made = ({str(i): c for i, c in enumerate(group)} for group in (sources, targets))
    dataset = Dataset(Path("raw"), DatasetDescription("D", TASK.name, channels, made), ())
    (plan,) = TASK.plans(dataset, fingerprint, budget, "default")
    assert LIFT.unfit(plan) is None
    recipe = LIFT.decide(plan, fingerprint, squeeze=False)
    assert isinstance(recipe, ResidualRecipe)
    return plan, recipe


@cache
def small() -> tuple[Plan, ResidualRecipe]:
    """A plan of a small volume, and its recipe."""
    return decided(fingerprint_of((12, 28, 36), (2.5, 1.0, 1.0)), Budget(0.1, 4, None))


@pytest.mark.parametrize("budget", [24.0, 48.0])
def test_the_papers_input_gives_the_papers_setting(budget):
    """T1 MR and CT at 1 mm: Tab. 10's rates and batches."""
    _, recipe = decided(fingerprint_of(PAPER), Budget(budget, 2, None))
    first, second = recipe.slice_translation, recipe.residual_context
    assert (first.learning_rates, first.weight_decay) == ({"translator": 2e-4}, 0.0)
    assert first.volumes_per_step * first.windows_per_volume * first.decoded_slices == 32
    assert first.decoded_slices == 1
    assert second.learning_rates == {"mixer": 2e-4, "residual": 2e-4}
    assert second.weight_decay > 0
    assert second.volumes_per_step * second.windows_per_volume == 32
    assert second.decoded_slices == 3
    translator, mixer = recipe.translator, recipe.mixer
    assert (translator.source_channels, translator.target_channels) == (1, 1)
    assert translator.widths[0] == 64
    assert (mixer.descriptor, mixer.inject) == ("mean", "none")
    assert max(recipe.memory.training_gib, recipe.memory.prediction_gib) <= 0.9 * budget
    assert from_json(LIFT.recipe, to_json(recipe), where="lift.json") == recipe


def test_the_papers_box_fits_the_network():
    """Its slices can be halved; those of another size cannot."""
    plan, recipe = decided(fingerprint_of(PAPER), Budget(24.0, 2, None))
    boxed = TASK.refresh(apply_setting(plan, "grid.box=[96,128,160]"))
    assert LIFT.refresh(boxed, recipe, estimate=False) == recipe
    odd = TASK.refresh(apply_setting(plan, "grid.box=[128,130,128]"))
    with pytest.raises(PlanError, match=r"grid.in_plane \(130, 128\) is not a multiple of"):
        LIFT.refresh(odd, recipe)


def test_several_sources_and_targets():
    """The network has as many channels; a fixed target makes one output."""
    fingerprint = fingerprint_of((12, 28, 36), names=("t1", "t2", "ct", "mr"))
    plan, recipe = decided(fingerprint, Budget(1.0, 4, None), (T1, T2), (CT, MR))
    translator = recipe.translator
    assert (translator.source_channels, translator.target_channels) == (2, 2)
    one = TASK.refresh(apply_setting(plan, 'targets=["mr"]'))
    assert LIFT.refresh(one, recipe).translator.target_channels == 1


def test_smaller_budgets_never_get_more():
    """Networks and batches shrink with the budget, the estimate fits it, too little is refused."""
    fingerprint = fingerprint_of((24, 40, 30), (2.0, 2.0, 2.0))
    widths = []
    for budget in (0.3, 0.06, 0.02, 0.0005):
        try:
            _, recipe = decided(fingerprint, Budget(budget, 4, None))
        except TooLargeError as error:
            assert "The smallest network needs" in str(error)
            break
        assert recipe.memory.training_gib <= 0.9 * budget
        assert recipe.memory.prediction_gib <= 0.9 * budget
        widths.append(recipe.translator.widths[0])
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


def test_every_reason_names_a_setting():
    """Explain finds the value of every reason, also of settings made by hand."""
    recipe = apply_setting(small()[1], "losses.outside_mask=0")
    text = explain(recipe, prefix="lift.")
    for key in recipe.reasons:
        assert f"lift.{key} = " in text
        assert f"lift.{key} = null" not in text
    assert "lift.losses.outside_mask = 0.0\n    set by hand" in text


@pytest.mark.parametrize(
    ("setting", "problem"),
    [
        (f"{SLICES}.windows_per_volume=2", f"windows_per_volume of {SLICES} must be 1"),
        (f"{RESIDUAL}.windows_per_volume=0", "windows_per_volume must be 1 or more"),
        ("mixer.inject=decoder", "inject must be none"),
        ("mixer.through_plane_kernel=3", "through_plane_kernel 0"),
        ("residual.width=0", "residual needs a width"),
        ("residual.neighbours=-1", "neighbours or convolutions is negative"),
        (
            f'{RESIDUAL}.learning_rates={{"translator":1e-4,"mixer":1e-4}}',
            f"the translator is frozen in {RESIDUAL}",
        ),
        (
            f'{SLICES}.learning_rates={{"mixer":1e-4}}',
            f"learning_rates of {SLICES} must be of the translator alone",
        ),
        ("losses.outside_mask=1.5", "losses.outside_mask is above 1"),
        ("losses.l1=-1", "a loss weight is negative"),
        ('losses={"l1":1}', "losses are l1; expected l1, ms_ssim, charbonnier"),
        ("losses={}", "losses are none; expected l1"),
        ("translator.widths=[]", "widths"),
        ("translator.source_channels=2", "takes 2 channels"),
    ],
)
def test_contradictions_are_refused(setting, problem):
    """A recipe whose parts do not fit is met with what is wrong."""
    plan, recipe = small()
    changed = apply_setting(recipe, setting)
    with pytest.raises(PlanError, match=f"The recipe contradicts itself: .*{problem}"):
        LIFT.refresh(plan, changed)


def test_losses_that_train_nothing_are_refused():
    """Not all weights are 0."""
    plan, recipe = small()
    nothing = replace(recipe, losses=dict.fromkeys(recipe.losses, 0.0))
    with pytest.raises(PlanError, match="a loss weight is negative, or all are 0"):
        LIFT.refresh(plan, nothing)


def test_a_recipe_has_the_schedules_of_its_stages():
    """A stage that no code trains would be left out silently."""
    data = to_json(small()[1])
    for wrong in (data | {"more": data[SLICES]}, {k: v for k, v in data.items() if k != RESIDUAL}):
        with pytest.raises(PlanError):
            from_json(LIFT.recipe, wrong, where="lift.json")
