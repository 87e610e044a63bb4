"""All stages of task A on tiny volumes: learning, resuming, the bank, the monitors."""

import os
from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from drawn_cases import drawn
from small_generation import CASES, SHAPE, make_plan, make_volume, write_volumes
from torch import nn

from liftnet.core.errors import DatasetError, LiftnetError
from liftnet.core.plan import Plan
from liftnet.core.request import Request
from liftnet.losses.feature_scale import scale_of
from liftnet.methods.lift_u.bank import load_bank, make_bank
from liftnet.methods.lift_u.batches import PLANES
from liftnet.methods.lift_u.depth_mapping import CODE_STAGE, STAGE, DepthMapping
from liftnet.methods.lift_u.generation import (
    describe_volume,
    generate_volume,
    latent_from,
    latent_of,
)
from liftnet.pipeline.train.train import train_stage
from liftnet.tasks.unconditional import TASK

CPU = torch.device("cpu")
NAMES = ("slice_features", "slice_generation", CODE_STAGE, STAGE)


@pytest.fixture
def store(tmp_path):
    """Ten preprocessed volumes."""
    return write_volumes(tmp_path / "cases")


@pytest.fixture(autouse=True)
def full_precision(monkeypatch):
    """Float32 also on processors with bfloat16: what should be equal is equal."""
    stages = ("slice_features", "slice_generation")
    for module in (*(f"tasks.unconditional.{s}" for s in stages), "networks.volume_generator"):
        monkeypatch.setattr(f"liftnet.{module}.autocast", lambda _: nullcontext())


def stage_of(plan: Plan, name: str):
    """One of the plan's stages."""
    return next(stage for stage in TASK.stages(plan, mapper=True) if stage.name == name)


def before(plan: Plan, name: str) -> nn.Module | None:
    """The networks of the stages before, with random weights."""
    network = None
    for stage in TASK.stages(plan, mapper=True):
        if stage.name == name:
            return network
        torch.manual_seed(7)
        network = stage.build(network)
    raise KeyError(name)


def with_steps(plan: Plan, name: str, **changes: object) -> Plan:
    """The plan with another schedule of one stage."""
    return replace(plan, stages={**plan.stages, name: replace(plan.stages[name], **changes)})


def lifted(plan: Plan):
    """A whole generator: real components, otherwise random weights."""
    network = stage_of(plan, STAGE).build(before(plan, STAGE))
    return fitted(network)


def fitted(network):
    """The network with the components of the volumes, and a refiner that adds something."""
    torch.manual_seed(3)
    slices = np.concatenate([make_volume(i) for i in range(len(CASES))])[:, None]
    network.generator.fit(torch.from_numpy(slices).float())
    torch.nn.init.normal_(network.generator.refiner.head.weight, std=0.01)
    return network


@pytest.mark.parametrize("name", NAMES)
def test_steps_lower_the_loss(store, name, tmp_path):
    """Every stage learns, and moves nothing but what has a rate."""
    plan = make_plan()
    if name == STAGE:  # the value of the drift is nearly constant: see the energy
        plan = replace(plan, losses={**plan.losses, "drift": 0.0, "trajectory": 0.0})
    if name == "slice_generation":  # against a critic nothing need fall
        plan = replace(plan, losses={**plan.losses, "adversarial": 0.0})
    stage = stage_of(plan, name)
    torch.manual_seed(0)
    network = stage.build(before(plan, name))
    if name in (CODE_STAGE, STAGE):
        fitted(network)
    stage.survey(network, store, CASES, tmp_path / "fold" / name)
    if name == CODE_STAGE:
        torch.nn.init.normal_(network.mapper.mean, std=2.0)
    if name == "slice_generation":  # something that the components do not hold
        network.generator.mean += 0.2 * torch.randn(network.generator.mean.shape)
    rates = plan.stages[name].learning_rates
    frozen = {n: t.clone() for n, t in network.state_dict().items() if n.split(".")[0] not in rates}
    trained = [p for n, p in network.named_parameters() if n.split(".")[0] in rates]
    optimizer = torch.optim.Adam(trained, 1e-2 if name == STAGE else 3e-3)
    losses = []
    batch = drawn(plan, stage, store, CASES[:6])
    for _ in range(25):
        terms = stage.loss(network, batch, torch.Generator().manual_seed(1))
        optimizer.zero_grad()
        sum(terms.values()).backward()
        optimizer.step()
        losses.append(sum(float(term.detach()) for term in terms.values()))
    assert np.mean(losses[-3:]) < 0.9 * np.mean(losses[:3])
    for key, tensor in network.state_dict().items():
        if key in frozen:
            assert torch.equal(tensor, frozen[key]), key


