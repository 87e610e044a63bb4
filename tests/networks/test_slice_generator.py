"""The slice generator against numpy's decomposition; what its refiner adds; the critic."""

import numpy as np
import pytest
import torch
from scipy.spatial.distance import pdist
from torch import nn

from liftnet.core.network_specs import GeneratorSpec
from liftnet.networks.slice_generator import (
    PatchDiscriminator,
    SliceGenerator,
    SpectralConvolution,
)

CODE = 6
SPEC = GeneratorSpec(in_plane=(16, 24), code_size=CODE, widths=(8, 16, 16))


def low_rank(count: int, rank: int) -> torch.Tensor:
    """Slices (count, 1, 16, 24) about a mean, in directions that vary differently much."""
    generator = torch.Generator().manual_seed(0)
    amounts = torch.randn(count, rank, generator=generator) * 2.0 ** -torch.arange(rank)
    directions = torch.randn(rank + 1, 16 * 24, generator=generator)
    return (directions[0] + amounts @ directions[1:]).reshape(count, 1, 16, 24)


def fitted(slices: torch.Tensor, spec: GeneratorSpec = SPEC) -> SliceGenerator:
    """A new generator with the components of these slices."""
    torch.manual_seed(0)
    network = SliceGenerator(spec)
    network.fit(slices)
    return network


def add_something(network: SliceGenerator) -> None:
    """Let the refiner, which begins with nothing, add something at every pixel."""
    nn.init.normal_(network.refiner.head.weight, std=0.5)


def test_components_are_numpys():
    """Mean, directions in their order up to a sign, and the unit; exact where the rank is low."""
    slices = low_rank(40, CODE)
    network = fitted(slices)
    flat = slices.flatten(1).double().numpy()
    offsets = flat - flat.mean(0)
    directions = np.linalg.svd(offsets, full_matrices=False)[2][:CODE]
    np.testing.assert_allclose(network.mean, flat.mean(0), atol=1e-5)
    agreement = directions @ network.components.double().numpy().T
    np.testing.assert_allclose(np.abs(agreement), np.eye(CODE), atol=1e-4)
    unit = np.sqrt(np.square(offsets @ directions.T).mean())
    assert float(network.unit) == pytest.approx(unit, rel=1e-5)
    assert float(network.encode(slices).square().mean()) == pytest.approx(1.0, rel=1e-4)


def test_codes_and_slices_are_inverse_on_the_span():
    """Slices of the span come back from their codes, codes from their slices; others do not."""
    slices = low_rank(40, CODE)
    network = fitted(slices)
    torch.testing.assert_close(
        network.project(network.encode(slices)), slices, atol=1e-4, rtol=1e-4
    )
    codes = torch.randn(5, CODE)
    again = network.encode(network.project(codes))
    torch.testing.assert_close(again, codes, atol=1e-4, rtol=1e-4)
    other = torch.randn(5, 1, 16, 24)
    assert (network.project(network.encode(other)) - other).std() > 0.5
    restored = SliceGenerator(SPEC)
    restored.load_state_dict(network.state_dict())
    assert torch.equal(restored(codes), network(codes))


def test_distances_between_codes_are_those_between_slices():
    """One factor for all pairs: the unit."""
    slices = low_rank(12, CODE)
    network = fitted(slices)
    between_codes = pdist(network.encode(slices).numpy())
    between_slices = pdist(slices.flatten(1).numpy())
    np.testing.assert_allclose(between_codes * float(network.unit), between_slices, rtol=1e-4)


def test_a_new_generator_is_its_components():
    """Before any training the refiner adds exactly nothing; then it adds something."""
    network = fitted(low_rank(40, 20))
    codes = torch.randn(3, CODE)
    assert network(codes).shape == (3, 1, 16, 24)
    assert torch.equal(network(codes), network.project(codes))
    add_something(network)
    assert (network(codes) - network.project(codes)).abs().mean() > 1e-2


def test_the_refiner_sees_the_code_at_every_scale():
    """Codes that the components show alike are told apart, through each block alone."""
    network = fitted(low_rank(4, 3))
    add_something(network)
    first = torch.randn(1, CODE)
    codes = first.repeat(2, 1)
    codes[1, 3:] += 1.0  # components of 4 slices beyond the third are 0
    torch.testing.assert_close(*network.project(codes))
    torch.testing.assert_close(*network(codes))  # a new refiner follows the slice alone
    blocks = [*network.refiner.encoder, *network.refiner.decoder]
    assert len(blocks) == 2 * len(SPEC.widths) - 1
    for block in blocks:
        nn.init.normal_(block.modulation.weight, std=0.5)
        one, other = network(codes)
        assert (one - other).abs().max() > 1e-3
        nn.init.zeros_(block.modulation.weight)


