"""The depth mapper."""

import numpy as np
import pytest
import torch
from scipy import fft

from liftnet.core.network_specs import MapperSpec
from liftnet.networks.depth_mapper import DepthMapper, depth_waves
from liftnet.ops.depth import relative_depth

SPEC = MapperSpec(
    latent_size=24, code_size=10, hidden_size=32, num_blocks=2, fourier_frequencies=5, waves=4
)


def test_waves():
    """Rows have norm one; columns are those of a discrete cosine transform, finer ones smaller."""
    positions = relative_depth(9)
    waves = depth_waves(positions, 3)
    assert waves.shape == (9, 4)
    torch.testing.assert_close(waves.square().sum(1), torch.ones(9))
    found = (waves / waves[:, :1]).numpy() * [1, 2, 3, 4]
    for order in range(4):
        unit = np.eye(9)[order]
        expected = fft.idct(unit, norm="ortho")
        np.testing.assert_allclose(
            found[:, order], expected / expected[0] * found[0, order], atol=1e-5
        )
    assert found[0, 3] == pytest.approx(np.cos(3 * np.pi / 18), rel=1e-5)


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
    distances = []
    for _ in range(10):
        mapper = DepthMapper(SPEC)
        mapper.coefficients.data.zero_()
        with torch.no_grad():
            codes = mapper(torch.randn(50, 24), relative_depth(128))
        first, middle, last = codes[:, 0], codes[:, 64], codes[:, -1]
        distances.append([(first - other).square().mean() for other in (last, middle)])
    apart, half = torch.tensor(distances).mean(dim=0)
    assert apart > 0.3 * half


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
    """As planned for 128^3, near LiFT's 1.455 million."""
    with torch.device("meta"):
        mapper = DepthMapper(MapperSpec(128, 256, 128, 4, 6, 32))
    count = sum(p.numel() for p in mapper.parameters())
    assert count == pytest.approx(1.455e6, rel=0.03)


def test_too_few_latents():
    """Orthonormal coefficients need at least as many latents as waves have terms."""
    with pytest.raises(ValueError, match="expected a latent size of at least 9, got 8"):
        DepthMapper(MapperSpec(8, 10, 32, 2, 5, 8))


def test_it_can_start_at_real_codes():
    """The codes of many latents then have the mean and covariance of the given ones."""
    torch.manual_seed(0)
    mapper = DepthMapper(MapperSpec(24, 10, 32, 2, 5, 12))
    smooth = torch.einsum("dt,ntc->ndc", depth_waves(relative_depth(14), 8), torch.randn(20, 9, 10))
    real = 3 + smooth * torch.linspace(0.5, 2, 10)
    mapper.start_at(real)
    with torch.no_grad():
        made = mapper(torch.randn(40000, 24), relative_depth(14))
    torch.testing.assert_close(made.mean(0), real.mean(0), atol=0.05, rtol=0)
    found, expected = (x.flatten(1).T.cov() for x in (made, real))
    torch.testing.assert_close(found, expected, atol=0.1, rtol=0)
    with pytest.raises(ValueError, match=r"expected codes \(N >= 2, D, 10\), got \(1, 14, 10\)"):
        mapper.start_at(real[:1])


def test_more_volumes_than_latents():
    """What does not fit into the latent is made up for by what does: the variance is right."""
    torch.manual_seed(0)
    mapper = DepthMapper(MapperSpec(16, 10, 32, 2, 5, 12))
    real = torch.einsum("dt,ntc->ndc", depth_waves(relative_depth(14), 8), torch.randn(60, 9, 10))
    mapper.start_at(real)
    with torch.no_grad():
        made = mapper(torch.randn(20000, 16), relative_depth(14))
    assert float(made.var(0).sum() / real.var(0).sum()) == pytest.approx(1.0, rel=0.03)
