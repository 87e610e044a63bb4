"""Planning as a step: settings, budgets, files."""

import hashlib
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from liftnet.core.errors import LiftnetError, PlanError
from liftnet.core.geometry import Geometry
from liftnet.core.network_specs import ResNetSpec
from liftnet.core.recipe import schedules
from liftnet.core.storage.jsonable import read_json, write_json
from liftnet.core.workspace import find_workspace
from liftnet.data.store import Store
from liftnet.imageio import write_image
from liftnet.methods import load_method
from liftnet.pipeline.plan import (
    Asked,
    Decided,
    apply_setting,
    find_budget,
    load_plan,
    load_recipe,
    plan,
    read_plan,
    read_recipe,
)
from liftnet.pipeline.preprocess.plan_and_preprocess import plan_and_preprocess
from liftnet.planning.cost import training_flops

DATASET = "Dataset007_Phantom"
STAGE = "context_translation"
LIFT, NO_MAPPER = load_method("lift"), load_method("no_mapper")


def plan_file(workspace, name="default"):
    """Where a plan lies."""
    return workspace / "preprocessed" / DATASET / name / "plan.json"


def recipe_file(workspace, method="lift"):
    """Where a recipe of the default plan lies."""
    return plan_file(workspace).parent / "recipes" / f"{method}.json"


def test_plans_live_side_by_side(workspace):
    """A plan of another name has its own files, which read back as what was decided."""
    first = plan_file(workspace).read_text(), recipe_file(workspace).read_text()
    decided, recipe = plan(7, workspace=workspace, gpu_memory=0.03, steps=8, plan_name="other")
    path = plan_file(workspace, "other")
    assert read_plan(path) == decided
    assert read_recipe(path.parent / "recipes" / "lift.json", decided, LIFT) == recipe
    assert (plan_file(workspace).read_text(), recipe_file(workspace).read_text()) == first
    assert decided.name == "other"
    assert sum(schedule.num_steps for schedule in schedules(recipe).values()) == 8
    assert recipe.memory.training_gib < 0.03


def test_settings(workspace):
    """Numbers, words, lists and objects, of a plan and of a recipe."""
    decided = read_plan(plan_file(workspace))
    recipe = read_recipe(recipe_file(workspace), decided, LIFT)
    for setting in (
        "seed=7", "grid.in_plane=[32,40]", "channels.b.normalization.upper=0.95",
        "grid.resample_in_plane=false",
    ):  # fmt: skip
        decided = apply_setting(decided, setting)
        assert decided.reasons[setting.split("=")[0]] == "set by hand"
    for setting in (
        "losses.delta_z=1", "inference.passes=two",
        f'{STAGE}.learning_rates={{"mixer":0.5,"translator":1e-4}}',
    ):  # fmt: skip
        recipe = apply_setting(recipe, setting, of="lift")
        assert recipe.reasons[setting.split("=")[0]] == "set by hand"
    assert (decided.seed, recipe.losses["delta_z"], recipe.inference.passes) == (7, 1.0, "two")
    assert decided.grid.in_plane == (32, 40) and not decided.grid.resample_in_plane
    assert recipe.context_translation.learning_rates == {"mixer": 0.5, "translator": 1e-4}
    assert [c.normalization.upper == 0.95 for c in decided.channels] == [False, True, False]


