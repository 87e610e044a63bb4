"""The joint form: what is drawn, compared and made."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from drawn_cases import drawn
from torch import Tensor, nn

from liftnet.core.plan import Plan
from liftnet.core.request import Request
from liftnet.core.workspace import find_workspace
from liftnet.data.crops import whole
from liftnet.data.store import Store
from liftnet.methods import load_method
from liftnet.methods.lift.joint import SLICE_STAGE, ContextTranslation
from liftnet.methods.lift.recipes import JointRecipe
from liftnet.networks.volume_translator import VolumeTranslator
from liftnet.ops.in_plane import fit
from liftnet.pipeline.models.volumes import Training, make_volumes
from liftnet.pipeline.plan import load_plan, load_recipe
from liftnet.tasks import load_task

NAME = "Dataset007_Phantom"
LIFT = load_method("lift")


@pytest.fixture
def plan(workspace: Path) -> Plan:
    """The plan of the phantom dataset."""
    return load_plan(find_workspace(workspace), NAME, "default")


@pytest.fixture
def recipe(workspace: Path, plan: Plan) -> JointRecipe:
    """Its recipe, whose training is with context throughout."""
    recipe = load_recipe(find_workspace(workspace), plan, LIFT)
    assert isinstance(recipe, JointRecipe)
    return recipe


@pytest.fixture
def store(workspace: Path) -> Store:
    """Its preprocessed cases."""
    return Store(find_workspace(workspace).store(NAME, "default"))


def test_what_is_drawn(plan, recipe, store):
    """The stored voxels, a slab that lies inside, outer slices too; nothing given is made."""
    stage = ContextTranslation(recipe)
    depth = store.describe("p6").shape[0]
    starts, seeds = set(), set()
    for seed in range(60):
        (example,) = drawn(plan, stage, store, ["p6"], seed)
        assert example.source.shape == (1, 3, depth, *plan.grid.in_plane)
        assert torch.equal(example.target, example.source) and example.mask.shape[1] == 0
        (start,) = example.windows
        assert 0 <= start <= depth - example.count
        starts.add(start)
        given, made = example.given[0].bool(), example.made[0]
        assert not given[1] and not made[1]  # p6 lacks b
        assert given.any() and made.any() and not (given & made).any()
        seeds.add(int(example.seeds))
    assert starts == set(range(depth - example.count + 1)) and len(seeds) == 60
    (thin,) = drawn(plan, stage, store, ["p6"], thinnest=2)
    assert thin.count == 2 and thin.source.shape[2] == depth
    stored = np.asarray(store.voxels("p6"), np.float32)
    assert float(example.source.sum()) == pytest.approx(float(stored.sum()), rel=1e-3)


def test_without_context_the_slab_is_enough(plan, recipe, store):
    """Of the ablation, and of the first part of a short training, nothing else is read."""
    short = replace(recipe, slice_translation=recipe.context_translation)
    for stage in (
        ContextTranslation(replace(recipe, mixer=None)),
        ContextTranslation(short, SLICE_STAGE),
    ):
        (example,) = drawn(plan, stage, store, ["p1"])
        assert example.source.shape[2] == example.count == 4 and example.windows == (0,)


def test_a_short_training_begins_with_the_translator(plan, recipe):
    """In a stage of its own, whose weights the next one takes; the mixer comes with the second."""
    short = replace(recipe, slice_translation=recipe.context_translation)
    assert [stage.name for stage in LIFT.stages(plan, recipe)] == ["context_translation"]
    first, second = LIFT.stages(plan, short)
    assert (first.name, second.name) == ("slice_translation", "context_translation")
    before = first.build()
    after = second.build(before)
    assert before.mixer is None and after.mixer is not None
    for name, tensor in before.translator.state_dict().items():
        assert torch.equal(after.translator.state_dict()[name], tensor), name


def test_loss_is_over_the_slab_and_the_hidden_contrasts(plan, recipe, store):
    """The terms are those of Eq. 9 on the mean over volumes; unsupervised outputs do not count."""
    stage = ContextTranslation(recipe)
    torch.manual_seed(0)
    network = stage.build()
    batch = [drawn(plan, stage, store, [case], i)[0] for i, case in enumerate(("p1", "p5"))]
    terms = stage.loss(network, None, batch, torch.Generator())
    assert set(terms) == {"l1", "ms_ssim", "delta_z"}
    singles = [stage.loss(network, None, [one], torch.Generator()) for one in batch]
    for name, term in terms.items():
        mean = (singles[0][name] + singles[1][name]) / 2
        torch.testing.assert_close(term, mean, atol=1e-2, rtol=1e-2)  # bfloat16 on some CPUs
    torch.stack(list(terms.values())).sum().backward()
    used = {i for example in batch for i in range(3) if example.made[0, i]}
    gradient = network.translator.head.weight.grad.abs().sum((1, 2, 3))
    assert {i for i in range(3) if gradient[i] > 0} == used


def filled(recipe: JointRecipe, value: float) -> VolumeTranslator:
    """A network that predicts one value everywhere."""
    torch.manual_seed(3)
    network = ContextTranslation(recipe).build()
    assert isinstance(network, VolumeTranslator)
    with torch.no_grad():
        network.translator.head.weight.zero_()
        network.translator.head.bias.fill_(value)
    return network


def made(
    plan: Plan, recipe: JointRecipe, networks: list[nn.Module], voxels: Tensor, given: str
) -> Tensor:
    """The one target that is not given, of a case (3, D, H, W), as the pipeline makes it."""
    wanted = tuple(name for name in plan.targets if name not in given)
    request = Request(tuple(given), wanted[:1])
    example = whole(plan, request, voxels, dict.fromkeys("abc", (0.0, 1.0)), "x", seed=0)
    volumes = make_volumes(Training(load_task(plan.task), LIFT, plan, recipe), networks, example)
    return volumes[plan.targets.index(wanted[0])]


def test_synthesis_masks_clips_and_averages(plan, recipe):
    """Zero where all sources are zero, clipped to [0, 1], the mean over networks."""
    source = torch.rand(3, 5, 13, 17)
    source[:, 1, 2:4] = 0
    source[0, 2, 3, 4], source[1:, 2, 3, 4] = 1.0, 0.0
    got = made(plan, recipe, [filled(recipe, 0.25), filled(recipe, 7.0)], source, "bc")
    assert got.shape == (5, 13, 17)
    inside = (source[1:] > 0).any(0)  # a is not given, so it may not help
    torch.testing.assert_close(got, torch.where(inside, 0.625, 0.0))


def test_absent_sources_are_not_seen(plan, recipe):
    """What lies in the channels that are not sources does not matter."""
    torch.manual_seed(1)
    network = ContextTranslation(recipe).build()
    source = torch.rand(3, 5, 13, 17)
    other = source.clone()
    other[0] = torch.rand(5, 13, 17)
    first, second = (made(plan, recipe, [network], s, "bc") for s in (source, other))
    torch.testing.assert_close(first, second)
    assert first.std() > 0


@torch.no_grad()
def test_synthesis_sees_slices_as_training_does(plan, recipe):
    """A cropped case gives what it gives on the canvas of training slices, cropped."""
    torch.manual_seed(1)
    network = ContextTranslation(recipe).build()
    for layer in network.mixer.inject:
        nn.init.normal_(layer.weight, std=0.1)
    source = torch.rand(3, 5, 13, 17)
    canvas = torch.stack(fit(source, plan.grid.in_plane, [0] * 3))
    inner, outer = (made(plan, recipe, [network], s, "ab") for s in (source, canvas))
    expected = fit(inner[None], plan.grid.in_plane, [0])[0].numpy()
    np.testing.assert_allclose(outer, expected, atol=1e-5)