@pytest.mark.parametrize("name", NAMES)
def test_resume_is_bit_for_bit(store, name, tmp_path, monkeypatch):
    """Stopped after two steps of four and continued: the weights of an unbroken run."""
    plan = make_plan()
    previous = before(plan, name)
    if name in (CODE_STAGE, STAGE):
        fitted(previous)
    arguments = (store, CASES[:8], CASES[8:])
    options = {"device": CPU}
    stage = stage_of(plan, name)
    whole = train_stage(TASK, plan, stage, previous, *arguments, tmp_path / "a/s", **options)
    saving = with_steps(plan, name, checkpoint_minutes=0.0)
    stopped = stage_of(saving, name)
    real, calls = type(stopped).loss, []

    def stop(self, network, batch, generator):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(self, network, batch, generator)

    with monkeypatch.context() as patch:
        patch.setattr(type(stopped), "loss", stop)
        with pytest.raises(KeyboardInterrupt):
            train_stage(TASK, saving, stopped, previous, *arguments, tmp_path / "b/s", **options)
    stage = stage_of(plan, name)
    again = train_stage(TASK, plan, stage, previous, *arguments, tmp_path / "b/s", **options)
    assert len(calls) == 3
    for key, tensor in whole.state_dict().items():
        assert torch.equal(again.state_dict()[key], tensor), key


def test_each_stage_starts_from_the_one_before():
    """Features and generator go through all stages unchanged; the critic stays behind."""
    plan = make_plan()
    networks = []
    for i, stage in enumerate(TASK.stages(plan, mapper=True)):
        torch.manual_seed(i)
        networks.append(stage.build(networks[-1] if networks else None))
    for key, tensor in networks[0].state_dict().items():
        assert torch.equal(networks[-1].state_dict()[key], tensor), key
    for key, tensor in networks[1].state_dict().items():
        if not key.startswith("critic"):
            assert torch.equal(networks[-1].state_dict()[key], tensor), key
    assert torch.equal(networks[2].mapper.mean, networks[3].mapper.mean)
    assert {name for name, _ in networks[3].named_children()} == {"features", "generator", "mapper"}


def test_there_is_no_variant_without_the_mapper():
    """The error says why."""
    with pytest.raises(LiftnetError, match="no variant without the mapper") as error:
        TASK.stages(make_plan(), method="no_mapper")
    assert "--method", "no_mapper" in str(error.value.remedy)


def test_the_critic_and_the_generator_learn_from_their_own_terms(store, tmp_path):
    """The generator's term leaves the critic alone, the critic's the generator."""
    plan = make_plan()
    stage = stage_of(plan, "slice_generation")
    network = stage.build(before(plan, "slice_generation"))
    stage.survey(network, store, CASES, tmp_path)
    fitted(network)
    batch = drawn(plan, stage, store, CASES[:4])
    terms = stage.loss(network, batch, torch.Generator().manual_seed(1))
    for name, own, other in (
        ("adversarial", "generator", "critic"),
        ("critic", "critic", "generator"),
    ):
        network.zero_grad()
        terms[name].backward(retain_graph=True)
        gradients = {
            part: sum(
                float(p.grad.abs().sum())
                for p in getattr(network, part).parameters()
                if p.grad is not None
            )
            for part in (own, other)
        }
        assert gradients[own] > 0
        assert gradients[other] == 0


def test_the_adversarial_gradient_has_its_share(store, tmp_path):
    """At the slices it is `losses.adversarial` times that of L1 and features."""
    plan = make_plan()
    stage = stage_of(plan, "slice_generation")
    network = stage.build(before(plan, "slice_generation"))
    stage.survey(network, store, CASES, tmp_path)
    fitted(network)
    batch = drawn(plan, stage, store, CASES[:4])
    kept = []
    network.generator.register_forward_hook(lambda *a: kept.append(a[2]))
    terms = stage.loss(network, batch, torch.Generator().manual_seed(1))
    (one,) = torch.autograd.grad(terms["adversarial"], kept[0], retain_graph=True)
    (two,) = torch.autograd.grad(terms["l1"] + terms["features"], kept[0])
    assert float(one.norm() / two.norm()) == pytest.approx(0.3, rel=1e-3)


