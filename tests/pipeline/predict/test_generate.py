"""Generation of volumes from random numbers, with an untrained network of a few numbers."""

import errno
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from small_generation import make_plan, make_recipe
from tiny_generation import (
    DATASET,
    METHOD,
    NAME,
    SHAPE,
    SPACING,
    STAGE,
    TinyMethod,
    add_fold,
    installed,
    store_fold,
    tiny_plan,
    tiny_recipe,
)

from liftnet.core.errors import CheckpointError, LiftnetError, PlanError
from liftnet.core.geometry import SLICE_AXES, Volume, axis_order, turn
from liftnet.core.plan import PercentileScale, Plan
from liftnet.imageio import read_image
from liftnet.methods import load_method
from liftnet.pipeline.models.checkpoint import load_checkpoint
from liftnet.pipeline.models.model import load_model
from liftnet.pipeline.models.runs import BEST
from liftnet.pipeline.predict import outputs
from liftnet.pipeline.predict.generate import generate
from liftnet.pipeline.predict.predict import predict
from liftnet.visual.figures import sample_sheet

pytestmark = pytest.mark.usefixtures("undrawn")


@pytest.fixture
def trained(tmp_path: Path) -> Iterator[Path]:
    """A workspace with one fold of the tiny task."""
    with installed():
        add_fold(tmp_path, "0", 0)
        yield tmp_path


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures are files with the names of what would be drawn: drawing takes a second."""

    def draw(samples, path, *, spacing_mm, title):
        path.write_text("\n".join(name for name, _ in samples))

    monkeypatch.setattr("liftnet.pipeline.predict.generate.sample_sheet", draw)


def run(workspace: Path, count: int, name: str = "out", **options) -> Path:
    """Generate, and the output folder."""
    generate(count, workspace / name, workspace=workspace, device="cpu", **options)
    return workspace / name


def contents(folder: Path) -> dict[str, bytes]:
    """The bytes of all images of a folder."""
    return {p.name: p.read_bytes() for p in sorted(folder.glob("*.nii.gz"))}


def facts(folder: Path, number: int) -> dict:
    """The JSON of a sample."""
    return json.loads((folder / f"sample_{number:04d}_0000.json").read_text())


def network_volume(workspace: Path, latent: torch.Tensor, plan: Plan) -> np.ndarray:
    """The volume (D, H, W) in network units of a latent, straight from the method."""
    path = workspace / "results" / DATASET / "default" / NAME / "fold_0" / STAGE / BEST
    recipe = tiny_recipe()
    network = METHOD.stages(plan, recipe)[-1].build()
    network.load_state_dict(load_checkpoint(path).groups["network"])
    with torch.no_grad():
        return METHOD.generate(plan, recipe, network, latent, temperature=1.0).numpy()


def test_files_and_facts(trained, capsys):
    """Ten volumes, a JSON beside each that says how it was made, a picture; fold and time said."""
    made = generate(10, trained / "new" / "out", workspace=trained, device="cpu", seed=4)
    output = trained / "new" / "out"
    names = [f"sample_{k:04d}_0000" for k in range(10)]
    assert made == [output / f"{name}.nii.gz" for name in names]
    endings = [f"{name}.{e}" for name in names for e in ("json", "nii.gz")]
    assert sorted(p.name for p in output.iterdir()) == sorted([*endings, "montage.png"])
    assert (output / "montage.png").read_text().split() == [name[:-5] for name in names[:8]]
    found = facts(output, 3)
    digest = found.pop("model")
    assert len(digest) == 16 and facts(output, 4)["model"] == digest
    assert found.pop("seconds") >= 0 and found.pop("hardware") and found.pop("command") == ""
    assert found.pop("liftnet")
    assert found.pop("peak_memory_gib") > 0.05  # of Python and torch alone
    assert found.pop("peak_memory_of") == "the whole process until this was made"
    assert found == {
        "case": "sample_0003",
        "target": "t1n",
        "modality": "MR",
        "intensity": {"low": 0.0, "high": 900.0, "dtype": "int16"},
        "seed": 4,
        "number": 3,
        "temperature": 1.0,
        "sigma_z": 0.0,
        "interpolation": None,
        "flops": None,  # it reads its latent, which has no values where they are counted
        "task": "tiny",
        "method": "tiny",
        "dataset": DATASET,
        "plan": "default",
        "folds": ["fold_0"],
        "device": "cpu",
    }
    printed = capsys.readouterr()
    assert "Generating with fold_0, the first that is trained" in printed.out
    assert "Images are not compared" not in printed.out
    last = printed.out.splitlines()[-1]
    assert last.startswith("Generated 10 volumes with fold_0, ")
    assert last.endswith(f" s each on cpu: {output}")
    assert "Generate: 10/10 volumes" in printed.err


@pytest.mark.parametrize("slice_axis", sorted(SLICE_AXES))
def test_voxels_units_and_orientation(trained, slice_axis):
    """Turned to the plan's axes a file holds the network's volume; it lies about the origin."""
    plan = tiny_plan(slice_axis)
    add_fold(trained, "0", 0, plan=plan)
    output = run(trained, 2)
    expected = network_volume(trained, METHOD.latent(plan, tiny_recipe(), 0, 1), plan)
    assert expected.shape == SHAPE and (expected > -1).mean() > 0.1
    voxels, info = read_image(output / "sample_0001_0000.nii.gz")
    seen = turn(Volume(voxels[None], info.geometry), axis_order(info.geometry, slice_axis))
    np.testing.assert_array_equal(seen.voxels[0], np.rint((expected + 1) * 450))
    np.testing.assert_allclose(seen.geometry.spacing_mm, SPACING, rtol=1e-6)
    assert info.dtype == "int16" and voxels.min() == 0
    stored = nib.load(output / "sample_0001_0000.nii.gz")
    assert nib.aff2axcodes(stored.affine) == ("L", "P", "S")
    centre = stored.affine @ [*((np.array(stored.shape) - 1) / 2), 1]
    np.testing.assert_allclose(centre[:3], 0, atol=1e-5)
    world = dict(zip(SLICE_AXES[slice_axis], range(3), strict=True))
    assert stored.shape == tuple(SHAPE[world[k]] for k in range(3))
    units = run(trained, 2, "units", normalized=True)
    assert facts(units, 1)["intensity"] == {"low": -1.0, "high": 1.0, "dtype": "float32"}
    voxels, info = read_image(units / "sample_0001_0000.nii.gz")
    seen = turn(Volume(voxels[None], info.geometry), axis_order(info.geometry, slice_axis))
    np.testing.assert_allclose(seen.voxels[0], expected, atol=0.5 * 2 / 255)


def test_few_grey_levels_are_written_as_floats(trained):
    """A typical range of 50 would show steps: float32."""
    plan = tiny_plan()
    rule = PercentileScale("foreground", 0.001, 0.999, 0.0, 50.0, (-1.0, 1.0))
    add_fold(trained, "0", 0, plan=replace(plan, channels=(replace(plan.channels[0], normalization=rule),)))  # noqa: E501  # fmt: skip
    output = run(trained, 1)
    voxels, info = read_image(output / "sample_0000_0000.nii.gz")
    assert info.dtype == "float32" == facts(output, 0)["intensity"]["dtype"]
    assert voxels.min() == 0 and (voxels % 1 > 0).any()


def test_a_volume_depends_on_seed_and_number_alone(trained):
    """The files are equal to the byte whatever else is made, in whatever parts and threads."""
    whole = contents(run(trained, 5))
    assert len({*whole.values()}) == 5
    assert {data[4:8] for data in whole.values()} == {bytes(4)}  # gzip: no time stamp
    assert contents(run(trained, 2, "few", num_processes=3)).items() <= whole.items()
    later = contents(run(trained, 2, "later", first=3))
    assert list(later) == ["sample_0003_0000.nii.gz", "sample_0004_0000.nii.gz"]
    assert later.items() <= whole.items()
    parts = {}
    for part in range(3):
        folder = run(trained, 5, f"part{part}", num_parts=3, part_id=part)
        parts |= contents(folder)
        assert not (folder / "montage.png").exists()  # the others are elsewhere
    assert parts == whole
    assert not set(contents(run(trained, 2, "other", seed=1)).values()) & set(whole.values())


def test_parts_of_one_folder_end_in_a_picture(trained):
    """The part that finds all samples there draws them."""
    for part in (1, 0):
        assert not (trained / "out" / "montage.png").exists()
        output = run(trained, 3, num_parts=2, part_id=part)
    assert (output / "montage.png").read_text().split() == [f"sample_000{k}" for k in range(3)]
    assert len(contents(output)) == 3
    output = run(trained, 9)
    assert (output / "montage.png").read_text().split() == [f"sample_000{k}" for k in range(8)]


def test_temperature(trained):
    """By default the recipe's; at 0 all volumes are one."""
    add_fold(trained, "0", 0, recipe=replace(tiny_recipe(), temperature=0.5))
    default = run(trained, 2)
    assert facts(default, 0)["temperature"] == 0.5
    assert contents(default) == contents(run(trained, 2, "half", temperature=0.5))
    one = run(trained, 2, "one", temperature=1)
    assert not set(contents(one).values()) & set(contents(default).values())
    assert len(set(contents(run(trained, 2, "cold", temperature=0)).values())) == 1


