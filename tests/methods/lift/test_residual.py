"""Both stages on simulated heads: learning, resuming, validation, synthesis."""

from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
import torch
from drawn_cases import drawn
from four_channels import NAMES, four_channels, store_case
from liftnet.tasks.translation.synthesis import synthesize
from torch import nn

from liftnet.core.errors import DatasetError
from liftnet.core.plan import Plan
from liftnet.core.request import Request
from liftnet.data.store import Store
from liftnet.methods.lift.residual import ResidualContext
from liftnet.methods.lift.slices import SliceTranslation
from liftnet.ops.in_plane import fit_in_plane
from liftnet.pipeline.models.checkpoint import load_checkpoint
from liftnet.pipeline.models.runs import LATEST
from liftnet.pipeline.plan import apply_setting, read_plan
from liftnet.pipeline.train.augmented import augmented
from liftnet.pipeline.train.train import train_stage
from liftnet.tasks.translation import TASK

CASES = ("h1", "h2", "h3", "h4")
STAGES = [SliceTranslation, ResidualContext]
FULL = Request(("mr",), ("ct",))
AIR = (-2.0, -1.0)


@pytest.fixture
def folder(pairs):
    """The planned and preprocessed heads."""
    return pairs / "preprocessed" / "Dataset009_Heads" / "default"


@pytest.fixture
def plan(folder) -> Plan:
    """Their plan."""
    return read_plan(folder / "plan.json")


@pytest.fixture
def store(folder) -> Store:
    """Their preprocessed cases."""
    return Store(folder / "cases")


@pytest.fixture(autouse=True)
def full_precision(monkeypatch):
    """Float32 also on processors with bfloat16: what should be equal is equal."""
    stages = ("tasks.translation.slice_translation", "tasks.translation.residual_context")
    for module in (*stages, "networks.synthesis"):
        monkeypatch.setattr(f"liftnet.{module}.autocast", lambda _: nullcontext())


def network_of(plan: Plan, stage=ResidualContext, seed: int = 0) -> nn.Module:
    """A network with random weights everywhere, also where training starts at zero."""
    torch.manual_seed(seed)
    network = stage(plan).build()
    for parameter in network.parameters():
        parameter.data += 0.03 * torch.randn_like(parameter)
    return network


def constant(plan: Plan, value: float) -> nn.Module:
    """A network that makes one value everywhere."""
    network = ResidualContext(plan).build()
    nn.init.zeros_(network.translator.head.weight)
    nn.init.constant_(network.translator.head.bias, value)
    return network


@pytest.mark.parametrize("stage", STAGES)
def test_steps_lower_the_loss(plan, store, stage):
    """A few steps on the same heads; only what has a rate moves."""
    plan = replace(plan, augmentation=replace(plan.augmentation, gamma_probability=0.5))
    stage = stage(plan)
    network = network_of(plan, type(stage))
    frozen = {n: p.detach().clone() for n, p in network.named_parameters() if not p.requires_grad}
    assert bool(frozen) is (stage.name == "residual_context")
    optimizer = torch.optim.Adam([p for p in network.parameters() if p.requires_grad], 3e-3)
    batch = augmented(drawn(plan, stage, store, CASES), plan)
    losses = []
    for _ in range(12):
        terms = stage.loss(network, batch, torch.Generator().manual_seed(1))
        optimizer.zero_grad()
        sum(terms.values()).backward()
        optimizer.step()
        losses.append(sum(float(term.detach()) for term in terms.values()))
    expected = {"l1", "ms_ssim"} if not frozen else {"charbonnier", "residual", "gradient"}
    assert set(terms) == expected
    assert losses[-1] < 0.9 * losses[0]
    for name, parameter in network.named_parameters():
        if name in frozen:
            assert torch.equal(parameter, frozen[name])


def test_the_second_stage_starts_from_the_first(plan):
    """It has the translator's weights, and synthesizes what the first does."""
    first = network_of(plan, SliceTranslation)
    second = ResidualContext(plan).build(first)
    for name, tensor in first.translator.state_dict().items():
        assert torch.equal(second.translator.state_dict()[name], tensor)
    source = torch.rand(2, 9, 31, 29)
    one, two = (synthesize(plan, [n], source, FULL, AIR) for n in (first, second))
    assert one.std() > 0.01
    torch.testing.assert_close(one, two, atol=1e-6, rtol=0)