def test_codes_are_disturbed_as_real_ones_differ(store, tmp_path):
    """At each depth the offsets have mean 0 and a third of the real covariance."""
    stage = stage_of(make_plan(), "slice_generation")
    network = stage.build(before(stage.plan, "slice_generation"))
    stage.survey(network, store, CASES, tmp_path)
    assert stage.codes.shape == (10, 12, 8)
    generator = torch.Generator().manual_seed(0)
    slices = SimpleNamespace(seeds=torch.arange(20000), windows=(6,) * 20000)
    found = stage._disturbance(slices, generator)
    expected = stage.codes[:, 6].T.cov(correction=0) / 3  # the mean of a uniform square
    scale = float(expected.diagonal().max())
    torch.testing.assert_close(found.mean(dim=0), torch.zeros(8), atol=0.03 * scale**0.5, rtol=0)
    torch.testing.assert_close(found.T.cov(), expected, atol=0.05 * scale, rtol=0)


def test_the_bank_holds_what_it_says(store, tmp_path):
    """Features of single slices, balanced parts, scales, codes; made once."""
    plan = make_plan()
    network = lifted(plan)
    bank = make_bank(network, plan, store, CASES, tmp_path / "bank")
    assert {p: a.shape[:2] for p, a in bank.features.items()} == {
        "axial": (12, 10), "coronal": (16, 10), "sagittal": (24, 10)
    }  # fmt: skip
    volume = torch.from_numpy(np.asarray(store.voxels("v3"), np.float32))[None]
    coronal = volume[0, 0, :, 5]
    from liftnet.networks.volume_generator import slice_features

    with torch.no_grad():
        expected, widths = slice_features(network.features, coronal[None])
    found = bank.positives("coronal", [5], [3], CPU)[0, 0]
    torch.testing.assert_close(found, expected[0] * bank.balance["coronal"], atol=2e-3, rtol=2e-3)
    everything = bank.positives("coronal", range(16), range(10), CPU)
    variances = everything.var(dim=1, correction=0).mean(dim=0).split(list(widths))
    for part in variances:
        assert float(part.sum()) == pytest.approx(1.0, rel=1e-3)
    direct = scale_of(everything)
    torch.testing.assert_close(bank.scales["coronal"].distance, direct.distance)
    torch.testing.assert_close(bank.scales["coronal"].cv, direct.cv)
    with torch.no_grad():
        codes = network.generator.encode(volume[0, 0][:, None])
    torch.testing.assert_close(bank.codes[3], codes, atol=1e-5, rtol=1e-4)
    before_times = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "bank").iterdir()}
    again = make_bank(network, plan, store, CASES, tmp_path / "bank")
    assert {p.name: p.stat().st_mtime_ns for p in (tmp_path / "bank").iterdir()} == before_times
    assert again.cases == CASES
    for name in ("axial.npy", "scales.npz", "codes.npy", "depth.npy", "bank.json"):
        path = tmp_path / "bank" / name
        damaged, whole = bytearray(path.read_bytes()), path.read_bytes()
        place = whole.index(b'"step"') + 9 if name == "bank.json" else -5
        damaged[place] ^= 1
        path.write_bytes(bytes(damaged))  # a number is another one
        assert make_bank(network, plan, store, CASES, tmp_path / "bank").cases == CASES
        assert path.read_bytes() == whole or name == "scales.npz", name
    os.truncate(tmp_path / "bank" / "coronal.npy", 1000)
    with pytest.raises(DatasetError, match="A file of this training cannot be read"):
        bank.positives("coronal", [5], [3], CPU)
    fewer = make_bank(network, plan, store, CASES[:5], tmp_path / "bank")
    assert fewer.codes.shape[0] == load_bank(tmp_path / "bank").codes.shape[0] == 5


