"""Whole target volumes from the sources that a case has."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from liftnet.core.plan import Inference, Plan
from liftnet.networks.synthesis import synthesize_each
from liftnet.ops import normalize
from liftnet.tasks.base import Request

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
    """Targets (T, D, H, W) in network units from (C, D, H, W), the mean over networks.

    `notice` is told how the rest is synthesized when memory ran out (`synthesize_each`).

    Source: LiFT Algorithm 2, Sec. 5.3.
    """
    given = [name in request.sources for name in plan.sources]
    rows = [plan.channel_names.index(name) for name in plan.sources]
    outputs = [plan.targets.index(name) for name in request.targets]
    air = [background[row] for row in rows]
    made = synthesize_each(
        networks,
        source[rows],
        given,
        air,
        in_plane=plan.grid.in_plane,
        inference=plan.inference,
        notice=notice,
    )
    total = torch.stack([volume[outputs] for volume in made]).sum(dim=0)
    limits = [normalize.limits(plan.channel(name).normalization) for name in request.targets]
    low, high = (
        torch.tensor(ends, device=source.device).view(-1, 1, 1, 1)
        for ends in zip(*limits, strict=True)
    )
    return torch.clamp(total / len(networks), low, high)
