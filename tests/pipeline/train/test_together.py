"""Training by two processes: the losses and weights of one."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from small_generation import make_volume
from two_processes import run_together

from liftnet.core.errors import LiftnetError
from liftnet.core.geometry import Geometry
from liftnet.core.storage.jsonable import write_json
from liftnet.imageio import write_image
from liftnet.ops.compute import precision
from liftnet.pipeline.convert.convert import convert
from liftnet.pipeline.models.checkpoint import load_checkpoint, save_checkpoint
from liftnet.pipeline.models.runs import LATEST
from liftnet.pipeline.plan import plan, read_plan
from liftnet.pipeline.preprocess.plan_and_preprocess import plan_and_preprocess
from liftnet.pipeline.train import start as training_start
from liftnet.pipeline.train import together as training_together
from liftnet.pipeline.train.train import train

CODE = """
import sys, torch
import liftnet.ops.compute.precision as precision
import liftnet.visual.figures as figures
precision.supports_bfloat16 = lambda device: False
figures.plot_progress = lambda *args: None
torch.set_num_threads(1)
from liftnet.pipeline.train.train import train
train(workspace=sys.argv[1], fold=("all",), device="cpu")
"""
VOLUMES = [
    "lift_u.features.widths=[8,16]",
    "lift_u.generator.code_size=12",
    "lift_u.mapper.code_size=12",
    "lift_u.mapper.hidden_size=16",
    "lift_u.mapper.waves=8",
    "lift_u.drift.checked_volumes=4",
    "lift_u.drift.slices_per_plane=2",
    "lift_u.losses.adversarial=0.1",
    *(f"lift_u.{stage}.volumes_per_step=4" for stage in ("slice_features", "slice_generation")),
    *(f"lift_u.{stage}.volumes_per_step=4" for stage in ("code_trajectories", "depth_mapping")),
    *(
        f"lift_u.{stage}.num_steps=3"
        for stage in ("slice_features", "slice_generation", "code_trajectories", "depth_mapping")
    ),
]


@pytest.fixture(autouse=True)
def _float32(monkeypatch):
    """In bfloat16 the order of sums would be seen."""
    monkeypatch.setattr(precision, "supports_bfloat16", lambda device: False)
    monkeypatch.setattr("liftnet.visual.figures.plot_progress", lambda *args: None)


@pytest.fixture(params=["missing_modality", "translation", "unconditional"])
def space(request, tmp_path) -> Path:
    """A workspace of each task, preprocessed, whose steps two processes can share."""
    folder = tmp_path / "one"
    if request.param == "unconditional":
        axes = ((0, 1, 0), (0, 0, -1), (1, 0, 0))
        for i in range(8):
            stored = ((make_volume(i) + 1) * 400).transpose(1, 0, 2)[:, ::-1]
            geometry = Geometry(stored.shape, (3.0, 4.0, 3.0), (5.0, -7.0, 11.0), axes)
            path = tmp_path / "train" / f"head{i:02d}.nii.gz"
            write_image(path, stored, geometry, dtype="int16")
        images = [f"t1n={tmp_path / 'train'}"]
        convert("folders", images, 4, name="Eggs", task="unconditional", workspace=folder)
        plan_and_preprocess(workspace=folder, gpu_memory=0.08, steps=24, settings=VOLUMES)
        return folder
    pairs = request.param == "translation"
    source = request.getfixturevalue("_prepared_pairs" if pairs else "_prepared")
    shutil.copytree(source, folder)
    if pairs:
        stages = ("slice_translation", "residual_context")
        settings = [f"lift.{stage}.volumes_per_step=2" for stage in stages]
        settings += [f"lift.{stage}.num_steps=3" for stage in stages]
        settings += ["lift.mixer.hidden_size=8", "lift.losses.outside_mask=0.3"]
        plan(workspace=folder, gpu_memory=0.03, steps=8, settings=settings)
    return folder


def logs(space: Path) -> dict[str, list[dict]]:
    """Stage -> rows of its log, without times."""
    found = {}
    for path in sorted(space.glob("results/*/default/*/fold_all/*/log.jsonl")):
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        found[path.parent.name] = [
            {k: v for k, v in row.items() if not k.endswith("_per_step")} for row in rows
        ]
    return found


def test_same_losses_and_weights(space, tmp_path):
    """Two processes share each step, and one may go on where two have stopped."""
    two = tmp_path / "two"
    shutil.copytree(space, two)
    train(workspace=space, fold=("all",), device="cpu")
    printed = run_together(CODE, str(two))
    assert "Trained" in printed[0] and "Trained" not in printed[1]
    expected, found = logs(space), logs(two)
    assert expected.keys() == found.keys()
    for stage, rows in expected.items():
        assert [row["step"] for row in rows] == [row["step"] for row in found[stage]]
        for row, other in zip(rows, found[stage], strict=True):
            for name in row.keys() - {"learning_rate"}:
                if not name.startswith("validation_"):
                    expect = pytest.approx(row[name], rel=2e-4, abs=1e-6)
                    assert other[name] == expect, (stage, name)
    for path in sorted(space.glob(f"results/*/default/*/fold_all/*/{LATEST}")):
        one = load_checkpoint(path).groups["network"]
        other = load_checkpoint(two / path.relative_to(space)).groups["network"]
        for name, tensor in one.items():
            if not name.startswith("critic."):  # Adam makes steps of the noise of zero gradients
                assert float((other[name] - tensor).norm()) <= 2e-2 * float(tensor.norm()), name
    [folder] = train(workspace=two, fold=("all",), device="cpu")  # one process: nothing is left
    assert folder.parts[-3:] == next(space.glob("results/*/default/*/fold_all")).parts[-3:]


def test_uneven_shares_are_refused(_prepared, tmp_path, monkeypatch):
    """The message names the setting that would do."""
    folder = tmp_path / "space"
    shutil.copytree(_prepared, folder)
    monkeypatch.setattr(training_start, "world_size", lambda: 3)
    with pytest.raises(LiftnetError, match="2 volumes per step cannot be shared by 3") as caught:
        train(workspace=folder, device="cpu")
    assert "volumes_per_step=3" in str(caught.value)


UNLIKE = """
import os, sys
from liftnet.core.errors import LiftnetError
from liftnet.pipeline.train import together as training_together
from liftnet.pipeline.train.train import train
rank = int(os.environ["RANK"])
training_together.__version__ = f"0.{rank}"
try:
    train(workspace=sys.argv[1 + rank], device="cpu")
