"""What --save-trajectory writes for each task, keeps, makes again and refuses."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from head_pairs import NAME as PAIRS
from skimage.io import imread
from tiny_generation import SPACING, installed
from tiny_generation import add_fold as add_tiny

from liftnet.core.errors import LiftnetError
from liftnet.core.storage.jsonable import write_json
from liftnet.core.workspace import find_workspace
from liftnet.methods import load_method
from liftnet.pipeline.models.checkpoint import save_checkpoint
from liftnet.pipeline.models.runs import BEST
from liftnet.pipeline.plan import load_plan, load_recipe
from liftnet.pipeline.predict import trajectories
from liftnet.pipeline.predict.generate import generate
from liftnet.pipeline.predict.predict import predict

DATASET = "Dataset007_Phantom"


def add_fold(space: Path, fold: str, seed: int, *, dataset: str = DATASET) -> None:
    """Store a network with random weights as if it were trained."""
    known = find_workspace(space)
    plan, method = load_plan(known, dataset, "default"), load_method("lift")
    recipe = load_recipe(known, plan, method)
    folder = known.run_folder(dataset, "default") / "lift" / f"fold_{fold}"
    write_json(folder / "plan.json", plan)
    write_json(folder / "recipe.json", recipe)
    stage = method.stages(plan, recipe)[-1]
    torch.manual_seed(seed)
    save_checkpoint(folder / stage.name / BEST, {"network": stage.build().state_dict()}, {})


@pytest.fixture
def inputs(workspace: Path) -> Path:
    """A folder with p1 (lacks c) and p4 (has b only, on another grid)."""
    add_fold(workspace, "0", 0)
    folder = workspace / "new"
    folder.mkdir()
    for name in ("p1_0000", "p1_0001", "p4_0001"):
        shutil.copy(workspace / "raw" / DATASET / "imagesTr" / f"{name}.nii.gz", folder)
    return folder


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, list[str]]]:
    """The name and the cases of each figure: drawing takes a second."""
    figures: list[tuple[str, list[str]]] = []

    def draw(paths, file, *, title):
        figures.append((file.name, [path.case for path in paths]))
        assert f", {file.stem.partition('_')[2]}: " in title or "_" not in file.stem
        file.touch()

    monkeypatch.setattr(trajectories, "plot_trajectories", draw)
    return figures


def run(workspace: Path, inputs: Path, **options) -> Path:
    """Predict with trajectories, and the output folder."""
    options = {"save_trajectory": True, "num_processes": 1, **options}
    assert predict(inputs, workspace / "out", workspace=workspace, device="cpu", **options) == []
    return workspace / "out"


def load(output: Path, case: str) -> dict[str, np.ndarray]:
    """The arrays of a case."""
    with np.load(output / "trajectories" / f"{case}.npz", allow_pickle=False) as stored:
        return dict(stored)


def test_missing_modality(workspace, inputs, monkeypatch):
    """The first fold's context of every slice, in mm; images as without; the figure is there."""
    add_fold(workspace, "1", 1)
    seen: list[np.ndarray] = []
    lift = type(load_method("lift"))
    original = lift.trajectory

    def watched(self, plan, recipe, network, *arguments):
        def note(module, ins, context):
            seen.append(context[0].detach().numpy())

        handle = network.mixer.register_forward_hook(note)
        made = original(self, plan, recipe, network, *arguments)
        handle.remove()
        return made

    monkeypatch.setattr(lift, "trajectory", watched)
    output = run(workspace, inputs)
    for case, depth, vectors in zip(("p1", "p4"), (10, 10), seen, strict=True):
        stored = load(output, case)
        assert stored["vectors"].dtype == np.float32 and stored["vectors"].shape[1] == 16
        np.testing.assert_array_equal(stored["vectors"], vectors)
        steps = np.diff(stored["depth_mm"])
        assert stored["depth_mm"][0] == 0 and len(steps) == len(vectors) - 1 <= depth - 1
        np.testing.assert_allclose(steps, 4.0)
    figures = {path.name: imread(path) for path in output.glob("*.png")}
    assert sorted(figures) == ["trajectories_a.png", "trajectories_c.png"]
    assert all(figure.std() > 1 for figure in figures.values())
    assert (figures["trajectories_a.png"] != figures["trajectories_c.png"]).any()
    assert not list(output.rglob(".*"))
    plain = workspace / "plain"
    predict(inputs, plain, workspace=workspace, device="cpu", num_processes=1)
    names = sorted(p.name for p in plain.glob("*.nii.gz"))
    assert len(names) == 3 and not (plain / "trajectories").exists()
    for name in names:
        assert (plain / name).read_bytes() == (output / name).read_bytes()


