"""Flags on predictions, through training and prediction, with networks that are replaced."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from head_pairs import CASES, NAME, canonical, make_pair
from scipy import ndimage

from liftnet.core.geometry import AxisOrder, Geometry, Placement, Volume, turn
from liftnet.data.store import Store
from liftnet.imageio import read_image, write_image
from liftnet.methods import load_method
from liftnet.ops.mask import body
from liftnet.pipeline.models.plausibility import _subject, stored_slices
from liftnet.pipeline.plan import read_plan
from liftnet.pipeline.predict.predict import predict
from liftnet.pipeline.preprocess.preprocess import prepare
from liftnet.pipeline.train.train import train

FILE = "plausibility.json"
FOLD = Path("results") / NAME / "default" / "lift" / "fold_0"
KINDS = ("images", "targets")
ORDER = AxisOrder((2, 0, 1), (False, True, True))  # slices along the second stored axis
Change = Callable[[np.ndarray], np.ndarray]


@pytest.fixture(scope="module")
def _trained_pairs(_prepared_pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    space = tmp_path_factory.mktemp("trained") / "pairs"
    shutil.copytree(_prepared_pairs, space)
    train(workspace=space, device="cpu")
    for seed, (case, (shape, _)) in enumerate(CASES.items()):  # Otsu leaves out the dark skull
        path = space / "masks" / f"{case}.nii.gz"
        inside = make_pair(seed, shape)[2]
        write_image(path, inside.astype(np.uint8), canonical(shape), dtype="uint8")
    return space


@pytest.fixture
def trained(_trained_pairs: Path, tmp_path: Path) -> Path:
    """A workspace of one's own with a translator of MR to CT that is hardly trained."""
    shutil.copytree(_trained_pairs, tmp_path / "pairs")
    return tmp_path / "pairs"


def replace_network(monkeypatch, trained: Path, change: Change) -> None:
    """Have the network make the true CT, in HU, with a change."""
    plan = read_plan(trained / FOLD / "plan.json")
    made = {}
    for case in ("t1", "t2"):
        files = [trained / "raw" / NAME / f"{kind}Ts/{case}_0000.nii.gz" for kind in KINDS]
        (mr, info), (ct, _) = (read_image(path) for path in files)
        voxels = prepare(Volume(np.stack([mr, ct]), info.geometry), ("mr", "ct"), plan).voxels
        hu = change(voxels[1] * 1500 + 500)
        made[voxels.shape[1:]] = torch.from_numpy((hu.astype(np.float32) - 500) / 1500)[None]

    def synthesize(self, plan, recipe, network, example, generator, chunk):
        return made[tuple(example.source.shape[2:])].clone()

    monkeypatch.setattr(type(load_method("lift")), "synthesize", synthesize)


def run(workspace: Path, inputs: Path | None = None, **options) -> dict[str, dict]:
    """Predict, and what each JSON says of plausibility."""
    output = workspace / "out"
    inputs = inputs or workspace / "raw" / NAME / "imagesTs"
    assert predict(inputs, output, workspace=workspace, device="cpu", **options) == []
    return {p.stem[:2]: json.loads(p.read_text())["plausibility"] for p in output.glob("*.json")}


def test_training_notes_its_cases(trained):
    """Numbers of the real CT of each case, as counted here; written again where it is missing."""
    path = trained / FOLD / FILE
    known = json.loads(path.read_text())
    assert len(known["cases"]) == 3
    cases = trained / "preprocessed" / NAME / "default" / "cases"
    for case, found in known["cases"].items():
        ct, _ = read_image(trained / "raw" / NAME / "targetsTr" / f"{case}_0000.nii.gz")
        mr, _ = read_image(trained / "raw" / NAME / "imagesTr" / f"{case}_0000.nii.gz")
        mask = body(mr[None], "otsu")
        if ct.shape == Store(cases).describe(case).shape:  # stored as it is
            inside = ct[mask]
            assert found["ct"]["bone fraction"] == pytest.approx((inside > 300).mean(), abs=1e-6)
            assert found["ct"]["median HU"] == pytest.approx(np.median(inside), abs=1.0)
    first = path.stat().st_mtime_ns
    train(workspace=trained, device="cpu")
    assert path.stat().st_mtime_ns == first
    path.unlink()
    train(workspace=trained, device="cpu")
    assert json.loads(path.read_text()) == known
    path.write_text(json.dumps({**known, "plan": "of another plan"}))
    train(workspace=trained, device="cpu")
    assert json.loads(path.read_text()) == known


