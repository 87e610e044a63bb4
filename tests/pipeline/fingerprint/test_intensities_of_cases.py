"""Images whose intensities are not what they should be, at every step that reads them."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from head_pairs import NAME as PAIRS
from simple_heads import HU, SHAPE, T1N, T2W, scan, stripped, tissues, turned

from liftnet.core.errors import DatasetError, LiftnetError
from liftnet.core.geometry import Geometry
from liftnet.imageio import read_image, write_image
from liftnet.pipeline.evaluate.evaluate import evaluate
from liftnet.pipeline.fingerprint.extract_fingerprint import extract_fingerprint
from liftnet.pipeline.predict.predict import predict
from liftnet.pipeline.preprocess.plan_and_preprocess import plan_and_preprocess
from liftnet.pipeline.train.train import train

GRID = Geometry(SHAPE, (4.0, 4.0, 4.0), (0.0, 0.0, 0.0), ((0, 0, 1), (0, 1, 0), (1, 0, 0)))
NAME = "Dataset001_Heads"


def put(path: Path, image: np.ndarray) -> None:
    """Write an image on the grid of all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, image.astype(np.float32), GRID, dtype="float32")


def write_raw(space: Path, task: str, images: dict[str, tuple[np.ndarray, np.ndarray]]) -> Path:
    """A raw dataset of cases with two channels: t1n and t2w, or mr and its target ct."""
    folder = space / "raw" / NAME
    paired = task == "translation"
    second = ("targetsTr", "0000") if paired else ("imagesTr", "0001")
    for case, (one, other) in images.items():
        put(folder / "imagesTr" / f"{case}_0000.nii.gz", one)
        put(folder / second[0] / f"{case}_{second[1]}.nii.gz", other)
    names = {"0": {"name": "mr"}} if paired else {"0": {"name": "t1n"}, "1": {"name": "t2w"}}
    text: dict = {"name": "Heads", "task": task, "channels": names, "file_ending": ".nii.gz"}
    if paired:
        text["targets"] = {"0": {"name": "ct", "modality": "CT"}}
    (folder / "dataset.json").write_text(json.dumps(text))
    return folder