def test_sigma_z(trained):
    """By default the recipe's; another value, other volumes; those of before are made again."""
    add_fold(trained, "0", 0, recipe=replace(tiny_recipe(), sigma_z=1.5))
    default = run(trained, 2)
    assert facts(default, 0)["sigma_z"] == 1.5
    assert contents(default) == contents(run(trained, 2, "same", sigma_z=1.5))
    sharp = contents(run(trained, 2, "sharp", sigma_z=0))
    assert not set(sharp.values()) & set(contents(default).values())
    assert contents(run(trained, 2, continue_prediction=True, sigma_z=0)) == sharp


def test_interpolation(trained):
    """From one sample to another, ends included and equal to those samples; a picture of all."""
    samples = contents(run(trained, 8, "samples"))
    output = run(trained, 11, interpolate=(7, 2))
    made = contents(output)
    names = [f"between_0007_0002_{k:04d}_0000" for k in range(11)]
    assert list(made) == [f"{name}.nii.gz" for name in names]
    first, *between, last = made.values()
    assert first == samples["sample_0007_0000.nii.gz"]
    assert last == samples["sample_0002_0000.nii.gz"]
    assert len({first, last, *between}) == 11
    told = json.loads((output / f"{names[5]}.json").read_text())
    assert told["interpolation"] == {"from": 7, "to": 2, "weight": 0.5}
    assert (told["case"], told["number"]) == ("between_0007_0002_0005", 5)
    assert [p.name for p in output.glob("*.png")] == ["between_0007_0002.png"]
    drawn = (output / "between_0007_0002.png").read_text().splitlines()
    assert len(drawn) == 8
    assert [drawn[0], drawn[-1]] == ["between_0007_0002_0000", "between_0007_0002_0010"]


