"""A short training has two stages; the second starts from the first, which is not done again."""

import json
import shutil

import numpy as np
import pytest
import torch

from liftnet.core.recipe import Recipe, schedules
from liftnet.core.storage.jsonable import read_json
from liftnet.imageio import read_image
from liftnet.methods.lift.residual import ResidualContext
from liftnet.pipeline.models.checkpoint import load_checkpoint
from liftnet.pipeline.models.runs import BEST, LATEST, read_log
from liftnet.pipeline.plan import plan
from liftnet.pipeline.predict.predict import predict
from liftnet.pipeline.preprocess.preprocess import preprocess
from liftnet.pipeline.share.export import export
from liftnet.pipeline.share.import_model import import_model
from liftnet.pipeline.train.train import train

SETTINGS = [
    "lift.mixer.hidden_size=8",
    "lift.slice_translation.validate_every=100",
    "lift.slice_translation.validation_cases=1",
    "lift.context_translation.validate_every=100",
    "lift.context_translation.validation_cases=1",
]


def two_stage_plan(workspace) -> Recipe:
    """A recipe of 4 steps for the translator alone and 2 with context."""
    recipe = plan(workspace=workspace, gpu_memory=0.03, steps=6, settings=SETTINGS).recipe
    preprocess(workspace=workspace, num_processes=1)
    return recipe


def test_the_second_stage_goes_on_from_the_first(workspace):
    """Its first weights are the first stage's best; a finished stage is kept as it is."""
    steps = {name: s.num_steps for name, s in schedules(two_stage_plan(workspace)).items()}
    assert steps == {"slice_translation": 4, "context_translation": 2}
    (folder,) = train(workspace=workspace, device="cpu")
    first = folder / "slice_translation" / LATEST
    second = folder / "context_translation" / LATEST
    before, unbroken = first.read_bytes(), load_checkpoint(second)
    shutil.rmtree(second.parent)  # as if the run had been killed before the second stage
    train(workspace=workspace, device="cpu")
    assert first.read_bytes() == before
    again = load_checkpoint(second)
    for group, tensors in unbroken.groups.items():
        for name, tensor in tensors.items():
            assert torch.equal(tensor, again.groups[group][name]), f"{group}/{name}"
    start = load_checkpoint(first.with_name(BEST)).groups["network"]
    moved = again.groups["network"]
    distance = max(float((moved[n] - start[n]).abs().max()) for n in start)
    assert 0 < distance < 0.01  # two steps away from it, not from a random start


def test_the_ablation_has_both_stages_and_no_mixer(workspace):
    """Equal budgets: the same stages and steps, without the mixer's weights."""
    two_stage_plan(workspace)
    (folder,) = train(workspace=workspace, device="cpu", method="no_mapper")
    for stage in ("slice_translation", "context_translation"):
        names = load_checkpoint(folder / stage / BEST).groups["network"]
        assert names and all(name.startswith("translator.") for name in names)


def test_a_second_stage_that_got_worse_is_not_used(pairs, monkeypatch, capsys):
    """Both are scored on the same cases; the images are those of the first stage, and it is told.

    An exported model has what is used, and says so too.
    """
    loss = ResidualContext.loss

    def backwards(self, *batch):
        return {name: -20 * term for name, term in loss(self, *batch).items()}

    monkeypatch.setattr(ResidualContext, "loss", backwards)
    train(workspace=pairs, device="cpu", method="no_mapper")
    (folder,) = train(workspace=pairs, device="cpu")
    printed = capsys.readouterr().out
    assert "residual_context did not improve on what it began with" in printed
    best = load_checkpoint(folder / "residual_context" / BEST).facts
    first = load_checkpoint(folder / "slice_translation" / BEST).facts
    assert best["step"] == 0 and best["score"] == pytest.approx(first["score"], rel=1e-6)
    log = read_log(folder / "residual_context" / "log.jsonl")
    scores = {row["step"]: row["validation"] for row in log if "validation" in row}
    assert scores[0] == best["score"] < scores[max(scores)]

    export(pairs / "model.safetensors", workspace=pairs)
    import_model(pairs / "model.safetensors", workspace=pairs / "elsewhere")
    made = {}
    for name, space, method in (
        ("both", pairs, "lift"), ("first", pairs, "no_mapper"), ("zip", pairs / "elsewhere", None)
    ):  # fmt: skip
        options = {"device": "cpu", "num_processes": 1, "method": method}
        capsys.readouterr()
        inputs = pairs / "raw" / "Dataset009_Heads" / "imagesTs"
        assert predict(inputs, pairs / name, workspace=space, **options) == []
        facts = read_json(pairs / name / "t1_0000.json")
        assert facts.get("unimproved_folds") == (None if name == "first" else ["fold_0"])
        said = capsys.readouterr().out
        assert ("fold_0: residual_context did not improve" in said) == (name != "first")
        assert "not trained to its end" not in said
        made[name] = read_image(pairs / name / "t1_0000.nii.gz")[0]
    np.testing.assert_array_equal(made["both"], made["first"])
    np.testing.assert_array_equal(made["both"], made["zip"])

    path = folder / "residual_context" / "log.jsonl"  # as it is while the stage still trains
    path.write_text("".join(f"{json.dumps(row)}\n" for row in log if row["step"] < max(scores)))
    assert predict(inputs, pairs / "early", workspace=pairs, device="cpu") == []
    assert "fold_0 is not trained to its end: residual_context has" in capsys.readouterr().out
    assert "unimproved_folds" not in read_json(pairs / "early" / "t1_0000.json")
