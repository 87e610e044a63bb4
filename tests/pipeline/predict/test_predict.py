"""Prediction on folders of new files, with untrained and hardly trained networks."""

import json
import os
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from itertools import permutations, product
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from trained_folds import DATASET, STAGE, add_fold

from liftnet.core.errors import CheckpointError, DatasetError, LiftnetError
from liftnet.core.geometry import AxisOrder, Geometry, Volume, axis_order, turn
from liftnet.core.storage.checksum import file_sha256
from liftnet.imageio import read_image, write_image
from liftnet.methods import load_method
from liftnet.networks.volume_translator import VolumeTranslator
from liftnet.pipeline.models.checkpoint import load_checkpoint, save_checkpoint
from liftnet.pipeline.models.runs import LATEST
from liftnet.pipeline.plan import plan, read_plan
from liftnet.pipeline.predict import predict as steps
from liftnet.pipeline.predict.predict import predict


@pytest.fixture
def trained(workspace: Path) -> Path:
    """The workspace with one fold."""
    add_fold(workspace, "0", 0)
    return workspace


@pytest.fixture
def inputs(workspace: Path) -> Path:
    """A folder with p1 (lacks c) and p4 (has b only), the second on another spacing."""
    folder = workspace / "new"
    folder.mkdir()
    for name in ("p1_0000", "p1_0001", "p4_0001"):
        shutil.copy(workspace / "raw" / DATASET / "imagesTr" / f"{name}.nii.gz", folder)
    return folder


def run(workspace: Path, inputs: Path, name: str = "out", **options) -> tuple[Path, list]:
    """Predict, and the output folder and failures."""
    output = workspace / name
    options = {"workspace": workspace, "device": "cpu", "num_processes": 1, **options}
    return output, predict(inputs, output, **options)


def images(folder: Path) -> dict[str, np.ndarray]:
    """The voxels of all images of a folder."""
    return {p.name: read_image(p)[0] for p in sorted(folder.glob("*.nii.gz"))}


def test_files_grids_types_and_facts(trained, inputs):
    """What is absent is made, on the case's grid and in its integer type, with its JSON."""
    output, failures = run(trained, inputs)
    assert failures == []
    assert sorted(p.name for p in output.iterdir()) == [
        "p1_0002.json", "p1_0002.nii.gz", "p4_0000.json", "p4_0000.nii.gz",
        "p4_0002.json", "p4_0002.nii.gz",
    ]  # fmt: skip
    typical = read_plan(trained / "preprocessed" / DATASET / "default" / "plan.json")
    for name, sources in (("p1_0002", ["a", "b"]), ("p4_0000", ["b"]), ("p4_0002", ["b"])):
        made, info = read_image(output / f"{name}.nii.gz")
        given = [read_image(inputs / f"{name[:2]}_{'abc'.index(s):04d}.nii.gz") for s in sources]
        assert info.geometry.differs(given[0][1].geometry) is None
        assert info.dtype == "int16"
        subject = np.any([voxels > 0 for voxels, _ in given], axis=0)
        assert (made[~subject] == 0).all()
        assert (made[subject] > 0).mean() > 0.1  # weights are random
        facts = json.loads((output / f"{name}.json").read_text())
        target = "abc"[int(name[-1])]
        high = typical.channel(target).normalization.typical_high
        assert (facts["case"], facts["target"], facts["sources"]) == (name[:2], target, sources)
        assert facts["intensity"] == {"low": 0.0, "high": high, "dtype": "int16"}
        assert made.max() <= np.rint(high)
        assert (facts["folds"], facts["method"], facts["device"]) == (["fold_0"], "lift", "cpu")
        assert facts["source_ranges"].keys() == set(sources)
        assert facts["dataset"] == DATASET and facts["plan"] == "default"
        assert facts["made_from"]["folder"] == "../new" and str(trained) not in str(facts)
        files = {s: inputs / f"{name[:2]}_{'abc'.index(s):04d}.nii.gz" for s in sources}
        assert facts["made_from"]["files"] == {
            s: {"file": path.name, "sha256": file_sha256(path)} for s, path in files.items()
        }


