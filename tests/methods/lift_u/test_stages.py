"""All stages of LiFT-U on tiny volumes: learning, resuming, the bank, the monitors."""

import os
from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from drawn_cases import drawn
from small_generation import CASES, SHAPE, make_plan, make_recipe, make_volume, write_volumes
from torch import nn

from liftnet.core.errors import DatasetError, LiftnetError
from liftnet.core.recipe import with_schedules
from liftnet.losses.drift_monitors import collapsed
from liftnet.losses.feature_scale import scale_of
from liftnet.methods import load_method
from liftnet.methods.base import Checks, Surveys, Validation
from liftnet.methods.lift_u.bank import Bank, load_bank, make_bank, plane_features
from liftnet.methods.lift_u.batches import PLANES
from liftnet.methods.lift_u.depth_mapping import CODE_STAGE, STAGE, Banks, DepthMapping
from liftnet.methods.lift_u.drifting import compare, lifted_terms, pick
from liftnet.methods.lift_u.generation import (
    describe_volume,
    generate_volume,
    latent_from,
    latent_of,
)
from liftnet.methods.lift_u.recipe import LiftURecipe
from liftnet.networks.volume_generator import VolumeGenerator, slice_features
from liftnet.pipeline.models.volumes import Training
from liftnet.pipeline.train.train import train_stage
from liftnet.tasks import load_task

CPU = torch.device("cpu")
NAMES = ("slice_features", "slice_generation", CODE_STAGE, STAGE)
LIFT_U = load_method("lift_u")
PLAN = make_plan()


@pytest.fixture
def store(tmp_path):
    """Ten preprocessed volumes."""
    return write_volumes(tmp_path / "cases")


@pytest.fixture(autouse=True)
def full_precision(monkeypatch):
    """Float32 also on processors with bfloat16: what should be equal is equal."""
    stages = ("slice_features", "slice_generation")
    for module in (*(f"methods.lift_u.{s}" for s in stages), "networks.volume_generator"):
        monkeypatch.setattr(f"liftnet.{module}.autocast", lambda _: nullcontext())


def stage_of(recipe: LiftURecipe, name: str):
    """One of the stages."""
    return next(stage for stage in LIFT_U.stages(PLAN, recipe) if stage.name == name)


def before(recipe: LiftURecipe, name: str) -> nn.Module | None:
    """The networks of the stages before, with random weights."""
    network = None
    for stage in LIFT_U.stages(PLAN, recipe):
        if stage.name == name:
            return network
        torch.manual_seed(7)
        network = stage.build(network)
    raise KeyError(name)


def with_steps(recipe: LiftURecipe, name: str, **changes: object) -> LiftURecipe:
    """The recipe with another schedule of one stage."""
    return with_schedules(recipe, {name: replace(getattr(recipe, name), **changes)})


def found_by(stage, network: nn.Module, store, folder, cases=CASES):
    """What the stage finds in the cases, if it looks at them."""
    return stage.survey(network, store, cases, folder) if isinstance(stage, Surveys) else None


def bank_of(network: nn.Module, recipe: LiftURecipe, store, folder, cases=CASES) -> Bank:
    """The bank of these cases."""
    return make_bank(network, PLAN, recipe.inference.slice_batch, store, cases, folder)


