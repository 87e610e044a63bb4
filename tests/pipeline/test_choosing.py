"""Which cases choose a checkpoint, and that the next stage builds on the chosen one."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from head_pairs import NAME
from small_generation import make_plan, make_recipe, make_volume, write_volumes
from torch import nn

from liftnet.core.storage.jsonable import write_json
from liftnet.core.workspace import find_workspace
from liftnet.data.store import Store, write_case
from liftnet.methods import load_method
from liftnet.methods.base import Validation
from liftnet.methods.lift_u.slice_features import STAGE, SliceFeatures
from liftnet.pipeline.models.checkpoint import load_checkpoint
from liftnet.pipeline.models.model import load_model
from liftnet.pipeline.models.runs import BEST, LATEST
from liftnet.pipeline.models.volumes import Training
from liftnet.pipeline.plan import apply_setting, load_plan, load_recipe
from liftnet.pipeline.train import validation
from liftnet.pipeline.train.train import train, train_stage
from liftnet.pipeline.train.validation import spread
from liftnet.tasks.unconditional import TASK

SIZES = {"1BA": 14, "1BB": 13, "1BC": 13}  # a centre -> its validation cases
HEADS = [f"{centre}{i:03d}" for centre, count in SIZES.items() for i in range(1, count + 1)]


def centres(cases: list[str]) -> set[str]:
    """The centres that cases come from."""
    return {case[:3] for case in cases}


def test_all_centres_are_represented():
    """Whatever the seed and the order; each time as many different cases as were asked for."""
    picks = [spread(HEADS[::-1], 4, seed=seed) for seed in range(200)]
    assert all(centres(cases) == set(SIZES) and len(set(cases)) == 4 for cases in picks)
    assert {case for cases in picks for case in cases} == set(HEADS)
    assert picks[7] == spread(HEADS, 4, seed=7)
    for few in (1, 3):
        assert len(set(spread(HEADS, few, seed=0))) == few
    assert spread(HEADS, 40, seed=1) == spread(HEADS, 100, seed=2) == HEADS


def trained(*arguments: object, **changes: object) -> nn.Module:
    """The network of a stage that takes four steps and validates after each on four cases."""
    plan, recipe = make_plan(seed=5), make_recipe()
    schedule = replace(recipe.slice_features, validate_every=1, validation_cases=4, **changes)
    recipe = replace(recipe, slice_features=schedule)
    of = Training(TASK, load_method("lift_u"), plan, recipe)
    stage = SliceFeatures(plan, recipe)
    return train_stage(of, stage, None, *arguments, device=torch.device("cpu"))


def test_a_resumed_run_validates_on_the_same_cases(tmp_path, monkeypatch):
    """Of 40 cases of three centres all centres choose the checkpoint, before a stop and after."""
    store = write_volumes(tmp_path / "cases")
    described = store.describe("v0")
    for case in HEADS:
        write_case(store.folder, make_volume(0)[None], replace(described, identifier=case))
    seen, losses = [], []

    def validated(self, network, memory, store, cases, history):
        seen.append(list(cases))
        return Validation(1.0, "error", {})

    real = SliceFeatures.loss

    def stopped(self, *batch):
        losses.append(1)
        if len(losses) == 3:
            raise KeyboardInterrupt
        return real(self, *batch)

    monkeypatch.setattr(SliceFeatures, "check", validated)
    monkeypatch.setattr(SliceFeatures, "loss", stopped)
    arguments = (Store(store.folder), ["v0", "v1"], HEADS, tmp_path / "fold" / STAGE)
    with pytest.raises(KeyboardInterrupt):
        trained(*arguments, checkpoint_minutes=0.0)
    assert len(seen) == 2
    trained(*arguments)
    assert len(seen) == 4 and all(cases == seen[0] for cases in seen)
    assert centres(seen[0]) == set(SIZES)


@pytest.mark.parametrize(("scores", "best"), [((3.0, 1.0, 2.0, 5.0), 2), ((4.0, 3.0, 2.0, 1.0), 4)])
def test_a_stage_gives_its_best_network(tmp_path, monkeypatch, scores, best):
    """Of the step with the lowest score; again, where it is trained already."""
    store = write_volumes(tmp_path / "cases")
    kept, given = {}, iter(scores)

    def validated(self, network, memory, store, cases, history):
        kept[len(kept) + 1] = {k: v.clone() for k, v in network.state_dict().items()}
        return Validation(next(given), "error", {})

    monkeypatch.setattr(SliceFeatures, "check", validated)
    arguments = (store, ["v0", "v1"], ["v2", "v3"], tmp_path / "fold" / STAGE)
    for _ in range(2):
        result = trained(*arguments)
        for name, tensor in result.state_dict().items():
            assert torch.equal(tensor, kept[best][name]), name
    assert len(kept) == 4
    latest = load_checkpoint(tmp_path / "fold" / STAGE / LATEST).groups["average"]
    same = all(torch.equal(latest[name], kept[best][name]) for name in latest)
    assert same == (best == 4)


def test_without_a_finite_score_the_last_network_is_given(tmp_path, monkeypatch):
    """There is no best one."""
    store = write_volumes(tmp_path / "cases")
    monkeypatch.setattr(SliceFeatures, "check", lambda *_: Validation(float("nan"), "error", {}))
    folder = tmp_path / "fold" / STAGE
    result = trained(store, ["v0"], ["v2"], folder)
    assert not (folder / BEST).exists()
    for name, tensor in load_checkpoint(folder / LATEST).groups["average"].items():
        assert torch.equal(result.state_dict()[name], tensor)


def test_context_builds_on_what_the_ablation_predicts_with(pairs, monkeypatch):
    """The translator under the residual is that of no_mapper, also after a kill between them."""
    validated_often(pairs)

    def worse(of, network, store, cases):
        return Validation(float(next(scores)), "mae_hu", {})

    monkeypatch.setattr(validation, "score_volumes", worse)
    scores = iter(range(100))  # the first is the best
    (folder,) = train(workspace=pairs, device="cpu")
    scores = iter(range(100))
    train(workspace=pairs, device="cpu", method="no_mapper")
    results = pairs / "results" / NAME / "default"
    options = {"checkpoint": "best", "device": "cpu"}
    (ablation,) = load_model(results, load_method("no_mapper"), [0], **options).networks
    path = folder / "residual_context" / LATEST
    last = load_checkpoint(folder / "slice_translation" / LATEST).groups["average"]
    unbroken = load_checkpoint(path).groups["network"]
    for name, tensor in ablation.state_dict().items():
        assert torch.equal(unbroken[name], tensor), name
    assert any(not torch.equal(unbroken[name], last[name]) for name in last)
    shutil.rmtree(path.parent)
    train(workspace=pairs, device="cpu")
    for name, tensor in load_checkpoint(path).groups["network"].items():
        assert torch.equal(unbroken[name], tensor), name


def validated_often(folder: Path) -> None:
    """Have the first stage of the pairs validated after every step."""
    space, method = find_workspace(folder), load_method("lift")
    recipe = load_recipe(space, load_plan(space, NAME, "default"), method)
    assert recipe.slice_translation.num_steps > 1
    recipe = apply_setting(recipe, "slice_translation.validate_every=1")
    write_json(space.recipe_file(NAME, "default", "lift"), recipe)