def test_normalized_and_floats(trained, inputs):
    """--normalized writes [0, 1] as float32: the same image in other units."""
    plain, _ = run(trained, inputs)
    output, _ = run(trained, inputs, "normalized", normalized=True)
    for name, image in images(output).items():
        facts = json.loads((output / name.replace(".nii.gz", ".json")).read_text())
        assert facts["intensity"] == {"low": 0.0, "high": 1.0, "dtype": "float32"}
        assert image.min() >= 0 and image.max() <= 1
        high = json.loads((plain / name.replace(".nii.gz", ".json")).read_text())["intensity"][
            "high"
        ]
        np.testing.assert_allclose(image * high, images(plain)[name], atol=0.51)


@pytest.mark.parametrize(
    ("stored", "written"), [("uint8", "float32"), ("float32", "float32"), ("uint16", "uint16")]
)
def test_a_type_that_cannot_hold_the_range_is_not_used(trained, inputs, stored, written):
    """Sources in uint8 do not cut off intensities of 540: the file is float32 then."""
    for path in inputs.glob("p1*"):
        voxels, info = read_image(path)
        write_image(path, voxels * (255 / voxels.max()), info.geometry, dtype=stored)
    output, _ = run(trained, inputs)
    made, info = read_image(output / "p1_0002.nii.gz")
    assert info.dtype == written
    assert made.max() > 255


def test_orientations(trained, inputs):
    """One case in many voxel orders gives one result after turning it back."""
    voxels = [read_image(inputs / f"p1_000{i}.nii.gz") for i in range(2)]
    orders = [
        AxisOrder(order, flip)
        for order in permutations(range(3))
        for flip in product((False, True), repeat=3)
    ][::5]
    folder = trained / "turned"
    for number, order in enumerate(orders):
        for i, (image, info) in enumerate(voxels):
            stored = turn(Volume(image[None], info.geometry), order)
            path = folder / f"o{number}_000{i}.nii.gz"
            write_image(
                path, np.ascontiguousarray(stored.voxels[0]), stored.geometry, dtype="int16"
            )
    output, failures = run(trained, folder)
    assert failures == []
    expected = None
    for number in range(len(orders)):
        made, info = read_image(output / f"o{number}_0002.nii.gz")
        _, source = read_image(folder / f"o{number}_0000.nii.gz")
        assert info.geometry.differs(source.geometry) is None
        canonical = turn(Volume(made[None], info.geometry), axis_order(info.geometry, "axial"))
        expected = canonical.voxels if expected is None else expected
        np.testing.assert_array_equal(canonical.voxels, expected)
    assert np.ptp(expected) > 0


def test_wanted_targets(trained, inputs):
    """--target makes a contrast from the others although it is there; its file is not used."""
    target = inputs / "p1_0001.nii.gz"
    output, failures = run(trained, inputs, target=["b"])
    assert [f.case for f in failures] == ["p4"]
    assert "No source contrast is left" in str(failures[0].error)
    assert "case p4" in str(failures[0].error)
    assert json.loads((output / "p1_0001.json").read_text())["sources"] == ["a"]
    first = images(output)["p1_0001.nii.gz"]
    target.unlink()
    output, _ = run(trained, inputs, "without", target=["b"])
    np.testing.assert_array_equal(images(output)["p1_0001.nii.gz"], first)
    with pytest.raises(DatasetError, match="No channel 'd'"):
        run(trained, inputs, "nothing", target=["d"])


def test_folds_are_averaged(trained, inputs):
    """Two folds give the mean of each alone; all trained ones are taken by default."""
    add_fold(trained, "3", 3)
    options = {"normalized": True}
    singles = [images(run(trained, inputs, f"f{f}", fold=[f], **options)[0]) for f in (0, "3")]
    both = images(run(trained, inputs, "both", **options)[0])
    assert both.keys() == singles[0].keys()
    for name, image in both.items():
        assert not np.allclose(singles[0][name], singles[1][name], atol=1e-3)
        mean = (singles[0][name] + singles[1][name]) / 2
        np.testing.assert_allclose(image, mean, atol=2e-2)  # bfloat16 on some CPUs
    facts = json.loads((trained / "both" / "p1_0002.json").read_text())
    assert facts["folds"] == ["fold_0", "fold_3"]
    with pytest.raises(CheckpointError, match="fold_1 is not trained"):
        run(trained, inputs, fold=[1])
    with pytest.raises(CheckpointError, match="Nothing is trained yet"):
        run(trained, inputs, method="no_mapper")
    add_fold(trained, "0", 5, method="no_mapper")
    facts = run(trained, inputs, "ablation", method="no_mapper")[0] / "p1_0002.json"
    assert json.loads(facts.read_text())["method"] == "no_mapper"


