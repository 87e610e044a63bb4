"""The time-conditioned U-Net: published size and operations, time, code."""

import pytest
import torch

from liftnet.core.network_specs import TimeUNetSpec
from liftnet.networks.blocks import compile_blocks, set_recompute
from liftnet.networks.time_unet import TimeUNet
from liftnet.planning.memory import Flops, num_parameters

PUBLISHED = TimeUNetSpec(3, 32, 8, 0, 64, (1, 2, 2, 4, 4), 2)


def small(dimensions: int, code: int = 3) -> TimeUNet:
    """One whose answer is not 0."""
    torch.manual_seed(0)
    network = TimeUNet(TimeUNetSpec(dimensions, 4, 2, code, 8, (1, 2), 1))
    for parameter in network.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)
    return network


def test_published_size_and_operations():
    """Those of cWDM: 81,511,048 parameters, 7,169 GFLOP for Haar bands of 224x224x160 voxels."""
    with torch.device("meta"):
        network = TimeUNet(PUBLISHED)
    assert num_parameters(network) == 81_511_048
    bands = torch.empty(1, 32, 112, 112, 80, device="meta")
    with torch.no_grad(), Flops() as counter:
        network(bands, torch.empty(1, device="meta"), torch.empty(1, 0, device="meta"))
    assert counter.total / 1e9 == pytest.approx(7169, rel=0.02)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_time_and_code_count(dimensions):
    """Each item by itself; recomputed blocks give the same gradient."""
    network = small(dimensions)
    x = torch.randn(2, 4, *(8,) * dimensions)
    times, code = torch.tensor([10.0, 900.0]), torch.eye(3)[:2]
    out = network(x, times, code)
    assert out.shape == (2, 2, *(8,) * dimensions) and out.dtype == torch.float32
    torch.testing.assert_close(out[1:], network(x[1:], times[1:], code[1:]), atol=1e-5, rtol=1e-4)
    assert not torch.allclose(out, network(x, times.flip(0), code))
    assert not torch.allclose(out, network(x, times, code.flip(0)))
    kept = torch.autograd.grad(out.square().sum(), list(network.parameters()))
    set_recompute(network, True)
    again = network(x, times, code)
    made = torch.autograd.grad(again.square().sum(), list(network.parameters()))
    assert torch.equal(out, again)
    for first, second in zip(kept, made, strict=True):
        torch.testing.assert_close(first, second)


def test_it_begins_with_nothing():
    """The answer of a new network is 0: all images are what the process makes of that."""
    network = TimeUNet(TimeUNetSpec(2, 4, 2, 0, 16, (1, 2), 1))
    assert not network(torch.randn(1, 4, 8, 8), torch.ones(1), torch.empty(1, 0)).any()


def test_blocks_can_be_compiled():
    """With a backend that changes nothing."""
    assert compile_blocks(small(3), backend="eager") is None
