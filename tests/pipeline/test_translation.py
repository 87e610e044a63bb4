"""MR to CT, and MR to MR, from raw files to scores."""

import json
import shutil
from dataclasses import dataclass
from itertools import permutations, product
from pathlib import Path

import numpy as np
import pytest
import torch
from head_pairs import NAME, SPACING, canonical, make_pair
from scipy import ndimage

from liftnet.core.errors import CheckpointError, DatasetError
from liftnet.core.geometry import AxisOrder, Volume, axis_order, turn
from liftnet.core.storage.jsonable import write_json
from liftnet.imageio import read_image, write_image
from liftnet.pipeline.evaluate.evaluate import evaluate
from liftnet.pipeline.models.checkpoint import load_checkpoint, save_checkpoint
from liftnet.pipeline.models.runs import BEST, LATEST, read_run
from liftnet.pipeline.plan import plan
from liftnet.pipeline.predict.predict import predict
from liftnet.pipeline.preprocess.plan_and_preprocess import plan_and_preprocess
from liftnet.pipeline.train.train import train

SLICES, RESIDUAL = "slice_translation", "residual_context"
ORDERS = [
    AxisOrder(order, flip)
    for order in permutations(range(3))
    for flip in product((False, True), repeat=3)
]


@dataclass(frozen=True)
class Trained:
    """A workspace in which both methods were trained, and what was seen on the way."""

    workspace: Path
    early: str  # the error of predicting with lift before it was trained