@pytest.mark.parametrize(
    ("setting", "problem", "where", "remedy"),
    [
        ("grid.slice_axes=axial", "No setting 'grid.slice_axes'", "grid",
         "Did you mean 'grid.slice_axis'?"),
        ("grid.slice_axis=oblique", "Expected one of 'axial', 'coronal', 'sagittal'",
         "grid.slice_axis", None),
        ("channels.d.normalization=1", "No setting 'channels.d.normalization'", "channels",
         "Known: 0, 1, 2."),
        ("lift.context.decoded_slices=4", "No setting 'lift.context.decoded_slices'", "lift",
         "Did you mean 'lift.context_translation.decoded_slices'?"),
        ("lift.losses.l11=4", "No setting 'lift.losses.l11'", "lift.losses",
         "Did you mean 'lift.losses.l1'?"),
        ("lift.losses.l1.x=4", "No setting 'lift.losses.l1.x'", "lift.losses.l1",
         "It is 1.0: set it as a whole."),
        ("lift.losses.l1=a", "Expected a number", "lift.losses.l1", None),
        ("losses.l1=2", "The plan has no setting 'losses.l1'", "--set losses.l1=2",
         "Did you mean 'lift.losses.l1'?"),
        ('losses={"l1":0.5}', "The plan has no setting 'losses'", '--set losses={"l1":0.5}',
         "Did you mean 'lift.losses'?"),
        ("lfit.losses.l1=2", "The plan has no setting 'lfit.losses.l1'", "--set lfit.losses.l1=2",
         "Did you mean 'lift.losses.l1'?"),
        (f"stages.{STAGE}.num_steps=1", f"The plan has no setting 'stages.{STAGE}.num_steps'",
         f"--set stages.{STAGE}.num_steps=1", f"Did you mean 'lift.{STAGE}.num_steps'?"),
        ("lfit.x=2", "The plan has no setting 'lfit.x'", "--set lfit.x=2", "Did you mean 'lift'?"),
        ("x=2", "The plan has no setting 'x'", "--set x=2",
         "Known: channels, grid, lift, reasons, seed, source_dropout, sources, targets."),
        ("no_mapper.losses.l1=2", "is one of method no_mapper, the recipe is that of lift",
         "--set no_mapper.losses.l1=2", "Plan that method: --method no_mapper."),
        ("lift_u.temperature=1", "is one of method lift_u, the recipe is that of lift",
         "--set lift_u.temperature=1", "Plan that method: --method lift_u."),
        ("seed", "'seed' is not key=value", None, None),
        ("lift.recompute", "'lift.recompute' is not key=value", None, None),
        ("lift=2", "The plan has no setting 'lift'", "--set lift=2",
         "Name a key of its recipe: lift.KEY=value."),
        ("lift.version=2", "'lift.version' says what the plan is for", "--set lift.version=2",
         None),
    ],
)  # fmt: skip
def test_settings_that_are_not_there(workspace, setting, problem, where, remedy):
    """The message names the whole key, and the nearest one there is."""
    with pytest.raises(PlanError) as caught:
        plan(7, workspace=workspace, plan_name="never", gpu_memory=0.03, settings=[setting])
    assert problem in str(caught.value)
    assert caught.value.where == where
    assert remedy is None or caught.value.remedy == remedy
    assert not plan_file(workspace, "never").exists()


