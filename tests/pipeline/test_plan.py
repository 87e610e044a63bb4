"""Planning as a step: settings, budgets, files."""

import hashlib
from functools import partial

import numpy as np
import pytest
import torch

from liftnet.core.errors import PlanError
from liftnet.core.geometry import Geometry
from liftnet.core.jsonable import read_json, write_json
from liftnet.core.plan import ResNetSpec
from liftnet.data.store import Store
from liftnet.imageio import write_image
from liftnet.pipeline.plan import apply_setting, find_budget, load_plan, plan, read_plan
from liftnet.pipeline.plan_and_preprocess import plan_and_preprocess

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
    with pytest.raises(PlanError, match="--gpu-memory is inf"):
        plan(7, workspace=workspace, plan_name="never", gpu_memory=float("inf"))


def test_an_edited_plan_is_checked(workspace):
    """A plan file of another version, with a misspelt key or a contradiction, is refused."""
    path = plan_file(workspace)
    good = read_json(path)
    for change, problem in (
        ({"version": 99}, "The plan has version 99, this liftnet reads 2"),
        ({"sede": 1}, "Unknown key 'sede' in Plan"),
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
    settings = ["networks.translator.widths=[256,512,512]"]
    plan(workspace=workspace, gpu_memory=0.03, settings=settings)
    assert "more than the budget of 0.03 GiB" in capsys.readouterr().out


def test_budget():
    """GiB are taken as given, 8 without a GPU, and must be positive."""
    assert find_budget(3.5, 10).memory_gib == 3.5
    if not torch.cuda.is_available():
        assert find_budget(None, None).memory_gib == 8.0
        assert find_budget(None, None).bytes_per_number == 2
    with pytest.raises(PlanError, match="--gpu-memory is -1"):
        find_budget(-1, None)


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
