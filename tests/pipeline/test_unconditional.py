"""Task A through the commands' functions: from a folder of files to samples and their scores."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from small_generation import make_volume

from liftnet.core.errors import DatasetError, LiftnetError
from liftnet.core.geometry import Geometry
from liftnet.core.scores import CohortScores
from liftnet.imageio import read_image, write_image
from liftnet.pipeline.convert.convert import convert
from liftnet.pipeline.evaluate.evaluate import evaluate
from liftnet.pipeline.predict.generate import generate
from liftnet.pipeline.predict.predict import predict
from liftnet.pipeline.preprocess.plan_and_preprocess import plan_and_preprocess
from liftnet.pipeline.probe.probe import probe
from liftnet.pipeline.train.train import train

AXES = ((0, 1, 0), (0, 0, -1), (1, 0, 0))  # stored with posterior first, as IXI's are
SETTINGS = [
    "lift_u.features.widths=[8,16]",
    "lift_u.generator.code_size=12",
    "lift_u.mapper.code_size=12",
    "lift_u.mapper.hidden_size=16",
    "lift_u.mapper.waves=8",
    "lift_u.drift.checked_volumes=4",
    "lift_u.slice_generation.volumes_per_step=2",
    "lift_u.slice_features.volumes_per_step=2",
    "lift_u.depth_mapping.volumes_per_step=3",
    "lift_u.drift.slices_per_plane=2",
]


@pytest.fixture(scope="module")
def space(tmp_path_factory) -> Path:
    """A workspace with a trained plan; ten volumes for training, four others."""
    folder = tmp_path_factory.mktemp("brains")
    for i in range(14):
        volume = (make_volume(i) + 1) * 400
        stored = volume.transpose(1, 0, 2)[:, ::-1]
        geometry = Geometry(stored.shape, (3.0, 4.0, 3.0), (5.0, -7.0, 11.0), AXES)
        path = folder / ("train" if i < 10 else "test") / f"head{i:02d}.nii.gz"
        write_image(path, stored, geometry, dtype="int16")
    space = folder / "space"
    convert(
        "folders", [f"t1n={folder / 'train'}"], 4, name="Eggs", test=folder / "test",
        task="unconditional", workspace=space,
    )  # fmt: skip
    plan_and_preprocess(workspace=space, gpu_memory=0.08, steps=24, settings=SETTINGS)
    train(workspace=space, fold=("all",), device="cpu")
    return space


def test_network_units_are_not_scored(space, tmp_path):
    """Volumes of --normalized are no intensities; neither a cohort nor a probe takes them."""
    generate(2, tmp_path / "out", normalized=True, workspace=space, device="cpu")
    raw = space / "raw" / "Dataset004_Eggs"
    with pytest.raises(DatasetError, match="the network's units"):
        evaluate(tmp_path / "out", raw / "imagesTs", workspace=space)
    with pytest.raises(DatasetError, match="the network's units"):
        probe(tmp_path / "out", raw / "imagesTr", raw / "imagesTs", tmp_path / "p", workspace=space)


def test_from_files_to_scores(space, tmp_path, capsys):
    """Samples lie upright in the patient's axes, and are scored beside the real ones."""
    made = generate(6, tmp_path / "out", seed=3, workspace=space, device="cpu")
    assert [path.name for path in made] == [f"sample_{k:04d}_0000.nii.gz" for k in range(6)]
    volume, info = read_image(made[0])
    plan = json.loads(
        (space / "results/Dataset004_Eggs/default/lift_u/fold_all/plan.json").read_text()
    )
    assert info.dtype == "int16"
    assert volume.shape == tuple(plan["grid"]["box"])
    assert info.geometry.spacing_mm == pytest.approx(plan["grid"]["spacing_mm"], rel=1e-5)
    assert (volume >= 0).all()
    inside = volume > 100
    assert 0.02 < inside.mean() < 0.9
    orders = []
    for path in made:
        slices = [s[s > 100] for s in read_image(path)[0]]
        heights = [k for k, found in enumerate(slices) if found.size]
        brightness = [float(slices[k].mean()) for k in heights]
        orders.append(np.corrcoef(heights, brightness)[0, 1])
    assert np.mean(orders) > 0.3  # brighter to the top, after a few steps of training
    raw = space / "raw" / "Dataset004_Eggs"
    scores = evaluate(
        tmp_path / "out", raw / "imagesTs", training=raw / "imagesTr", pairs=5, workspace=space
    )
    assert isinstance(scores, CohortScores)
    assert (scores.num_generated, scores.num_real, scores.num_training) == (6, 4, 10)
    found = {(row.group.split(" ")[0], row.metric): row for row in scores.rows}
    order = found["voxels", "depth_order"]
    assert order.generated is not None
    assert order.generated > 0.7
    assert (tmp_path / "out" / "cohort_scores.json").is_file()
    assert (tmp_path / "out" / "montage.png").is_file()


def test_the_same_seed_gives_the_same_files(space, tmp_path):
    """Byte for byte, alone, in parts and from the middle; another seed gives others."""

    def digests(folder: Path) -> dict[str, str]:
        return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.glob("*.nii.gz")}

    options = {"workspace": space, "device": "cpu"}
    generate(5, tmp_path / "whole", **options)
    generate(2, tmp_path / "later", first=2, **options)
    for part in range(2):
        generate(5, tmp_path / "parts", num_parts=2, part_id=part, **options)
    generate(1, tmp_path / "other", seed=1, **options)
    whole = digests(tmp_path / "whole")
    assert digests(tmp_path / "parts") == whole
    assert digests(tmp_path / "later").items() <= whole.items()
    assert len(set(whole.values())) == 5
    assert not set(digests(tmp_path / "other").values()) & set(whole.values())


def test_training_again_changes_nothing(space, capsys):
    """All stages are finished."""
    run = space / "results/Dataset004_Eggs/default/lift_u/fold_all"
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    train(workspace=space, fold=("all",), device="cpu")
    assert {path: path.read_bytes() for path in before} == before
    assert capsys.readouterr().out.count("Already trained") == 4


def test_the_monitors_are_logged(space):
    """Every validation of the mapper says how its volumes vary."""
    log = space / "results/Dataset004_Eggs/default/lift_u/fold_all/depth_mapping/log.jsonl"
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    checks = [row["validation_monitors"] for row in rows if "validation_monitors" in row]
    assert checks
    assert set(checks[-1]) == {
        "diversity", "trace", "nearest", "neighbours", "depth_order", "delta_z"
    }  # fmt: skip


def test_images_are_refused(space, tmp_path):
    """A folder of inputs makes no sense; the error says what does."""
    with pytest.raises(LiftnetError, match="makes volumes from nothing") as error:
        predict(space / "raw/Dataset004_Eggs/imagesTs", tmp_path / "o", workspace=space)
    assert "-n" in str(error.value)