def test_the_rest_of_the_grid_follows(workspace):
    """A spacing or slice axis by hand moves size, number of slices and flips; a box does not."""
    first = read_plan(plan_file(workspace))
    depth, height, width = first.grid.spacing_mm
    make = partial(plan, 7, workspace=workspace, gpu_memory=0.04, steps=8, plan_name="other")
    finer, recipe = make(settings=[f"grid.spacing_mm=[{depth},{height / 2},{width / 2}]"])
    assert finer.grid.num_slices == first.grid.num_slices
    for now, then in zip(finer.grid.in_plane, first.grid.in_plane, strict=True):
        assert 1.5 * then < now <= 2.1 * then
    assert recipe.memory.training_gib <= 0.04  # the networks follow too
    near = make(settings=[f"grid.spacing_mm=[{depth * 1.015},{height},{width}]"]).plan
    assert near.grid.num_slices == first.grid.num_slices  # as near as is never resampled
    halved = f"grid.spacing_mm=[{depth / 2},{height},{width}]"
    with pytest.raises(PlanError, match=r"slices are not resampled and lie \d"):
        make(settings=[halved])
    closer = make(settings=[halved, "grid.resample_through_plane=true"]).plan
    assert closer.grid.num_slices == pytest.approx(2 * first.grid.num_slices, abs=1)
    turned, recipe = make(settings=["grid.slice_axis=sagittal"])
    assert turned.grid.spacing_mm == (width, depth, height)
    shape = read_json(workspace / "preprocessed" / DATASET / "fingerprint.json")["cases"]
    wide = sorted(case["shape"][2] for case in shape.values())
    assert turned.grid.num_slices == pytest.approx(wide[len(wide) // 2], abs=1)
    assert recipe.augmentation.flip_probability == (0.5, 0.0, 0.0)
    assert turned.reasons["grid.slice_axis"] == "set by hand"


def test_a_box_keeps_its_size_along_another_axis(pairs):
    """Flips follow a slice axis that was set by hand, beside a box too."""
    settings = ["grid.box=[16,32,32]", "grid.slice_axis=sagittal", "grid.spacing_mm=[2,2,2]"]
    make = partial(plan, workspace=pairs, gpu_memory=0.2, steps=8, plan_name="box")
    boxed, recipe = make(settings=settings)
    assert (boxed.grid.box, boxed.grid.spacing_mm) == ((16, 32, 32), (2.0, 2.0, 2.0))
    assert boxed.grid.num_slices == 16 and boxed.grid.resample_through_plane
    assert recipe.augmentation.flip_probability == (0.5, 0.0, 0.0)


def measured(workspace) -> list[dict]:
    """What the fingerprint says of each case."""
    path = workspace / "preprocessed" / DATASET / "fingerprint.json"
    return list(read_json(path)["cases"].values())


def test_cropping_by_hand_moves_the_grid(workspace):
    """Whole slices are larger than boxes; their networks fit the same budget."""
    make = partial(plan, 7, workspace=workspace, gpu_memory=0.06, steps=8, plan_name="other")
    path = workspace / "preprocessed" / DATASET / "fingerprint.json"
    changed = read_json(path)
    for case in changed["cases"].values():  # heads in much background
        case["box_start"], case["box_stop"] = [0, 8, 9], [8, 17, 21]
    write_json(path, changed)
    boxes, of_boxes = make()
    whole, of_whole = make(settings=["grid.crop_in_plane=false"])
    assert boxes.grid.crop_in_plane and not whole.grid.crop_in_plane
    for axis, (small, large) in enumerate(
        zip(boxes.grid.in_plane, whole.grid.in_plane, strict=True), start=1
    ):
        step = boxes.grid.spacing_mm[axis]
        shapes = [c["shape"][axis] * c["spacing_mm"][axis] / step for c in measured(workspace)]
        assert small < round(max(shapes)) <= large < round(max(shapes)) + 8
    assert of_whole.memory.training_gib <= 0.06 >= of_boxes.memory.training_gib
    assert of_whole.translator != of_boxes.translator
    assert make(settings=["grid.crop_in_plane=true"]).plan.grid == boxes.grid


def test_resampling_by_hand_moves_the_grid(workspace):
    """Without it sizes are in each case's own voxels; another spacing is refused then."""
    make = partial(plan, 7, workspace=workspace, gpu_memory=0.06, steps=8, plan_name="other")
    cases = measured(workspace)
    sides = [max(c["box_stop"][a] - c["box_start"][a] for c in cases) + 4 for a in (1, 2)]
    own = make(settings=["grid.resample_in_plane=false"]).plan
    assert not own.grid.resample_in_plane
    for side, size in zip(sides, own.grid.in_plane, strict=True):
        assert side <= size < side + 4
    assert own.grid.in_plane[0] > make().plan.grid.in_plane[0]  # p4's voxels are smaller
    with pytest.raises(PlanError, match=r"asks for voxels of 1 x 1 mm in a slice") as caught:
        make(settings=["grid.resample_in_plane=false", "grid.spacing_mm=[4,1,1]"])
    assert "Leave out grid.resample_in_plane=false" in caught.value.remedy
    path = workspace / "preprocessed" / DATASET / "fingerprint.json"
    changed = read_json(path)
    for case in ("p1", "p2", "p3"):
        changed["cases"][case]["spacing_mm"][0] = 8.0
    write_json(path, changed)
    assert make().plan.grid.num_slices == 10
    through = make(settings=["grid.resample_through_plane=true"]).plan
    assert through.grid.spacing_mm[0] == 6.0
    assert through.grid.num_slices == 9  # (10, 9, 11) x 8 / 6 and (10, 8, 10) x 4 / 6


def test_sizes_by_hand_move_the_networks(workspace, pairs):
    """Larger slices, more of them, or a box: the largest networks that fit are those of that."""
    make = partial(plan, 7, workspace=workspace, gpu_memory=0.1, steps=8, plan_name="other")
    large, recipe = make(settings=["grid.in_plane=[64,128]"])
    assert large.grid.in_plane == (64, 128)
    assert recipe.memory.training_gib <= 0.1
    assert recipe.translator.widths[0] < make().recipe.translator.widths[0]
    deep, recipe = make(settings=["grid.num_slices=200"])
    assert deep.grid.num_slices == 200 and recipe.memory.training_gib <= 0.1
    head = partial(plan, workspace=pairs, gpu_memory=0.1, steps=8, plan_name="other")
    box, recipe = head(settings=["grid.box=[8,16,16]"])
    assert (box.grid.num_slices, box.grid.in_plane) == (8, (16, 16))
    assert recipe.translator.widths[0] > head().recipe.translator.widths[0]
    with pytest.raises(PlanError, match="is not a multiple of"):
        make(settings=["grid.in_plane=[64,66]"])
    with pytest.raises(PlanError, match=r"grid.in_plane \(0, 0\) is not a size"):
        make(settings=["grid.in_plane=[0,0]"])
    with pytest.raises(PlanError, match="is not a multiple of"):
        head(settings=["grid.box=[8,17,16]"])
    coarse = head(settings=["grid.spacing_mm=[2.5,2,2]", "grid.in_plane=[24,24]"]).plan
    assert coarse.grid.in_plane == (24, 24)


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        (["grid.box=[8,16,16]", "grid.crop_in_plane=true"], "grid.crop_in_plane"),
        (["grid.box=[8,16,16]", "grid.in_plane=[32,32]"], "grid.in_plane"),
        (["grid.num_slices=3", "grid.box=[8,16,16]"], "grid.num_slices"),
        (["grid.box=[8,16,16]", "grid.resample_in_plane=false"], "grid.resample_in_plane"),
        (["lift.memory.training_gib=1"], "lift.memory.training_gib"),
    ],
)
def test_a_setting_without_effect_is_refused(pairs, settings, key):
    """What the rest of the plan overrules is said, and nothing is written."""
    with pytest.raises(PlanError, match=f"{key} follows from other settings") as caught:
        plan(workspace=pairs, gpu_memory=0.06, steps=8, plan_name="never", settings=settings)
    assert caught.value.where.startswith(f"--set {key}=")
    assert not (pairs / "preprocessed" / "Dataset009_Heads" / "never").exists()