def lifted(recipe: LiftURecipe) -> VolumeGenerator:
    """A whole generator: real components, otherwise random weights."""
    network = stage_of(recipe, STAGE).build(before(recipe, STAGE))
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
    recipe = make_recipe()
    if name == STAGE:  # the value of the drift is nearly constant: see the energy
        recipe = replace(recipe, losses=recipe.losses | {"drift": 0.0, "trajectory": 0.0})
    if name == "slice_generation":  # against a critic nothing need fall
        recipe = replace(recipe, losses=recipe.losses | {"adversarial": 0.0})
    stage = stage_of(recipe, name)
    torch.manual_seed(0)
    network = stage.build(before(recipe, name))
    if name in (CODE_STAGE, STAGE):
        fitted(network)
    memory = found_by(stage, network, store, tmp_path / "fold" / name)
    if name == CODE_STAGE:
        torch.nn.init.normal_(network.mapper.mean, std=2.0)
    if name == "slice_generation":  # something that the components do not hold
        network.generator.mean += 0.2 * torch.randn(network.generator.mean.shape)
    rates = stage.schedule.learning_rates
    frozen = {n: t.clone() for n, t in network.state_dict().items() if n.split(".")[0] not in rates}
    trained = [p for n, p in network.named_parameters() if n.split(".")[0] in rates]
    optimizer = torch.optim.Adam(trained, 1e-2 if name == STAGE else 3e-3)
    losses = []
    batch = drawn(PLAN, stage, store, CASES[:6])
    for _ in range(25):
        terms = stage.loss(network, memory, batch, torch.Generator().manual_seed(1))
        optimizer.zero_grad()
        sum(terms.values()).backward()
        optimizer.step()
        losses.append(sum(float(term.detach()) for term in terms.values()))
    assert np.mean(losses[-3:]) < 0.9 * np.mean(losses[:3])
    for key, tensor in network.state_dict().items():
        if key in frozen:
            assert torch.equal(tensor, frozen[key]), key


def trained(recipe: LiftURecipe, name: str, previous, store, folder, learned=8) -> nn.Module:
    """The network of a stage, trained on the first cases and validated on the others."""
    of = Training(load_task(PLAN.task), LIFT_U, PLAN, recipe)
    return train_stage(
        of, stage_of(recipe, name), previous, store, CASES[:learned], CASES[learned:], folder,
        device=CPU,
    )  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_resume_is_bit_for_bit(store, name, tmp_path, monkeypatch):
    """Stopped after two steps of four and continued: the weights of an unbroken run."""
    recipe = make_recipe()
    previous = before(recipe, name)
    if name in (CODE_STAGE, STAGE):
        fitted(previous)
    whole = trained(recipe, name, previous, store, tmp_path / "a/s")
    saving = with_steps(recipe, name, checkpoint_minutes=0.0)
    kind = type(stage_of(saving, name))
    real, calls = kind.loss, []

    def stop(self, network, memory, batch, generator):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(self, network, memory, batch, generator)

    with monkeypatch.context() as patch:
        patch.setattr(kind, "loss", stop)
        with pytest.raises(KeyboardInterrupt):
            trained(saving, name, previous, store, tmp_path / "b/s")
    again = trained(recipe, name, previous, store, tmp_path / "b/s")
    assert len(calls) == 3
    for key, tensor in whole.state_dict().items():
        assert torch.equal(again.state_dict()[key], tensor), key


def test_each_stage_starts_from_the_one_before():
    """Features and generator go through all stages unchanged; the critic stays behind."""
    networks = []
    for i, stage in enumerate(LIFT_U.stages(PLAN, make_recipe())):
        torch.manual_seed(i)
        networks.append(stage.build(networks[-1] if networks else None))
    for key, tensor in networks[0].state_dict().items():
        assert torch.equal(networks[-1].state_dict()[key], tensor), key
    for key, tensor in networks[1].state_dict().items():
        if not key.startswith("critic"):
            assert torch.equal(networks[-1].state_dict()[key], tensor), key
    assert torch.equal(networks[2].mapper.mean, networks[3].mapper.mean)
    assert {name for name, _ in networks[3].named_children()} == {"features", "generator", "mapper"}


def test_the_critic_and_the_generator_learn_from_their_own_terms(store, tmp_path):
    """The generator's term leaves the critic alone, the critic's the generator."""
    recipe = make_recipe()
    stage = stage_of(recipe, "slice_generation")
    network = stage.build(before(recipe, "slice_generation"))
    codes = stage.survey(network, store, CASES, tmp_path)
    fitted(network)
    batch = drawn(PLAN, stage, store, CASES[:4])
    terms = stage.loss(network, codes, batch, torch.Generator().manual_seed(1))
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
    recipe = make_recipe()
    stage = stage_of(recipe, "slice_generation")
    network = stage.build(before(recipe, "slice_generation"))
    codes = stage.survey(network, store, CASES, tmp_path)
    fitted(network)
    batch = drawn(PLAN, stage, store, CASES[:4])
    kept = []
    network.generator.register_forward_hook(lambda *a: kept.append(a[2]))
    terms = stage.loss(network, codes, batch, torch.Generator().manual_seed(1))
    (one,) = torch.autograd.grad(terms["adversarial"], kept[0], retain_graph=True)
    (two,) = torch.autograd.grad(terms["l1"] + terms["features"], kept[0])
    assert float(one.norm() / two.norm()) == pytest.approx(0.3, rel=1e-3)


