"""What every method does under every task that it fits, without a line of its own for it."""

import hashlib
import importlib.util
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
from small_generation import make_volume

from liftnet import methods
from liftnet.core.geometry import Geometry
from liftnet.core.recipe import schedules, with_schedules
from liftnet.core.storage.jsonable import read_json, write_json
from liftnet.core.workspace import find_workspace
from liftnet.imageio import read_image, write_image
from liftnet.methods import load_method, method_names, places
from liftnet.methods.denoising.recipes import DenoisingRecipe
from liftnet.pipeline.convert.convert import convert
from liftnet.pipeline.evaluate.evaluate import evaluate
from liftnet.pipeline.models.checkpoint import load_checkpoint
from liftnet.pipeline.models.runs import LATEST, read_run
from liftnet.pipeline.plan import load_plan, load_recipe
from liftnet.pipeline.predict.generate import generate
from liftnet.pipeline.predict.predict import predict
from liftnet.pipeline.preprocess.plan_and_preprocess import plan_and_preprocess
from liftnet.pipeline.train import train as loop
from liftnet.pipeline.train.train import train

ROOT = Path(__file__).parents[2]
DATASETS = {
    "missing_modality": "Dataset007_Phantom",
    "translation": "Dataset009_Heads",
    "unconditional": "Dataset004_Eggs",
}
PAIRED = ("missing_modality", "translation")
EGGS = [
    "lift_u.features.widths=[8,16]",
    "lift_u.generator.code_size=12",
    "lift_u.mapper.code_size=12",
    "lift_u.mapper.hidden_size=16",
    "lift_u.mapper.waves=8",
    "lift_u.drift.checked_volumes=4",
    "lift_u.drift.slices_per_plane=2",
]
FEW = {"num_steps": 2, "volumes_per_step": 2, "validate_every": 100, "validation_cases": 1}


@pytest.fixture(scope="module")
def spaces(_prepared, _prepared_pairs, tmp_path_factory) -> dict[str, Path]:
    """A planned and preprocessed workspace of each task."""
    folder = tmp_path_factory.mktemp("contract")
    for i in range(10):
        volume = (make_volume(i) + 1) * 400
        axes = ((0, 0, 1), (0, 1, 0), (1, 0, 0))
        grid = Geometry(volume.shape, (3.0, 3.0, 3.0), (0.0, 0.0, 0.0), axes)
        write_image(folder / "eggs" / f"head{i:02d}.nii.gz", volume, grid, dtype="int16")
    space = folder / "generation"
    convert(
        "folders", [f"t1n={folder / 'eggs'}"], 4, name="Eggs", task="unconditional", workspace=space
    )  # fmt: skip
    plan_and_preprocess(workspace=space, gpu_memory=0.08, steps=24, settings=EGGS)
    found = {"unconditional": space}
    for task, prepared in zip(PAIRED, (_prepared, _prepared_pairs), strict=True):
        found[task] = folder / task
        shutil.copytree(prepared, found[task])
    return found


def pairs_of_all() -> Iterator[tuple[str, str]]:
    """Every task with every method there is."""
    for task in DATASETS:
        for method in method_names():
            yield task, method


def shortened(space: Path, task: str, name: str) -> None:
    """Write the recipe of a method with two steps in each stage that has any, saved after each."""
    at = find_workspace(space)
    plan, method = load_plan(at, DATASETS[task], "default"), load_method(name)
    recipe = load_recipe(at, plan, method)
    if recipe.sampling:
        recipe = replace(recipe, sampling=replace(recipe.sampling, num_steps=2))
    if isinstance(recipe, DenoisingRecipe):
        recipe = replace(recipe, network=replace(recipe.network, width=8))
    short = {
        stage: replace(schedule, checkpoint_minutes=0.0, **FEW)
        for stage, schedule in schedules(recipe).items()
        if schedule.num_steps
    }
    write_json(at.recipe_file(plan.dataset, plan.name, name), with_schedules(recipe, short))


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    """Everything in the checkpoints of a fold."""
    plan, method, recipe = read_run(folder)
    return {
        f"{stage.name}/{group}/{key}": tensor
        for stage in method.stages(plan, recipe)
        for group, tensors in load_checkpoint(folder / stage.name / LATEST).groups.items()
        for key, tensor in tensors.items()
    }


def killed_once(name: str, space: Path, monkeypatch) -> Path:
    """The fold of a run that was interrupted in its first stage, and given again."""
    options = {"workspace": space, "method": name, "fold": 0, "device": "cpu"}
    take, steps = loop.take_step, iter(range(100))

    def interrupted(*args, **kwargs):
        if next(steps) == 1:
            raise KeyboardInterrupt
        return take(*args, **kwargs)

    with monkeypatch.context() as patched:
        patched.setattr(loop, "take_step", interrupted)
        with suppress(KeyboardInterrupt):
            train(**options)
    (folder,) = train(**options)
    return folder


def digests(folder: Path) -> dict[str, str]:
    """File -> SHA-256 of every image."""
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.glob("*.nii.gz")}