def test_the_mapper_starts_at_real_codes(store, tmp_path):
    """Codes of many latents have the mean and the variance of the real ones along depth."""
    plan = make_plan()
    stage = stage_of(plan, CODE_STAGE)
    network = lifted(plan)
    stage.survey(network, store, CASES, tmp_path / "fold" / CODE_STAGE)
    real = stage.bank.codes
    with torch.no_grad():
        made = network.codes(torch.randn(4000, 16, generator=torch.Generator().manual_seed(0)), 12)
    scale = float(real.std(dim=0).mean())
    assert float((made.mean(dim=0) - real.mean(dim=0)).abs().mean()) < 0.3 * scale
    ratio = float(made.var(dim=0).sum() / real.var(dim=0).sum())
    assert 0.7 < ratio < 1.3
    random = replace(plan, drift=replace(plan.drift, start="random"))
    untouched = lifted(plan)
    stage_of(random, CODE_STAGE).survey(untouched, store, CASES, tmp_path / "fold" / CODE_STAGE)
    assert torch.equal(untouched.mapper.mean, torch.zeros_like(untouched.mapper.mean))


def test_the_lifted_gradient_is_that_of_the_whole_graph(store, tmp_path):
    """Slices made twice, a few at a time, give the gradient of all slices held at once."""
    from liftnet.methods.lift_u.bank import plane_features
    from liftnet.methods.lift_u.drifting import compare, lifted_terms, pick

    plan = make_plan()
    network = lifted(plan)
    network.features.requires_grad_(False)
    network.generator.requires_grad_(False)
    bank = make_bank(network, plan, store, CASES, tmp_path / "bank")
    latents = torch.randn(4, 16, generator=torch.Generator().manual_seed(0))
    terms = lifted_terms(
        network, network.codes(latents, 12), bank, plan, torch.Generator().manual_seed(5)
    )
    sum(terms.values()).backward()
    found = {n: p.grad.clone() for n, p in network.mapper.named_parameters()}
    network.zero_grad()
    codes = network.codes(latents, 12)
    volumes = network.generator(codes.flatten(0, 1))[:, 0].unflatten(0, (4, 12))[:, None]
    generator = torch.Generator().manual_seed(5)
    rows = pick(len(CASES), plan.drift.positives, generator)
    total = 0
    for plane in PLANES:
        among = bank.varied[plane]
        indices = sorted(among[i] for i in pick(len(among), 3, generator))
        features = plane_features(network, plan, volumes, plane, indices) * bank.balance[plane]
        values = compare(features, bank, plane, indices, rows, plan, generator)
        total = total + sum(values.values()) / len(PLANES)
    total.backward()
    assert float(sum(terms.values()).detach()) == pytest.approx(float(total.detach()), rel=1e-5)
    for name, parameter in network.mapper.named_parameters():
        torch.testing.assert_close(found[name], parameter.grad, atol=1e-6, rtol=1e-3)


@pytest.mark.parametrize("bank_kind", ["matched", "pooled"])
@pytest.mark.parametrize("mode", ["attract", "attract_repel"])
def test_every_form_of_the_drift_trains(store, tmp_path, bank_kind, mode):
    """All four have finite terms and a gradient."""
    plan = make_plan()
    plan = replace(plan, drift=replace(plan.drift, mode=mode, bank=bank_kind))
    stage = stage_of(plan, STAGE)
    network = lifted(plan)
    stage.survey(network, store, CASES, tmp_path / "fold" / STAGE)
    batch = drawn(plan, stage, store, ["v0"] * 6)
    terms = stage.loss(network, batch, torch.Generator().manual_seed(0))
    sum(terms.values()).backward()
    assert all(np.isfinite(float(t.detach())) for t in terms.values())
    assert float(network.mapper.mean.grad.abs().sum()) > 0


def test_a_volume_depends_on_its_number_alone():
    """Bit for bit, whatever the chunk it shares with others; another seed is another volume."""
    plan = make_plan()
    network = lifted(plan)
    one = generate_volume(plan, network, latent_of(plan, 0, 2), temperature=1.0)
    assert one.shape == SHAPE
    assert one.min() >= -1
    assert one.max() <= 1
    generate_volume(plan, network, latent_of(plan, 0, 5), temperature=1.0)
    assert torch.equal(one, generate_volume(plan, network, latent_of(plan, 0, 2), temperature=1.0))
    assert not torch.equal(
        one, generate_volume(plan, network, latent_of(plan, 1, 2), temperature=1.0)
    )
    still = [generate_volume(plan, network, latent_of(plan, 0, n), temperature=0.0) for n in (2, 3)]
    assert torch.equal(*still)


