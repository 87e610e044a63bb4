"""Whole volumes: passes, batches of slices, context, gradients."""

import pytest
import torch
from torch import nn

from liftnet.core.network_specs import MixerSpec, TranslatorSpec
from liftnet.networks.context_mixer import ContextMixer, describe, descriptor_size
from liftnet.networks.volume_translator import VolumeTranslator

TRANSLATOR = TranslatorSpec(3, 2, 3, (8, 16), 1, "group")
SHAPE = (1, 3, 7, 8, 12)


def mixer_spec(**changes) -> MixerSpec:
    """A small mixer."""
    facts = {
        "descriptor": "mean",
        "descriptor_stages": "bottleneck",
        "hidden_size": 5,
        "num_layers": 1,
        "fourier_frequencies": 3,
        "inject": "bottleneck",
        "through_plane_kernel": 0,
    }
    return MixerSpec(**{**facts, **changes})


MIXERS = {
    "none": None,
    "paper": mixer_spec(),
    "decoder": mixer_spec(inject="decoder", descriptor="mean_std", descriptor_stages="all"),
    "neighbours": mixer_spec(inject="decoder", through_plane_kernel=3, num_layers=2),
    "wide": mixer_spec(through_plane_kernel=5),
}


def network_of(name: str, *, perturbed: bool = True) -> VolumeTranslator:
    """A network whose zero-initialized layers do something."""
    torch.manual_seed(1)
    network = VolumeTranslator(TRANSLATOR, MIXERS[name])
    if perturbed:
        for parameter in network.parameters():
            parameter.data += 0.2 * torch.randn_like(parameter)
    return network


@pytest.fixture
def source() -> torch.Tensor:
    """A volume with three different sides."""
    return torch.rand(SHAPE, generator=torch.Generator().manual_seed(2))


CODE = torch.tensor([[1.0, 0.0, 1.0]])


@pytest.mark.parametrize("name", MIXERS)
@torch.no_grad()
def test_passes_and_batches_agree(name, source):
    """One pass, two passes and every batch size give the volume of a forward over all slices."""
    network = network_of(name)
    whole = network([source], CODE, starts=[0], count=7, slice_batch=3)
    assert whole.shape == (1, 2, 7, 8, 12)
    for slice_batch in (1, 2, 3, 7, 64):
        for keep in (True, False):
            got = network.synthesize(source, CODE, slice_batch=slice_batch, keep_features=keep)
            torch.testing.assert_close(got, whole, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["none", "paper", "decoder"])
