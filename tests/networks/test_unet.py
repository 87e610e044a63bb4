"""The plain 3D U-Net in both of its forms."""

from copy import deepcopy

import pytest
import torch

from liftnet.networks.blocks import Recomputed, compile_blocks, set_recompute
from liftnet.networks.unet import Attention, UNet3d

# torch's own, while it traces: it looks at the .grad of tensors inside a network
pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")
THIN = ((1, 2, 2), (2, 2, 2))


@pytest.fixture(params=[False, True], ids=["plain", "attention"])
def network(request) -> UNet3d:
    """A small one of each form, which halves thick slices less often than their sides."""
    torch.manual_seed(0)
    return UNet3d(3, 2, (4, 8, 16), THIN, attention=request.param)


def outcome(network: UNet3d, sides: tuple[int, int, int]) -> list[torch.Tensor]:
    """Volumes that it makes, and the gradients of their squares."""
    made = network(torch.rand(2, 3, *sides, generator=torch.Generator().manual_seed(1)))
    return [made, *torch.autograd.grad(made.square().mean(), list(network.parameters()))]


@pytest.mark.parametrize(
    ("inputs", "widths", "attention", "parameters"),
    [
        (4, (32, 64, 128, 256, 320, 320), False, 31_191_969),
        (1, (32, 64, 128, 256, 512), True, 22_595_351),
    ],
)
def test_the_published_sizes(inputs, widths, attention, parameters):
    """Those of nnU-Net's network, and of five levels with attention."""
    strides = [(2, 2, 2)] * (len(widths) - 1)
    with torch.device("meta"):
        built = UNet3d(inputs, 1, widths, strides, attention=attention)
    assert sum(p.numel() for p in built.parameters()) == parameters


def test_the_plain_form_is_that_of_monai():
    """DynUNet with the same weights makes the same volumes."""
    nets = pytest.importorskip("monai.networks.nets")
    torch.manual_seed(0)
    ours = UNet3d(3, 2, (4, 8, 16), THIN, attention=False)
    theirs = nets.DynUNet(
        3, 3, 2, [3] * 3, [1, *THIN], THIN, filters=(4, 8, 16),
        norm_name=("INSTANCE", {"affine": True}),
    )  # fmt: skip
    named = theirs.state_dict()

    def block(name: str) -> list[torch.Tensor]:
        keys = ("conv1.conv.weight", "conv2.conv.weight", "norm1", "norm2")
        found = [named[f"{name}.{key}"] for key in keys[:2]]
        return found + [
            named[f"{name}.{key}.{of}"] for key in keys[2:] for of in ("weight", "bias")
        ]

    encoder = [t for name in ("input_block", "downsamples.0", "bottleneck") for t in block(name)]
    up = [named[f"upsamples.{i}.transp_conv.conv.weight"] for i in range(2)]
    decoder = [t for i in range(2) for t in block(f"upsamples.{i}.conv_block")]
    head = [named[f"output_block.conv.conv.{of}"] for of in ("weight", "bias")]
    weights = [*encoder, *up, *decoder, *head]
    with torch.no_grad():
        for own, other in zip(ours.parameters(), weights, strict=True):
            own.copy_(other)
    volumes = torch.rand(2, 3, 8, 16, 24)
    torch.testing.assert_close(ours(volumes), theirs(volumes), rtol=1e-4, atol=1e-5)


def test_attention_by_hand():
    """Features times a weight of their channel, then times a weight of their place."""
    torch.manual_seed(0)
    attention, x = Attention(32), torch.randn(2, 32, 5, 6, 7)
    first, _, second = attention.shared
    assert first.out_features == 2  # a sixteenth
    flat = x.flatten(2)
    pooled = torch.stack([flat.mean(2), flat.max(2).values])
    by_channel = sum(second(torch.relu(first(p))) for p in pooled).sigmoid()
    weighted = x * by_channel.view(2, 32, 1, 1, 1)
    maps = torch.stack([weighted.mean(1), weighted.max(1).values], 1)
    by_place = torch.conv3d(maps, attention.around.weight, padding=3).sigmoid()
    torch.testing.assert_close(attention(x), weighted * by_place)


def test_recomputed_blocks_are_equal_and_keep_less(network):
    """The same gradients from a fraction of the kept maps."""

    def kept(module):
        total = []
        hooks = torch.autograd.graph.saved_tensors_hooks(
            lambda t: total.append(t.numel()) or t, lambda t: t
        )
        with hooks:
            module(torch.rand(2, 3, 8, 16, 16))
        return sum(total)

    plain = deepcopy(network)
    set_recompute(network, True)
    for one, two in zip(outcome(network, (8, 16, 16)), outcome(plain, (8, 16, 16)), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-6, atol=1e-7)
    assert kept(network) < 0.6 * kept(plain)


def test_compiled_blocks_are_equal(network):
    """For several sizes; every block is compiled, the first is tried."""
    asked, plain = [], deepcopy(network)

    def backend(module, inputs):
        asked.append(module)
        return module.forward

    assert compile_blocks(network, backend=backend) is None
    for sides in ((8, 16, 16), (4, 8, 12)):
        for one, two in zip(outcome(network, sides), outcome(plain, sides), strict=True):
            torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-5)
    blocks = [module for module in network.modules() if isinstance(module, Recomputed)]
    assert len(blocks) in (5, 7) and len(asked) >= len(blocks)
    assert network.state_dict().keys() == plain.state_dict().keys()
    for block in blocks:
        with torch.no_grad():
            assert torch.isfinite(block(*block.trial(torch.device("cpu")))).all()
    torch._dynamo.reset()
