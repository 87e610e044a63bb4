"""Per-voxel regression against numpy, through the commands' functions."""

from pathlib import Path

import numpy as np
import pytest
import torch

from liftnet.core.errors import DatasetError
from liftnet.core.geometry import Geometry
from liftnet.core.storage.jsonable import read_json, write_json
from liftnet.core.workspace import find_workspace
from liftnet.data.store import Store
from liftnet.imageio import read_image, write_image
from liftnet.methods import load_method
from liftnet.methods.regression.polynomial import factors, features
from liftnet.pipeline.evaluate.evaluate import evaluate
from liftnet.pipeline.plan import load_plan, load_recipe
from liftnet.pipeline.predict.predict import predict
from liftnet.pipeline.preprocess.plan_and_preprocess import plan_and_preprocess
from liftnet.pipeline.train.train import train

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


def predicted(space: Path, method: str, inputs: Path, output: Path) -> list[Path]:
    """What a method makes of new cases after it was fitted to all training cases."""
    train(workspace=space, method=method, fold="all", device="cpu")
    failures = predict(
        inputs, output, workspace=space, method=method, device="cpu", num_processes=1
    )
    if failures:
        raise failures[0].error
    return sorted(output.glob("*.nii.gz"))


@pytest.mark.parametrize("method", ["regression_linear", "regression_quadratic"])
def test_a_linear_relation_is_found(workspace, method):
    """Where a contrast is linear in the others, the regression finds it up to the file's range."""
    space = workspace / "w"
    inputs, output = space / "raw" / "Dataset001_Boxes" / "imagesTs", workspace / "out"
    written = predicted(space, method, inputs, output)
    assert [path.name for path in written] == ["t1_0002.nii.gz"]
    facts = read_json(output / "t1_0002.json")
    assert (facts["target"], facts["sources"]) == ("c", ["a", "b"])
    assert facts["method"] == method
    image, _ = read_image(written[0])
    truth = heads(3)["c"]
    assert (image[truth == 0] == facts["intensity"]["low"]).all()
    # Every image is scaled by its own percentiles, which differ a little between cases.
    assert np.corrcoef(image[truth > 0], truth[truth > 0])[0, 1] > 0.999
    scores = evaluate(output, workspace / "references", workspace=space, num_processes=1)
    assert scores.cases[0].contrast == "c"
    assert scores.cases[0].metrics["psnr"] > 30


@pytest.mark.parametrize("method", ["regression_linear", "regression_quadratic"])
def test_sources_below_their_mean_are_used(tmp_path, method):
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
    (written,) = predicted(tmp_path, method, raw / "imagesTs", tmp_path / "out")
    image, _ = read_image(written)
    truth, _ = read_image(raw / "targetsTs" / "t1_0000.nii.gz")
    assert (image[truth == 0] == 0).all()
    assert (image[truth > 0] > 0).mean() > 0.98
    assert np.corrcoef(image[truth > 0], truth[truth > 0])[0, 1] > 0.99


def test_features_of_degree_2_are_all_products():
    """1, the sources, squares and products, by brute force, and what each is a product of."""
    sources = np.random.default_rng(0).random((3, 5))
    wanted = [np.ones(5), *sources]
    wanted += [sources[i] * sources[j] for i, j in [(0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2)]]
    found = features(torch.from_numpy(sources), 2)
    np.testing.assert_allclose(found, np.stack(wanted))
    for row, parts in zip(found, factors(3, 2), strict=True):
        np.testing.assert_allclose(row, np.prod([sources[i] for i in parts], axis=0))


@pytest.mark.parametrize("degree", [1, 2])
def test_every_pattern_is_least_squares_over_the_cases_that_have_it(workspace, degree):
    """By numpy on the stored voxels; p3, which lacks c, has no part in what is made of c."""
    space = find_workspace(workspace / "w")
    plan = load_plan(space, "Dataset001_Boxes", "default")
    name = {1: "regression_linear", 2: "regression_quadratic"}[degree]
    method = load_method(name)
    (stage,) = method.stages(plan, load_recipe(space, plan, method))
    store = Store(space.store("Dataset001_Boxes", "default"))
    network = stage.build()
    stage.survey(network, store, ["p1", "p2", "p3"], workspace)
    for given, target, cases in (("ab", "c", ("p1", "p2")), ("b", "a", ("p1", "p2", "p3"))):
        columns, wanted = [], []
        for case in cases:
            voxels = np.asarray(store.voxels(case), np.float64).reshape(3, -1)
            subject = voxels[:, (voxels > 1e-3).any(axis=0)]
            rows = subject[["abc".index(g) for g in given]]
            columns.append(features(torch.from_numpy(rows), degree).numpy())
            wanted.append(subject["abc".index(target)])
        expected = np.linalg.lstsq(np.hstack(columns).T, np.concatenate(wanted))[0]
        pattern = sum(1 << "abc".index(g) for g in given)
        weights = network.weights[pattern, "abc".index(target)].numpy()
        products = enumerate(factors(3, degree))
        used = [f for f, parts in products if all("abc"[i] in given for i in parts)]
        np.testing.assert_allclose(weights[used], expected, atol=2e-4)
        assert not np.delete(weights, used).any()
        assert network.known[pattern, "abc".index(target)] == 1


def test_contrasts_never_seen_together_are_refused(workspace):
    """The error names the target."""
    raw, space = workspace / "w" / "raw" / "Dataset001_Boxes", workspace / "w"
    for case in ("p1", "p2"):
        (raw / "imagesTr" / f"{case}_0000.nii.gz").unlink()
    (raw / "imagesTr" / "p3_0001.nii.gz").rename(raw / "imagesTr" / "p3_0002.nii.gz")
    plan_and_preprocess(workspace=space, gpu_memory=0.1, steps=1, num_processes=1)
    with pytest.raises(DatasetError, match="No training case has c together with all sources"):
        predicted(space, "regression_linear", raw / "imagesTs", workspace / "out")


def test_the_same_command_again_keeps_the_fit(workspace, capsys):
    """A fit has no step, and is done all the same; a new one can be asked for."""
    options = {"workspace": workspace / "w", "method": "regression_linear", "device": "cpu"}
    (folder,) = train(fold="all", **options)
    weights = (folder / "fit" / "checkpoint_best.safetensors").read_bytes()
    capsys.readouterr()
    train(fold="all", **options)
    assert "Already trained" in capsys.readouterr().out
    train(fold="all", restart=True, **options)
    text = capsys.readouterr().out
    assert "Fitted" in text and "did not improve" not in text
    assert (folder / "fit" / "checkpoint_best.safetensors").read_bytes() == weights