def test_the_last_chunk_is_filled(monkeypatch):
    """Slices decoded in one chunk of five equal those decoded alone in such a chunk."""
    plan = make_plan()
    network = lifted(plan)
    codes = torch.randn(7, 8, generator=torch.Generator().manual_seed(0))
    together = torch.cat(list(network.decode(codes, slice_batch=5)))
    assert together.shape == (7, *SHAPE[1:])
    alone = torch.cat([next(iter(network.decode(code[None], slice_batch=5))) for code in codes])
    assert torch.equal(together[5:], torch.cat(list(network.decode(codes[5:], slice_batch=5))))
    torch.testing.assert_close(together, alone, atol=1e-6, rtol=1e-5)


def test_describe_is_the_mean_over_slices():
    """Of each plane, whatever the chunk; another volume has other features."""
    plan = make_plan()
    network = lifted(plan)
    volume = torch.from_numpy(make_volume(1)).float()
    from liftnet.networks.volume_generator import slice_features

    with torch.no_grad():
        parts = [
            slice_features(network.features, volume.permute(order))[0].mean(dim=0)
            for order in ((0, 1, 2), (1, 0, 2), (2, 0, 1))
        ]
    found = describe_volume(plan, network, volume)
    torch.testing.assert_close(found, torch.cat(parts), atol=1e-5, rtol=1e-4)
    other = describe_volume(plan, network, torch.from_numpy(make_volume(2)).float())
    assert float((found - other).abs().max()) > 1e-3


def test_the_monitors_tell_a_sound_mapper_from_a_collapsed_one(store, tmp_path):
    """Ratios near 1 where the mapper starts at real codes, near 0 where it ignores the latent."""
    plan = make_plan()
    stage = stage_of(plan, CODE_STAGE)
    network = lifted(plan)
    stage.survey(network, store, CASES, tmp_path / "fold" / CODE_STAGE)
    sound = stage.validate(network, store, CASES[:1])
    assert sound.metric == "monitors"
    assert set(sound.details) == {
        "diversity", "trace", "nearest", "neighbours", "depth_order", "delta_z"
    }  # fmt: skip
    assert sound.alarm is None
    for parameter in (network.mapper.coefficients, network.mapper.leave.weight):
        torch.nn.init.zeros_(parameter)
    flat = stage.validate(network, store, CASES[:1])
    assert flat.details["diversity"] < 1e-3 < sound.details["diversity"]
    assert flat.score > sound.score
    assert flat.alarm is None  # one check proves nothing
    again = stage.validate(network, store, CASES[:1], [flat.details] * 4)
    assert again.alarm is not None
    assert "all alike" in again.alarm


def repeating(monkeypatch, first: int) -> None:
    """Let the generator give back the real volumes from `first` on."""
    monkeypatch.setattr(
        "liftnet.methods.lift_u.monitors.generate_volume",
        lambda plan, network, latent, temperature: torch.from_numpy(
            make_volume(first + int(latent))
        ).float(),
    )
    monkeypatch.setattr(
        "liftnet.methods.lift_u.monitors.latent_of",
        lambda plan, seed, number: torch.tensor(number),
    )


def test_a_check_compares_with_volumes_that_were_not_trained_on(store, tmp_path, monkeypatch):
    """Repeating validation cases is perfect; repeating training cases is not, and a copy."""
    plan = make_plan()
    plan = replace(plan, drift=replace(plan.drift, checked_volumes=4))
    stage = stage_of(plan, CODE_STAGE)
    network = lifted(plan)
    stage.survey(network, store, CASES[:6], tmp_path / "fold" / CODE_STAGE)
    repeating(monkeypatch, 6)
    unseen = stage.validate(network, store, CASES[6:])
    assert unseen.remark == ""
    # not exactly: the bank holds float16
    for name in ("diversity", "trace", "delta_z"):
        assert unseen.details[name] == pytest.approx(1, abs=0.02), name
    repeating(monkeypatch, 0)
    copied = stage.validate(network, store, CASES[6:])
    assert copied.score > unseen.score
    assert copied.details["nearest"] < 0.05 < 0.5 < unseen.details["nearest"]
    assert not np.array_equal(unseen.images["generated 0"], copied.images["generated 0"])
    assert np.array_equal(unseen.images["real"], copied.images["real"])


