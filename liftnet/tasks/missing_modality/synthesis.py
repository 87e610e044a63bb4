"""Whole volumes of absent contrasts from the ones that are present."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from liftnet.core.plan import Inference, Plan
from liftnet.core.request import Request
from liftnet.networks.synthesis import synthesize_each

__all__ = ["synthesize"]


@torch.no_grad()
def synthesize(
    plan: Plan,
    networks: Sequence[nn.Module],
    source: Tensor,
    request: Request,
    background: Sequence[float],
    *,
    notice: Callable[[Inference], None] | None = None,
) -> Tensor:
    """Targets (T, D, H, W) in [0, 1] from a source (C, D, H, W), the mean over networks.

    Zero wherever every source is zero. `notice` is told how the rest is synthesized when memory
    ran out (`synthesize_each`).

    Source: LiFT Algorithm 2, Sec. 5.2 (predictions are clipped to [0, 1]).
    Differs: the mask comes from the sources; the paper takes it from the target.
    """
    given = [name in request.given for name in plan.channel_names]
    outputs = [plan.targets.index(name) for name in request.made]
    made = synthesize_each(
        networks,
        source,
        given,
        background,
        in_plane=plan.grid.in_plane,
        inference=plan.inference,
        notice=notice,
    )
    total = torch.stack([volume[outputs].clamp(0, 1) for volume in made]).sum(dim=0)
    return total / len(networks) * (source[given] > 0).any(dim=0)