def test_folds(trained, capsys):
    """The first fold whose last stage is trained, or the one asked for."""
    zero = contents(run(trained, 2, "zero"))
    add_fold(trained, "1", 1)
    assert contents(run(trained, 2, "still")) == zero
    assert capsys.readouterr().out.count("Generating with fold_0") == 2
    one = run(trained, 2, "one", fold=1)
    assert "Generating with" not in capsys.readouterr().out
    assert facts(one, 0)["folds"] == ["fold_1"]
    assert not set(contents(one).values()) & set(zero.values())
    begun = trained / "results" / DATASET / "default" / NAME / "fold_0" / STAGE / BEST
    begun.unlink()
    assert contents(run(trained, 2, "then")) == contents(one)
    assert "Generating with fold_1" in capsys.readouterr().out
    with pytest.raises(CheckpointError, match="fold_3 is not trained"):
        run(trained, 1, fold=3)
    add_fold(trained, "1", 1).joinpath(STAGE, BEST).unlink()
    with pytest.raises(CheckpointError, match="not come far enough") as caught:
        run(trained, 1)
    assert caught.value.remedy == "Give the liftnet_train command again."


def test_resume(trained, capsys):
    """What is the same volume of the same weights is kept; everything else is made again."""
    output = run(trained, 3)

    def again(count: int = 3, **options) -> list[str]:
        before = {p.name: p.stat().st_mtime_ns for p in output.glob("*.nii.gz")}
        run(trained, count, continue_prediction=True, **options)
        after = {p.name: p.stat().st_mtime_ns for p in output.glob("*.nii.gz")}
        return [name[7:11] for name, when in sorted(after.items()) if before.get(name) != when]

    everything = ["0000", "0001", "0002"]
    assert again() == []
    assert "Generated 3 volumes (3 were there) with fold_0: " in capsys.readouterr().out
    assert again(5) == ["0003", "0004"]
    assert " (3 were there) with fold_0, " in capsys.readouterr().out
    assert again(2, first=4) == ["0005"]
    assert again(seed=1) == everything
    assert again(seed=1, temperature=1.25) == everything
    assert again(seed=1, temperature=1.25, normalized=True) == everything
    assert again(seed=1, temperature=1.25, normalized=True) == []
    assert again() == everything
    (output / "sample_0001_0000.nii.gz").unlink()
    (output / "sample_0002_0000.json").write_text("{")
    assert again() == ["0001", "0002"]
    add_fold(trained, "0", 7)  # other weights
    assert again() == everything
    assert (
        contents(output)["sample_0001_0000.nii.gz"]
        == contents(run(trained, 2, "fresh"))["sample_0001_0000.nii.gz"]
    )
    assert again(3, interpolate=(0, 1)) != []
    assert again(3, interpolate=(0, 1)) == []
    assert again(4, interpolate=(0, 1)) != []  # other weights of the ends, under the same names


