"""Files of other versions are refused: newer ones, and older ones."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from liftnet.core.comparison import COMPARISON_VERSION, read_comparison
from liftnet.core.errors import CheckpointError, LiftnetError, PlanError
from liftnet.core.plan import PLAN_VERSION
from liftnet.core.probe import PROBE_VERSION, read_probe
from liftnet.core.recipe import RECIPE_VERSION
from liftnet.core.scores import (
    COHORT_SCORES_VERSION,
    SCORES_VERSION,
    read_cohort_scores,
    read_scores,
)
from liftnet.core.storage.jsonable import read_json, write_json
from liftnet.core.storage.migration import refuse_other
from liftnet.data.store import STORE_VERSION, Store
from liftnet.methods import load_method
from liftnet.pipeline.fingerprint.extract_fingerprint import FINGERPRINT_VERSION, read_fingerprint
from liftnet.pipeline.models.checkpoint import FORMAT_VERSION, load_checkpoint, save_checkpoint
from liftnet.pipeline.plan import read_plan, read_recipe


def recipe_of(path: Path) -> object:
    """A recipe as it is read; its version is looked at before its plan."""
    return read_recipe(path, None, load_method("lift"))


READERS = {
    "recipe": (recipe_of, RECIPE_VERSION, "liftnet_plan --method lift"),
    "plan": (read_plan, PLAN_VERSION, "liftnet_plan"),
    "fingerprint": (read_fingerprint, FINGERPRINT_VERSION, "liftnet_extract_fingerprint"),
    "scores": (read_scores, SCORES_VERSION, "liftnet_evaluate"),
    "cohort": (read_cohort_scores, COHORT_SCORES_VERSION, "liftnet_evaluate"),
    "comparison": (read_comparison, COMPARISON_VERSION, "liftnet_compare"),
    "probe": (read_probe, PROBE_VERSION, "liftnet_probe"),
}


def test_only_the_very_version_passes():
    """What is equal and no integer is another one; a long text is shown short."""
    words = {"what": "It has", "where": Path("x"), "remedy": "Make it again."}
    refuse_other({"version": 3}, 3, **words)
    for version in (1, 0, -1, None, True, "3", 3.0, "v" * 99, [3]):
        with pytest.raises(PlanError, match=r"It has version .*, this liftnet reads 3") as caught:
            refuse_other({"version": version}, 3, **words)
        assert caught.value.remedy == "Make it again." and len(caught.value.problem) < 80
    for nothing in ({}, [], 3, "x", None):
        with pytest.raises(PlanError, match="It has version None, this liftnet reads 3"):
            refuse_other(nothing, 3, **words)


@pytest.mark.parametrize("name", READERS)
def test_newer_and_older_files(tmp_path, name):
    """A newer file says to update; an older one names the command that makes it again."""
    reader, version, command = READERS[name]
    path = tmp_path / "file.json"
    write_json(path, {"version": version + 1, "unheard": "of"})
    with pytest.raises(PlanError, match="made by a newer liftnet") as caught:
        reader(path)
    assert caught.value.remedy.startswith("Update liftnet")
    for old in (version - 1, 0, -3, None):
        write_json(path, {"version": old})
        with pytest.raises(
            PlanError, match=f"version {old}, this liftnet reads {version}"
        ) as caught:
            reader(path)
        assert command in caught.value.remedy


def test_checkpoints(tmp_path):
    """A newer one is refused, and not taken for a damaged one in whose place another is read."""
    path = tmp_path / "checkpoint.safetensors"
    tensors = {"network": {"weight": torch.arange(3.0)}}
    save_checkpoint(path, tensors, {"step": 1})
    save_checkpoint(path, tensors, {"step": 2})
    assert load_checkpoint(path).facts["step"] == 2
    with safe_open(path, framework="pt") as file:
        facts = json.loads(file.metadata()["liftnet"])
    assert facts["format"] == FORMAT_VERSION
    for version, message in (
        (FORMAT_VERSION + 1, "made by a newer liftnet"),
        (0, f"format 0, this liftnet reads {FORMAT_VERSION}"),
    ):
        text = json.dumps({**facts, "format": version})
        save_file({"network/weight": torch.arange(3.0)}, path, metadata={"liftnet": text})
        with pytest.raises(CheckpointError, match=message) as caught:
            load_checkpoint(path)
        assert "liftnet" in caught.value.remedy


def test_preprocessed_cases(workspace):
    """They have a version; without one they are of the first, a newer one is refused."""
    folder = workspace / "preprocessed" / "Dataset007_Phantom" / "default" / "cases"
    path = folder / "p1.json"
    described = Store(folder).describe("p1")
    assert described.version == STORE_VERSION == read_json(path)["version"]
    facts = read_json(path)
    del facts["version"]
    write_json(path, facts)
    assert Store(folder).describe("p1") == replace(described, version=1)
    shutil.copy(folder / "p1.npy", folder / "p9.npy")
    write_json(folder / "p9.json", {**facts, "identifier": "p9", "version": STORE_VERSION + 1})
    with pytest.raises(LiftnetError, match="made by a newer liftnet"):
        Store(folder).describe("p9")
    assert not Store(folder).is_current("p9", described.key)  # so that preprocessing makes it anew
    assert np.isfinite(Store(folder).voxels("p1")).all()
