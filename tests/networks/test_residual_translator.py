"""The frozen translator with context and residual: windows, passes, gradients, what sees what."""

import pytest
import torch
from torch import Tensor

from liftnet.core.network_specs import MixerSpec, ResidualSpec, TranslatorSpec
from liftnet.networks.residual_translator import ResidualTranslator

TRANSLATOR = TranslatorSpec(2, 3, 2, (8, 16), 1, "none")
MIXER = MixerSpec("mean", "bottleneck", 5, 1, 3, "none", 0)
CODE = torch.tensor([[1.0, 0.0]])
DEPTH, SIZE = 7, (8, 12)
CLOSE = {"atol": 1e-4, "rtol": 1e-5}  # values are about 5


def network_of(neighbours: int = 1, *, perturbed: bool = True) -> ResidualTranslator:
    """A network whose zero-initialized layers do something."""
    torch.manual_seed(1)
    network = ResidualTranslator(TRANSLATOR, MIXER, ResidualSpec(6, 2, neighbours))
    if perturbed:
        for parameter in network.parameters():
            parameter.data += 0.2 * torch.randn_like(parameter)
    return network


def volume(depth: int = DEPTH, seed: int = 2) -> Tensor:
    """A source with three different sides."""
    return torch.rand(1, 2, depth, *SIZE, generator=torch.Generator().manual_seed(seed))


def whole(network: ResidualTranslator, source: Tensor, code: Tensor = CODE) -> Tensor:
    """The synthesized volume (1, T, D, H, W)."""
    return network.synthesize(source, code, slice_batch=3, keep_features=True)


def corrected(network: ResidualTranslator, sources, codes=CODE, **options) -> Tensor:
    """Windows (W, T, n, H, W) of baseline plus correction."""
    baseline, correction = network(sources, codes, **{"slice_batch": 3, **options})
    return baseline + correction


@torch.no_grad()
def test_starts_as_the_translator():
    """Untrained, the correction is exactly zero and the volume exactly the translator's."""
    network, source = network_of(perturbed=False), volume()
    baseline, correction = network([source], CODE, starts=[[0, 3]], count=3, slice_batch=3)
    assert not correction.any()
    slices = source[0].transpose(0, 1)
    code = CODE.expand(DEPTH, -1)
    expected = network.translator.decode(network.translator.encode(slices, code), code)
    expected = expected.transpose(0, 1)[None]
    assert expected.std() > 0
    torch.testing.assert_close(baseline[1:], expected[:, :, 3:6], **CLOSE)
    torch.testing.assert_close(whole(network, source), expected, **CLOSE)


@pytest.mark.parametrize("neighbours", [0, 1, 2])
@torch.no_grad()
def test_passes_and_batches_agree(neighbours):
    """One pass, two passes and every batch of slices give one volume, also at its ends."""
    network, source = network_of(neighbours), volume()
    expected = whole(network, source)
    assert expected.shape == (1, 3, DEPTH, *SIZE)
    for slice_batch in (1, 2, 5, 7, 64):
        for keep in (True, False):
            got = network.synthesize(source, CODE, slice_batch=slice_batch, keep_features=keep)
            torch.testing.assert_close(got, expected, **CLOSE)


@pytest.mark.parametrize("neighbours", [0, 1, 2])
@torch.no_grad()
def test_every_window_is_part_of_the_volume(neighbours):
    """A window anywhere equals these slices of the volume, in the order that was asked for."""
    network, source = network_of(neighbours), volume()
    expected = whole(network, source)
    for count in (1, 3, DEPTH):
        starts = [*range(DEPTH - count, -1, -1), 0]  # any order, one twice
        for slice_batch in (2, 64):
            got = corrected(
                network, [source], starts=[starts], count=count, slice_batch=slice_batch
            )
            assert got.shape == (len(starts), 3, count, *SIZE)
            for window, start in zip(got, starts, strict=True):
                torch.testing.assert_close(window, expected[0, :, start : start + count], **CLOSE)


@torch.no_grad()
def test_volumes_of_different_depth():
    """Windows of several volumes follow each other, each with its own context and condition."""
    network = network_of()
    sources = [volume(7), volume(4, seed=5), volume(9, seed=6)]
    codes = torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    starts = [[4, 0], [1, 1], [6, 3]]
    got = corrected(network, sources, codes, starts=starts, count=3)
    row = 0
    for source, code, first in zip(sources, codes.split(1), starts, strict=True):
        expected = whole(network, source, code)
        for start in first:
            torch.testing.assert_close(got[row], expected[0, :, start : start + 3], **CLOSE)
            row += 1
    assert row == len(got)


def test_only_mixer_and_residual_learn():
    """The translator is frozen and gets no gradient; all of mixer and head do."""
    network = network_of()
    for part in network.translator.parameters():
        assert not part.requires_grad
    baseline, correction = network([volume()], CODE, starts=[[0, 2]], count=3, slice_batch=4)
    assert not baseline.requires_grad
    (baseline + correction).square().sum().backward()
    for name, parameter in network.named_parameters():
        if name.startswith("translator."):
            assert parameter.grad is None
        else:
            assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def changed_slices(network: ResidualTranslator, at: int) -> set[int]:
    """The slices of the result that change with one slice of the source."""
    source = volume()
    other = source.clone()
    other[:, :, at] += 0.5
    with torch.no_grad():
        difference = whole(network, other) - whole(network, source)
    return {int(i) for i in difference.abs().amax((0, 1, 3, 4)).gt(1e-6).nonzero()}


def test_what_a_slice_depends_on():
    """On every slice through the context; without it on the neighbours that the head sees."""
    assert changed_slices(network_of(), 5) == set(range(DEPTH))
    for neighbours, expected in ((0, {5}), (1, {4, 5, 6}), (2, {3, 4, 5, 6})):
        network = network_of(neighbours)
        torch.nn.init.zeros_(network.residual.modulation.weight)
        assert changed_slices(network, 5) == expected


@pytest.mark.parametrize("depth", [1, 2, 4])
@torch.no_grad()
def test_shallow_volumes(depth):
    """Volumes of fewer slices than a batch, or than a window with its neighbours."""
    network, source = network_of(2), volume(depth)
    expected = corrected(network, [source], starts=[[0]], count=depth)
    for slice_batch in (1, 3):
        for keep in (True, False):
            got = network.synthesize(source, CODE, slice_batch=slice_batch, keep_features=keep)
            torch.testing.assert_close(got, expected, **CLOSE)


@pytest.mark.parametrize("keep", [True, False])
@torch.no_grad()
def test_no_slice_is_computed_twice(keep):
    """Each is decoded and corrected once, and encoded once in one pass, twice in two."""
    network = network_of(1)
    parts = {
        "encoder": network.translator.encoder[-1],
        "decoder": network.translator.decoder[-1],
        "enter": network.residual.enter,
        "mix": network.residual.mix,
    }
    seen: dict[str, list[int]] = {name: [] for name in parts}
    for name, module in parts.items():
        module.register_forward_pre_hook(lambda _, x, b=seen[name]: b.append(len(x[0])))
    network.synthesize(volume(), CODE, slice_batch=3, keep_features=keep)
    sums = {name: sum(batches) for name, batches in seen.items()}
    assert sums == {"encoder": 7 if keep else 14, "decoder": 7, "enter": 7, "mix": 7}
    assert max(map(max, seen.values())) == 3