def test_without_resume_everything_is_made_again(trained):
    """A file that is there is replaced."""
    output = run(trained, 1)
    path = output / "sample_0000_0000.nii.gz"
    whole = path.read_bytes()
    path.write_bytes(b"old")
    run(trained, 1)
    assert path.read_bytes() == whole


def test_a_full_disk_ends_the_run(trained, monkeypatch):
    """What was written stays; no JSON says that the rest is there; the next run goes on."""
    write = outputs.write_image
    error = OSError(errno.ENOSPC, "No space left on device", "/disk/x")

    def fill(path, *arguments, **options):
        if path.name.startswith("sample_0002"):
            raise error
        write(path, *arguments, **options)

    monkeypatch.setattr(outputs, "write_image", fill)
    with pytest.raises(LiftnetError, match=r"The disk is full: .* are free there") as caught:
        run(trained, 6, num_processes=1)
    assert caught.value.where == "/disk/x"
    output = trained / "out"
    assert sorted(p.name for p in output.glob("*.json")) == [
        "sample_0000_0000.json", "sample_0001_0000.json",
    ]  # fmt: skip
    monkeypatch.setattr(outputs, "write_image", write)
    assert len(contents(run(trained, 6, continue_prediction=True))) == 6


def test_a_folder_that_cannot_be_made(trained):
    """A file in place of the output folder is found before anything is generated."""
    (trained / "out").write_text("a file")
    with pytest.raises(LiftnetError, match="File exists") as caught:
        run(trained, 1)
    assert str(trained / "out") in str(caught.value.where)


def test_a_volume_that_cannot_be_made(trained, monkeypatch):
    """Too little memory, and numbers that are none, are named with the volume."""

    def too_large(*args, **options):
        raise torch.OutOfMemoryError("too large")

    monkeypatch.setattr(TinyMethod, "generate", too_large)
    with pytest.raises(LiftnetError, match="memory is too small for this volume") as caught:
        run(trained, 1)
    assert caught.value.where == "volume sample_0000"
    monkeypatch.setattr(
        TinyMethod, "generate", lambda *args, **options: torch.full(SHAPE, torch.nan)
    )
    with pytest.raises(LiftnetError, match="made values that are not finite") as caught:
        run(trained, 1)
    assert caught.value.where == "volume sample_0000"
    assert contents(trained / "out") == {}


@pytest.mark.parametrize(
    ("count", "options", "problem"),
    [
        (0, {}, "num_volumes is 0"),
        (1, {"seed": -1}, "seed is -1"),
        (1, {"first": -2}, "first is -2"),
        (1, {"temperature": -0.5}, "temperature is -0.5"),
        (1, {"temperature": float("nan")}, "temperature is nan"),
        (1, {"sigma_z": -1}, "sigma_z is -1"),
        (2, {"interpolate": (3, 3)}, "no way from volume 3 to volume 3"),
        (2, {"interpolate": (-1, 3)}, "interpolate is -1"),
        (1, {"interpolate": (0, 1)}, "Interpolation makes two volumes or more"),
        (3, {"interpolate": (0, 1), "first": 2}, "Interpolation makes two volumes or more"),
        (3, {"num_parts": 2, "part_id": 2}, "Part 2 of 2 does not exist"),
        (1, {"checkpoint": "last"}, "There is no checkpoint 'last'"),
        (1, {"plan_name": "other"}, "No plan 'other'"),
    ],
)
def test_wrong_calls(trained, count, options, problem):
    """What makes no sense is refused with a remedy, before anything is written."""
    with pytest.raises(LiftnetError, match=problem) as caught:
        run(trained, count, **options)
    assert caught.value.where and caught.value.remedy
    assert not (trained / "out").exists()