def test_codes_are_disturbed_as_real_ones_differ(store, tmp_path):
    """At each depth the offsets have mean 0 and a third of the real covariance."""
    recipe = make_recipe()
    stage = stage_of(recipe, "slice_generation")
    network = stage.build(before(recipe, "slice_generation"))
    codes = stage.survey(network, store, CASES, tmp_path)
    assert codes.shape == (10, 12, 8)
    generator = torch.Generator().manual_seed(0)
    slices = SimpleNamespace(seeds=torch.arange(20000), windows=(6,) * 20000)
    found = stage._disturbance(codes, slices, generator)
    expected = codes[:, 6].T.cov(correction=0) / 3  # the mean of a uniform square
    scale = float(expected.diagonal().max())
    torch.testing.assert_close(found.mean(dim=0), torch.zeros(8), atol=0.03 * scale**0.5, rtol=0)
    torch.testing.assert_close(found.T.cov(), expected, atol=0.05 * scale, rtol=0)


def test_the_bank_holds_what_it_says(store, tmp_path):
    """Features of single slices, balanced parts, scales, codes; made once."""
    recipe = make_recipe()
    network = lifted(recipe)
    bank = bank_of(network, recipe, store, tmp_path / "bank")
    assert {p: a.shape[:2] for p, a in bank.features.items()} == {
        "axial": (12, 10), "coronal": (16, 10), "sagittal": (24, 10)
    }  # fmt: skip
    volume = torch.from_numpy(np.asarray(store.voxels("v3"), np.float32))[None]
    coronal = volume[0, 0, :, 5]
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
    again = bank_of(network, recipe, store, tmp_path / "bank")
    assert {p.name: p.stat().st_mtime_ns for p in (tmp_path / "bank").iterdir()} == before_times
    assert again.cases == CASES
    for name in ("axial.npy", "scales.npz", "codes.npy", "depth.npy", "bank.json"):
        path = tmp_path / "bank" / name
        damaged, whole = bytearray(path.read_bytes()), path.read_bytes()
        place = whole.index(b'"step"') + 9 if name == "bank.json" else -5
        damaged[place] ^= 1
        path.write_bytes(bytes(damaged))  # a number is another one
        assert bank_of(network, recipe, store, tmp_path / "bank").cases == CASES
        assert path.read_bytes() == whole or name == "scales.npz", name
    os.truncate(tmp_path / "bank" / "coronal.npy", 1000)
    with pytest.raises(DatasetError, match="A file of this training cannot be read"):
        bank.positives("coronal", [5], [3], CPU)
    fewer = bank_of(network, recipe, store, tmp_path / "bank", CASES[:5])
    assert fewer.codes.shape[0] == load_bank(tmp_path / "bank").codes.shape[0] == 5


def test_the_mapper_starts_at_real_codes(store, tmp_path):
    """Codes of many latents have the mean and the variance of the real ones along depth."""
    recipe = make_recipe()
    network = lifted(recipe)
    banks = found_by(stage_of(recipe, CODE_STAGE), network, store, tmp_path / "fold" / CODE_STAGE)
    real = banks.trained.codes
    with torch.no_grad():
        made = network.codes(torch.randn(4000, 16, generator=torch.Generator().manual_seed(0)), 12)
    scale = float(real.std(dim=0).mean())
    assert float((made.mean(dim=0) - real.mean(dim=0)).abs().mean()) < 0.3 * scale
    ratio = float(made.var(dim=0).sum() / real.var(dim=0).sum())
    assert 0.7 < ratio < 1.3
    random = replace(recipe, drift=replace(recipe.drift, start="random"))
    untouched = lifted(recipe)
    found_by(stage_of(random, CODE_STAGE), untouched, store, tmp_path / "fold" / CODE_STAGE)
    assert torch.equal(untouched.mapper.mean, torch.zeros_like(untouched.mapper.mean))


