"""Whole target volumes from the sources that a case has."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from liftnet.core.plan import Inference, Plan
from liftnet.core.request import Request
from liftnet.networks.synthesis import synthesize_each
from liftnet.ops import normalize
from liftnet.tasks.context_path import given_sources

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
    outputs = [plan.targets.index(name) for name in request.made]
    made = synthesize_each(
        networks,
        *given_sources(plan, source, request, background),
        in_plane=plan.grid.in_plane,
        inference=plan.inference,
        notice=notice,
    )
    total = torch.stack([volume[outputs] for volume in made]).sum(dim=0)
    limits = [normalize.limits(plan.channel(name).normalization) for name in request.made]
    low, high = (
        torch.tensor(ends, device=source.device).view(-1, 1, 1, 1)
        for ends in zip(*limits, strict=True)
    )
    return torch.clamp(total / len(networks), low, high)
