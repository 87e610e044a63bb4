"""The 2D U-Net and its blocks."""

import pytest
import torch
from torch import nn

from liftnet.core.network_specs import TranslatorSpec
from liftnet.networks.blocks import ConvBlock, GroupNorm, normalization_layer
from liftnet.networks.slice_translator import SliceTranslator

SPEC = TranslatorSpec(3, 2, 3, (8, 16, 24), 2, "group")


def test_shapes():
    """Encode halves the size per stage, decode gives target slices of the full size."""
    network = SliceTranslator(SPEC)
    assert network.stride == 4
    slices, condition = torch.rand(5, 3, 12, 20), torch.rand(5, 3)
    features = network.encode(slices, condition)
    assert [tuple(m.shape) for m in features.stages] == [
        (5, 8, 12, 20),
        (5, 16, 6, 10),
        (5, 24, 3, 5),
    ]
    assert features.bottleneck is features.stages[-1]
    assert network.decode(features, condition).shape == (5, 2, 12, 20)


def test_adjust_sees_bottleneck_and_decoder_stages():
    """Adjust is called with the bottleneck, then each decoder stage from coarse to fine."""
    network = SliceTranslator(SPEC)
    condition = torch.zeros(2, 3)
    seen = []

    def adjust(stage, maps):
        seen.append((stage, tuple(maps.shape)))
        return maps

    features = network.encode(torch.rand(2, 3, 12, 20), condition)
    same = network.decode(features, condition, adjust)
    assert seen == [(0, (2, 24, 3, 5)), (1, (2, 16, 6, 10)), (2, (2, 8, 12, 20))]
    torch.testing.assert_close(same, network.decode(features, condition))
    changed = network.decode(features, condition, lambda stage, maps: maps * (1 + (stage == 1)))
    assert not torch.allclose(changed, same)


@pytest.mark.parametrize("normalization", ["group", "instance", "none"])
def test_condition_starts_neutral_and_can_act(normalization):
    """A fresh network ignores the availability code; with its layer changed it does not."""
    network = SliceTranslator(TranslatorSpec(1, 1, 2, (8, 16), 2, normalization))
    slices = torch.rand(2, 1, 8, 12)
    codes = torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.tensor([[0.0, 1.0], [0.0, 1.0]])

    def run(code):
        return network.decode(network.encode(slices, code), code)

    torch.testing.assert_close(run(codes[0]), run(codes[1]))
    nn.init.normal_(network.encoder[0].modulation.weight)
    assert not torch.allclose(run(codes[0]), run(codes[1]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_group_norm_equals_torch(dtype):
    """Ours equals nn.GroupNorm, and keeps the type of its input inside an autocast."""
    ours, reference = GroupNorm(3, 24), nn.GroupNorm(3, 24)
    for parameter in ours.parameters():
        nn.init.normal_(parameter)
    reference.load_state_dict(ours.state_dict())
    x = torch.randn(2, 24, 5, 7) * 3 + 1
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = ours(x.to(dtype))
    assert got.dtype == dtype
    tolerance = 1e-5 if dtype == torch.float32 else 0.1
    torch.testing.assert_close(got.float(), reference(x), atol=tolerance, rtol=tolerance)


def test_normalization_layers():
    """Names give layers; an unknown one is refused."""
    assert normalization_layer("group", 24).num_groups == 3
    assert normalization_layer("group", 4).num_groups == 1
    assert isinstance(normalization_layer("none", 8), nn.Identity)
    x = torch.randn(2, 8, 5, 7)
    torch.testing.assert_close(normalization_layer("instance", 8)(x), nn.InstanceNorm2d(8)(x))
    with pytest.raises(ValueError, match="expected the normalization 'group'"):
        normalization_layer("batch", 8)


def test_block_modulates_its_first_convolution():
    """Scale and shift act on the first normalized maps, before the activation."""
    block = ConvBlock(2, 8, convolutions=1, condition_size=1, normalization="none", stride=2)
    x, condition = torch.rand(3, 2, 6, 8), torch.ones(3, 1)
    nn.init.normal_(block.modulation.weight)
    scale, shift = block.modulation.weight[:8, 0], block.modulation.weight[8:, 0]
    maps = block.convolutions[0](x) * (1 + scale[:, None, None]) + shift[:, None, None]
    expected = torch.where(maps > 0, maps, 0.01 * maps)
    torch.testing.assert_close(block(x, condition), expected)