def test_the_lifted_gradient_is_that_of_the_whole_graph(store, tmp_path):
    """Slices made twice, a few at a time, give the gradient of all slices held at once."""
    recipe = make_recipe()
    network = lifted(recipe)
    network.features.requires_grad_(False)
    network.generator.requires_grad_(False)
    bank = bank_of(network, recipe, store, tmp_path / "bank")
    latents = torch.randn(4, 16, generator=torch.Generator().manual_seed(0))
    codes, generator = network.codes(latents, 12), torch.Generator().manual_seed(5)
    terms = lifted_terms(network, codes, bank, PLAN, recipe, generator)
    sum(terms.values()).backward()
    found = {n: p.grad.clone() for n, p in network.mapper.named_parameters()}
    network.zero_grad()
    codes = network.codes(latents, 12)
    volumes = network.generator(codes.flatten(0, 1))[:, 0].unflatten(0, (4, 12))[:, None]
    generator = torch.Generator().manual_seed(5)
    rows = pick(len(CASES), recipe.drift.positives, generator)
    total = 0
    for plane in PLANES:
        among = bank.varied[plane]
        indices = sorted(among[i] for i in pick(len(among), 3, generator))
        features = plane_features(network, PLAN, volumes, plane, indices) * bank.balance[plane]
        values = compare(features, bank, plane, indices, rows, recipe, generator)
        total = total + sum(values.values()) / len(PLANES)
    total.backward()
    assert float(sum(terms.values()).detach()) == pytest.approx(float(total.detach()), rel=1e-5)
    for name, parameter in network.mapper.named_parameters():
        torch.testing.assert_close(found[name], parameter.grad, atol=1e-6, rtol=1e-3)


@pytest.mark.parametrize("bank_kind", ["matched", "pooled"])
@pytest.mark.parametrize("mode", ["attract", "attract_repel"])
def test_every_form_of_the_drift_trains(store, tmp_path, bank_kind, mode):
    """All four have finite terms and a gradient."""
    recipe = make_recipe()
    recipe = replace(recipe, drift=replace(recipe.drift, mode=mode, bank=bank_kind))
    stage = stage_of(recipe, STAGE)
    network = lifted(recipe)
    banks = found_by(stage, network, store, tmp_path / "fold" / STAGE)
    batch = drawn(PLAN, stage, store, ["v0"] * 6)
    terms = stage.loss(network, banks, batch, torch.Generator().manual_seed(0))
    sum(terms.values()).backward()
    assert all(np.isfinite(float(t.detach())) for t in terms.values())
    assert float(network.mapper.mean.grad.abs().sum()) > 0


def test_a_volume_depends_on_its_number_alone():
    """Bit for bit, whatever the chunk it shares with others; another seed is another volume."""
    recipe = make_recipe()
    network = lifted(recipe)

    def volume(seed: int, number: int, temperature: float = 1.0) -> torch.Tensor:
        latent = latent_of(recipe.mapper, seed, number)
        return generate_volume(PLAN, 5, network, latent, temperature=temperature)

    one = volume(0, 2)
    assert one.shape == SHAPE
    assert one.min() >= -1
    assert one.max() <= 1
    volume(0, 5)
    assert torch.equal(one, volume(0, 2))
    assert not torch.equal(one, volume(1, 2))
    assert torch.equal(*(volume(0, number, 0.0) for number in (2, 3)))


def test_the_last_chunk_is_filled(monkeypatch):
    """Slices decoded in one chunk of five equal those decoded alone in such a chunk."""
    network = lifted(make_recipe())
    codes = torch.randn(7, 8, generator=torch.Generator().manual_seed(0))
    together = torch.cat(list(network.decode(codes, slice_batch=5)))
    assert together.shape == (7, *SHAPE[1:])
    alone = torch.cat([next(iter(network.decode(code[None], slice_batch=5))) for code in codes])
    assert torch.equal(together[5:], torch.cat(list(network.decode(codes[5:], slice_batch=5))))
    torch.testing.assert_close(together, alone, atol=1e-6, rtol=1e-5)


