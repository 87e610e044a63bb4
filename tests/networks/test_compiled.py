"""Blocks that are compiled, or recomputed, give what plain ones give."""

import subprocess
import sys
from copy import deepcopy

import pytest
import torch

from liftnet.core.network_specs import TranslatorSpec
from liftnet.networks.blocks import ConvBlock, compile_blocks, set_recompute
from liftnet.networks.slice_translator import SliceTranslator

# torch's own, while it traces: it looks at the .grad of tensors inside a network
pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")
SPEC = TranslatorSpec(2, 1, 2, (8, 16, 24), 2, "none")


@pytest.fixture
def network() -> SliceTranslator:
    """A small translator."""
    torch.manual_seed(0)
    return SliceTranslator(SPEC)


def outcome(network: SliceTranslator, count: int) -> list[torch.Tensor]:
    """Slices that it makes, and the gradients of their squares."""
    slices = torch.rand(count, 2, 16, 24, generator=torch.Generator().manual_seed(count))
    condition = torch.tensor([[1.0, 0.0]]).expand(count, -1)
    made = network.decode(network.encode(slices, condition), condition)
    return [made, *torch.autograd.grad(made.square().mean(), list(network.parameters()))]


@pytest.fixture
def traced(monkeypatch):
    """A backend that runs what it is given, and how often it was asked; nothing is left behind."""
    asked = []

    def backend(module, inputs):
        asked.append(module)
        return module.forward

    yield backend, asked
    torch._dynamo.reset()


def test_compiled_blocks_are_equal(network, traced):
    """For several numbers of slices, with gradients; the names of weights stay."""
    backend, asked = traced
    plain = deepcopy(network)
    assert compile_blocks(network, backend=backend) is None
    for count in (3, 5, 1):
        for one, two in zip(outcome(network, count), outcome(plain, count), strict=True):
            torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-6)
    blocks = [m for m in network.modules() if isinstance(m, ConvBlock)]
    assert len(blocks) == 5 and len(asked) >= len(blocks)
    assert network.state_dict().keys() == plain.state_dict().keys()
    with torch.no_grad():
        assert torch.isfinite(
            network.encode(torch.rand(2, 2, 16, 24), torch.ones(2, 2)).bottleneck
        ).all()


BROKEN = """
import warnings
from copy import deepcopy
import torch
from torch import nn
from liftnet.core.network_specs import TranslatorSpec
from liftnet.networks.blocks import compile_blocks
from liftnet.networks.slice_translator import SliceTranslator

warnings.simplefilter("ignore")

def broken(module, inputs):
    raise OSError("no compiler here")

network = SliceTranslator(TranslatorSpec(2, 1, 2, (8, 16, 24), 2, "none"))
plain = deepcopy(network)
print(compile_blocks(network, backend=broken))
slices, condition = torch.rand(3, 2, 16, 24), torch.ones(3, 2)
one, two = (n.decode(n.encode(slices, condition), condition) for n in (network, plain))
assert torch.equal(one, two)
one.square().mean().backward()
print(compile_blocks(nn.Linear(1, 1)))
"""


def test_what_cannot_be_compiled_stays_as_it_was():
    """A compiler that fails costs a line, not the run. In a process of its own: torch is marked."""
    done = subprocess.run(
        [sys.executable, "-c", BROKEN], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert "no compiler here" in first and "no convolutional blocks" in second


def test_recomputed_blocks_are_equal_and_keep_less(network):
    """The same gradients from a fraction of the kept maps."""

    def kept(module):
        total = []
        hooks = torch.autograd.graph.saved_tensors_hooks(
            lambda t: total.append(t.numel()) or t, lambda t: t
        )
        with hooks:
            slices = torch.rand(3, 2, 16, 24)
            condition = torch.ones(3, 2)
            module.decode(module.encode(slices, condition), condition)
        return sum(total)

    plain = deepcopy(network)
    set_recompute(network, True)
    for one, two in zip(outcome(network, 4), outcome(plain, 4), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-6, atol=1e-7)
    assert kept(network) < 0.6 * kept(plain)
    set_recompute(network, False)
    assert kept(network) == kept(plain)