CHANGES: list[tuple[Change, list[str]]] = [
    (lambda hu: hu, []),
    (lambda hu: hu + 150, ["median HU"]),
    (lambda hu: np.where(hu > 300, 40, hu), ["bone fraction", "high HU"]),
    (lambda hu: ndimage.gaussian_filter(hu, 1.0), ["high-frequency fraction"]),
    (lambda hu: np.where(np.arange(len(hu))[:, None, None] < len(hu) // 2, -1000, hu), ["air"]),
]


@pytest.mark.parametrize(("change", "wanted"), CHANGES)
def test_what_is_flagged(trained, monkeypatch, capsys, change, wanted):
    """The true CT is not; shifted, without bone or half empty it is, and a line says so."""
    replace_network(monkeypatch, trained, change)
    found = run(trained, masks=trained / "masks")
    printed = capsys.readouterr().out
    for case, said in found.items():
        assert said["training_cases"] == 3
        assert bool(said["flags"]) == bool(wanted)
        for word in wanted:
            assert any(
                flag.startswith(word) and ", training images " in flag for flag in said["flags"]
            )
        assert (f"  {case}_0000: " in printed) == bool(wanted)
    assert found.keys() == {"t1", "t2"}
    line = (
        "2 of 2 images are unlike"
        if wanted
        else "2 images: in brightness, detail and size none is unlike those of training"
    )
    assert line in printed


def test_slices_are_counted_as_in_the_file(trained, monkeypatch):
    """In any stored order, the slice that is named is the one of the file that stands out."""

    def brighten(hu: np.ndarray) -> np.ndarray:
        changed = hu / 10
        changed[4] += 1500
        return changed

    replace_network(monkeypatch, trained, brighten)
    source = trained / "raw" / NAME / "imagesTs" / "t1_0000.nii.gz"
    voxels, info = read_image(source)
    turned = turn(Volume(voxels[None], info.geometry), ORDER)
    folder = trained / "turned"
    folder.mkdir()
    shutil.copy(source, folder / "t1_0000.nii.gz")
    write_image(
        folder / "t2_0000.nii.gz",
        np.ascontiguousarray(turned.voxels[0]),
        turned.geometry,
        dtype="int16",
    )
    found = run(trained, folder)
    for case, axis in (("t1", 2), ("t2", 1)):
        said = found[case]
        made, _ = read_image(trained / "out" / f"{case}_0000.nii.gz")
        assert said["slice_axis"] == axis
        slices = np.moveaxis(made, 2 - axis, 0)  # files count axes from the other end
        bright = [i for i, one in enumerate(slices) if one.max() > 1300]
        assert said["outlier_slices"] == bright
        assert len(bright) == 1
    assert found["t1"]["outlier_slices"] != found["t2"]["outlier_slices"]


def test_slices_of_a_resampled_box():
    """Prepared slices stand for all stored ones that they overlap, flipped or not."""
    axes = ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0))
    grid = Geometry((20, 5, 7), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), axes)
    start, stop = (4, 0, 0), (16, 5, 7)
    order = AxisOrder((0, 1, 2), (False, False, False))
    plain = Placement(grid, order, start, stop, (6, 5, 7))
    assert stored_slices([0, 2], plain) == [4, 5, 8, 9]
    order = AxisOrder((0, 1, 2), (True, False, False))
    flipped = Placement(grid, order, start, stop, (24, 5, 7))
    assert stored_slices([0, 1, 2], flipped) == [14, 15]


def test_continued_and_older_results(trained, monkeypatch, capsys):
    """Kept images are reported again; without the fold's file nothing is judged, and it says so."""
    replace_network(monkeypatch, trained, lambda hu: hu + 150)
    run(trained)
    times = {p: p.stat().st_mtime_ns for p in (trained / "out").iterdir()}
    capsys.readouterr()
    run(trained, continue_prediction=True)
    assert {p: p.stat().st_mtime_ns for p in (trained / "out").iterdir()} == times
    assert "2 of 2 images are unlike" in capsys.readouterr().out
    (trained / FOLD / FILE).unlink()
    for said in run(trained).values():
        assert (said["flags"], said["outlier_slices"], said["training_cases"]) == ([], [], 0)
        assert said["numbers"]["median HU"] > 100
    printed = capsys.readouterr().out
    assert printed.count("Images are not compared") == 1
    assert "are unlike" not in printed


def test_what_interpolation_leaves_of_air_is_no_body(trained):
    """Rounding of a constant background must not count as the subject of a z-score."""
    plan = read_plan(trained / FOLD / "plan.json")
    plan = replace(plan, grid=replace(plan.grid, foreground="nonzero"))
    sources = np.full((1, 12, 20, 20), -0.7, np.float32)
    sources += np.random.default_rng(0).uniform(0, 1e-6, sources.shape).astype(np.float32)
    sources[:, 3:9, 5:15, 5:15] = 1.5
    assert _subject(plan, sources).sum() == 6 * 10 * 10


def test_contrasts_of_mr(workspace):
    """Of a case that lacks a contrast the others are described, in network units."""
    train(workspace=workspace, device="cpu")
    folder = workspace / "results" / "Dataset007_Phantom" / "default" / "lift" / "fold_0"
    cases = json.loads((folder / FILE).read_text())["cases"]
    for case, targets in cases.items():
        assert targets.keys() == set("abc") - ({"b"} if case == "p6" else set())
        for numbers in targets.values():
            assert numbers.keys() == {
                "mean",
                "spread",
                "high",
                "largest slice step",
                "high-frequency fraction",
                "subject mL",
            }
            assert 0 < numbers["mean"] < numbers["high"] <= 1
    inputs = workspace / "new"
    inputs.mkdir()
    images = workspace / "raw" / "Dataset007_Phantom" / "imagesTr"
    for number in (0, 1):
        shutil.copy(images / f"p1_000{number}.nii.gz", inputs)
    (said,) = run(workspace, inputs).values()
    assert said["training_cases"] == len(cases)
    made, _ = read_image(workspace / "out" / "p1_0002.nii.gz")
    facts = json.loads((workspace / "out" / "p1_0002.json").read_text())
    sources = [read_image(inputs / f"p1_000{number}.nii.gz")[0] > 0 for number in (0, 1)]
    inside = made[np.any(sources, axis=0)] / facts["intensity"]["high"]
    assert said["numbers"]["mean"] == pytest.approx(inside.mean(), abs=0.01)