def contrasts(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two contrasts of a stripped brain."""
    return stripped(tissues(seed), T1N, seed), stripped(tissues(seed), T2W, seed + 50)


def mr_and_ct(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """MR with noise in the air, and CT."""
    return scan(tissues(seed), T1N, seed=seed), scan(tissues(seed), HU, seed=seed + 50).round()


def test_mr_below_zero_is_refused(tmp_path):
    """One z-scored image of one case, with case, file, share and remedy."""
    cases = {f"s{i}": contrasts(i) for i in range(3)}
    t1n, t2w = cases["s1"]
    brain = t2w > 0
    cases["s1"] = t1n, np.where(brain, (t2w - t2w[brain].mean()) / t2w[brain].std(), 0)
    write_raw(tmp_path, "missing_modality", cases)
    with pytest.raises(DatasetError, match=r"error +s1 +s1_0001.nii.gz +50 % of the") as caught:
        extract_fingerprint(workspace=tmp_path, num_processes=1)
    assert "z-score or a" in str(caught.value)
    assert "1 error" in str(caught.value) and "s0" not in str(caught.value)


def test_ct_not_in_hu_is_refused(tmp_path):
    """A CT with 1024 added among others is the one that is named."""
    cases = {f"s{i}": mr_and_ct(i) for i in range(3)}
    cases["s2"] = cases["s2"][0], np.maximum(cases["s2"][1] + 1024, 0)
    write_raw(tmp_path, "translation", cases)
    with pytest.raises(DatasetError, match=r"error +s2 +targetsTr/s2_0000.nii.gz") as caught:
        extract_fingerprint(workspace=tmp_path, num_processes=1)
    assert "1024 had been added" in " ".join(str(caught.value).split())


def test_a_background_that_is_not_zero_is_named(tmp_path, capsys):
    """Among stripped brains the noisy one is listed, and stored with zeros around it."""
    cases = {f"s{i}": contrasts(i) for i in range(3)}
    noise = np.abs(np.random.default_rng(0).normal(0, 6, (2, *SHAPE)))
    brain = tissues(1) >= 3
    cases["s1"] = tuple(np.where(brain, a, n) for a, n in zip(cases["s1"], noise, strict=True))
    write_raw(tmp_path, "missing_modality", cases)
    plan_and_preprocess(workspace=tmp_path, num_processes=1, gpu_memory=0.3)
    printed = " ".join(capsys.readouterr().out.split())
    assert "s1 - The background is not 0, as in most cases" in printed and "1 warning" in printed
    folder = tmp_path / "preprocessed" / NAME
    fingerprint = json.loads((folder / "fingerprint.json").read_text())
    assert fingerprint["foreground"] == "nonzero"
    assert [c["zero_background"] for c in fingerprint["cases"].values()] == [True, False, True]
    stored = np.load(folder / "default" / "cases" / "s1.npy")
    assert (stored > 0).any(axis=0).sum() == pytest.approx(brain.sum(), rel=0.002)


def test_hot_voxels_change_neither_mask_nor_z_score(tmp_path, capsys):
    """With and without twenty voxels of 60000; they are named, and no shift is."""
    mr, ct = mr_and_ct(0)
    hot = mr.copy()
    hot.reshape(-1)[np.random.default_rng(1).integers(0, hot.size, 20)] = 60000
    write_raw(
        tmp_path,
        "translation",
        {"plain": (mr, ct), "hot": (hot, scan(tissues(0), HU, seed=99)), "s1": mr_and_ct(1)},
    )
    plan_and_preprocess(workspace=tmp_path, num_processes=1, gpu_memory=1)
    printed = capsys.readouterr().out
    assert "20 voxels are far brighter" in " ".join(printed.split())
    assert "shifted" not in printed and "2 warnings" in printed  # the other: one head twice
    folder = tmp_path / "preprocessed" / NAME / "default" / "cases"
    plain, found = (json.loads((folder / f"{c}.json").read_text()) for c in ("plain", "hot"))
    low, high = plain["ranges"]["mr"]
    assert found["ranges"]["mr"] == pytest.approx([low, high], abs=0.02 * (high - low))
    masks = [np.load(folder / f"{case}.mask.npy") for case in ("plain", "hot")]
    assert (masks[0] != masks[1]).mean() < 1e-3
    assert np.load(folder / "hot.npy")[0].max() < 10  # of spreads; not 600


@pytest.fixture(scope="module")
def _trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    space = tmp_path_factory.mktemp("heads")
    write_raw(space, "missing_modality", {f"s{i}": contrasts(i) for i in range(5)})
    plan_and_preprocess(workspace=space, num_processes=1, gpu_memory=0.2, steps=4)
    train(workspace=space, device="cpu")
    return space


@pytest.fixture
def trained(_trained: Path, tmp_path: Path) -> Path:
    """A workspace of one's own with a hardly trained network for stripped t1n and t2w."""
    shutil.copytree(_trained, tmp_path / "space")
    return tmp_path / "space"


def run(space: Path, images: dict[str, np.ndarray]) -> tuple[dict[str, np.ndarray], list, dict]:
    """Predict t2w from t1n images: the results, the failures, and what the JSON files warn of."""
    for case, image in images.items():
        put(space / "new" / f"{case}_0000.nii.gz", image)
    failures = predict(space / "new", space / "out", workspace=space, device="cpu")
    made = {p.name.split("_")[0]: read_image(p)[0] for p in (space / "out").glob("*.nii.gz")}
    facts = {p.name.split("_")[0]: json.loads(p.read_text()) for p in space.glob("out/*.json")}
    return made, failures, {case: fact["warnings"] for case, fact in facts.items()}


def test_a_background_that_is_not_zero_changes_no_prediction(trained, capsys):
    """Tiny, faint or noisy: the same inside the brain and 0 around it; noise is named."""
    image = contrasts(9)[0]
    brain = image > 0
    noise = np.abs(np.random.default_rng(0).normal(0, 5, SHAPE))
    images = {
        "clean": image,
        "tiny": image + np.float32(1e-8),
        "faint": np.where(brain, image, 2),
        "noise": np.where(brain, image, noise),
    }
    made, failures, warnings = run(trained, images)
    assert failures == []
    assert (made["clean"][brain] > 0).mean() > 0.9 and not made["clean"][~brain].any()
    for case in ("tiny", "faint", "noise"):
        np.testing.assert_allclose(made[case][brain], made["clean"][brain], rtol=0.05, atol=6)
        assert (made[case][~brain] != 0).sum() < 1e-3 * brain.sum()
    assert [bool(warnings[case]) for case in images] == [False, False, False, True]
    assert (
        "warning: noise: The background is not 0, as it is in training" in capsys.readouterr().out
    )


def test_ringing_around_a_brain_is_background(trained):
    """A brain that splines have turned is made like one turned by linear interpolation."""
    image = contrasts(9)[0]
    images = {f"order{k}": turned(image, k) for k in (1, 3)}
    made, _, warnings = run(trained, images)
    around = images["order1"] <= 0
    assert (made["order3"][around] != 0).sum() < 0.02 * (~around).sum()
    core = images["order1"] > 300
    assert abs(np.median(made["order3"][core]) / np.median(made["order1"][core]) - 1) < 0.05
    assert warnings == {"order1": [], "order3": []}


def test_new_images_below_zero_fail_and_the_rest_is_made(trained):
    """A z-scored case is a failure with its name; hot voxels are a warning."""
    image = contrasts(9)[0]
    brain = image > 0
    hot = image.copy()
    hot[16, 20, 18] = 60000
    scored = np.where(brain, (image - image[brain].mean()) / image[brain].std(), 0)
    made, failures, warnings = run(trained, {"good": image, "hot": hot, "scored": scored})
    assert [(f.case, f.error.problem[:9]) for f in failures] == [("scored", "t1n: 50 %")]
    assert set(made) == {"good", "hot"}
    assert warnings["good"] == [] and "1 voxel is far brighter" in warnings["hot"][0]
    far = brain & (np.abs(np.indices(SHAPE) - np.array([16, 20, 18])[:, None, None, None]) > 9).any(
        0
    )
    np.testing.assert_allclose(made["hot"][far], made["good"][far], rtol=0.05, atol=6)


def test_images_of_no_use_make_no_prediction(trained):
    """Values too small for float32, one value throughout: a failure that says so, and no file."""
    image = contrasts(9)[0]
    made, failures, _ = run(trained, {"tiny": image * 1e-42, "flat": 5 + 0 * image})
    assert made == {}
    problems = {failure.case: failure.error.problem for failure in failures}
    assert "float32 cannot calculate with such numbers" in problems["tiny"]
    assert problems["flat"] == "t1n is constant: all voxels are 5"


def test_ct_of_a_generation_dataset_must_be_in_hu(pairs, tmp_path):
    """Reference volumes of a CT with 1024 added are refused in an evaluation of pairs."""
    source = pairs / "raw" / PAIRS / "targetsTs"
    moved = tmp_path / "targetsTs"
    for path in source.glob("*.nii.gz"):
        image, info = read_image(path)
        write_target = (image + 1024).clip(0)
        moved.mkdir(exist_ok=True)
        write_image(moved / path.name, write_target, info.geometry, dtype="float32")
    shutil.copy(pairs / "raw" / PAIRS / "dataset.json", tmp_path)
    with pytest.raises(LiftnetError, match="None of the predicted images could be scored"):
        evaluate(source, moved, output=tmp_path / "scores", workspace=pairs)


@pytest.mark.parametrize("which", ["reference", "predicted"])
def test_mr_in_minus_one_to_one_is_not_scored_as_perfect(tmp_path, capsys, which):
    """A prediction that is wrong only below 0, and one that is scaled otherwise than its truth."""
    image = contrasts(3)[1]
    scaled = image / image.max() * 2 - 1
    wrong = np.where((scaled < 0) & (image > 0), -0.9, scaled)
    put(tmp_path / "predicted" / "s_0000.nii.gz", wrong)
    put(tmp_path / "reference" / "s_0000.nii.gz", scaled if which == "reference" else image)
    with pytest.raises(LiftnetError, match="None of the predicted images could be scored"):
        evaluate(tmp_path / "predicted", tmp_path / "reference", workspace=tmp_path)
    what = "reference" if which == "reference" else "predicted image"
    assert f"s: The {what}: " in capsys.readouterr().out


def test_a_strange_reference_is_scored_and_named(pairs, tmp_path, capsys):
    """Slices of a reference CT that are water throughout are listed below the table."""
    source = pairs / "raw" / PAIRS / "targetsTs"
    moved = tmp_path / "targetsTs"
    moved.mkdir()
    for path in source.glob("*.nii.gz"):
        image, info = read_image(path)
        image[:2] = 0
        write_image(moved / path.name, image, info.geometry, dtype="float32")
    shutil.copy(pairs / "raw" / PAIRS / "dataset.json", tmp_path)
    scores = evaluate(source, moved, output=tmp_path / "scores", workspace=pairs)
    assert len(scores.cases) == 2
    printed = capsys.readouterr().out
    assert "warning: reference: 2 of " in printed and "are 0 HU throughout" in printed