@pytest.mark.parametrize("setting", ["seed=5", "lift.losses.l1=0.5"])
def test_folds_of_different_plans_are_not_averaged(trained, inputs, setting):
    """A fold that was trained with another plan or recipe is refused."""
    plan(workspace=trained, gpu_memory=0.03, steps=9, settings=[setting])
    add_fold(trained, "1", 1)
    with pytest.raises(CheckpointError, match="with another plan or recipe than fold_0"):
        run(trained, inputs)


def test_continue_prediction(trained, inputs):
    """What these weights made from these files is kept; everything else is made again."""
    output, _ = run(trained, inputs)

    def again(**options) -> set[str]:
        before = {p.name: p.stat().st_mtime_ns for p in output.glob("*.nii.gz")}
        assert run(trained, inputs, continue_prediction=True, **options)[1] == []
        after = {p.name: p.stat().st_mtime_ns for p in output.glob("*.nii.gz")}
        return {name[:7] for name, when in after.items() if before.get(name) != when}

    assert again() == set()
    everything = {"p1_0002", "p4_0000", "p4_0002"}
    os.utime(inputs / "p1_0000.nii.gz", ns=(1, 1))  # a changed input
    assert again() == {"p1_0002"}
    (output / "p4_0000.nii.gz").unlink()  # a lost output
    assert again() == {"p4_0000", "p4_0002"}
    (output / "p1_0002.json").write_text("{")  # killed while writing
    assert again() == {"p1_0002"}
    (output / "p1_0002.json").write_text("[]")
    assert again() == {"p1_0002"}
    assert again(normalized=True) == everything  # other units
    assert again(normalized=True) == set()
    add_fold(trained, "0", 8)  # other weights
    assert again(normalized=True) == everything
    assert images(output)["p1_0002.nii.gz"].max() <= 1


def test_the_json_comes_last(trained, inputs, monkeypatch):
    """If an image cannot be written, no JSON says that it is there."""
    output, _ = run(trained, inputs)

    def fail(*args, **options):
        raise LiftnetError("The image could not be written", where="x", remedy="y")

    monkeypatch.setattr("liftnet.pipeline.predict.outputs.write_image", fail)
    _, failures = run(trained, inputs)
    assert {f.case for f in failures} == {"p1", "p4"}
    assert not (output / "p1_0002.json").exists()


def test_parts_cover_all_once(trained, inputs):
    """Three parts make every case once, and their files are those of one run."""
    for case in "xyz":
        shutil.copy(inputs / "p4_0001.nii.gz", inputs / f"{case}_0001.nii.gz")
    whole = images(run(trained, inputs)[0])
    counts: dict[str, int] = {}
    for part in range(3):
        made = images(run(trained, inputs, f"part{part}", num_parts=3, part_id=part)[0])
        for name, image in made.items():
            counts[name] = counts.get(name, 0) + 1
            np.testing.assert_array_equal(image, whole[name])
    assert counts == dict.fromkeys(whole, 1)
    with pytest.raises(LiftnetError, match="Part 3 of 3 does not exist"):
        run(trained, inputs, num_parts=3, part_id=3)


def test_a_long_case_shows_its_share(trained, inputs, monkeypatch):
    """What a method says of its way through a case stands beside the bar, under the case's name."""
    noted = []

    @contextmanager
    def watched(label, total):
        yield lambda count=1, note="": noted.append((count, note))

    def slow(plan, recipe, network, example, generator, chunk):
        chunk.reached(0.25)
        return synthesize(plan, recipe, network, example, generator, chunk)

    lift = type(load_method("lift"))
    synthesize = lift.synthesize
    monkeypatch.setattr(lift, "synthesize", staticmethod(slow))
    monkeypatch.setattr(steps, "progress", watched)
    run(trained, inputs)
    assert sorted(noted) == [(0, "p1: 25%"), (0, "p4: 25%"), (1, ""), (1, "")]