def test_one_figure_for_each_target(workspace, inputs, drawn):
    """A figure has the cases that its target was made for; both targets of a case show it."""
    run(workspace, inputs)
    assert drawn == [("trajectories_a.png", ["p4"]), ("trajectories_c.png", ["p1", "p4"])]
    del drawn[:]
    run(workspace, inputs, target=["a"], continue_prediction=True)
    assert drawn == [("trajectories_a.png", ["p1", "p4"])]


def test_resume(workspace, inputs, drawn, capsys):
    """A case without its trajectory, or with a damaged or foreign one, is done again."""
    output = run(workspace, inputs, save_trajectory=False)
    assert not drawn
    run(workspace, inputs, continue_prediction=True)
    first = {p.stem: p.read_bytes() for p in (output / "trajectories").iterdir()}
    assert set(first) == {"p1", "p4"} and drawn[-1] == ("trajectories_c.png", ["p1", "p4"])
    file = output / "trajectories" / "p1.npz"
    capsys.readouterr()
    for damage in (b"", first["p1"][:300], first["p4"]):
        file.write_bytes(damage)
        (output / "trajectories" / ".p1.npz.99.tmp").touch()
        run(workspace, inputs, continue_prediction=True)
        assert "(1 were there)" in capsys.readouterr().out
        assert load(output, "p1")["vectors"].std() > 0
        assert not list(output.rglob(".*"))
    run(workspace, inputs, continue_prediction=True)
    assert "(2 were there)" in capsys.readouterr().out
    add_fold(workspace, "0", 5)  # other weights: what the old ones left is not drawn
    run(workspace, inputs, num_parts=2, part_id=0)
    assert drawn[-1] == ("trajectories_c.png", ["p1"])
    run(workspace, inputs, num_parts=2, part_id=1)
    assert drawn[-1] == ("trajectories_c.png", ["p1", "p4"])


def test_translation(pairs, tmp_path, drawn):
    """The context of both stages' network."""
    add_fold(pairs, "0", 0, dataset=PAIRS)
    cases = pairs / "raw" / PAIRS / "imagesTs"
    output = tmp_path / "out"
    failures = predict(
        cases, output, PAIRS, save_trajectory=True, workspace=pairs, device="cpu",
        num_processes=1,
    )  # fmt: skip
    found = sorted(p.stem for p in (output / "trajectories").iterdir())
    assert failures == [] and drawn == [("trajectories.png", found)] and found
    stored = load(output, found[0])
    assert stored["vectors"].shape == (len(stored["depth_mm"]), 16)
    assert np.diff(stored["vectors"], axis=0).any()


def test_unconditional(tmp_path, drawn):
    """The codes of each volume; made again where they are missing; parts draw what is there."""
    with installed():
        add_tiny(tmp_path, "0", 0)
        options = {"workspace": tmp_path, "device": "cpu", "save_trajectory": True}
        output = tmp_path / "out"
        generate(3, output, num_parts=2, part_id=0, **options)
        generate(3, output, num_parts=2, part_id=1, **options)
        samples = [f"sample_{k:04d}" for k in range(3)]
        assert drawn[-1] == ("trajectories.png", samples) and len(drawn[0][1]) < 3
        stored = load(output, "sample_0001")
        np.testing.assert_allclose(stored["depth_mm"], SPACING[0] * np.arange(6))
        assert stored["vectors"].shape == (6, 4)
        times = {p.name: p.stat().st_mtime_ns for p in output.glob("*.nii.gz")}
        (output / "trajectories" / "sample_0001.npz").unlink()
        generate(3, output, continue_prediction=True, **options)
        changed = {p.name for p in output.glob("*.nii.gz") if p.stat().st_mtime_ns != times[p.name]}
        assert changed == {"sample_0001_0000.nii.gz"}
        again = load(output, "sample_0001")["vectors"]
        np.testing.assert_array_equal(again, stored["vectors"])


def test_no_mapper(workspace, inputs):
    """A method that has none: said before anything is loaded or written."""
    with pytest.raises(LiftnetError, match="Method no_mapper has no trajectory") as caught:
        run(workspace, inputs, method="no_mapper")
    assert "--method" in str(caught.value) and not (workspace / "out").exists()
