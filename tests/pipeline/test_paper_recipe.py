"""The paper's setting of MR to CT as the documentation writes it, run line by line."""

import re
import shlex
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from head_pairs import NAME

from liftnet.cli.main import function_name
from liftnet.core.plan import ClipAndScale
from liftnet.data.store import Store
from liftnet.imageio import read_image
from liftnet.methods import load_method
from liftnet.pipeline.plan import read_plan, read_recipe

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "translate-mr-to-ct.md"


def recipe() -> list[str]:
    """The lines of the block after the heading."""
    text = PAGE.read_text(encoding="utf-8").split("**The paper's recipe**")[1]
    return re.findall(r"```\n(.*?)```", text, flags=re.DOTALL)[0].splitlines()


def test_the_recipe_plans_and_prepares_the_papers_input(pairs, monkeypatch):
    """128 voxels of 1 mm; z-scores over whole images; CT to [-1, 1]; networks of that size."""
    # How long training takes is measured by steps, for a minute; it has its own tests.
    monkeypatch.setattr("liftnet.pipeline.train.trial.say_training_time", lambda *_, **__: None)
    for line in recipe()[:2]:
        name, *arguments = shlex.split(line.replace("-d 3", "-d 9"))
        memory = ["--gpu-memory", "8"] if name == "liftnet_plan" else []
        monkeypatch.setattr(sys, "argv", [name, *arguments, *memory, "--workspace", str(pairs)])
        with pytest.raises(SystemExit) as caught:
            import_module(f"liftnet.cli.{function_name(name)}").main()
        assert not caught.value.code
    folder = pairs / "preprocessed" / NAME / "paper"
    plan = read_plan(folder / "plan.json")
    assert (plan.grid.box, plan.grid.spacing_mm) == ((128, 128, 128), (1.0, 1.0, 1.0))
    assert (plan.grid.num_slices, plan.grid.in_plane) == (128, (128, 128))
    assert plan.channel("ct").normalization == ClipAndScale(-1000.0, 2000.0, (-1.0, 1.0))
    assert plan.channel("mr").normalization.region == "grid"
    made = read_recipe(folder / "recipes" / "lift.json", plan, load_method("lift"))
    assert made.translator.widths[0] == 64 and made.memory.training_gib <= 8
    store = Store(folder / "cases")
    assert store.identifiers() == ("h1", "h2", "h3", "h4")
    for case in store.identifiers():
        voxels, _ = read_image(pairs / "raw" / NAME / "imagesTr" / f"{case}_0000.nii.gz")
        low, high = store.describe(case).ranges["mr"]
        assert low == pytest.approx(voxels.mean(), rel=1e-4)
        assert high - low == pytest.approx(voxels.std(), rel=1e-3)
        assert store.describe(case).placement.spacing_mm == pytest.approx((1.0,) * 3, rel=0.02)
        shape = store.voxels(case).shape[1:]
        assert shape == tuple(np.round(np.array(voxels.shape) * (2.5, 1, 1)).astype(int))


def test_every_line_names_the_same_plan_and_protocol():
    """The rest trains, predicts and scores what the first line planned."""
    lines = recipe()
    names = [line.split()[0].removeprefix("liftnet_") for line in lines]
    assert names == ["plan", "preprocess", "train", "predict", "evaluate"]
    assert all("-p paper" in line for line in lines[:4])
    assert "--protocol lift" in lines[4] and "-m masks" in lines[3] and "-m masks" in lines[4]