def test_the_last_of_two_settings_counts(workspace):
    """A part that is set after its whole is no contradiction."""
    whole = 'lift.losses={"l1":1,"ms_ssim":1,"delta_z":1}'
    settings = [whole, "lift.losses.l1=2", "seed=1", "seed=3"]
    decided, recipe = plan(
        7, workspace=workspace, plan_name="x", settings=settings, gpu_memory=0.03
    )
    assert (recipe.losses["l1"], recipe.losses["ms_ssim"], decided.seed) == (2, 1, 3)


@pytest.mark.parametrize(
    ("setting", "problem"),
    [
        ("grid.foreground=nonzero", "sizes and intensities of this plan were measured with otsu"),
        ("grid.mask=none", "grid.mask must be body"),
        ("grid.pad_to_box=true", "grid.pad_to_box is true, and grid.box is null"),
        ("grid.spacing_mm=[0,1,1]", r"grid.spacing_mm \(0.0, 1.0, 1.0\) is not positive"),
    ],
)
def test_grids_that_contradict_the_rest(pairs, setting, problem):
    """Refused, each with what it contradicts."""
    with pytest.raises(PlanError, match=problem):
        plan(workspace=pairs, gpu_memory=0.06, steps=8, plan_name="never", settings=[setting])


def test_another_foreground_where_nothing_was_measured_in_it(pairs):
    """Without a crop, and with intensities over the whole grid, the rule is free."""
    settings = ["grid.foreground=nonzero", "channels.mr.normalization.region=grid"]
    decided = plan(workspace=pairs, gpu_memory=0.06, steps=8, plan_name="x", settings=settings)
    assert decided.plan.grid.foreground == "nonzero"


def test_feeding_is_decided_last(workspace):
    """Settings may leave no room for the cases; what was set by hand stays."""

    def make(*settings):
        options = {"gpu_memory": 0.05, "steps": 8, "plan_name": "other"}
        return plan(7, workspace=workspace, settings=list(settings), **options).recipe

    assert make().feeding == "resident" and 0 < make().memory.dataset_gib < 1e-3
    more = f"lift.{STAGE}.volumes_per_step=64"
    assert make(more).feeding == "read"
    assert make(more, "lift.feeding=resident").feeding == "resident"


