"""Planning as a step: settings, budgets, files."""

import hashlib
from functools import partial

import numpy as np
import pytest
import torch

from liftnet.core.errors import LiftnetError, PlanError
from liftnet.core.geometry import Geometry
from liftnet.core.jsonable import read_json, write_json
from liftnet.core.network_specs import ResNetSpec
from liftnet.data.store import Store
from liftnet.imageio import write_image
from liftnet.pipeline.plan import apply_setting, find_budget, load_plan, plan, read_plan
from liftnet.pipeline.preprocess.plan_and_preprocess import plan_and_preprocess

DATASET = "Dataset007_Phantom"
STAGE = "context_translation"


def plan_file(workspace, name="default"):
    """Where a plan lies."""
    return workspace / "preprocessed" / DATASET / name / "plan.json"


def test_plans_live_side_by_side(workspace):
    """A plan of another name has its own file, which reads back as what was decided."""
    first = plan_file(workspace).read_text()
    decided = plan(7, workspace=workspace, gpu_memory=0.03, steps=8, plan_name="other")
    assert read_plan(plan_file(workspace, "other")) == decided
    assert plan_file(workspace).read_text() == first
    assert decided.name == "other"
    assert sum(schedule.num_steps for schedule in decided.stages.values()) == 8
    assert decided.memory.training_gib < 0.03


def test_settings(workspace):
    """Numbers, words, lists and objects; types are checked, unknown keys suggest one."""
    decided = read_plan(plan_file(workspace))
    for setting in (
        "seed=7", "losses.delta_z=1", "inference.passes=two", "grid.in_plane=[32,40]",
        f'stages.{STAGE}.learning_rates={{"mixer":0.5,"translator":1e-4}}',
        "channels.b.normalization.upper=0.95", "grid.resample_in_plane=false",
    ):  # fmt: skip
        decided = apply_setting(decided, setting)
        assert decided.reasons[setting.split("=")[0]] == "set by hand"
    assert (decided.seed, decided.losses["delta_z"], decided.inference.passes) == (7, 1.0, "two")
    assert decided.grid.in_plane == (32, 40) and not decided.grid.resample_in_plane
    assert decided.stages[STAGE].learning_rates == {"mixer": 0.5, "translator": 1e-4}
    assert [c.normalization.upper == 0.95 for c in decided.channels] == [False, True, False]
    with pytest.raises(PlanError, match=r"No setting 'grid\.slice_axes'") as caught:
        apply_setting(decided, "grid.slice_axes=axial")
    assert caught.value.remedy == "Did you mean 'slice_axis'?"
    with pytest.raises(PlanError, match="Expected one of 'axial', 'coronal', 'sagittal'"):
        apply_setting(decided, "grid.slice_axis=oblique")
    with pytest.raises(PlanError, match=r"No setting 'channels.d.normalization'"):
        apply_setting(decided, "channels.d.normalization=1")


