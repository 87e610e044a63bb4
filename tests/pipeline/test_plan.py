"""Planning as a step: settings, budgets, files."""

import hashlib

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