@pytest.mark.parametrize(
    ("setting", "problem"),
    [
        ("task=translation", "'task' says what the plan is for"),
        ("version=1", "'version' says what the plan is for"),
        ("budget.memory_gib=4", "'budget' says what the plan is for"),
        ("name=x", "'name' says what the plan is for"),
        (
            "lift.augmentation.scale_range=[0,1]",
            r"scale_range \[0.*is not a range of factors above 0",
        ),
        ("lift.augmentation.gamma_range=[3,1]", "gamma_range .* is not a range"),
        ("lift.augmentation.low_resolution_range=[0.5,3]", "goes beyond 1"),
        ("lift.augmentation.blur_sigma=[2,1]", "blur_sigma .* is no range"),
        (f"lift.{STAGE}.gradient_clip=0", "no step would move a weight"),
        ("channels.a.normalization.limits=[-1,1]", "a must be normalized to limits 0 and 1"),
        ('lift.losses={"l1":0,"ms_ssim":0,"delta_z":1}', "leave the intensities free"),
    ],
)
def test_settings_that_nothing_could_use(workspace, setting, problem):
    """Refused before anything is written."""
    with pytest.raises(PlanError, match=problem):
        plan(7, workspace=workspace, plan_name="never", gpu_memory=0.03, settings=[setting])
    assert not plan_file(workspace, "never").exists()


def test_a_memory_that_is_no_number(workspace):
    """Infinite GiB could not be written down."""
    with pytest.raises(LiftnetError, match="gpu_memory is inf"):
        plan(7, workspace=workspace, plan_name="never", gpu_memory=float("inf"))


def test_an_edited_plan_is_checked(workspace):
    """A plan file of another version, with a misspelt key or a contradiction, is refused."""
    path = plan_file(workspace)
    good = read_json(path)
    for change, problem in (
        ({"version": 99}, "The plan has version 99, this liftnet reads 3"),
        ({"sede": 1}, "Unknown key 'sede'\n"),
        ({"targets": ["d"]}, "d are not channels"),
        ({"task": "missing_modalities"}, "No task 'missing_modalities'"),
    ):
        write_json(path, {**good, **change})
        with pytest.raises(PlanError, match=problem):
            read_plan(path)
    write_json(path, [])
    with pytest.raises(PlanError, match="The plan has version None"):
        read_plan(path)


def test_an_edited_recipe_is_checked(workspace):
    """So is a recipe, with its file; a damaged one says what to do."""
    path, decided = recipe_file(workspace), read_plan(plan_file(workspace))
    good = read_json(path)
    for change, problem, remedy in (
        ({"version": 99}, "The recipe has version 99", "liftnet_plan --method lift."),
        ({"version": 0}, "The recipe has version 0, this liftnet reads 1", "--method lift."),
        ({"recompte": 1}, "Unknown key 'recompte'\n", "Did you mean 'recompute'?"),
        ({"losses": {"l1": 1.0}}, "losses are l1; expected l1, ms_ssim, delta_z", ""),
        ({"kind": "SliceRecipe"}, "Expected one of JointRecipe, ResidualRecipe", ""),
    ):
        write_json(path, {**good, **change})
        with pytest.raises(PlanError, match=problem) as caught:
            read_recipe(path, decided, LIFT)
        assert str(path) in caught.value.where
        assert remedy in caught.value.remedy
    plan(workspace=workspace, gpu_memory=0.03, steps=8)
    path.write_text(path.read_text().replace('"ms_ssim": 0.2', '"ms_ssim": 0.3'))
    with pytest.raises(PlanError, match="damaged, or was edited") as caught:
        load_recipe(find_workspace(workspace), load_plan_of(workspace), LIFT)
    assert caught.value.where == str(path) and 'delete its line "checksum"' in caught.value.remedy


def load_plan_of(workspace):
    """The default plan."""
    return load_plan(find_workspace(workspace), DATASET, "default")