@pytest.mark.parametrize("stage", STAGES)
def test_resume_is_bit_for_bit(plan, store, stage, tmp_path, monkeypatch):
    """Stopped after two steps of four and continued: the weights of an unbroken run."""
    name = stage(plan).name
    plan = replace(plan, stages={**plan.stages, name: replace(plan.stages[name], num_steps=4)})
    previous = network_of(plan, SliceTranslation, 5)
    arguments = (store, CASES[:3], CASES[3:])
    options = {"device": torch.device("cpu")}
    whole = train_stage(TASK, plan, stage(plan), previous, *arguments, tmp_path / "a", **options)
    real = stage.loss
    calls = []

    def stop(self, network, batch, generator):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(self, network, batch, generator)

    each = replace(plan.stages[name], checkpoint_minutes=0.0)
    saving = replace(plan, stages={**plan.stages, name: each})
    with monkeypatch.context() as patch:
        patch.setattr(stage, "loss", stop)
        with pytest.raises(KeyboardInterrupt):
            train_stage(
                TASK, saving, stage(saving), previous, *arguments, tmp_path / "b", **options
            )
    assert len(calls) == 3
    again = train_stage(TASK, plan, stage(plan), previous, *arguments, tmp_path / "b", **options)
    for key, tensor in whole.state_dict().items():
        assert torch.equal(again.state_dict()[key], tensor), key
    a, b = (load_checkpoint(tmp_path / run / LATEST) for run in "ab")
    for group, tensors in a.groups.items():
        for key, tensor in tensors.items():
            assert torch.equal(b.groups[group][key], tensor), key


def test_validation_is_in_hu(plan, store):
    """The mean over cases of the mean absolute error of whole volumes, clipped, in HU."""
    network = constant(plan, 1.5)  # clipped to 1, which is 2000 HU
    result = ResidualContext(plan).validate(network, store, CASES[:2])
    errors = [np.abs(1500 * np.asarray(store.voxels(c)[1], np.float64) - 1500) for c in CASES[:2]]
    assert result.score == pytest.approx(np.mean([e.mean() for e in errors]), rel=1e-5)
    assert (result.metric, result.details) == ("mae_hu", {"ct": result.score})
    assert list(result.images) == ["mr", "ct predicted", "ct reference"]
    assert {image.shape for image in result.images.values()} == {store.describe("h1").shape}


def test_validation_says_how_sharp_images_are(plan, store, monkeypatch):
    """Half the contrast is a quarter of the energy, inside the mask: what lies outside is none."""
    inside = torch.from_numpy(np.array(store.mask("h1")))

    def halved(plan, networks, source, request, air):
        noise = torch.rand(inside.shape, generator=torch.Generator().manual_seed(0))
        return torch.where(inside, 0.5 * source[1], noise)[None]

    network = constant(plan, 0.0)
    assert ResidualContext(plan).validate(network, store, ["h1"]).sharpness == {"ct": 0.0}
    monkeypatch.setattr("liftnet.tasks.translation.validation.synthesize", halved)
    found = ResidualContext(plan).validate(network, store, ["h1"]).sharpness
    assert found == {"ct": pytest.approx(0.25, rel=1e-5)}


def test_accepts(plan, pairs):
    """A case needs a source and a target, whichever."""
    assert TASK.accepts(plan, ("mr", "ct"))
    assert not any(TASK.accepts(plan, present) for present in (("mr",), ("ct",), ()))
    more = four_channels(pairs)
    assert TASK.accepts(more, ("t2", "ct"))
    assert not any(TASK.accepts(more, present) for present in (NAMES[:2], NAMES[2:]))


def test_hidden_sources(pairs):
    """One is always kept; half of the draws hide one; a lone source is never hidden."""
    plan, rng = four_channels(pairs), np.random.default_rng(0)
    draws = [TASK.draw_request(plan, NAMES, rng) for _ in range(2000)]
    assert {request.made for request in draws} == {NAMES[2:]}
    assert {request.given for request in draws} == {NAMES[:1], NAMES[1:2], NAMES[:2]}
    assert np.mean([len(request.given) == 1 for request in draws]) == pytest.approx(0.5, abs=0.05)
    assert np.mean(["t1" in request.given for request in draws]) == pytest.approx(0.75, abs=0.05)
    fewer = {TASK.draw_request(plan, ("t2", "ct"), rng) for _ in range(50)}
    assert fewer == {Request(("t2",), ("ct",))}
    always = replace(plan, source_dropout=0.0)
    assert {TASK.draw_request(always, NAMES, rng) for _ in range(50)} == {
        Request(NAMES[:2], NAMES[2:])
    }


