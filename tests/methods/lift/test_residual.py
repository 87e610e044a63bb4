"""The residual form on simulated heads: both stages learn, resume, and make volumes."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
import torch
from drawn_cases import drawn
from four_channels import four_channels, store_case
from torch import Tensor, nn

from liftnet.core.plan import Plan
from liftnet.core.recipe import Inference, with_schedules
from liftnet.core.request import Request
from liftnet.core.workspace import find_workspace
from liftnet.data.crops import whole
from liftnet.data.store import Store
from liftnet.methods import load_method
from liftnet.methods.base import Stage
from liftnet.methods.lift.recipes import ResidualRecipe
from liftnet.methods.lift.residual import ResidualContext
from liftnet.ops.in_plane import fit
from liftnet.pipeline.models.checkpoint import load_checkpoint
from liftnet.pipeline.models.runs import LATEST
from liftnet.pipeline.models.volumes import Training, make_volumes
from liftnet.pipeline.plan import load_plan, load_recipe
from liftnet.pipeline.train.augmented import augmented
from liftnet.pipeline.train.train import train_stage
from liftnet.tasks.translation import TASK

NAME = "Dataset009_Heads"
CASES = ("h1", "h2", "h3", "h4")
STAGES = ["slice_translation", "residual_context"]
LIFT = load_method("lift")
RANGES = {"mr": (200.0, 300.0), "ct": (0.0, 1.0)}  # air of the MR is -2


@pytest.fixture
def plan(pairs) -> Plan:
    """The plan of the heads."""
    return load_plan(find_workspace(pairs), NAME, "default")


@pytest.fixture
def recipe(pairs, plan) -> ResidualRecipe:
    """Their recipe."""
    recipe = load_recipe(find_workspace(pairs), plan, LIFT)
    assert isinstance(recipe, ResidualRecipe)
    return recipe


@pytest.fixture
def store(pairs) -> Store:
    """Their preprocessed cases."""
    return Store(find_workspace(pairs).store(NAME, "default"))


@pytest.fixture(autouse=True)
def full_precision(monkeypatch):
    """Float32 also on processors with bfloat16: what should be equal is equal."""
    for module in ("methods.lift.slices", "methods.lift.residual", "networks.synthesis"):
        monkeypatch.setattr(f"liftnet.{module}.autocast", lambda _: nullcontext())


def stage_of(plan: Plan, recipe: ResidualRecipe, name: str) -> Stage[None]:
    """One of the two."""
    return next(stage for stage in LIFT.stages(plan, recipe) if stage.name == name)


def network_of(
    plan: Plan, recipe: ResidualRecipe, name: str = STAGES[1], seed: int = 0
) -> nn.Module:
    """A network with random weights everywhere, also where training starts at zero."""
    torch.manual_seed(seed)
    network = stage_of(plan, recipe, name).build()
    for parameter in network.parameters():
        parameter.data += 0.03 * torch.randn_like(parameter)
    return network


def constant(recipe: ResidualRecipe, value: float) -> nn.Module:
    """A network that makes one value everywhere."""
    network = ResidualContext(recipe).build()
    nn.init.zeros_(network.translator.head.weight)
    nn.init.constant_(network.translator.head.bias, value)
    return network


def made(
    plan: Plan, recipe: ResidualRecipe, networks: Sequence[nn.Module], voxels: Tensor
) -> Tensor:
    """The CT (1, D, H, W) of a case (2, D, H, W), as the pipeline makes it."""
    example = whole(plan, Request(("mr",), ("ct",)), voxels, RANGES, "x", seed=0)
    return make_volumes(Training(TASK, LIFT, plan, recipe), networks, example)


@pytest.mark.parametrize("name", STAGES)
def test_steps_lower_the_loss(plan, recipe, store, name):
    """A few steps on the same heads; only what has a rate moves."""
    spec = replace(recipe.augmentation, gamma_probability=0.5)
    stage = stage_of(plan, recipe, name)
    network = network_of(plan, recipe, name)
    frozen = {n: p.detach().clone() for n, p in network.named_parameters() if not p.requires_grad}
    assert bool(frozen) is (name == "residual_context")
    optimizer = torch.optim.Adam([p for p in network.parameters() if p.requires_grad], 3e-3)
    batch = augmented(drawn(plan, stage, store, CASES), plan, spec)
    losses = []
    for _ in range(12):
        terms = stage.loss(network, None, batch, torch.Generator().manual_seed(1))
        optimizer.zero_grad()
        sum(terms.values()).backward()
        optimizer.step()
        losses.append(sum(float(term.detach()) for term in terms.values()))
    expected = {"l1", "ms_ssim"} if not frozen else {"charbonnier", "residual", "gradient"}
    assert set(terms) == expected
    assert losses[-1] < 0.9 * losses[0]
    for key, parameter in network.named_parameters():
        if key in frozen:
            assert torch.equal(parameter, frozen[key])


def test_the_second_stage_starts_from_the_first(plan, recipe):
    """It has the translator's weights, and synthesizes what the first does."""
    first = network_of(plan, recipe, STAGES[0])
    second = ResidualContext(recipe).build(first)
    for name, tensor in first.translator.state_dict().items():
        assert torch.equal(second.translator.state_dict()[name], tensor)
    source = torch.rand(2, 9, 31, 29)
    one, two = (made(plan, recipe, [network], source) for network in (first, second))
    assert one.std() > 0.01
    torch.testing.assert_close(one, two, atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", STAGES)
def test_resume_is_bit_for_bit(plan, recipe, store, name, tmp_path, monkeypatch):
    """Stopped after two steps of four and continued: the weights of an unbroken run."""
    four = replace(getattr(recipe, name), num_steps=4)
    recipe = with_schedules(recipe, {name: four})
    saving = with_schedules(recipe, {name: replace(four, checkpoint_minutes=0.0)})
    previous = network_of(plan, recipe, STAGES[0], 5)

    def trained(used: ResidualRecipe, folder: str) -> nn.Module:
        return train_stage(
            Training(TASK, LIFT, plan, used), stage_of(plan, used, name), previous, store,
            CASES[:3], CASES[3:], tmp_path / folder, device=torch.device("cpu"),
        )  # fmt: skip

    unbroken = trained(recipe, "a")
    kind = type(stage_of(plan, recipe, name))
    real, calls = kind.loss, []

    def stop(self, network, memory, batch, generator):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(self, network, memory, batch, generator)

    with monkeypatch.context() as patch:
        patch.setattr(kind, "loss", stop)
        with pytest.raises(KeyboardInterrupt):
            trained(saving, "b")
    assert len(calls) == 3
    again = trained(recipe, "b")
    for key, tensor in unbroken.state_dict().items():
        assert torch.equal(again.state_dict()[key], tensor), key
    a, b = (load_checkpoint(tmp_path / run / LATEST) for run in "ab")
    for group, tensors in a.groups.items():
        for key, tensor in tensors.items():
            assert torch.equal(b.groups[group][key], tensor), key


@pytest.mark.parametrize("name", STAGES)
def test_every_part_of_a_long_side_is_seen(pairs, recipe, tmp_path, name):
    """Of 21 rows, the first three air, any 16 in a row are drawn."""
    plan, store = four_channels(pairs), store_case(tmp_path / "s")
    batch = drawn(plan, stage_of(plan, recipe, name), store, ["x"] * 60)
    air = {int((example.mask[0, 0, 0, :, 12] == 0).sum()) for example in batch}
    assert air == {0, 1, 2, 3}


def test_synthesis_clips_and_averages(plan, recipe):
    """The mean over networks, each clipped to the target's limits."""
    source = torch.rand(2, 5, 13, 17)
    for values, expected in (((0.2, -0.6), -0.2), ((3.0, 0.5), 0.75), ((-9.0, 1.0), 0.0)):
        networks = [constant(recipe, value) for value in values]
        got = made(plan, recipe, networks, source)
        torch.testing.assert_close(got, torch.full((1, 5, 13, 17), expected))


@pytest.mark.parametrize("name", STAGES)
@pytest.mark.parametrize("size", [(36, 32), (13, 17), (35, 50), (72, 32), (61, 43)])
def test_any_size_without_seams(plan, recipe, name, size):
    """Slices of any size, also larger than planned, as the network sees them whole."""
    network = network_of(plan, recipe, name)
    source = torch.rand(2, 7, *size, generator=torch.Generator().manual_seed(1))
    got = made(plan, recipe, [network], source)
    canvas = tuple(max(want, -(-n // 4) * 4) for n, want in zip(size, (36, 32), strict=True))
    padded = fit(source[:1], canvas, [-2.0])[0][None, None]
    with torch.no_grad():
        direct = network.synthesize(padded, torch.ones(1, 1), slice_batch=7, keep_features=True)
    direct = direct[0].clamp(-1, 1)
    assert got.shape == (1, 7, *size)
    expected = fit(got, canvas, [0])[0][None].numpy()
    inside = fit(torch.ones_like(got), canvas, [0])[0][None].numpy() > 0
    np.testing.assert_allclose(direct.numpy()[inside], expected[inside], atol=1e-5)
    assert got.std() > 1e-3


def test_absent_sources(plan, recipe):
    """An absent source is zero for the network, whatever its channel holds, and it is told."""
    channels = (*plan.channels[:1], replace(plan.channels[0], name="t2"), *plan.channels[1:])
    plan = replace(plan, channels=channels, sources=("mr", "t2"))
    translator = replace(recipe.translator, source_channels=2, condition_size=2)
    recipe = replace(recipe, translator=translator)
    network = network_of(plan, recipe)
    seen = []
    real = network.synthesize

    def spy(source, condition, **options):
        seen.append((source, condition))
        return real(source, condition, **options)

    network.synthesize = spy
    source = torch.rand(3, 5, 13, 17)
    other = source.clone()
    other[0] = 7
    request, ranges = Request(("t2",), ("ct",)), dict.fromkeys(("t2", "ct"), RANGES["mr"])
    of = Training(TASK, LIFT, plan, recipe)
    first, second = (
        make_volumes(of, [network], whole(plan, request, voxels, ranges, "x", seed=0))
        for voxels in (source, other)
    )
    torch.testing.assert_close(first, second)
    padded, condition = seen[1]
    assert condition.tolist() == [[0, 1]]
    assert not padded[0, 0].any() and float(padded[0, 1].min()) == -2.0


def test_two_passes_make_the_same_volume(plan, recipe):
    """They only take less memory."""
    source, network = torch.rand(2, 5, 36, 32), network_of(plan, recipe)
    one, two = (
        made(plan, replace(recipe, inference=Inference(2, passes)), [network], source)
        for passes in ("one", "two")
    )
    torch.testing.assert_close(one, two, atol=1e-5, rtol=0)