def test_operations_are_those_of_the_synthesis(trained, inputs, monkeypatch):
    """The JSON's count is what PyTorch counts while the volume is made, of any depth."""
    counted = []

    def watched(model, *arguments):
        with FlopCounterMode(display=False) as counter:
            made = synthesize(model, *arguments)
        counted.append(counter.get_total_flops())
        return made

    synthesize = steps._synthesize
    monkeypatch.setattr(steps, "_synthesize", watched)
    output, _ = run(trained, inputs)
    files = [output / f"{name}.json" for name in ("p1_0002", "p4_0002")]
    noted = [json.loads(path.read_text())["flops"] for path in files]
    assert noted == pytest.approx(counted, rel=0.02)


def test_a_broken_case_does_not_stop_the_folder(trained, inputs, capsys, monkeypatch):
    """Damaged, unreadable, too large: each is listed with its reason, the others are made."""
    (inputs / "p0_0000.nii.gz").write_bytes(b"nothing")
    (inputs / "p9_0000.nii.gz").symlink_to(inputs / "nowhere.nii.gz")
    voxels, info = read_image(inputs / "p4_0001.nii.gz")
    write_image(inputs / "p5_0000.nii.gz", voxels * 0, info.geometry, dtype="int16")
    shutil.copy(inputs / "p4_0001.nii.gz", inputs / "p1x_0000.nii.gz")
    shutil.copy(inputs / "p1_0001.nii.gz", inputs / "p1x_0001.nii.gz")
    shutil.copy(inputs / "p1_0000.nii.gz", inputs / "stranger.nii.gz")
    lift = type(load_method("lift"))
    synthesize = lift.synthesize

    def small_device(self, plan, recipe, network, example, generator, chunk):
        if example.source.shape[3] == 31 or example.given[0].tolist() == [0, 1, 0]:
            raise torch.OutOfMemoryError("too large")
        return synthesize(plan, recipe, network, example, generator, chunk)

    monkeypatch.setattr(lift, "synthesize", small_device)
    output, failures = run(trained, inputs, num_processes=2)
    reasons = {f.case: f.error.problem for f in failures}
    assert reasons.keys() == {"p0", "p9", "p5", "p1x", "p4"}
    assert "different grids" in reasons["p1x"]
    assert reasons["p5"] == "All source images are empty"
    assert reasons["p4"] == "The device's memory is too small for this case"
    assert sorted(images(output)) == ["p1_0002.nii.gz"]
    printed = capsys.readouterr().out
    assert "failed: p0: " in printed and "case p1x" in printed
    assert "Predicted 1 of 6 cases with 1 fold" in printed
    assert "warning: stranger.nii.gz is not named CASE_0000 to CASE_0002" in printed


def test_cropped_background_comes_back(trained, inputs):
    """More background around a case changes nothing but the size of its result."""
    plain = images(run(trained, inputs, normalized=True)[0])["p1_0002.nii.gz"]
    margins = [(0, 0), (3, 8), (6, 1)]
    for i in range(2):
        path = inputs / f"p1_000{i}.nii.gz"
        voxels, info = read_image(path)
        wide = np.pad(voxels, margins)
        geometry = info.geometry
        origin = geometry.world((0.0, -3.0, -6.0))
        grid = Geometry(wide.shape, geometry.spacing_mm, origin, geometry.direction)
        write_image(path, wide, grid, dtype="int16")
    wide = images(run(trained, inputs, "wide", normalized=True)[0])["p1_0002.nii.gz"]
    np.testing.assert_array_equal(wide, np.pad(plain, margins))