def test_describe_is_the_mean_over_slices():
    """Of each plane, whatever the chunk; another volume has other features."""
    network = lifted(make_recipe())
    volume = torch.from_numpy(make_volume(1)).float()
    with torch.no_grad():
        parts = [
            slice_features(network.features, volume.permute(order))[0].mean(dim=0)
            for order in ((0, 1, 2), (1, 0, 2), (2, 0, 1))
        ]
    found = describe_volume(PLAN, 5, network, volume)
    torch.testing.assert_close(found, torch.cat(parts), atol=1e-5, rtol=1e-4)
    other = describe_volume(PLAN, 5, network, torch.from_numpy(make_volume(2)).float())
    assert float((found - other).abs().max()) > 1e-3


def test_the_monitors_tell_a_sound_mapper_from_a_collapsed_one(store, tmp_path):
    """Ratios near 1 where the mapper starts at real codes, near 0 where it ignores the latent."""
    recipe = make_recipe()
    stage = stage_of(recipe, CODE_STAGE)
    network = lifted(recipe)
    assert isinstance(stage, Checks)
    banks = found_by(stage, network, store, tmp_path / "fold" / CODE_STAGE)
    sound = stage.check(network, banks, store, CASES[:1], [])
    assert sound.metric == "monitors"
    assert set(sound.details) == {
        "diversity", "trace", "nearest", "neighbours", "depth_order", "delta_z"
    }  # fmt: skip
    assert sound.alarm is None
    for parameter in (network.mapper.coefficients, network.mapper.leave.weight):
        torch.nn.init.zeros_(parameter)
    flat = stage.check(network, banks, store, CASES[:1], [])
    assert flat.details["diversity"] < 1e-3 < sound.details["diversity"]
    assert flat.score > sound.score
    assert flat.alarm is None  # one check proves nothing
    again = stage.check(network, banks, store, CASES[:1], [flat.details] * 4)
    assert again.alarm is not None
    assert "all alike" in again.alarm


def repeating(monkeypatch, first: int) -> None:
    """Let the generator give back the real volumes from `first` on."""
    monkeypatch.setattr(
        "liftnet.methods.lift_u.monitors.generate_volume",
        lambda plan, size, network, latent, temperature: torch.from_numpy(
            make_volume(first + int(latent))
        ).float(),
    )
    monkeypatch.setattr(
        "liftnet.methods.lift_u.monitors.latent_of",
        lambda mapper, seed, number: torch.tensor(number),
    )


def test_a_check_compares_with_volumes_that_were_not_trained_on(store, tmp_path, monkeypatch):
    """Repeating validation cases is perfect; repeating training cases is not, and a copy."""
    recipe = make_recipe()
    recipe = replace(recipe, drift=replace(recipe.drift, checked_volumes=4))
    stage = stage_of(recipe, CODE_STAGE)
    network = lifted(recipe)
    banks = found_by(stage, network, store, tmp_path / "fold" / CODE_STAGE, CASES[:6])
    repeating(monkeypatch, 6)
    unseen = stage.check(network, banks, store, CASES[6:], [])
    assert unseen.remark == ""
    # not exactly: the bank holds float16
    for name in ("diversity", "trace", "delta_z"):
        assert unseen.details[name] == pytest.approx(1, abs=0.02), name
    repeating(monkeypatch, 0)
    copied = stage.check(network, banks, store, CASES[6:], [])
    assert copied.score > unseen.score
    assert copied.details["nearest"] < 0.05 < 0.5 < unseen.details["nearest"]
    assert not np.array_equal(unseen.images["generated 0"], copied.images["generated 0"])
    assert np.array_equal(unseen.images["real"], copied.images["real"])


