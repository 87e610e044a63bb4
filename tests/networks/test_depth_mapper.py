"""The depth mapper."""

import math

import pytest
import torch

from liftnet.networks.depth_mapper import DepthMapper, MapperSpec, depth_waves
from liftnet.ops.depth import relative_depth

SPEC = MapperSpec(
    latent_size=24, code_size=10, hidden_size=32, num_blocks=2, fourier_frequencies=5, waves=4
)


def test_waves():
    """Rows have norm one; columns are a constant, sines and cosines of quarter turns."""
    positions = relative_depth(9)
    waves = depth_waves(positions, 3)
    assert waves.shape == (9, 7)
    torch.testing.assert_close(waves.square().sum(1), torch.ones(9))
    total = math.sqrt(1 + 1 / 4 + 1 / 9 + 1 / 16)
    torch.testing.assert_close(waves[:, 0], torch.full((9,), 1 / total))
    torch.testing.assert_close(waves[:, 2], (positions * math.pi).sin() / 3 / total)
    torch.testing.assert_close(waves[:, 6], (positions * 1.5 * math.pi).cos() / 4 / total)


@pytest.mark.parametrize("waves", [0, 4])
def test_a_new_mapper_varies_with_z(waves):
    """Over z every code at every depth has mean 0 and variance 1; one depth is like another."""
    torch.manual_seed(0)
    mapper = DepthMapper(MapperSpec(24, 10, 32, 2, 5, waves))
    z = torch.randn(8000, 24)
    with torch.no_grad():
        codes = mapper(z, relative_depth(11))
    assert codes.shape == (8000, 11, 10)
    assert codes.mean(0).abs().max() < 0.3  # the trunk's part of it is a tenth
    torch.testing.assert_close(codes.var(0), torch.ones(11, 10), atol=0.15, rtol=0)
    assert abs(codes.var(0).mean() - 1) < 0.05


def test_a_new_mapper_is_smooth_along_depth():
    """Neighbouring slices differ much less than volumes do, but ends differ."""
    torch.manual_seed(0)
    with torch.no_grad():
        codes = DepthMapper(SPEC)(torch.randn(200, 24), relative_depth(64))
    steps = (codes[:, 1:] - codes[:, :-1]).square().mean().sqrt()
    ends = (codes[:, 0] - codes[:, -1]).square().mean().sqrt()
    assert steps < 0.15
    assert ends > 0.5


def test_the_ends_can_be_told_apart():
    """The trunk alone sees the first and the last slice as different places."""
    torch.manual_seed(0)
    mapper = DepthMapper(SPEC)
    mapper.coefficients.data.zero_()
    with torch.no_grad():
        codes = mapper(torch.randn(50, 24), relative_depth(128))
    apart = (codes[:, 0] - codes[:, -1]).square().mean()
    assert apart > 0.3 * (codes[:, 0] - codes[:, 64]).square().mean()


def test_each_depth_and_volume_alone():
    """Some depths or some latents give the same codes as all do: slices can be streamed."""
    mapper = DepthMapper(SPEC)
    z, positions = torch.randn(4, 24), relative_depth(9)
    codes = mapper(z, positions)
    torch.testing.assert_close(mapper(z, positions[[7, 2]]), codes[:, [7, 2]])
    torch.testing.assert_close(mapper(z[1:3], positions), codes[1:3])


def test_temperature_scales_z():
    """Twice the temperature is twice the latent."""
    mapper = DepthMapper(SPEC)
    z, positions = torch.randn(4, 24), relative_depth(9)
    torch.testing.assert_close(mapper(z, positions, temperature=1.25), mapper(1.25 * z, positions))
    assert not torch.allclose(mapper(z, positions), mapper(1.25 * z, positions))


def test_every_weight_learns():
    """Each parameter has a gradient at the first step."""
    mapper = DepthMapper(SPEC)
    mapper(torch.randn(4, 24), relative_depth(9)).pow(3).sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in mapper.parameters())


def test_autocast_changes_nothing():
    """Codes are computed in float32 whatever the rest of the network uses."""
    mapper = DepthMapper(SPEC)
    z, positions = torch.randn(4, 24), relative_depth(9)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = mapper(z, positions)
    torch.testing.assert_close(got, mapper(z, positions), rtol=0, atol=0)


def test_size_is_that_of_the_paper():
    """At 128 latents and codes, within a hundredth of LiFT's 1.455 million."""
    with torch.device("meta"):
        mapper = DepthMapper(MapperSpec(128, 128, 256, 4, 6, 8))
    count = sum(p.numel() for p in mapper.parameters())
    assert count == pytest.approx(1.455e6, rel=0.01)


def test_too_few_latents():
    """Orthonormal coefficients need at least as many latents as waves have terms."""
    with pytest.raises(ValueError, match="expected a latent size of at least 9, got 8"):
        DepthMapper(MapperSpec(8, 10, 32, 2, 5, 4))
