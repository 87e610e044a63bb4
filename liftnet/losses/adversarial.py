"""A generator and its critic trained in one step: the terms of both."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

__all__ = ["bce_terms", "with_frozen"]


def with_frozen(critic: nn.Module) -> Callable[[Tensor], Tensor]:
    """The critic with its weights as constants: its gradient goes to what it looks at alone."""
    constant = {
        name: tensor.detach()
        for name, tensor in [*critic.named_parameters(), *critic.named_buffers()]
    }

    def looked_at(images: Tensor) -> Tensor:
        logits: Tensor = functional_call(critic, constant, (images,))
        return logits

    return looked_at


def bce_terms(critic: nn.Module, made: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
    """The generator's term and the critic's, by binary cross-entropy of logits.

    Each trains its own part: the generator's term sees the critic's weights as constants, the
    critic's sees the images so.

    Source: Goodfellow et al. 2014, non-saturating; half the critic's loss as in pix2pix.
    """
    believed = with_frozen(critic)(made).float()
    on_real, on_made = critic(real).float(), critic(made.detach()).float()
    return (
        F.binary_cross_entropy_with_logits(believed, torch.ones_like(believed)),
        0.5
        * (
            F.binary_cross_entropy_with_logits(on_real, torch.ones_like(on_real))
            + F.binary_cross_entropy_with_logits(on_made, torch.zeros_like(on_made))
        ),
    )