def test_fewer_slices_than_components():
    """The components beyond them are 0; slices that are all alike have finite codes, 0."""
    slices = low_rank(4, 10)
    network = fitted(slices)
    assert (network.components.norm(dim=1) > 0).tolist() == 3 * [True] + 3 * [False]
    codes = network.encode(slices)
    assert bool((codes[:, 3:] == 0).all())
    torch.testing.assert_close(network.project(codes), slices, atol=1e-4, rtol=1e-4)
    alike = slices[:1].round().repeat(5, 1, 1, 1)
    network = fitted(alike)
    assert bool((network.encode(alike) == 0).all())
    torch.testing.assert_close(network.project(torch.zeros(5, CODE)), alike)


def test_sizes_are_multiples_of_the_stride():
    """Other sides are refused when the network is made."""
    with pytest.raises(ValueError, match=r"expected sides in multiples of 4, got \(16, 22\)"):
        SliceGenerator(GeneratorSpec((16, 22), CODE, (8, 16, 16)))


def test_the_refiner_learns_what_components_leave_out():
    """Of a spot that moves, 2 numbers leave much out; a few steps bring half of it."""
    rows, columns = torch.meshgrid(torch.arange(16.0), torch.arange(24.0), indexing="ij")
    places = torch.linspace(4, 20, 6)[:, None, None, None]
    slices = (-((columns - places).square() + (rows - 8).square()) / 20).exp()
    network = fitted(slices, GeneratorSpec((16, 24), 2, (8, 16, 16)))
    codes = network.encode(slices)
    missing = (network(codes) - slices).square().mean().item()
    before = {name: buffer.clone() for name, buffer in network.named_buffers()}
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    for _ in range(30):
        optimizer.zero_grad()
        error = (network(codes) - slices).square().mean()
        error.backward()
        optimizer.step()
    assert error.item() < 0.5 * missing
    for name, buffer in network.named_buffers():
        assert torch.equal(buffer, before[name])  # components are not trained


def test_bfloat16_gives_float32_slices():
    """Under an autocast slices, codes and logits are float32 and close; codes are the same."""
    slices = low_rank(40, CODE)
    network = fitted(slices)
    add_something(network)
    network = network.to(memory_format=torch.channels_last)
    expected, codes = network(network.encode(slices)), network.encode(slices)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(network.encode(slices), codes)
        got = network(codes)
        logits = PatchDiscriminator((8, 16), spectral=False)(slices)
    assert got.dtype == logits.dtype == torch.float32
    added = expected - network.project(codes)
    assert (got - expected).abs().max() < 0.05 * added.abs().max()
    assert not torch.equal(got, expected)


@pytest.mark.parametrize("spectral", [True, False])
def test_critic_judges_patches_of_each_slice_alone(spectral):
    """A map of logits; what else is in the batch does not matter; R1 has a gradient."""
    torch.manual_seed(0)
    critic = PatchDiscriminator((8, 16), spectral=spectral)
    slices = torch.rand(3, 1, 16, 24, requires_grad=True)
    logits = critic.eval()(slices)
    assert logits.shape == (3, 1, 4, 6)
    torch.testing.assert_close(critic(slices[:1]), logits[:1])
    (slope,) = torch.autograd.grad(critic.train()(slices).sum(), slices, create_graph=True)
    slope.square().sum().backward()
    assert all(p.grad.abs().sum() > 0 for n, p in critic.named_parameters() if "weight" in n)


def test_spectral_convolution_divides_by_the_largest_singular_value():
    """Exact from the start; after the weight changed a few calls in training find it again."""
    torch.manual_seed(0)
    layer = SpectralConvolution(3, 5, 4, stride=2)
    x = torch.randn(2, 3, 8, 12)

    def expected():
        size = torch.linalg.matrix_norm(layer.weight.flatten(1), 2)
        return nn.functional.conv2d(x, layer.weight / size, layer.bias, stride=2, padding=1)

    torch.testing.assert_close(layer(x), expected())
    nn.init.normal_(layer.weight)
    layer.eval()
    before = layer.direction.clone()
    assert not torch.allclose(layer(x), expected(), rtol=1e-3)
    torch.testing.assert_close(layer.direction, before)
    layer.train()
    for _ in range(100):
        layer(x)
    torch.testing.assert_close(layer(x), expected(), rtol=1e-3, atol=1e-3)
    (layer(x).sum() + layer(-x).square().sum()).backward()  # real and generated in one step
    assert torch.isfinite(layer.weight.grad).all()