def test_a_part_without_volumes(trained):
    """More parts than volumes: the last have nothing to do."""
    assert generate(1, trained / "o", workspace=trained, num_parts=2, part_id=1) == []


def test_tasks_are_not_confused(trained, workspace):
    """Images are not made by generation, nor volumes by synthesis; each says what to do."""
    with pytest.raises(PlanError, match="makes images from others") as caught:
        run(workspace, 1)
    assert "-i" in caught.value.remedy
    (trained / "in").mkdir()
    with pytest.raises(PlanError, match="makes volumes from nothing") as caught:
        predict(trained / "in", trained / "out", workspace=trained, device="cpu")
    assert "-n" in caught.value.remedy


def test_the_picture_is_drawn(trained, monkeypatch):
    """What is drawn are the files' volumes: a real PNG."""
    monkeypatch.setattr("liftnet.pipeline.predict.generate.sample_sheet", sample_sheet)
    assert (run(trained, 2) / "montage.png").read_bytes()[:4] == b"\x89PNG"


def test_the_method_of_liftnet(tmp_path):
    """The volumes of `lift_u` do not depend on what else is made, either."""
    plan, recipe = make_plan(), make_recipe()
    network = load_method("lift_u").stages(plan, recipe)[-1].build()
    for parameter in network.mapper.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    network.generator.fit(torch.rand(20, 1, *plan.grid.in_plane))
    store_fold(tmp_path, "0", plan, recipe, network)
    whole = contents(run(tmp_path, 3))
    assert len(set(whole.values())) == 3
    assert contents(run(tmp_path, 1, "alone", first=1)).items() <= whole.items()


def test_nothing_is_judged(trained, capsys):
    """A generation task needs no plausibility.json, and nothing is said of it."""
    folder = trained / "results" / DATASET / "default"
    model = load_model(folder, METHOD, None, checkpoint="best", device="cpu")
    assert model.known == {} and model.method is METHOD
    assert capsys.readouterr().out == ""


def test_killed_and_continued(trained):
    """Kill -9 while generating, then the same command: the same files, nothing left over."""
    code = (
        "import sys, torch; torch.set_num_threads(1)\n"
        "from tiny_generation import installed\n"
        "from liftnet.pipeline.predict.generate import generate\n"
        "with installed():\n"
        "    generate(500, sys.argv[1], workspace=sys.argv[2], device='cpu',"
        " continue_prediction=True)\n"
    )
    output = trained / "out"
    arguments = [sys.executable, "-c", code, str(output), str(trained)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    child = subprocess.Popen(arguments, env=environment, **quiet)
    deadline = time.monotonic() + 60
    while len(list(output.glob("sample_*.json"))) < 2:
        assert child.poll() is None and time.monotonic() < deadline
        time.sleep(0.002)
    child.kill()
    child.wait()
    assert len(list(output.glob("sample_*.json"))) < 500
    (output / ".77.sample_0009_0000.nii.gz").write_bytes(b"half-written")
    (output / ".sample_0009_0000.json.77.tmp").write_bytes(b"half-written")
    (output / ".77.sample_0900_0000.nii.gz").write_bytes(b"of another run")
    for path in output.glob("sample_0[1-4]*"):  # fewer to compare
        path.unlink()
    run(trained, 100, continue_prediction=True)
    fresh = run(trained, 100, "fresh")
    names = sorted(p.name for p in fresh.iterdir())
    assert sorted(p.name for p in output.iterdir()) == [".77.sample_0900_0000.nii.gz", *names]
    (output / ".77.sample_0900_0000.nii.gz").unlink()
    assert contents(output) == contents(fresh)