def test_the_ablation_follows_the_whole(workspace, capsys):
    """Its recipe is made from the stored one; a new one of the whole removes it."""
    space = find_workspace(workspace)
    settings = ["lift.translator.widths=[8,16,32]", "lift.losses.delta_z=0.5"]
    make = partial(plan, workspace=workspace, gpu_memory=0.03, steps=8)
    decided, whole = make(settings=settings)
    alone = load_recipe(space, decided, NO_MAPPER)
    assert read_recipe(recipe_file(workspace, "no_mapper"), decided, NO_MAPPER) == alone
    assert whole.mixer is not None and alone.mixer is None
    assert alone.translator == whole.translator and alone.translator.widths == (8, 16, 32)
    assert alone.losses == whole.losses
    for name, schedule in schedules(whole).items():
        rates = {k: v for k, v in schedule.learning_rates.items() if k != "mixer"}
        assert schedules(alone)[name] == replace(schedule, learning_rates=rates)
    assert alone.memory.prediction_gib < whole.memory.prediction_gib

    capsys.readouterr()
    make(method="no_mapper")
    assert recipe_file(workspace).is_file()
    assert "no_mapper was made before" not in capsys.readouterr().out
    make(settings=["lift.losses.delta_z=0.25"])
    assert not recipe_file(workspace, "no_mapper").exists()
    assert "The recipe of no_mapper follows from that of lift" in capsys.readouterr().out
    assert load_recipe(space, decided, NO_MAPPER).losses["delta_z"] == 0.25


def test_recipes_of_other_data_are_removed(workspace, capsys):
    """A recipe stays while the data's decisions do, whatever another method is given."""
    make = partial(plan, workspace=workspace, method="no_mapper", steps=8)
    before = recipe_file(workspace).read_text()
    make(gpu_memory=0.02)
    assert recipe_file(workspace).read_text() == before
    capsys.readouterr()
    make(gpu_memory=0.02, settings=["channels.b.normalization.upper=0.95"])
    assert not recipe_file(workspace).exists()
    assert "The recipe of lift was made before this plan" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["plan", "train"])
def test_a_method_that_does_not_fit(workspace, command):
    """Refused, with those that do."""
    with pytest.raises(PlanError, match="Method lift_u cannot serve this plan") as caught:
        if command == "plan":
            plan(workspace=workspace, gpu_memory=0.03, method="lift_u", plan_name="never")
        else:
            load_recipe(find_workspace(workspace), load_plan_of(workspace), load_method("lift_u"))
    assert caught.value.where == "--method"
    able = caught.value.remedy.removeprefix("Those that can: ").removesuffix(".").split(", ")
    assert {"lift", "no_mapper", "regression_linear"} <= set(able) and "lift_u" not in able
    assert not plan_file(workspace, "never").exists()
    assert not recipe_file(workspace, "lift_u").exists()


def test_both_are_explained(workspace, capsys):
    """Each decision with its reason, as --set takes it."""
    settings = ["seed=3", "lift.losses.delta_z=0.5"]
    plan(workspace=workspace, gpu_memory=0.03, settings=settings, explain_plan=True)
    said = capsys.readouterr().out
    assert "\nseed = 3\n    set by hand\n" in said
    assert "\nlift.losses.delta_z = 0.5\n    set by hand\n" in said
    assert "\ngrid.slice_axis = " in said and "\nlift.translator.widths = " in said


def test_an_unknown_plan_names_those_there_are(workspace):
    """The remedy lists the plans."""
    with pytest.raises(PlanError, match="No plan 'x'") as caught:
        load_plan(find_workspace(workspace), DATASET, "x")
    assert caught.value.remedy == "Plans there are: default."


def test_a_plan_beyond_its_budget_is_warned_of(workspace, capsys):
    """Settings may ask for more than the budget; that is said."""
    settings = ["lift.translator.widths=[256,512,512]"]
    plan(workspace=workspace, gpu_memory=0.03, settings=settings)
    assert "more than the budget of 0.03 GiB" in capsys.readouterr().out


def test_budget():
    """GiB are taken as given, 8 without a GPU."""
    assert find_budget(Asked(gpu_memory=3.5)).memory_gib == 3.5
    if not torch.cuda.is_available():
        assert find_budget(Asked()).memory_gib == 8.0
        assert find_budget(Asked()).bytes_per_number == 2


def test_features_are_for_generation(workspace, tmp_path):
    """A task that makes images from others has no use for them."""
    with pytest.raises(PlanError, match="'missing_modality' has no use for --features"):
        plan(workspace=workspace, features=tmp_path / "resnet18.pth")


