"""The slice generator, its encoder and the critic."""

import pytest
import torch
from torch import nn

from liftnet.networks.slice_generator import (
    GeneratorSpec,
    PatchDiscriminator,
    SliceAutoencoder,
    SliceGenerator,
    SpectralConvolution,
    draw_code,
)

SPEC = GeneratorSpec(in_plane=(16, 24), code_size=6, style_size=12, widths=(8, 16, 16))


def test_shapes():
    """Codes to slices and slices to codes, at a size that is not square."""
    network = SliceAutoencoder(SPEC)
    slices = torch.rand(3, 1, 16, 24)
    mean, log_variance = network.encode(slices)
    assert mean.shape == log_variance.shape == (3, 6)
    assert network.generator(mean).shape == (3, 1, 16, 24)
    with pytest.raises(ValueError, match=r"expected sides in multiples of 4, got \(16, 22\)"):
        SliceGenerator(GeneratorSpec((16, 22), 6, 12, (8, 16, 16)))


def test_size_at_full_resolution():
    """5 to 10 million parameters for slices of 128 x 128."""
    with torch.device("meta"):
        network = SliceAutoencoder(GeneratorSpec((128, 128), 128, 256, (32, 64, 128, 256, 256)))
    assert 5e6 < sum(p.numel() for p in network.parameters()) < 10e6


def test_the_code_acts_at_every_scale():
    """With the coarsest maps fixed, each single stage still follows the code."""
    torch.manual_seed(0)
    network = SliceGenerator(SPEC)
    nn.init.zeros_(network.start.weight)
    codes = torch.randn(2, 6)
    weights = [[m.weight for m in stage.modulations] for stage in network.stages]
    kept = [[w.detach().clone() for w in stage] for stage in weights]
    for acting in range(len(weights)):
        for i, stage in enumerate(weights):
            for weight, was in zip(stage, kept[i], strict=True):
                weight.data = was if i == acting else torch.zeros_like(was)
        first, second = network(codes)
        assert (first - second).abs().max() > 1e-3
    for stage in weights:
        for weight in stage:
            weight.data.zero_()
    first, second = network(codes)
    torch.testing.assert_close(first, second)


def test_no_checkerboards():
    """Maps that are the same everywhere give a slice that is the same everywhere."""
    network = SliceGenerator(SPEC)
    width, rows, columns = network.start_shape
    nn.init.zeros_(network.start.weight)
    level = torch.randn(width, 1, 1).expand(width, rows, columns)
    network.start.bias.data = level.flatten()
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.padding_mode = "replicate"  # no border
    (got,) = network(torch.randn(1, 6))
    torch.testing.assert_close(got, got[:, :1, :1].expand_as(got))
    assert got.abs().max() > 0


def test_autoencoder_learns_its_slices():
    """A few steps on four slices bring the squared error far down; drawn codes too."""
    torch.manual_seed(0)
    coarse = torch.randn(4, 1, 4, 6)
    slices = nn.functional.interpolate(coarse, size=(16, 24), mode="bilinear")
    network = SliceAutoencoder(SPEC)
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)
    for _ in range(50):
        optimizer.zero_grad()
        (network(slices)[0] - slices).square().mean().backward()
        optimizer.step()
    reconstructed, mean, _ = network(slices)
    assert (reconstructed - slices).square().mean() < 0.1 * slices.var()
    torch.testing.assert_close(network.generator(mean), reconstructed)
    drawn = network(slices, torch.Generator().manual_seed(0))[0]
    again = network(slices, torch.Generator().manual_seed(0))[0]
    torch.testing.assert_close(drawn, again)
    assert not torch.allclose(drawn, reconstructed)


def test_drawn_codes_have_their_mean_and_variance():
    """The moments of many draws."""
    mean = torch.tensor([[1.0, -2.0]]).expand(20000, 2)
    log_variance = torch.tensor([[0.25, 4.0]]).log().expand(20000, 2)
    codes = draw_code(mean, log_variance, torch.Generator().manual_seed(0))
    torch.testing.assert_close(codes.mean(0), mean[0], atol=0.05, rtol=0)
    torch.testing.assert_close(codes.var(0), torch.tensor([0.25, 4.0]), atol=0, rtol=0.05)


def test_bfloat16_gives_float32_slices():
    """Under an autocast, with channels last, slices and codes are float32 and close."""
    network = SliceAutoencoder(SPEC).to(memory_format=torch.channels_last)
    slices = torch.rand(2, 1, 16, 24)
    expected = network(slices)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = network(slices)
        logits = PatchDiscriminator((8, 16))(slices)
    assert logits.dtype == torch.float32
    for low, high in zip(got, expected, strict=True):
        assert low.dtype == torch.float32
        torch.testing.assert_close(low, high, atol=0.05, rtol=0.05)


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
