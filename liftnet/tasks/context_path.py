"""The context of a case's slices, for every task that makes images of a case from others."""

from collections.abc import Sequence

from torch import Tensor, nn

from liftnet.core.plan import Plan
from liftnet.core.request import Request
from liftnet.networks.synthesis import trajectory_of

__all__ = ["given_sources", "trajectory"]


def given_sources(
    plan: Plan, source: Tensor, request: Request, background: Sequence[float]
) -> tuple[Tensor, list[bool], list[float]]:
    """The plan's source channels, which of them are given, and their values of air."""
    rows = [plan.channel_names.index(name) for name in plan.sources]
    given = [name in request.given for name in plan.sources]
    return source[rows], given, [background[row] for row in rows]


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
        *given_sources(plan, source, request, background),
        in_plane=plan.grid.in_plane,
        inference=plan.inference,
    )
