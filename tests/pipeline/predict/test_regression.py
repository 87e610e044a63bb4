"""The regression baseline against numpy on the raw files, and its files against the evaluation."""

from pathlib import Path

import numpy as np
import pytest

from liftnet.core.errors import DatasetError
from liftnet.core.geometry import Geometry
from liftnet.core.jsonable import read_json, write_json
from liftnet.imageio import read_image, write_image
from liftnet.pipeline.evaluate.evaluate import evaluate
from liftnet.pipeline.predict.regression import features, predict_by_regression
from liftnet.pipeline.preprocess.plan_and_preprocess import plan_and_preprocess

SHAPE = (11, 15, 13)  # (z, y, x)
NAMES = ("a", "b", "c")


def heads(seed: int) -> dict[str, np.ndarray]:
    """Two random contrasts in [100, 1100], and c = 200 + 0.5 a + 0.25 b; zero outside a box."""
    rng = np.random.default_rng(seed)
    inside = np.zeros(SHAPE, bool)
    inside[1:-1, 2:-2, 3:-2] = True
    a, b = (np.where(inside, rng.uniform(100, 1100, SHAPE), 0) for _ in range(2))
    return {"a": a, "b": b, "c": np.where(inside, 200 + 0.5 * a + 0.25 * b, 0)}


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """Three training cases, one without c; a test case without c; its c as the reference."""
    raw = tmp_path / "w" / "raw" / "Dataset001_Boxes"
    grid = Geometry(SHAPE, (3.0, 2.0, 1.5), (0, 0, 0), ((0, 0, 1), (0, 1, 0), (1, 0, 0)))
    for seed, case in enumerate(("p1", "p2", "p3", "t1")):
        for number, (name, voxels) in enumerate(heads(seed).items()):
            folder = raw / ("imagesTs" if case == "t1" else "imagesTr")
            if name == "c" and case == "t1":
                folder = tmp_path / "references"
            if not (name == "c" and case == "p3"):
                write_image(folder / f"{case}_{number:04d}.nii.gz", voxels, grid, dtype="float32")
    channels = {str(i): {"name": name} for i, name in enumerate(NAMES)}
    description = {"name": "Boxes", "task": "missing_modality", "channels": channels}
    write_json(raw / "dataset.json", description)
    plan_and_preprocess(workspace=tmp_path / "w", gpu_memory=0.1, steps=1, num_processes=1)
    return tmp_path


def test_a_linear_relation_is_found(workspace):
    """Where a contrast is linear in the others, the regression finds it up to the file's range."""
    inputs = workspace / "w" / "raw" / "Dataset001_Boxes" / "imagesTs"
    output = workspace / "out"
    written = predict_by_regression(inputs, output, workspace=workspace / "w")
    assert [path.name for path in written] == ["t1_0002.nii.gz"]
    facts = read_json(output / "t1_0002.json")
    assert (facts["target"], facts["sources"]) == ("c", ["a", "b"])
    predicted, _ = read_image(written[0])
    truth = heads(3)["c"]
    assert (predicted[truth == 0] == facts["intensity"]["low"]).all()
    # Every image is scaled by its own percentiles, which differ a little between cases.
    assert np.corrcoef(predicted[truth > 0], truth[truth > 0])[0, 1] > 0.999
    scores = evaluate(output, workspace / "references", workspace=workspace / "w", num_processes=1)
    assert scores.cases[0].contrast == "c"
    assert scores.cases[0].metrics["psnr"] > 30


@pytest.mark.parametrize("degree", [0, 1, 2])
def test_sources_below_their_mean_are_used(tmp_path, degree):
    """A z-scored source is negative in half of the subject, which is not air."""
    raw = tmp_path / "raw" / "Dataset002_Boxes"
    grid = Geometry(SHAPE, (3.0, 2.0, 1.5), (0, 0, 0), ((0, 0, 1), (0, 1, 0), (1, 0, 0)))
    for seed, case in enumerate(("p1", "p2", "p3", "t1")):
        source, part = heads(seed)["a"], "Ts" if case == "t1" else "Tr"
        for folder, voxels in (("images", source), ("targets", (1200 - source) * (source > 0))):
            path = raw / f"{folder}{part}" / f"{case}_0000.nii.gz"
            write_image(path, voxels, grid, dtype="float32")
    facts = {"name": "Boxes", "task": "translation", "channels": {"0": {"name": "a"}}}
    write_json(raw / "dataset.json", {**facts, "targets": {"0": {"name": "b"}}})
    plan_and_preprocess(workspace=tmp_path, gpu_memory=0.1, steps=1, num_processes=1)
    (written,) = predict_by_regression(
        raw / "imagesTs", tmp_path / "out", workspace=tmp_path, degree=degree
    )
    predicted, _ = read_image(written)
    truth, _ = read_image(raw / "targetsTs" / "t1_0000.nii.gz")
    assert (predicted[truth == 0] == 0).all()
    assert (predicted[truth > 0] > 0).mean() > 0.98
    assert np.corrcoef(predicted[truth > 0], truth[truth > 0])[0, 1] > 0.99


def test_an_ending_in_capitals(workspace):
    """The output gets the usual ending."""
    inputs = workspace / "w" / "raw" / "Dataset001_Boxes" / "imagesTs"
    for path in inputs.iterdir():
        path.rename(inputs / path.name.upper())
    (written,) = predict_by_regression(inputs, workspace / "out", workspace=workspace / "w")
    assert written.name == "T1_0002.nii.gz"


def test_features_of_degree_2_are_all_products():
    """1, the sources, squares and products, by brute force; another degree is refused."""
    sources = np.random.default_rng(0).random((3, 5))
    wanted = [np.ones(5), *sources]
    wanted += [sources[i] * sources[j] for i, j in [(0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2)]]
    np.testing.assert_allclose(features(sources, 2), np.stack(wanted))
    with pytest.raises(ValueError, match="expected degree 1 or 2, got 3"):
        features(sources, 3)


def test_contrasts_never_seen_together_are_refused(workspace):
    """The error names the target and the sources."""
    raw = workspace / "w" / "raw" / "Dataset001_Boxes"
    for case in ("p1", "p2"):
        (raw / "imagesTr" / f"{case}_0000.nii.gz").unlink()
    (raw / "imagesTr" / "p3_0001.nii.gz").rename(raw / "imagesTr" / "p3_0002.nii.gz")
    plan_and_preprocess(workspace=workspace / "w", gpu_memory=0.1, steps=1, num_processes=1)
    with pytest.raises(DatasetError, match="No training case has c together with a, b"):
        predict_by_regression(raw / "imagesTs", workspace / "out", workspace=workspace / "w")