except LiftnetError as error:
    print(error)
"""


def test_unlike_processes_are_refused(_prepared, tmp_path):
    """Both say what differs; nothing is trained."""
    spaces = [tmp_path / "a", tmp_path / "b"]
    for space in spaces:
        shutil.copytree(_prepared, space)
    file = spaces[1] / "preprocessed" / "Dataset007_Phantom" / "default" / "plan.json"
    write_json(file, replace(read_plan(file), seed=7))
    write_json(file.parent.parent / "splits.json", [{"train": ["p1"], "validation": ["p2"]}])
    for printed in run_together(UNLIKE, *map(str, spaces)):
        for text in ("differ in liftnet's version (0.0, 0.1), the plan (", "the seed (0, 7)"):
            assert text in printed
        assert "the splits (" in printed and "the options" not in printed
        assert "where: process 0 on" in printed and "the same workspace" in printed
    assert not any((space / "results").exists() for space in spaces)


def test_another_checkpoint_or_other_weights_are_refused(tmp_path, monkeypatch):
    """Each process has its own disk, and another state on it."""
    save_checkpoint(tmp_path / LATEST, {"network": {"a": torch.zeros(3)}}, {"step": 3})
    monkeypatch.setattr(training_together, "world_size", lambda: 2)
    other = {"the checkpoint that they continue from": "none"}
    monkeypatch.setattr(training_together, "from_all", lambda own: [own, ("gpu2", other)])
    with pytest.raises(LiftnetError, match="differ in the checkpoint that they continue") as caught:
        training_together.refuse_other_checkpoint(tmp_path / LATEST)
    assert "process 1 on gpu2" in str(caught.value)
    training_together.refuse_other_checkpoint(tmp_path / "absent")
    with pytest.raises(LiftnetError, match="differ in the weights that they begin with"):
        training_together.refuse_other_weights({"a": torch.ones(2)})