@torch.no_grad()
def test_slab_is_part_of_the_volume(name, source):
    """A decoded slab equals these slices of the volume, at both ends and in between."""
    network = network_of(name)
    whole = network.synthesize(source, CODE, slice_batch=4, keep_features=True)
    for start, count in ((0, 2), (2, 3), (6, 1)):
        slab = network([source], CODE, starts=[start], count=count, slice_batch=2)
        torch.testing.assert_close(slab, whole[:, :, start : start + count], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", MIXERS)
@torch.no_grad()
def test_volumes_of_a_step_do_not_mix(name, source):
    """Several volumes of different depth give what each gives alone."""
    network = network_of(name)
    other, codes = torch.rand(1, 3, 5, 8, 12), torch.cat([CODE, 1 - CODE])
    options = {"count": 3, "slice_batch": 2}
    both = network([source, other], codes, starts=[4, 1], **options)
    alone = [
        network([source], codes[:1], starts=[4], **options),
        network([other], codes[1:], starts=[1], **options),
    ]
    torch.testing.assert_close(both, torch.cat(alone), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", MIXERS)
@pytest.mark.parametrize("depth", [1, 2, 5])
@torch.no_grad()
def test_shallow_volumes(name, depth):
    """Volumes of fewer slices than a batch, or than the neighbours that are mixed in."""
    network, source = network_of(name), torch.rand(1, 3, depth, 8, 12)
    whole = network([source], CODE, starts=[0], count=depth, slice_batch=3)
    for slice_batch in (1, 4):
        for keep in (True, False):
            got = network.synthesize(source, CODE, slice_batch=slice_batch, keep_features=keep)
            torch.testing.assert_close(got, whole, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", MIXERS)
@torch.no_grad()
def test_no_slice_is_computed_twice(name, source):
    """Each is decoded once, and encoded once in one pass, twice in two, never in larger batches."""
    network = network_of(name)
    seen: dict[str, list[int]] = {"encoder": [], "decoder": []}
    for side, batches in seen.items():
        for block in getattr(network.translator, side)[-1:]:
            block.register_forward_pre_hook(lambda _, x, b=batches: b.append(len(x[0])))
    for keep in (True, False):
        network.synthesize(source, CODE, slice_batch=3, keep_features=keep)
        twice = name != "none" and not keep
        assert sum(seen["encoder"]) == (14 if twice else 7)
        assert sum(seen["decoder"]) == 7
        assert max(map(max, seen.values())) == 3
        for batches in seen.values():
            batches.clear()


@torch.no_grad()
def test_reach_of_neighbours(source):
    """With the context held back, a slice depends on those that the stages mix in, no others."""
    network = network_of("neighbours")  # the bottleneck and one decoder stage: two slices
    assert network.mixer.reach == 1 and network_of("wide").mixer.reach == 2
    for layer in network.mixer.inject:
        nn.init.zeros_(layer.weight)
    before = network.synthesize(source, CODE, slice_batch=7, keep_features=True)
    changed = source.clone()
    changed[:, :, 0] = 1 - changed[:, :, 0]
    after = network.synthesize(changed, CODE, slice_batch=7, keep_features=True)
    differs = (after - before).abs().amax(dim=(0, 1, 3, 4)) > 1e-6
    assert differs.tolist() == [True, True, True, False, False, False, False]


@torch.no_grad()
def test_context_reaches_every_slice(source):
    """Changing the first slice changes the last through the GRU; without a mixer it does not."""
    changed = source.clone()
    changed[:, :, 0] = 0
    for name, reaches in (("paper", True), ("none", False)):
        network = network_of(name)
        before, after = (
            network.synthesize(v, CODE, slice_batch=3, keep_features=True)[:, :, -1]
            for v in (source, changed)
        )
        assert torch.allclose(before, after, atol=1e-6) is not reaches


@pytest.mark.parametrize("name", ["paper", "neighbours", "wide"])
@torch.no_grad()
def test_a_fresh_mixer_changes_nothing(name, source):
    """Zero-initialized, LiFT-C starts exactly as the ablation without a mapper."""
    network = network_of(name, perturbed=False)
    alone = VolumeTranslator(TRANSLATOR, None)
    alone.translator.load_state_dict(network.translator.state_dict())
    options = {"slice_batch": 7, "keep_features": True}
    got = network.synthesize(source, CODE, **options)
    torch.testing.assert_close(got, alone.synthesize(source, CODE, **options), atol=0, rtol=0)


@pytest.mark.parametrize("name", MIXERS)
def test_gradients_reach_every_parameter(name, source):
    """Every weight learns from a supervised slab."""
    network = network_of(name)
    slab = network([source], CODE, starts=[2], count=3, slice_batch=2)
    (slab - torch.rand_like(slab)).abs().mean().backward()
    dead = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert dead == []


def test_slices_outside_the_slab_keep_no_graph(source):
    """Sources of context slices get no gradient: memory does not grow with the depth."""
    source.requires_grad_(True)
    network_of("paper")([source], CODE, starts=[2], count=3, slice_batch=2).sum().backward()
    reached = source.grad.abs().amax(dim=(0, 1, 3, 4)) > 0
    assert reached.tolist() == [False, False, True, True, True, False, False]


@pytest.mark.parametrize(("kernel", "depth"), [(3, 6), (3, 1), (5, 6), (5, 2), (5, 1)])
@pytest.mark.parametrize("inject", ["none", "bottleneck"])
def test_through_plane_mixing_is_a_convolution_along_d(kernel, depth, inject):
    """One sum equals scale and shift, and torch's Conv1d over the slices of every pixel."""
    mixer = ContextMixer(mixer_spec(through_plane_kernel=kernel, inject=inject), (8, 16))
    nn.init.normal_(mixer.through_plane[0].weight)
    maps, context = torch.randn(2 * depth, 16, 3, 4), torch.randn(2, depth, 10)
    scaled = maps
    if inject != "none":
        nn.init.normal_(mixer.inject[0].weight)
        scale, shift = mixer.inject[0](context).flatten(0, 1)[..., None, None].chunk(2, 1)
        scaled = maps * (1 + scale) + shift
    lines = scaled.unflatten(0, (2, depth)).permute(0, 3, 4, 2, 1).reshape(-1, 16, depth)
    mixed = mixer.through_plane[0](lines).reshape(2, 3, 4, 16, depth).permute(0, 4, 3, 1, 2)
    expected = scaled + mixed.flatten(0, 1)
    got = mixer.adjust(0, maps, context)
    torch.testing.assert_close(got, expected, atol=1e-4, rtol=1e-5)


def test_context_is_a_bidirectional_gru_over_all_slices():
    """The context equals torch's GRU on standardized descriptors and the depth code (Eq. 7)."""
    spec = mixer_spec()
    mixer = ContextMixer(spec, (8, 16))
    b = torch.randn(1, 6, 16)
    d = (torch.arange(6) + 0.5) / 3 - 1
    frequencies = torch.pi * torch.tensor([1.0, 2.0, 4.0])
    angles = d[:, None] * frequencies
    code = torch.cat([angles.sin(), angles.cos()], 1)[None]
    standard = (b - b.mean(-1, keepdim=True)) / (
        b.var(-1, correction=0, keepdim=True) + 1e-5
    ).sqrt()
    expected, _ = mixer.gru(torch.cat([standard, code], -1))
    torch.testing.assert_close(mixer(b), expected, atol=1e-5, rtol=1e-5)
    assert mixer(b).shape == (1, 6, 10)


@pytest.mark.parametrize("name", ["paper", "decoder"])
def test_descriptors_are_pooled_slices(name, source):
    """Means (and standard deviations) of the bottleneck (or all stages), in float32."""
    network = network_of(name)
    spec = network.mixer.spec
    features = network.encode(source[0].transpose(0, 1), CODE)
    got = describe(features, spec)
    stages = features.stages if name == "decoder" else features.stages[-1:]
    parts = [s for m in stages for s in (m.mean((2, 3)), m.flatten(2).std(-1))]
    parts = parts if name == "decoder" else parts[:1]
    torch.testing.assert_close(got, torch.cat(parts, 1), atol=1e-5, rtol=1e-5)
    assert got.shape == (7, descriptor_size(spec, TRANSLATOR.widths))