def test_the_rest_of_the_grid_follows(workspace):
    """A spacing or slice axis by hand moves size, number of slices and flips; a box does not."""
    first = read_plan(plan_file(workspace))
    depth, height, width = first.grid.spacing_mm
    make = partial(plan, 7, workspace=workspace, gpu_memory=0.03, steps=8, plan_name="other")
    finer = make(settings=[f"grid.spacing_mm=[{depth},{height / 2},{width / 2}]"])
    assert finer.grid.num_slices == first.grid.num_slices
    for now, then in zip(finer.grid.in_plane, first.grid.in_plane, strict=True):
        assert 1.5 * then < now <= 2.1 * then
    assert finer.memory.training_gib <= 0.03  # the networks follow too
    near = make(settings=[f"grid.spacing_mm=[{depth * 1.015},{height},{width}]"])
    assert near.grid.num_slices == first.grid.num_slices  # as near as is never resampled
    halved = f"grid.spacing_mm=[{depth / 2},{height},{width}]"
    with pytest.raises(PlanError, match=r"slices are not resampled and lie \d"):
        make(settings=[halved])
    closer = make(settings=[halved, "grid.resample_through_plane=true"])
    assert closer.grid.num_slices == pytest.approx(2 * first.grid.num_slices, abs=1)
    turned = make(settings=["grid.slice_axis=sagittal"])
    assert turned.grid.spacing_mm == (width, depth, height)
    shape = read_json(workspace / "preprocessed" / DATASET / "fingerprint.json")["cases"]
    wide = sorted(case["shape"][2] for case in shape.values())
    assert turned.grid.num_slices == pytest.approx(wide[len(wide) // 2], abs=1)
    assert turned.augmentation.flip_probability == (0.5, 0.0, 0.0)
    assert turned.reasons["grid.slice_axis"] == "set by hand"


def test_a_box_keeps_its_size_along_another_axis(pairs):
    """Flips follow a slice axis that was set by hand, beside a box too."""
    settings = ["grid.box=[16,32,32]", "grid.slice_axis=sagittal", "grid.spacing_mm=[2,2,2]"]
    boxed = plan(workspace=pairs, gpu_memory=0.2, steps=8, plan_name="box", settings=settings)
    assert (boxed.grid.box, boxed.grid.spacing_mm) == ((16, 32, 32), (2.0, 2.0, 2.0))
    assert boxed.grid.num_slices == 16 and boxed.grid.resample_through_plane
    assert boxed.augmentation.flip_probability == (0.5, 0.0, 0.0)


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
    boxes = make()
    whole = make(settings=["grid.crop_in_plane=false"])
    assert boxes.grid.crop_in_plane and not whole.grid.crop_in_plane
    for axis, (small, large) in enumerate(
        zip(boxes.grid.in_plane, whole.grid.in_plane, strict=True), start=1
    ):
        step = boxes.grid.spacing_mm[axis]
        shapes = [c["shape"][axis] * c["spacing_mm"][axis] / step for c in measured(workspace)]
        assert small < round(max(shapes)) <= large < round(max(shapes)) + 8
    assert whole.memory.training_gib <= 0.06 >= boxes.memory.training_gib
    assert whole.networks["translator"] != boxes.networks["translator"]
    assert make(settings=["grid.crop_in_plane=true"]).grid == boxes.grid


def test_resampling_by_hand_moves_the_grid(workspace):
    """Without it sizes are in each case's own voxels; another spacing is refused then."""
    make = partial(plan, 7, workspace=workspace, gpu_memory=0.06, steps=8, plan_name="other")
    cases = measured(workspace)
    sides = [max(c["box_stop"][a] - c["box_start"][a] for c in cases) + 4 for a in (1, 2)]
    own = make(settings=["grid.resample_in_plane=false"])
    assert not own.grid.resample_in_plane
    for side, size in zip(sides, own.grid.in_plane, strict=True):
        assert side <= size < side + 4
    assert own.grid.in_plane[0] > make().grid.in_plane[0]  # p4's voxels are smaller
    with pytest.raises(PlanError, match=r"asks for voxels of 1 x 1 mm in a slice") as caught:
        make(settings=["grid.resample_in_plane=false", "grid.spacing_mm=[4,1,1]"])
    assert "Leave out grid.resample_in_plane=false" in caught.value.remedy
    path = workspace / "preprocessed" / DATASET / "fingerprint.json"
    changed = read_json(path)
    for case in ("p1", "p2", "p3"):
        changed["cases"][case]["spacing_mm"][0] = 8.0
    write_json(path, changed)
    assert make().grid.num_slices == 10
    through = make(settings=["grid.resample_through_plane=true"])
    assert through.grid.spacing_mm[0] == 6.0
    assert through.grid.num_slices == 9  # (10, 9, 11) x 8 / 6 and (10, 8, 10) x 4 / 6


def test_sizes_by_hand_move_the_networks(workspace, pairs):
    """Larger slices, more of them, or a box: the largest networks that fit are those of that."""
    make = partial(plan, 7, workspace=workspace, gpu_memory=0.06, steps=8, plan_name="other")
    large = make(settings=["grid.in_plane=[64,128]"])
    assert large.grid.in_plane == (64, 128)
    assert large.memory.training_gib <= 0.06
    assert large.networks["translator"].widths[0] < make().networks["translator"].widths[0]
    deep = make(settings=["grid.num_slices=200"])
    assert deep.grid.num_slices == 200 and deep.memory.training_gib <= 0.06
    head = partial(plan, workspace=pairs, gpu_memory=0.06, steps=8, plan_name="other")
    box = head(settings=["grid.box=[8,16,16]"])
    assert (box.grid.num_slices, box.grid.in_plane) == (8, (16, 16))
    assert box.networks["translator"].widths[0] > head().networks["translator"].widths[0]
    for setting in ("grid.in_plane=[64,66]", "grid.in_plane=[0,0]"):
        with pytest.raises(PlanError, match="is not a multiple of"):
            make(settings=[setting])
    with pytest.raises(PlanError, match="is not a multiple of"):
        head(settings=["grid.box=[8,17,16]"])
    coarse = head(settings=["grid.spacing_mm=[2.5,2,2]", "grid.in_plane=[24,24]"])
    assert coarse.grid.in_plane == (24, 24)


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        (["grid.box=[8,16,16]", "grid.crop_in_plane=true"], "grid.crop_in_plane"),
        (["grid.box=[8,16,16]", "grid.in_plane=[32,32]"], "grid.in_plane"),
        (["grid.num_slices=3", "grid.box=[8,16,16]"], "grid.num_slices"),
        (["grid.box=[8,16,16]", "grid.resample_in_plane=false"], "grid.resample_in_plane"),
        (["memory.training_gib=1"], "memory.training_gib"),
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
    settings = ['losses={"l1":1,"ms_ssim":1,"delta_z":1}', "losses.l1=2", "seed=1", "seed=3"]
    decided = plan(7, workspace=workspace, gpu_memory=0.03, plan_name="x", settings=settings)
    assert (decided.losses["l1"], decided.losses["ms_ssim"], decided.seed) == (2, 1, 3)


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
    assert decided.grid.foreground == "nonzero"


def test_feeding_is_decided_last(workspace):
    """Settings may leave no room for the cases; what was set by hand stays."""
    make = partial(plan, 7, workspace=workspace, gpu_memory=0.05, steps=8, plan_name="other")
    assert make().feeding == "resident" and 0 < make().memory.dataset_gib < 1e-3
    more = f"stages.{STAGE}.volumes_per_step=64"
    assert make(settings=[more]).feeding == "read"
    assert make(settings=[more, "feeding=resident"]).feeding == "resident"


@pytest.mark.parametrize(
    ("setting", "problem"),
    [
        ("task=translation", "'task' says which plan this is"),
        ("version=1", "'version' says which plan this is"),
        ("name=x", "'name' says which plan this is"),
        ("augmentation.scale_range=[0,1]", r"scale_range \[0.*is not a range of factors above 0"),
        ("augmentation.gamma_range=[3,1]", "gamma_range .* is not a range"),
        ("augmentation.low_resolution_range=[0.5,3]", "goes beyond 1"),
        ("augmentation.blur_sigma=[2,1]", "blur_sigma .* is no range"),
        (f"stages.{STAGE}.gradient_clip=0", "no step would move a weight"),
        ("channels.a.normalization.limits=[-1,1]", "a must be normalized to limits 0 and 1"),
        ('losses={"l1":0,"ms_ssim":0,"delta_z":1}', "leave the intensities free"),
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
        ({"version": 99}, "The plan has version 99, this liftnet reads 2"),
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


def test_an_unknown_plan_names_those_there_are(workspace):
    """The remedy lists the plans."""
    from liftnet.core.workspace import find_workspace

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
    assert find_budget(3.5, 10).memory_gib == 3.5
    if not torch.cuda.is_available():
        assert find_budget(None, None).memory_gib == 8.0
        assert find_budget(None, None).bytes_per_number == 2


def test_features_are_for_generation(workspace, tmp_path):
    """A task that makes images from others has no use for them."""
    with pytest.raises(PlanError, match="'missing_modality' has no use for --features"):
        plan(workspace=workspace, features=tmp_path / "resnet18.pth")


def test_features_reach_the_plan(tmp_path):
    """The file's path and digest are in the plan; `plan_and_preprocess` passes it on."""
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
    assert decided.networks["features"] == ResNetSpec(
        str(weights), hashlib.sha256(b"weights").hexdigest()
    )
    assert decided.grid.box == (24, 24, 24)  # 16, 17 and 14 voxels and a margin of 4
    store = Store(folder)
    assert len(store.identifiers()) == 8
    for case in store.identifiers():
        voxels = store.voxels(case)
        assert voxels.shape == (1, 24, 24, 24)
        assert (voxels.min(), voxels.max()) == (-1, 1)
    assert store.describe("c0").placement.stop[0] > 20  # padded where the image ends
