"""Files of other versions: the version before is read, newer and too old ones are refused."""

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
from liftnet.core.jsonable import from_json, read_json, to_json, write_json
from liftnet.core.migration import PLAN_UPGRADES, brought_up_to_date
from liftnet.core.plan import PLAN_VERSION, Plan
from liftnet.core.probe import PROBE_VERSION, read_probe
from liftnet.core.scores import (
    COHORT_SCORES_VERSION,
    SCORES_VERSION,
    read_cohort_scores,
    read_scores,
)
from liftnet.data.store import STORE_VERSION, Store
from liftnet.pipeline.fingerprint.extract_fingerprint import FINGERPRINT_VERSION, read_fingerprint
from liftnet.pipeline.models.checkpoint import FORMAT_VERSION, load_checkpoint, save_checkpoint
from liftnet.pipeline.plan import read_plan
from liftnet.tasks import load_task

EXAMPLE = Path(__file__).parent / "files" / "plan_version_1.json"  # as liftnet 88a3527 wrote it
READERS = {
    "plan": (read_plan, PLAN_VERSION, "liftnet_plan"),
    "fingerprint": (read_fingerprint, FINGERPRINT_VERSION, "liftnet_extract_fingerprint"),
    "scores": (read_scores, SCORES_VERSION, "liftnet_evaluate"),
    "cohort": (read_cohort_scores, COHORT_SCORES_VERSION, "liftnet_evaluate"),
    "comparison": (read_comparison, COMPARISON_VERSION, "liftnet_compare"),
    "probe": (read_probe, PROBE_VERSION, "liftnet_probe"),
}


def test_a_plan_of_the_version_before_is_read():
    """What was decided stays; what is new says what was done before; the network can be built."""
    old, plan = read_json(EXAMPLE), read_plan(EXAMPLE)
    assert (old["version"], plan.version) == (1, PLAN_VERSION)
    assert plan.sources == plan.targets == plan.channel_names == ("a", "b", "c")
    assert (plan.grid.mask, plan.grid.box, plan.grid.pad_to_box) == ("none", None, False)
    assert [stage.windows_per_volume for stage in plan.stages.values()] == [1]
    assert plan.channel("a").normalization.limits == (0.0, 1.0)
    now = to_json(plan)
    for part in ("losses", "augmentation", "networks", "reasons", "seed", "targets", "dataset"):
        assert now[part] == old[part], part
    for part in ("grid", "stages", "inference", "memory"):
        flat, before = json.dumps(now[part]), old[part]
        for key, value in (before["context_translation"] if part == "stages" else before).items():
            assert f"{json.dumps(key)}: {json.dumps(value)}" in flat
    stage = load_task(plan.task).stages(plan, mapper=True)[-1]
    assert sum(p.numel() for p in stage.build().parameters()) > 1000


def test_what_the_example_does_not_show():
    """CT went to [0, 1]; the first plans of version 1 had one volume per step."""
    old = read_json(EXAMPLE)
    rule = {"kind": "ClipAndScale", "low": -1000.0, "high": 2000.0}
    old["channels"][1] = {"name": "b", "modality": "CT", "normalization": rule}
    del old["stages"]["context_translation"]["volumes_per_step"]
    words = {"what": "The plan has", "where": EXAMPLE, "remedy": "again"}
    plan = from_json(Plan, brought_up_to_date(old, 2, PLAN_UPGRADES, **words), where="x")
    assert plan.channel("b").normalization.limits == (0.0, 1.0)
    assert plan.stages["context_translation"].volumes_per_step == 1
    assert old["version"] == 1 and "limits" not in rule  # the old one is left as it is


def test_steps_follow_each_other():
    """1 becomes 2 becomes 3; with a step missing there is no way."""
    table = {1: lambda data: {**data, "b": 1}, 2: lambda data: {**data, "c": data["b"] + 1}}
    words = {"what": "It has", "where": Path("x"), "remedy": "Make it again."}
    assert brought_up_to_date({"version": 1}, 3, table, **words) == {"version": 3, "b": 1, "c": 2}
    for version in (1, 0, None, True, "1", 2.0):
        with pytest.raises(PlanError, match="this liftnet reads 3") as caught:
            brought_up_to_date({"version": version}, 3, {2: table[2]}, **words)
        assert caught.value.remedy == "Make it again."
    with pytest.raises(PlanError, match=r"version 2, but not the content of that version \('b'\)"):
        brought_up_to_date({"version": 2}, 3, table, **words)


@pytest.mark.parametrize("damage", ["channels", "grid", "stages"])
def test_a_damaged_old_plan(tmp_path, damage):
    """Parts that are not what they should be are refused with the way out."""
    for value in (None, 3, "x", [1]):
        write_json(tmp_path / "plan.json", {**read_json(EXAMPLE), damage: value})
        with pytest.raises(PlanError) as caught:
            read_plan(tmp_path / "plan.json")
        assert caught.value.remedy


@pytest.mark.parametrize("name", READERS)
def test_newer_and_too_old_files(tmp_path, name):
    """A newer file says to update; one too old names the command that makes it again."""
    reader, version, command = READERS[name]
    path = tmp_path / "file.json"
    write_json(path, {"version": version + 1, "unheard": "of"})
    with pytest.raises(PlanError, match="made by a newer liftnet") as caught:
        reader(path)
    assert caught.value.remedy.startswith("Update liftnet")
    for old in (0, -3, None):
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
