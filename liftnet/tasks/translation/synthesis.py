"""Whole target volumes from the sources that a case has."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from liftnet.core.plan import Inference, Plan
from liftnet.networks.synthesis import synthesize_each, trajectory_of
from liftnet.ops import normalize
from liftnet.tasks.base import Request

__all__ = ["synthesize", "trajectory"]


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
    outputs = [plan.targets.index(name) for name in request.targets]
    made = synthesize_each(
        networks,
        *_sources(plan, source, request, background),
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


def trajectory(
    plan: Plan,
    network: nn.Module,
    source: Tensor,
    request: Request,
    background: Sequence[float],
) -> Tensor:
    """The context vectors (D, 2 hidden) of the slices of a source (C, D, H, W).

    Source: LiFT Eq. 7, Fig. 7.
    """
    return trajectory_of(
        network,
        *_sources(plan, source, request, background),
        in_plane=plan.grid.in_plane,
        inference=plan.inference,
    )


def _sources(
    plan: Plan, source: Tensor, request: Request, background: Sequence[float]
) -> tuple[Tensor, list[bool], list[float]]:
    """The plan's source channels, which of them are given, and their values of air."""
    rows = [plan.channel_names.index(name) for name in plan.sources]
    given = [name in request.sources for name in plan.sources]
    return source[rows], given, [background[row] for row in rows]
