"""The critic of patches."""

import torch

from liftnet.networks.critic import PatchCritic


def test_the_published_size():
    """As the original code has it for three sources and a target."""
    with torch.device("meta"):
        critic = PatchCritic(4, 64)
    assert sum(p.numel() for p in critic.parameters()) == 2_766_657


def test_a_critic_sees_70_pixels():
    """What lies farther from a place than 35 pixels does not change its logit."""
    torch.manual_seed(0)
    critic = PatchCritic(1, 8).eval()
    for norm in (m for m in critic.modules() if isinstance(m, torch.nn.InstanceNorm2d)):
        norm.forward = lambda x: x  # a norm sees the whole slice
    slices = torch.randn(1, 1, 160, 160, requires_grad=True)
    logits = critic(slices)
    logits[0, 0, 9, 9].backward()
    seen = slices.grad[0, 0].abs().sum(0).nonzero()
    assert int(seen.max() - seen.min()) + 1 == 70
