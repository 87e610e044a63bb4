"""Damaged arrays, checkpoints, weights and settings: refused with a LiftnetError."""

import json
from random import Random

import numpy as np
import pytest
import torch
from fuzz.mutations import damage_bytes
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from liftnet.core.errors import CheckpointError, DatasetError, LiftnetError
from liftnet.core.storage.jsonable import read_json
from liftnet.core.workspace import find_workspace
from liftnet.data.store import Store
from liftnet.methods import load_method
from liftnet.networks.features import FrozenNorm, read_weights
from liftnet.pipeline.models.checkpoint import finished_steps, load_checkpoint, load_weights
from liftnet.pipeline.plan import apply_setting, explain, read_plan, read_recipe
from liftnet.pipeline.predict import trajectories
from liftnet.pipeline.train.splits import pick_fold

FEW = settings(
    max_examples=100,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
SEEDS = st.integers(0, 2**32)
PLANNED = "preprocessed/Dataset007_Phantom/default"


def stored(_prepared, folder) -> bytes:
    """A stored case in a folder, without checksums; its array."""
    source = _prepared / PLANNED / "cases"
    known = read_json(source / "p1.json")
    (folder / "p1.json").write_text(json.dumps({**known, "checksums": {}}))
    return (source / "p1.npy").read_bytes()


@FEW
@given(SEEDS)
def test_stored_arrays(_prepared, tmp_path, seed):
    """An array whose header was changed is read with its shape or refused."""
    content = stored(_prepared, tmp_path)
    (tmp_path / "p1.npy").write_bytes(damage_bytes(Random(seed), content[:128]) + content[128:])
    try:
        slab = Store(tmp_path).slab("p1", slice(0, 1))
    except DatasetError as error:
        assert error.where and error.remedy
        return
    assert slab.ndim == 4 and slab.dtype == torch.float16


def test_arrays_of_another_kind(_prepared, tmp_path):
    """A zip file, a header that is no Python, another type and too few axes are refused."""
    stored(_prepared, tmp_path)
    path = tmp_path / "p1.npy"
    np.savez(tmp_path / "x.npz", np.zeros(3))
    odd = (tmp_path / "x.npz").read_bytes()
    header = b"\x93NUMPY\x01\x00" + (118).to_bytes(2, "little") + b"{'a': (((" + b" " * 109
    np.save(tmp_path / "y.npy", np.zeros((2, 3, 4, 5), ">f2"))
    np.save(tmp_path / "z.npy", np.zeros((2, 3, 4), np.float16))
    others = [(tmp_path / name).read_bytes() for name in ("y.npy", "z.npy")]
    for content in (odd, header, b"", *others):
        path.write_bytes(content)
        with pytest.raises(DatasetError, match="A preprocessed case cannot be read"):
            Store(tmp_path).slab("p1")


@pytest.mark.parametrize(
    "facts",
    ["[" * 9999, '{"step": 1e999}', '{"format": {}}', "[]", '{"format": 1, "step": "x"}', "\udc00"],
)
def test_facts_of_a_checkpoint(tmp_path, facts):
    """Facts that are none make a checkpoint unreadable; the steps behind it count as none."""
    path = tmp_path / "checkpoint.safetensors"
    text = facts.encode("utf-8", "replace").decode()
    save_file({"network/a": torch.ones(2)}, path, metadata={"liftnet": text})
    assert finished_steps(path) == 0
    if '"format": 1' not in facts:
        with pytest.raises(CheckpointError):
            load_checkpoint(path)


def test_weights_of_another_type(tmp_path):
    """Whole numbers do not become weights without a word."""
    network = torch.nn.Linear(2, 3)
    state = {name: tensor.int() for name, tensor in network.state_dict().items()}
    with pytest.raises(CheckpointError, match=r"weight is torch.int32, not torch.float32"):
        load_weights(network, state, where=tmp_path)


@FEW
@given(SEEDS)
def test_weight_files(tmp_path, seed):
    """A damaged file of torch's is refused, or its tensors are read."""
    rng = Random(seed)
    path = tmp_path / "x.pth"
    torch.save(FrozenNorm(2).state_dict(), path, _use_new_zipfile_serialization=seed % 2 == 0)
    path.write_bytes(damage_bytes(rng, path.read_bytes()))
    try:
        tensors = read_weights(path)
    except CheckpointError as error:
        assert error.where and error.remedy
        return
    assert all(isinstance(tensor, torch.Tensor) for tensor in tensors.values())


def test_names_that_are_none(tmp_path):
    """Keys that are no text are no names of tensors."""
    torch.save({1: torch.ones(2)}, tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match="no named tensors"):
        read_weights(tmp_path / "x.pth")


@pytest.mark.parametrize("text", ["²", "٣", "9" * 5000, "-1", "", "1.0"])
def test_numbers_of_folds_and_datasets(tmp_path, text):
    """Digits that are no number, or thousands of them, name no fold and no dataset."""
    (tmp_path / "raw" / "Dataset001_X").mkdir(parents=True)
    with pytest.raises(LiftnetError, match="There is no fold"):
        pick_fold([{"train": ["a"], "validation": ["b"]}], text, ["a", "b"], tmp_path)
    with pytest.raises(LiftnetError, match="No dataset"):
        find_workspace(tmp_path).dataset_name(text)


@pytest.mark.parametrize(
    "setting",
    [
        "seed=1e999",
        "seed=" + "9" * 5000,
        "channels.²=1",
        "grid.in_plane=[1000000, 32]",
        'channels=[{"kind": {}}]',
    ],
)
def test_settings_of_no_use(_prepared, setting):
    """A value beyond any use is refused before anything is made of it."""
    plan = read_plan(_prepared / PLANNED / "plan.json")
    with pytest.raises(LiftnetError):
        apply_setting(plan, setting)


@pytest.mark.parametrize(
    ("setting", "problem"),
    [
        ("losses.l1=NaN", "Expected a number"),
        ("losses.l1=" + "[" * 9999, "Expected a number"),
        ("mixer.kind=5", "No setting"),
        ("mixer.num_layers=1000000000", "Expected a number from"),
        ("context_translation.betas=[0.9, 1.0]", "Expected a number from"),
        ('mixer={"kind": {}}', "Expected MixerSpec"),
    ],
)
def test_settings_of_a_method_of_no_use(_prepared, setting, problem):
    """A value beyond any use is refused before a network of it is built."""
    plan = read_plan(_prepared / PLANNED / "plan.json")
    recipe = read_recipe(_prepared / PLANNED / "recipes" / "lift.json", plan, load_method("lift"))
    with pytest.raises(LiftnetError, match=problem):
        apply_setting(recipe, setting)


def test_reasons_of_settings_that_are_not_there(_prepared):
    """They are shown without a value."""
    plan = read_plan(_prepared / PLANNED / "plan.json")
    changed = apply_setting(plan, 'reasons={"a.b": "why", "channels.9.x": "so", "seed.x": "no"}')
    shown = explain(changed)
    for key, reason in (("a.b", "why"), ("channels.9.x", "so"), ("seed.x", "no")):
        assert f"{key}\n    {reason}" in shown


@pytest.mark.parametrize(("offset", "value"), [(8, 1), (10, 99)])
def test_a_trajectory_whose_entry_cannot_be_opened(tmp_path, offset, value):
    """Encrypted, or compressed by a method that nobody knows: as if it were not there."""
    path = tmp_path / "x.npz"
    np.savez(path, **{name: np.zeros(3) for name in trajectories.ARRAYS})
    assert trajectories._read(path) is not None
    content = bytearray(path.read_bytes())
    entry = content.find(b"PK\x01\x02")
    while entry >= 0:  # the flags, or the method, in the directory of the zip
        content[entry + offset] = value
        entry = content.find(b"PK\x01\x02", entry + 1)
    path.write_bytes(content)
    assert trajectories._read(path) is None