def check(task: str, name: str, spaces: dict[str, Path], tmp_path: Path, monkeypatch) -> None:
    """The contract."""
    monkeypatch.setattr("liftnet.visual.figures.plot_progress", lambda *args: None)
    monkeypatch.setattr("liftnet.pipeline.predict.generate.sample_sheet", lambda *a, **k: None)
    space = tmp_path / "space"
    shutil.copytree(spaces[task], space)
    plan = load_plan(find_workspace(space), DATASETS[task], "default")
    if load_method(name).unfit(plan) is not None:
        with pytest.raises(Exception, match=f"Method {name} cannot serve this plan"):
            train(workspace=space, method=name, device="cpu")
        return
    shortened(space, task, name)
    other = tmp_path / "other"
    shutil.copytree(space, other)
    (folder,) = train(workspace=space, method=name, fold=0, device="cpu")
    unbroken, again = weights_of(folder), weights_of(killed_once(name, other, monkeypatch))
    assert unbroken.keys() == again.keys()
    for key, tensor in unbroken.items():
        assert torch.equal(tensor, again[key]), key
    for path in folder.glob("*/checkpoint_latest.safetensors"):
        cost = read_json(path.with_name("cost.json"))
        assert cost["steps"] in (0, 2) and cost["seconds"] >= 0 and cost["parameters"] >= 0
        assert cost["steps"] == 0 or cost["flops_per_step"] > 0, path.parent.name
    where = {"workspace": space, "method": name, "device": "cpu"}
    if task in PAIRED:
        check_images(task, space, tmp_path, where)
    else:
        generate(3, tmp_path / "whole", **where)
        for part in range(2):
            generate(3, tmp_path / "parts", num_parts=2, part_id=part, **where)
        assert digests(tmp_path / "whole") == digests(tmp_path / "parts")
        assert len(set(digests(tmp_path / "whole").values())) == 3
    trained = any(read_json(path)["steps"] for path in folder.glob("*/cost.json"))
    for path in (tmp_path / "whole").glob("*_*.json"):
        assert (read_json(path)["flops"] or 0) > 0 or not trained, path


def check_images(task: str, space: Path, tmp_path: Path, where: dict) -> None:
    """Images lie on the case's grid, are the same in parts, and a copy of the truth is perfect."""
    raw = space / "raw" / DATASETS[task]
    inputs = tmp_path / "inputs"
    inputs.mkdir()
    cases = ("p1", "p5")
    if task == "translation":
        cases = tuple(p.name[:-12] for p in sorted((raw / "imagesTr").glob("*_0000.nii.gz"))[:2])
    for case in cases:
        for path in (raw / "imagesTr").glob(f"{case}_*.nii.gz"):
            if task == "translation" or not path.name.startswith(f"{case}_0001"):
                shutil.copy(path, inputs)
    assert not predict(inputs, tmp_path / "whole", **where)
    for part in range(2):
        assert not predict(inputs, tmp_path / "parts", num_parts=2, part_id=part, **where)
    made = digests(tmp_path / "whole")
    assert made == digests(tmp_path / "parts") and len(made) == 2
    truths = raw / ("targetsTr" if task == "translation" else "imagesTr")
    copies, references = tmp_path / "copies", tmp_path / "references"
    for name in made:
        image, info = read_image(tmp_path / "whole" / name)
        truth, reference = read_image(truths / name)
        assert image.shape == truth.shape and np.isfinite(image).all()
        assert info.geometry.spacing_mm == pytest.approx(reference.geometry.spacing_mm, rel=1e-4)
        np.testing.assert_allclose(info.geometry.origin_mm, reference.geometry.origin_mm, atol=1e-3)
        for folder in (copies, references):
            folder.mkdir(exist_ok=True)
            shutil.copy(truths / name, folder / name)
    scores = evaluate(copies, references, dataset=DATASETS[task], workspace=space)
    for case in scores.cases:
        assert case.metrics["ssim"] == pytest.approx(1.0)


@pytest.mark.parametrize(("task", "name"), list(pairs_of_all()))
def test_contract(task, name, spaces, tmp_path, monkeypatch):
    """Trains, resumes bit for bit, predicts alike in parts; or says why it does not fit."""
    check(task, name, spaces, tmp_path, monkeypatch)


@contextmanager
def added(code: str, name: str, family: str, folder: Path) -> Iterator[None]:
    """A context in which a file with this code is a method of its name, in a family's folder."""
    path = folder / f"{name}.py"
    path.write_text(code, encoding="utf-8")
    module_name = f"liftnet.methods{family}.{name}"
    spec = importlib.util.spec_from_file_location(module_name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    spec.loader.exec_module(module)
    known = {**places(), name: module_name}
    try:
        with mock.patch.object(methods, "places", lambda: known):
            yield
    finally:
        del sys.modules[module_name]


@pytest.mark.parametrize("source", ["lift", "regression_linear"])
def test_a_copied_file_is_a_method(source, spaces, tmp_path, monkeypatch):
    """Under a new name, without another change."""
    spec = importlib.util.find_spec(places()[source])
    family = places()[source].removeprefix("liftnet.methods").rpartition(".")[0]
    code = Path(spec.origin).read_text(encoding="utf-8")
    with added(code, "copied_method", family, tmp_path):
        assert "copied_method" in method_names()
        check("missing_modality", "copied_method", spaces, tmp_path, monkeypatch)


@pytest.mark.parametrize("task", PAIRED)
def test_the_method_of_the_documentation(task, spaces, tmp_path, monkeypatch):
    """The file on the page about adding a method does what the page says."""
    page = (ROOT / "docs" / "how-to" / "add-a-method.md").read_text(encoding="utf-8")
    code = page.split("```python\n")[1].split("```")[0]
    with added(code, "patch_net", "", tmp_path):
        check(task, "patch_net", spaces, tmp_path, monkeypatch)
