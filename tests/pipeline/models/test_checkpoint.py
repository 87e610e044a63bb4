"""Checkpoints: round trip, damage, versions, fit."""

import json

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from liftnet.core.errors import CheckpointError
from liftnet.pipeline.models.checkpoint import (
    finished_steps,
    load_checkpoint,
    load_weights,
    save_checkpoint,
)


def test_round_trip_and_the_one_before(tmp_path):
    """Tensors and facts come back; the previous file is kept, and used if the last is damaged."""
    path = tmp_path / "deep" / "c.safetensors"
    for i in range(3):
        groups = {
            "network": {"a.b": torch.full((2, 3), i)},
            "optimizer": {"x/step": torch.ones(())},
        }
        save_checkpoint(path, groups, {"step": i, "best": None})
    got = load_checkpoint(path)
    assert {k: got.facts[k] for k in ("step", "best")} == {"step": 2, "best": None}
    assert torch.equal(got.groups["network"]["a.b"], torch.full((2, 3), 2))
    assert got.groups["optimizer"].keys() == {"x/step"}
    assert sorted(p.name for p in path.parent.iterdir()) == [
        "c.safetensors",
        "c.safetensors.previous",
    ]
    for damage in (b"", path.read_bytes()[:50], path.read_bytes()[:-4], b"x" * 100):
        path.write_bytes(damage)
        assert load_checkpoint(path).facts["step"] == 1
    path.unlink()
    assert load_checkpoint(path).facts["step"] == 1
    path.with_name("c.safetensors.previous").write_bytes(b"")
    with pytest.raises(CheckpointError, match="No readable checkpoint"):
        load_checkpoint(path)
    with pytest.raises(CheckpointError, match="No checkpoint"):
        load_checkpoint(tmp_path / "none.safetensors")


def test_foreign_files(tmp_path):
    """A safetensors file of somebody else is not readable, one of another format says so."""
    path = tmp_path / "c.safetensors"
    save_file({"x": torch.ones(1)}, path)
    with pytest.raises(CheckpointError, match="No readable checkpoint"):
        load_checkpoint(path)
    save_file({"n/x": torch.ones(1)}, path, metadata={"liftnet": json.dumps({"format": 99})})
    with pytest.raises(CheckpointError, match="has format 99, this liftnet reads 1"):
        load_checkpoint(path)


def test_weights_must_fit(tmp_path):
    """Other names or shapes are refused with the first difference."""
    network = nn.Linear(2, 3)
    load_weights(network, {"weight": torch.ones(3, 2), "bias": torch.zeros(3)}, where=tmp_path)
    assert torch.equal(network.weight, torch.ones(3, 2))
    for wrong in (
        {"weight": torch.ones(3, 2)},
        {"weight": torch.ones(2, 2), "bias": torch.zeros(3)},
    ):
        with pytest.raises(CheckpointError, match="The weights do not fit the plan: ") as caught:
            load_weights(network, wrong, where=tmp_path)
        assert caught.value.where == str(tmp_path)


def test_finished_steps(tmp_path):
    """Read without the tensors; 0 where there is no file, or a damaged one."""
    path = tmp_path / "c.safetensors"
    assert finished_steps(path) == 0
    save_checkpoint(path, {"network": {"a": torch.ones(2)}}, {"step": 7})
    assert finished_steps(path) == 7
    path.write_bytes(path.read_bytes()[:20])
    assert finished_steps(path) == 0


def test_others_may_read_it(tmp_path):
    """A checkpoint has the permissions of any other new file: a group can share a workspace."""
    path = tmp_path / "run" / "checkpoint.safetensors"
    save_checkpoint(path, {"network": {"a": torch.ones(2)}}, {"step": 1})
    plain = tmp_path / "plain"
    plain.touch()
    assert path.stat().st_mode == plain.stat().st_mode