def test_features_reach_the_plan(tmp_path):
    """The file's path and digest are in the recipe; `plan_and_preprocess` passes it on."""
    raw = tmp_path / "raw" / "Dataset001_T1"
    (raw / "imagesTr").mkdir(parents=True)
    write_json(
        raw / "dataset.json",
        {"name": "T1", "task": "unconditional", "channels": {"0": {"name": "t1n"}}},
    )
    rng = np.random.default_rng(0)
    geometry = Geometry((20, 24, 22), (8.0,) * 3, (0.0,) * 3, ((0, 0, 1), (0, 1, 0), (1, 0, 0)))
    for i in range(8):
        voxels = np.zeros(geometry.shape, dtype=np.float32)
        voxels[2 : 16 + i % 3, 3:20, 4:18] = rng.uniform(10, 100, size=(14 + i % 3, 17, 14))
        write_image(raw / "imagesTr" / f"c{i}_0000.nii.gz", voxels, geometry, dtype="float32")
    weights = tmp_path / "resnet18.pth"
    weights.write_bytes(b"weights")
    folder = plan_and_preprocess(
        workspace=tmp_path, gpu_memory=2.0, steps=20, features=weights, check=False,
        num_processes=1,
    )  # fmt: skip
    decided = read_plan(folder.parent / "plan.json")
    assert decided.budget.feature_weights == str(weights)
    used = load_method("lift_u")
    recipe = read_recipe(folder.parent / "recipes" / "lift_u.json", decided, used)
    assert recipe.features == ResNetSpec(str(weights), hashlib.sha256(b"weights").hexdigest())
    assert recipe.slice_features is None  # nothing of its own to train
    assert decided.grid.box == (24, 24, 24)  # 16, 17 and 14 voxels and a margin of 4
    store = Store(folder)
    assert len(store.identifiers()) == 8
    for case in store.identifiers():
        voxels = store.voxels(case)
        assert voxels.shape == (1, 24, 24, 24)
        assert (voxels.min(), voxels.max()) == (-1, 1)
    assert store.describe("c0").placement.stop[0] > 20  # padded where the image ends


def training_work(decided: Decided, name: str) -> int:
    """The operations of all steps of a training."""
    stages = load_method(name).stages(*decided)
    return sum(training_flops(decided.plan, s) * s.schedule.num_steps for s in stages)


def test_a_method_gets_the_operations_of_another(workspace, capsys):
    """The steps differ, the work is the same; plan and the other recipe stay as they are."""
    like = plan(7, workspace=workspace, gpu_memory=0.2, steps=300)
    capsys.readouterr()
    before = read_json(plan_file(workspace))
    found = plan(7, workspace=workspace, method="pix2pix_unet", like="lift")
    wanted = training_work(like, "lift")
    assert training_work(found, "pix2pix_unet") == pytest.approx(wanted, rel=0.01)
    assert found.recipe.slice_gan.num_steps != 300
    assert "PFLOP, as the training of lift does" in capsys.readouterr().out
    assert read_json(plan_file(workspace)) == before
    space = find_workspace(workspace)
    for method, recipe in (("lift", like.recipe), ("pix2pix_unet", found.recipe)):
        assert load_recipe(space, like.plan, load_method(method)) == recipe


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"method": "lift"}, "lift cannot be planned like itself"),
        ({"steps": 8}, "--steps cannot be used with --like"),
        ({"settings": ["seed=1"]}, "--set cannot be used with --like"),
        ({"method": "regression_linear"}, "regression_linear takes no training steps"),
        (
            {"settings": ["pix2pix_unet.slice_gan.num_steps=1"]},
            "No number of steps makes the training of pix2pix_unet as long as that of lift",
        ),
    ],
)
def test_what_has_no_length_to_compare(workspace, options, problem):
    """One message, and no recipe is written."""
    plan(7, workspace=workspace, gpu_memory=0.2, steps=300)
    with pytest.raises(PlanError, match=problem):
        plan(7, workspace=workspace, like="lift", **{"method": "pix2pix_unet", **options})
    file = find_workspace(workspace).recipe_file(DATASET, "default", "pix2pix_unet")
    assert not file.exists()