def test_features_of_validation_cases_are_made_once(store, tmp_path, monkeypatch):
    """A later check takes them from memory, a resumed run from the disk."""
    recipe = make_recipe()
    stage, network, folder = stage_of(recipe, CODE_STAGE), lifted(recipe), tmp_path / "fold"
    banks = found_by(stage, network, store, folder / CODE_STAGE, CASES[:6])
    first = stage.check(network, banks, store, CASES[6:], [])
    monkeypatch.setattr("liftnet.methods.lift_u.bank._write_features", None)
    assert stage.check(network, banks, store, CASES[6:], []).score == first.score
    resumed = found_by(stage, network, store, folder / CODE_STAGE, CASES[:6])
    assert isinstance(resumed, Banks) and resumed.checked is None
    assert stage.check(network, resumed, store, CASES[6:], []).score == first.score
    with pytest.raises(TypeError):
        stage.check(network, resumed, store, CASES[5:], [])


def test_few_validation_cases_are_said_to_be_too_few(store, tmp_path, capsys):
    """The score then compares with the training cases; said once, though validated twice."""
    recipe = with_steps(make_recipe(), CODE_STAGE, validate_every=2)
    previous = fitted(before(recipe, CODE_STAGE))
    folder = tmp_path / "fold" / CODE_STAGE
    trained(recipe, CODE_STAGE, previous, store, folder, learned=7)
    printed = "".join(capsys.readouterr())
    assert printed.count("validation cases are too few to show how volumes vary") == 1
    assert not (folder.parent / "bank_validation").exists()


def test_training_stops_when_a_collapse_is_certain(store, tmp_path, monkeypatch):
    """With one clear error, the state saved, and what to do."""
    recipe = with_steps(make_recipe(), STAGE, num_steps=40, validate_every=2)
    previous = fitted(before(recipe, STAGE))

    def flat(self, network, memory, store, cases, history):
        values = {"diversity": 0.01, "trace": 0.001}
        seen = [*(h["diversity"] for h in history), 0.01]
        alarm = collapsed(seen, [0.001] * len(seen))
        return Validation(1.0, "monitors", values, alarm=alarm, remedy="Do this.")

    monkeypatch.setattr(DepthMapping, "check", flat)
    with pytest.raises(LiftnetError, match=r"stopped at step 10: .* all alike") as error:
        trained(recipe, STAGE, previous, store, tmp_path / "f" / STAGE)
    assert error.value.remedy == "Do this."
    assert (tmp_path / "f" / STAGE / "checkpoint_latest.safetensors").is_file()


def test_what_stages_draw(store):
    """Slices of all planes and of the slice axis, as many of each; of the mapper nothing."""
    recipe, items = make_recipe(), {}
    for name in NAMES:
        stage = stage_of(recipe, name)
        batch = drawn(PLAN, stage, store, CASES[:2])
        items[name] = [(example.case, example.plane, len(example.windows)) for example in batch]
        assert stage.augmented == (name == "slice_generation")
    three = [(case, plane, 2) for case in CASES[:2] for plane in PLANES]
    assert items["slice_features"] == three
    assert items["slice_generation"] == [(case, "axial", 6) for case in CASES[:2]]
    assert items[CODE_STAGE] == items[STAGE] == [(case, "", 0) for case in CASES[:2]]


def test_a_volume_of_a_step_follows_from_its_seed(store, monkeypatch, tmp_path):
    """Each latent is that of the example's own seed, whatever else is in the step."""
    recipe, seen = make_recipe(), []
    stage, network = stage_of(recipe, CODE_STAGE), lifted(recipe)
    batch = drawn(PLAN, stage, store, CASES[:3])

    def codes(latents, depth):
        seen.append(latents)
        return latents

    monkeypatch.setattr(network, "codes", codes)
    monkeypatch.setattr("liftnet.methods.lift_u.depth_mapping.code_terms", lambda *_: {})
    for some in (batch, batch[1:]):
        stage.loss(network, Banks(None, tmp_path), some, torch.Generator())
    expected = [latent_from(recipe.mapper, int(example.seeds)) for example in batch]
    assert torch.equal(seen[0], torch.stack(expected)) and torch.equal(seen[1], seen[0][1:])
    assert len({tuple(latent.tolist()) for latent in expected}) == 3