@pytest.mark.parametrize("stage", STAGES)
def test_every_part_of_a_long_side_is_seen(pairs, tmp_path, stage):
    """Of 21 rows, the first three air, any 16 in a row are drawn."""
    plan, store = four_channels(pairs), store_case(tmp_path / "s")
    batch = drawn(plan, stage(plan), store, ["x"] * 60)
    air = {int((example.mask[0, 0, 0, :, 12] == 0).sum()) for example in batch}
    assert air == {0, 1, 2, 3}


def test_synthesis_clips_and_averages(plan):
    """The mean over networks, clipped to the target's limits."""
    source = torch.rand(2, 5, 13, 17)
    for values, expected in (((0.2, -0.6), -0.2), ((3.0, 0.5), 1.0), ((-9.0, 1.0), -1.0)):
        networks = [constant(plan, value) for value in values]
        made = synthesize(plan, networks, source, FULL, AIR)
        torch.testing.assert_close(made, torch.full((1, 5, 13, 17), expected))


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("size", [(36, 32), (13, 17), (35, 50), (72, 32), (61, 43)])
def test_any_size_without_seams(plan, stage, size):
    """Slices of any size, also larger than planned, as the network sees them whole."""
    network = network_of(plan, stage)
    source = torch.rand(2, 7, *size, generator=torch.Generator().manual_seed(1))
    made = synthesize(plan, [network], source, FULL, AIR)
    canvas = tuple(max(want, -(-n // 4) * 4) for n, want in zip(size, (36, 32), strict=True))
    padded = fit_in_plane(source[:1], canvas, AIR[:1])[None]
    with torch.no_grad():
        whole = network.synthesize(padded, torch.ones(1, 1), slice_batch=7, keep_features=True)
    whole = whole[0].clamp(-1, 1)
    assert made.shape == (1, 7, *size)
    expected = fit_in_plane(made, canvas, [0]).numpy()
    inside = fit_in_plane(torch.ones_like(made), canvas, [0]).numpy() > 0
    np.testing.assert_allclose(whole.numpy()[inside], expected[inside], atol=1e-5)
    assert made.std() > 1e-3


def test_absent_sources(plan):
    """An absent source is zero for the network, whatever its channel holds, and it is told."""
    channels = (*plan.channels[:1], replace(plan.channels[0], name="t2"), *plan.channels[1:])
    translator = replace(plan.networks["translator"], source_channels=2, condition_size=2)
    networks = {**plan.networks, "translator": translator}
    plan = replace(plan, channels=channels, sources=("mr", "t2"), networks=networks)
    network = network_of(plan)
    seen = []
    real = network.synthesize

    def spy(source, condition, **options):
        seen.append((source, condition))
        return real(source, condition, **options)

    network.synthesize = spy
    source = torch.rand(3, 5, 13, 17)
    other = source.clone()
    other[0] = 7
    first, second = (
        synthesize(plan, [network], s, Request(("t2",), ("ct",)), (0.0, -2.0, 0.0))
        for s in (source, other)
    )
    torch.testing.assert_close(first, second)
    padded, condition = seen[1]
    assert condition.tolist() == [[0, 1]]
    assert not padded[0, 0].any() and float(padded[0, 1].min()) == -2.0


def test_requests(plan):
    """All targets, or the wanted ones; a case without source is refused."""
    assert TASK.request(plan, ["mr"], None) == Request(("mr",), ("ct",))
    assert TASK.request(plan, ["ct", "mr"], ["ct"]) == Request(("mr",), ("ct",))
    with pytest.raises(DatasetError, match="The case has no source image"):
        TASK.request(plan, ["ct"], None)
    with pytest.raises(DatasetError, match="No channel 'cct'"):
        TASK.request(plan, ["mr"], ["cct"])
    assert TASK.run_name(mapper=True) == TASK.run_name(method="no_mapper")
    assert [s.name for s in TASK.stages(plan, method="no_mapper")] == ["slice_translation"]
    changed = apply_setting(plan, "inference.passes=two")
    source, network = torch.rand(2, 5, 36, 32), network_of(plan)
    one, two = (synthesize(p, [network], source, FULL, AIR) for p in (plan, changed))
    torch.testing.assert_close(one, two, atol=1e-5, rtol=0)