def test_features_of_validation_cases_are_made_once(store, tmp_path, monkeypatch):
    """A later check takes them from memory, a resumed run from the disk."""
    plan, network = make_plan(), lifted(make_plan())
    stage, resumed = stage_of(plan, CODE_STAGE), stage_of(plan, CODE_STAGE)
    stage.survey(network, store, CASES[:6], tmp_path / "fold" / CODE_STAGE)
    first = stage.validate(network, store, CASES[6:])
    monkeypatch.setattr("liftnet.methods.lift_u.bank._write_features", None)
    assert stage.validate(network, store, CASES[6:]).score == first.score
    resumed.survey(network, store, CASES[:6], tmp_path / "fold" / CODE_STAGE)
    assert resumed.validate(network, store, CASES[6:]).score == first.score
    with pytest.raises(TypeError):
        resumed.validate(network, store, CASES[5:])


def test_few_validation_cases_are_said_to_be_too_few(store, tmp_path, capsys):
    """The score then compares with the training cases; said once, though validated twice."""
    plan = with_steps(make_plan(), CODE_STAGE, validate_every=2)
    previous = fitted(before(plan, CODE_STAGE))
    folder = tmp_path / "fold" / CODE_STAGE
    train_stage(
        TASK, plan, stage_of(plan, CODE_STAGE), previous, store, CASES[:7], CASES[7:], folder,
        device=CPU,
    )  # fmt: skip
    printed = "".join(capsys.readouterr())
    assert printed.count("validation cases are too few to show how volumes vary") == 1
    assert not (folder.parent / "bank_validation").exists()


def test_training_stops_when_a_collapse_is_certain(store, tmp_path, monkeypatch):
    """With one clear error, the state saved, and what to do."""
    plan = with_steps(make_plan(), STAGE, num_steps=40, validate_every=2)
    previous = fitted(before(plan, STAGE))

    def flat(self, network, store, cases, history):
        from liftnet.losses.drift_monitors import collapsed
        from liftnet.methods.base import Validation

        values = {"diversity": 0.01, "trace": 0.001}
        seen = [*(h["diversity"] for h in history), 0.01]
        alarm = collapsed(seen, [0.001] * len(seen))
        return Validation(1.0, "monitors", values, alarm=alarm, remedy="Do this.")

    monkeypatch.setattr(DepthMapping, "validate", flat)
    with pytest.raises(LiftnetError, match=r"stopped at step 10: .* all alike") as error:
        train_stage(
            TASK, plan, stage_of(plan, STAGE), previous, store, CASES[:8], CASES[8:],
            tmp_path / "f" / STAGE, device=CPU,
        )  # fmt: skip
    assert error.value.remedy == "Do this."
    assert (tmp_path / "f" / STAGE / "checkpoint_latest.safetensors").is_file()


def test_a_case_without_the_channel_is_of_no_use():
    """With it everything is made from nothing."""
    plan = make_plan()
    assert TASK.accepts(plan, ("t1n",))
    assert not TASK.accepts(plan, ())
    request = TASK.draw_request(plan, ("t1n",), np.random.default_rng(0))
    assert request == Request((), ("t1n",))


def test_what_stages_draw(store):
    """Slices of all planes and of the slice axis, as many of each; of the mapper nothing."""
    plan = make_plan()
    items = {}
    for name in NAMES:
        stage = stage_of(plan, name)
        batch = drawn(plan, stage, store, CASES[:2])
        items[name] = [(example.case, example.plane, len(example.windows)) for example in batch]
        assert stage.augmented == (name == "slice_generation")
    three = [(case, plane, 2) for case in CASES[:2] for plane in PLANES]
    assert items["slice_features"] == three
    assert items["slice_generation"] == [(case, "axial", 6) for case in CASES[:2]]
    assert items[CODE_STAGE] == items[STAGE] == [(case, "", 0) for case in CASES[:2]]


def test_a_volume_of_a_step_follows_from_its_seed(store, monkeypatch):
    """Each latent is that of the example's own seed, whatever else is in the step."""
    plan = make_plan()
    stage, network, seen = stage_of(plan, CODE_STAGE), lifted(plan), []
    stage.bank = object()
    batch = drawn(plan, stage, store, CASES[:3])

    def codes(latents, depth):
        seen.append(latents)
        return latents

    monkeypatch.setattr(network, "codes", codes)
    monkeypatch.setattr("liftnet.methods.lift_u.depth_mapping.code_terms", lambda *_: {})
    for some in (batch, batch[1:]):
        stage.loss(network, some, torch.Generator())
    expected = [latent_from(plan, int(example.seeds)) for example in batch]
    assert torch.equal(seen[0], torch.stack(expected)) and torch.equal(seen[1], seen[0][1:])
    assert len({tuple(latent.tolist()) for latent in expected}) == 3