def test_wrong_calls(trained, inputs):
    """Folders, devices and checkpoints that are not there are refused with a remedy."""
    with pytest.raises(DatasetError, match="The input folder does not exist") as caught:
        run(trained, trained / "nowhere")
    assert caught.value.remedy == "Name another with -i."
    with pytest.raises(DatasetError, match="Input and output folder are the same"):
        run(trained, inputs, "new")
    (trained / "empty").mkdir()
    with pytest.raises(DatasetError, match="The input folder holds no case") as caught:
        run(trained, trained / "empty")
    assert "0000 for a, 0001 for b, 0002 for c" in str(caught.value)
    with pytest.raises(LiftnetError, match="There is no checkpoint 'last'"):
        run(trained, inputs, checkpoint="last")
    with pytest.raises(LiftnetError, match="expected one of the devices"):
        run(trained, inputs, device="abacus")


def test_latest_uses_the_averaged_weights(trained, inputs):
    """-chk latest takes the moving average, which is the network that validation saw."""
    path = trained / "results" / DATASET / "default" / "lift" / "fold_0" / STAGE / LATEST
    stored = load_checkpoint(path)
    noise = {k: torch.randn_like(v) for k, v in stored.groups["network"].items()}
    save_checkpoint(path, {"network": noise, "average": stored.groups["average"]}, {})
    best, latest = (
        images(run(trained, inputs, name, checkpoint=name)[0]) for name in ("best", "latest")
    )
    for name, image in best.items():
        np.testing.assert_array_equal(image, latest[name])


def test_killed_and_continued(trained, inputs):
    """Kill -9 while predicting, then the same command: the same final files, nothing left over."""
    for number in range(20):
        for i in range(2):
            shutil.copy(inputs / f"p1_000{i}.nii.gz", inputs / f"k{number}_000{i}.nii.gz")
    code = (
        "import sys, torch; torch.set_num_threads(1)\n"
        "from liftnet.pipeline.predict.predict import predict\n"
        "predict(*sys.argv[1:3], workspace=sys.argv[3], device='cpu', num_processes=1,"
        " continue_prediction=True)\n"
    )
    output = trained / "out"
    arguments = [sys.executable, "-c", code, str(inputs), str(output), str(trained)]
    child = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while len(list(output.glob("k*.json"))) < 2:
        assert child.poll() is None and time.monotonic() < deadline
        time.sleep(0.002)
    child.kill()
    child.wait()
    assert len(list(output.glob("k*.json"))) < 20
    (output / ".77.k19_0002.nii.gz").write_bytes(b"half-written")
    (output / ".k19_0002.json.77.tmp").write_bytes(b"half-written")
    (output / ".77.other_0002.nii.gz").write_bytes(b"of another run")
    assert run(trained, inputs, continue_prediction=True)[1] == []
    fresh, _ = run(trained, inputs, "fresh")
    names = sorted(p.name for p in fresh.iterdir())
    assert sorted(p.name for p in output.iterdir()) == [".77.other_0002.nii.gz", *names]
    (output / ".77.other_0002.nii.gz").unlink()
    for name, image in images(fresh).items():
        np.testing.assert_array_equal(image, images(output)[name])


def test_what_fits_the_memory_is_learned_once(trained, inputs, monkeypatch, capsys):
    """The first case finds how many slices fit, the next ones begin with it; results are equal."""
    whole, _ = run(trained, inputs, "whole")
    made, tried = VolumeTranslator.synthesize, []

    def limited(self, source, condition, *, slice_batch, keep_features):
        if not source.is_meta:  # the count of operations
            tried.append(slice_batch)
        if slice_batch > 3 and not source.is_meta:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return made(self, source, condition, slice_batch=slice_batch, keep_features=keep_features)

    monkeypatch.setattr(VolumeTranslator, "synthesize", limited)
    capsys.readouterr()
    less, failures = run(trained, inputs, "less", num_processes=1)
    assert not failures
    said = capsys.readouterr().out
    assert tried[0] > 3 >= tried[-2] == tried[-1]
    assert said.count("memory ran out") == len(tried) - 2
    assert f"from here on {tried[-1]} slices at a time in two passes" in said
    for path in whole.glob("*.nii.gz"):
        one, two = read_image(path)[0], read_image(less / path.name)[0]
        np.testing.assert_allclose(one, two, atol=2 + 0.01 * np.abs(one).max())  # bfloat16