@pytest.fixture(scope="module")
def trained(_prepared_pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """First the ablation, then lift."""
    space = tmp_path_factory.mktemp("trained") / "workspace"
    shutil.copytree(_prepared_pairs, space)
    train(workspace=space, device="cpu", method="no_mapper")
    with pytest.raises(CheckpointError) as caught:
        run(space, "early")
    train(workspace=space, device="cpu")
    return Trained(space, str(caught.value))


def run(space: Path, name: str, inputs: Path | None = None, **options) -> tuple[Path, list]:
    """Predict the test cases or those of a folder; the output folder and failures."""
    inputs = inputs or space / "raw" / NAME / "imagesTs"
    options = {"workspace": space, "device": "cpu", "num_processes": 1, **options}
    return space / name, predict(inputs, space / name, NAME, **options)


def add_weights(space: Path, dataset: str, plan_name: str, bias: float) -> None:
    """Store a network with random weights as if it were trained."""
    source = space / "preprocessed" / dataset / plan_name
    folder = space / "results" / dataset / plan_name / "lift" / "fold_0"
    (folder / RESIDUAL).mkdir(parents=True)
    shutil.copy(source / "plan.json", folder)
    shutil.copy(source / "recipes" / "lift.json", folder / "recipe.json")
    torch.manual_seed(0)
    decided, method, recipe = read_run(folder)
    network = method.stages(decided, recipe)[-1].build()
    for parameter in network.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    for last in (network.translator.head, network.residual.leave):
        torch.nn.init.normal_(last.weight, std=0.002)
    torch.nn.init.constant_(network.translator.head.bias, bias)
    save_checkpoint(folder / RESIDUAL / BEST, {"network": network.state_dict()}, {"step": 1})


def test_training_goes_on_from_the_translator(trained):
    """Its weights are frozen, and those of the ablation, which is trained by itself."""
    run_folder = trained.workspace / "results" / NAME / "default"
    folder, alone = run_folder / "lift" / "fold_0", run_folder / "no_mapper" / "fold_0"
    assert not (alone / RESIDUAL).exists()
    first = load_checkpoint(folder / SLICES / BEST).groups["network"]
    ablation = load_checkpoint(alone / SLICES / BEST).groups["network"]
    second = load_checkpoint(folder / RESIDUAL / LATEST).groups
    assert first.keys() == ablation.keys()
    for name, tensor in first.items():
        assert torch.equal(ablation[name], tensor)
        assert torch.equal(second["network"][name], tensor)
        assert torch.equal(second["average"][name], tensor)
    assert {name.split(".")[0] for name in second["network"]} == {"translator", "mixer", "residual"}
    assert second["network"]["residual.leave.weight"].abs().sum() > 0  # it was zero


def test_prediction_before_the_second_stage(trained):
    """Neither without a training of the method, nor in the midst of one; what to do is said."""
    assert "Nothing is trained yet" in trained.early
    assert f"liftnet_train -d {NAME} --method lift." in trained.early
    run_folder = trained.workspace / "results" / NAME / "default" / "lift" / "fold_0"
    hidden = run_folder / "hidden"
    (run_folder / RESIDUAL).rename(hidden)
    try:
        with pytest.raises(CheckpointError, match="not come far enough to predict") as caught:
            run(trained.workspace, "early")
        with pytest.raises(CheckpointError) as named:
            run(trained.workspace, "early", fold=[0])
    finally:
        hidden.rename(run_folder / RESIDUAL)
    assert RESIDUAL in str(caught.value) and RESIDUAL in str(named.value)


def test_both_methods_predict_and_are_scored(trained, tmp_path):
    """HU on the grid of the case, numbered as in targetsTr, with facts that evaluate reads."""
    references = trained.workspace / "raw" / NAME / "targetsTs"
    made = {}
    for method in ("lift", "no_mapper"):
        output, failures = run(trained.workspace, method, method=method)
        assert failures == []
        names = sorted(p.name for p in output.iterdir())
        assert names == ["t1_0000.json", "t1_0000.nii.gz", "t2_0000.json", "t2_0000.nii.gz"]
        for case in ("t1", "t2"):
            image, info = read_image(output / f"{case}_0000.nii.gz")
            _, reference = read_image(references / f"{case}_0000.nii.gz")
            assert info.dtype == "int16"
            assert info.geometry.differs(reference.geometry) is None
            assert image.min() >= -1000 and image.max() <= 2000
            facts = json.loads((output / f"{case}_0000.json").read_text())
            assert (facts["task"], facts["target"], facts["sources"]) == (
                "translation", "ct", ["mr"],
            )  # fmt: skip
            assert facts["intensity"] == {"low": -1000.0, "high": 2000.0, "dtype": "int16"}
            assert facts["method"] == method
            made[case, method] = image
        scores = evaluate(output, references, num_processes=1, workspace=trained.workspace)
        assert scores is not None
        table = json.loads((output / "scores.json").read_text())
        error = np.mean([
            np.abs(made[c, method] - read_image(references / f"{c}_0000.nii.gz")[0]).mean()
            for c in ("t1", "t2")
        ])  # fmt: skip
        assert error > 0 and "mae" in json.dumps(table)
        named = tmp_path / f"references_{method}"  # a folder that can hold no source
        named.mkdir()
        for case in ("t1", "t2"):
            shutil.copy(references / f"{case}_0000.nii.gz", named / f"{case}_CT.nii.gz")
        again = evaluate(output, named, num_processes=1, workspace=trained.workspace)
        assert again is not None and again.summary == scores.summary
    assert not np.array_equal(made["t1", "lift"], made["t1", "no_mapper"])


def test_normalized(trained):
    """--normalized writes [-1, 1] as float32: the same image in other units."""
    plain, _ = run(trained.workspace, "plain")
    output, _ = run(trained.workspace, "normalized", normalized=True)
    for name in ("t1_0000", "t2_0000"):
        image, info = read_image(output / f"{name}.nii.gz")
        assert info.dtype == "float32" and -1 <= image.min() < image.max() <= 1
        hu = read_image(plain / f"{name}.nii.gz")[0]
        np.testing.assert_allclose(500 + 1500 * image, hu, atol=0.51)
        facts = json.loads((output / f"{name}.json").read_text())
        assert (facts["intensity"]["low"], facts["intensity"]["high"]) == (-1.0, 1.0)


def turned_inputs(space: Path, orders: list[AxisOrder]) -> Path:
    """The first test case, stored in several voxel orders."""
    folder = space / "turned"
    if not folder.is_dir():
        image, info = read_image(space / "raw" / NAME / "imagesTs" / "t1_0000.nii.gz")
        for number, order in enumerate(orders):
            stored = turn(Volume(image[None], info.geometry), order)
            voxels = np.ascontiguousarray(stored.voxels[0])
            path = folder / f"o{number}_0000.nii.gz"
            write_image(path, voxels, stored.geometry, dtype="int16")
    return folder


def same_after_turning(output: Path, inputs: Path) -> np.ndarray:
    """The one image (D, H, W) that all outputs are when turned to axial order."""
    expected = None
    for path in sorted(output.glob("*.nii.gz")):
        made, info = read_image(path)
        _, source = read_image(inputs / path.name)
        assert info.dtype == "int16"
        assert info.geometry.differs(source.geometry) is None
        canonical = turn(Volume(made[None], info.geometry), axis_order(info.geometry, "axial"))
        assert canonical.geometry.spacing_mm == pytest.approx(SPACING)
        expected = canonical.voxels[0] if expected is None else expected
        np.testing.assert_array_equal(canonical.voxels[0], expected)
    assert expected is not None and np.ptp(expected) > 0
    return expected


def test_orientations(trained):
    """One case in eight voxel orders gives one result after turning it back."""
    orders = ORDERS[::6]
    inputs = turned_inputs(trained.workspace, orders)
    output, failures = run(trained.workspace, "turned_out", inputs)
    assert failures == [] and len(list(output.glob("*.nii.gz"))) == len(orders) == 8
    same_after_turning(output, inputs)


def test_a_box(trained):
    """Outside the plan's box about the mask is air; the result lies where the head lies."""
    space = trained.workspace
    settings = ["grid.box=[9,20,16]", "grid.spacing_mm=[2.5,1,1]"]
    plan(NAME, workspace=space, gpu_memory=0.03, steps=6, plan_name="boxed", settings=settings)
    add_weights(space, NAME, "boxed", 0.0)
    inputs = turned_inputs(space, ORDERS[::6])
    output, failures = run(space, "boxed", inputs, plan_name="boxed")
    assert failures == []
    image = same_after_turning(output, inputs)
    inside = image > -1000
    where = [np.flatnonzero(inside.any(axis=tuple({0, 1, 2} - {a}))) for a in range(3)]
    assert [int(w[-1] - w[0]) + 1 for w in where] == [9, 20, 16]
    assert inside.sum() > 0.8 * 9 * 20 * 16
    head = np.argwhere(make_pair(4, (12, 34, 29))[2])
    middle = (head.min(0) + head.max(0)) / 2
    for found, expected in zip(where, middle, strict=True):
        assert abs((found[0] + found[-1]) / 2 - expected) <= 1.5  # Otsu's mask, not the true one
    masks = space / "masks"
    shape = (12, 34, 29)
    mask = np.zeros(shape, dtype=np.uint8)
    mask[0:4, 0:5, 24:29] = 1
    write_image(masks / "t1.nii.gz", mask, canonical(shape), dtype="uint8")
    output, failures = run(space, "masked", plan_name="boxed", masks=masks)
    assert failures == []
    made = read_image(output / "t1_0000.nii.gz")[0]
    assert (made[:9, :20, 13:] > -1000).mean() > 0.8  # t1 by its mask; t2 by its own body
    assert (made[9:] == -1000).all() and (made[:, 20:] == -1000).all()
    assert (made[:, :, :13] == -1000).all()


def test_masks_that_are_not_there(trained, tmp_path):
    """No folder, or a folder without any of the cases, is refused."""
    with pytest.raises(DatasetError, match="The folder of masks does not exist"):
        run(trained.workspace, "x", masks=tmp_path / "no")
    with pytest.raises(DatasetError, match="has no mask of any case"):
        run(trained.workspace, "x", masks=tmp_path)


def test_a_case_without_source(trained, tmp_path):
    """Files that are no source are named; a folder without sources is refused."""
    source = trained.workspace / "raw" / NAME / "imagesTs" / "t1_0000.nii.gz"
    shutil.copy(source, tmp_path / "t1_0001.nii.gz")
    with pytest.raises(DatasetError, match="that of a channel or of a patient") as caught:
        run(trained.workspace, "x", tmp_path)
    assert "0000 for mr" in str(caught.value)
    empty = tmp_path / "empty"
    image, info = read_image(source)
    write_image(empty / "e_0000.nii.gz", 0 * image, info.geometry, dtype="int16")
    shutil.copy(source, empty / "t1_0000.nii.gz")
    output, failures = run(trained.workspace, "failed", empty)
    assert [f.case for f in failures] == ["e"]
    assert "All source images are empty" in str(failures[0].error)
    assert (output / "t1_0000.nii.gz").is_file()


def test_mr_to_mr(tmp_path):
    """The same code for two contrasts: typical intensities, and zero outside the head."""
    name, shape = "Dataset010_Contrasts", (10, 26, 34)
    folder = tmp_path / "raw" / name
    facts = {"name": "Contrasts", "task": "translation", "channels": {"0": {"name": "t1"}}}
    write_json(folder / "dataset.json", {**facts, "targets": {"0": {"name": "t2"}}})
    for seed, case in enumerate("abc"):
        rng = np.random.default_rng(seed)
        tissue = ndimage.gaussian_filter(rng.random(shape), (0.7, 1.5, 1.5))
        tissue = (tissue - tissue.min()) / np.ptp(tissue)
        inside = make_pair(seed, shape)[2]
        for group, image in (("images", 900 - 600 * tissue), ("targets", 200 + 1500 * tissue)):
            voxels = np.where(inside, image, 0).astype(np.int16)
            path = folder / f"{group}Tr" / f"{case}_0000.nii.gz"
            write_image(path, voxels, canonical(shape), dtype="int16")
    plan_and_preprocess(workspace=tmp_path, gpu_memory=0.03, steps=4, num_processes=1)
    add_weights(tmp_path, name, "default", 0.5)
    decided = json.loads((tmp_path / "preprocessed" / name / "default" / "plan.json").read_text())
    assert decided["grid"]["crop_in_plane"]
    high = decided["channels"][1]["normalization"]["typical_high"]
    assert 1000 < high <= 1700
    options = {"workspace": tmp_path, "device": "cpu", "num_processes": 1}
    assert predict(folder / "imagesTr", tmp_path / "out", **options) == []
    for case in "abc":
        made, info = read_image(tmp_path / "out" / f"{case}_0000.nii.gz")
        source, _ = read_image(folder / "imagesTr" / f"{case}_0000.nii.gz")
        assert info.dtype == "int16"
        assert (made[source == 0] == 0).all()
        assert 0.2 * high < np.median(made[source > 0]) < high and made.max() <= np.ceil(high)
