"""A short training has two stages; the second starts from the first, which is not done again."""

import shutil

import torch

from liftnet.core.plan import Plan
from liftnet.pipeline.checkpoint import load_checkpoint
from liftnet.pipeline.plan import plan
from liftnet.pipeline.preprocess import preprocess
from liftnet.pipeline.runs import BEST, LATEST
from liftnet.pipeline.train import train

SETTINGS = [
    "networks.mixer.hidden_size=8",
    "stages.slice_translation.validate_every=100",
    "stages.slice_translation.validation_cases=1",
    "stages.context_translation.validate_every=100",
    "stages.context_translation.validation_cases=1",
]


def two_stage_plan(workspace) -> Plan:
    """A plan of 4 steps for the translator alone and 2 with context."""
    decided = plan(workspace=workspace, gpu_memory=0.03, steps=6, settings=SETTINGS)
    preprocess(workspace=workspace, num_processes=1)
    return decided


def test_the_second_stage_goes_on_from_the_first(workspace):
    """Its first weights are the first stage's best; a finished stage is kept as it is."""
    decided = two_stage_plan(workspace)
    assert list(decided.stages) == ["slice_translation", "context_translation"]
    assert [s.num_steps for s in decided.stages.values()] == [4, 2]
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
    (folder,) = train(workspace=workspace, device="cpu", mapper=False)
    for stage in ("slice_translation", "context_translation"):
        names = load_checkpoint(folder / stage / BEST).groups["network"]
        assert names and all(name.startswith("translator.") for name in names)
