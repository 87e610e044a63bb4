"""Images drawn at random: what the user asks of them, what is noted, and what is kept."""

import shutil
from dataclasses import replace

import pytest

from liftnet.core.errors import LiftnetError
from liftnet.core.recipe import schedules, with_schedules
from liftnet.core.storage.jsonable import read_json, write_json
from liftnet.core.workspace import find_workspace
from liftnet.imageio import read_image
from liftnet.methods import load_method
from liftnet.pipeline.plan import load_plan, load_recipe
from liftnet.pipeline.predict.predict import predict
from liftnet.pipeline.train.train import train

DATASET, METHOD = "Dataset007_Phantom", "fast_cwdm"


@pytest.fixture(scope="module")
def trained(_prepared, tmp_path_factory):
    """A workspace with two folds of a small network, and a folder with one case to predict."""
    folder = tmp_path_factory.mktemp("sampled")
    shutil.copytree(_prepared, folder / "space")
    space = find_workspace(folder / "space")
    plan = load_plan(space, DATASET, "default")
    recipe = load_recipe(
        space, replace(plan, budget=replace(plan.budget, memory_gib=0.1)), load_method(METHOD)
    )
    (schedule,) = schedules(recipe).values()
    short = replace(schedule, num_steps=2, warmup_steps=1, validate_every=2, validation_cases=1)
    recipe = with_schedules(recipe, {"denoising": short})
    recipe = replace(recipe, network=replace(recipe.network, width=8, blocks=1))
    recipe = replace(recipe, sampling=replace(recipe.sampling, num_steps=2))
    write_json(space.recipe_file(DATASET, "default", METHOD), recipe)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("liftnet.visual.figures.plot_progress", lambda *args: None)
        train(workspace=folder / "space", method=METHOD, fold=[0, 1], device="cpu")
    cases = folder / "cases"
    cases.mkdir()
    for path in (folder / "space" / "raw" / DATASET / "imagesTr").glob("p1_*"):
        if not path.name.startswith("p1_0001"):
            shutil.copy(path, cases)
    return folder


def made(trained, output, **options):
    """The one image that is made, its JSON, and when it was written."""
    assert not predict(
        trained / "cases",
        output,
        method=METHOD,
        workspace=trained / "space",
        device="cpu",
        **options,
    )
    (path,) = output.glob("*.nii.gz")
    image, _ = read_image(path)
    facts = read_json(path.with_name(path.name.removesuffix(".nii.gz") + ".json"))
    return image, facts, path.stat().st_mtime_ns


def test_what_is_asked_is_drawn_and_noted(trained, tmp_path, capsys):
    """One fold, one sample and the recipe's steps; or what the call says."""
    image, facts, _ = made(trained, tmp_path / "a")
    assert facts["folds"] == ["fold_0"]
    assert "fast_cwdm samples: of 2 folds fold_0 is used" in capsys.readouterr().out
    expected = {"sampler": "ancestral", "num_steps": 2, "samples": 1, "seed": 0}
    assert facts["sampling"] == expected
    again, _, _ = made(trained, tmp_path / "b", seed=0)
    other, noted, _ = made(trained, tmp_path / "c", seed=1)
    assert (image == again).all() and (image != other).any() and noted["sampling"]["seed"] == 1
    mean, noted, _ = made(trained, tmp_path / "d", samples=3, sampler="ddim", sampler_steps=4)
    assert noted["sampling"] == {"sampler": "ddim", "num_steps": 4, "samples": 3, "seed": 0}
    assert noted["flops"] == 6 * facts["flops"] and (mean != image).any()
    both, noted, _ = made(trained, tmp_path / "e", fold=[0, 1])
    assert noted["folds"] == ["fold_0", "fold_1"] and noted["flops"] == 2 * facts["flops"]
    assert (both != image).any()


def test_only_what_was_drawn_alike_is_kept(trained, tmp_path):
    """With --continue-prediction: another seed, or number of samples, is another image."""
    _, _, first = made(trained, tmp_path, seed=5)
    _, _, kept = made(trained, tmp_path, seed=5, continue_prediction=True)
    _, _, drawn = made(trained, tmp_path, seed=6, continue_prediction=True)
    _, _, mean = made(trained, tmp_path, seed=6, samples=2, continue_prediction=True)
    assert first == kept and len({kept, drawn, mean}) == 3


@pytest.mark.parametrize(
    ("options", "problem", "where"),
    [
        ({"samples": 0}, "samples is 0", "samples"),
        ({"sampler_steps": 0}, "sampler_steps is 0", "sampler_steps"),
        ({"sampler": "euler"}, "which has ancestral and ddim", "--sampler euler"),
        ({"sampler": "best"}, "sampler best does not go with", "--sampler best"),
        ({"sampler_steps": 11}, "11 steps needs as many levels", "--sampler-steps 11"),
    ],
)
def test_what_cannot_be_drawn_is_refused(trained, tmp_path, options, problem, where):
    """Before anything is made."""
    with pytest.raises(LiftnetError) as caught:
        made(trained, tmp_path / "out", **options)
    assert problem in caught.value.problem and caught.value.where == where
    assert not (tmp_path / "out").exists()
