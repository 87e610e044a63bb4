"""Whole volumes scored while a network is trained, by the measure of the task."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from liftnet.core.workspace import find_workspace
from liftnet.data.store import Store
from liftnet.methods import load_method
from liftnet.methods.base import Validation
from liftnet.pipeline.models.volumes import Training
from liftnet.pipeline.plan import load_plan, load_recipe
from liftnet.pipeline.train.validation import score_volumes
from liftnet.tasks import load_task

PHANTOM, HEADS = "Dataset007_Phantom", "Dataset009_Heads"


def planned(folder: Path, dataset: str) -> tuple[Training, Store]:
    """A method under a plan, and the preprocessed cases."""
    space = find_workspace(folder)
    plan, method = load_plan(space, dataset, "default"), load_method("lift")
    of = Training(load_task(plan.task), method, plan, load_recipe(space, plan, method))
    return of, Store(space.store(dataset, "default"))


def constant(of: Training, value: float) -> nn.Module:
    """A network that makes one value everywhere."""
    network = of.method.stages(of.plan, of.recipe)[-1].build()
    nn.init.zeros_(network.translator.head.weight)
    nn.init.constant_(network.translator.head.bias, value)
    return network


def score(of: Training, value: float, store: Store, cases: list[str]) -> Validation:
    """The validation of a constant network."""
    return score_volumes(of, constant(of, value), store, cases)


def test_missing_modality_is_scored_by_psnr(workspace):
    """The score is minus the mean over contrasts of the PSNR over whole stored volumes."""
    of, store = planned(workspace, PHANTOM)
    result = score(of, 0.0, store, ["p1", "p6"])
    expected = {}
    for i, name in enumerate("abc"):
        values = [
            -10 * np.log10(np.mean(np.square(np.asarray(store.voxels(case)[i], np.float64))))
            for case in ("p1", "p6")
            if name in store.describe(case).present
        ]
        expected[name] = np.mean(values)
    assert (result.metric, result.details) == ("psnr", pytest.approx(expected, rel=1e-5))
    assert result.score == pytest.approx(-np.mean(list(expected.values())), rel=1e-5)
    assert list(result.images) == ["b", "c", "a predicted", "a reference"]


def test_translation_is_scored_in_hu(pairs):
    """The mean over cases of the mean absolute error of whole volumes, clipped, in HU."""
    of, store = planned(pairs, HEADS)
    cases = ["h1", "h2"]
    result = score(of, 1.5, store, cases)  # clipped to 1, which is 2000 HU
    errors = [np.abs(1500 * np.asarray(store.voxels(c)[1], np.float64) - 1500) for c in cases]
    assert result.score == pytest.approx(np.mean([e.mean() for e in errors]), rel=1e-5)
    assert (result.metric, result.details) == ("mae_hu", {"ct": result.score})
    assert list(result.images) == ["mr", "ct predicted", "ct reference"]
    assert {image.shape for image in result.images.values()} == {store.describe("h1").shape}


def halved(store: Store, inside: torch.Tensor | None):
    """Volumes of half the contrast of the stored ones, noise outside of a mask."""

    def make(of, networks, example, chunk=None):
        voxels = torch.from_numpy(np.asarray(store.voxels(example.case), np.float32))
        rows = [of.plan.channel_names.index(name) for name in of.plan.targets]
        made = 0.5 * voxels[rows]
        noise = torch.rand(made.shape, generator=torch.Generator().manual_seed(0))
        return made if inside is None else torch.where(inside, made, noise)

    return make


def test_how_sharp_images_are(workspace, monkeypatch):
    """Half the contrast is a quarter of the energy; of no prediction it is 0; b of p6 is absent."""
    of, store = planned(workspace, PHANTOM)
    assert score(of, 0.0, store, ["p6"]).sharpness == {"a": 0.0, "c": 0.0}
    monkeypatch.setattr("liftnet.pipeline.train.validation.make_volumes", halved(store, None))
    found = score(of, 0.0, store, ["p1", "p6"]).sharpness
    assert found == {name: pytest.approx(0.25, rel=1e-5) for name in "abc"}


def test_sharpness_is_that_inside_the_mask(pairs, monkeypatch):
    """What lies outside is none."""
    of, store = planned(pairs, HEADS)
    assert score(of, 0.0, store, ["h1"]).sharpness == {"ct": 0.0}
    inside = torch.from_numpy(np.array(store.mask("h1")))
    monkeypatch.setattr("liftnet.pipeline.train.validation.make_volumes", halved(store, inside))
    assert score(of, 0.0, store, ["h1"]).sharpness == {"ct": pytest.approx(0.25, rel=1e-5)}
