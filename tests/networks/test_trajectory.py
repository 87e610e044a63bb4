"""Trajectories are the context that synthesis uses."""

import pytest
import torch
from torch import Tensor, nn

from liftnet.core.network_specs import MixerSpec, ResidualSpec, TranslatorSpec
from liftnet.networks.residual_translator import ResidualTranslator
from liftnet.networks.synthesis import synthesize_volume, trajectory_of
from liftnet.networks.volume_translator import VolumeTranslator
from liftnet.ops.chunks import Chunk

TRANSLATOR = TranslatorSpec(2, 1, 2, (8, 16), 1, "none")
MIXER = MixerSpec("mean", "bottleneck", 5, 1, 3, "decoder", 0)
IN_PLANE, SIZE = (8, 12), (7, 11)  # slices are padded


def network_of(kind: str) -> nn.Module:
    """A network of each kind with random weights."""
    torch.manual_seed(1)
    if kind == "volume":
        return VolumeTranslator(TRANSLATOR, MIXER)
    return ResidualTranslator(TRANSLATOR, MIXER, ResidualSpec(6, 2, 1))


@pytest.mark.parametrize("kind", ["volume", "residual"])
@pytest.mark.parametrize("given", [[True, True], [True, False]])
@pytest.mark.parametrize("passes", ["one", "two"])
def test_is_the_context_of_synthesis(kind, given, passes):
    """What the mixer gives in synthesis, padding and absent channels included."""
    network, seen = network_of(kind), list[Tensor]()
    network.mixer.register_forward_hook(lambda module, inputs, context: seen.append(context[0]))
    source = torch.rand(2, 6, *SIZE, generator=torch.Generator().manual_seed(3))
    arguments = (network, source, torch.tensor(given).float(), torch.tensor([0.2, 0.3]))
    options = {"in_plane": IN_PLANE, "chunk": Chunk(4, passes)}
    synthesize_volume(*arguments, **options)
    (used,) = seen
    got = trajectory_of(*arguments, **options)
    assert got.shape == (6, 10) and got.dtype == torch.float32 and not got.requires_grad
    assert got.std(dim=0).min() > 0
    torch.testing.assert_close(got, used.float(), atol=1e-6, rtol=1e-6)


def test_without_a_mixer_there_is_none():
    """The ablation has no context to give."""
    network = VolumeTranslator(TRANSLATOR, None)
    with pytest.raises(ValueError, match="without one"):
        network.trajectory(torch.rand(1, 2, 3, 8, 12), torch.ones(1, 2), slice_batch=2)
