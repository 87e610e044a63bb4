"""The terms of a generator and its critic."""

import torch
from torch import nn

from liftnet.losses.adversarial import bce_terms, with_frozen


def test_each_term_trains_its_own_part():
    """The generator's term leaves no gradient at the critic, the critic's none at the images."""
    torch.manual_seed(0)
    critic = nn.Conv2d(2, 1, 3)
    made, real = torch.randn(2, 2, 8, 8, requires_grad=True), torch.randn(2, 2, 8, 8)
    of_generator, of_critic = bce_terms(critic, made, real)
    of_generator.backward(retain_graph=True)
    assert made.grad is not None and made.grad.abs().sum() > 0
    assert critic.weight.grad is None
    made.grad = None
    of_critic.backward()
    assert made.grad is None and critic.weight.grad.abs().sum() > 0


def test_the_values_are_those_of_the_formula():
    """-log sigmoid of what is believed; half of both errors of the critic."""
    critic = nn.Conv2d(1, 1, 1)
    made, real = torch.randn(3, 1, 4, 4), torch.randn(3, 1, 4, 4)
    of_generator, of_critic = bce_terms(critic, made, real)
    a, b = critic(made), critic(real)
    torch.testing.assert_close(of_generator, -torch.sigmoid(a).log().mean())
    expected = -0.5 * (torch.sigmoid(b).log().mean() + (1 - torch.sigmoid(a)).log().mean())
    torch.testing.assert_close(of_critic, expected)
    torch.testing.assert_close(with_frozen(critic)(made), a)
