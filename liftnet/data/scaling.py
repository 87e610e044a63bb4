"""Network units of a plan's channels brought to [-1, 1], as most networks expect them."""

from collections.abc import Sequence

import torch
from torch import Tensor

from liftnet.core.plan import Plan
from liftnet.data.example import Example
from liftnet.ops import normalize
from liftnet.ops.compute.transfer import to_device

__all__ = ["from_unit", "have_limits", "inputs_of", "scaled_sources", "to_unit"]

Z_SCALE = 4.0  # ours: z-scores from air to bright tissue, brought to about [-1, 1]


def have_limits(plan: Plan) -> bool:
    """Whether every target has an end on both sides."""
    return all(high < float("inf") for _, high in _limits(plan, plan.targets))


def scaled_sources(plan: Plan, example: Example) -> Tensor:
    """Sources (B, S, D, H, W) in [-1, 1], or about that without limits; 0 where not given."""
    ends = _limits(plan, plan.sources)
    middles = [(low + high) / 2 if high < float("inf") else 0.0 for low, high in ends]
    halves = [(high - low) / 2 if high < float("inf") else Z_SCALE for low, high in ends]
    middle, half = _column(middles, example.source), _column(halves, example.source)
    return (example.source - middle) / half * example.given[:, :, None, None, None]


def inputs_of(plan: Plan, example: Example) -> Tensor:
    """Sources in [-1, 1], and 1 for those that are given: (B, 2 S, D, H, W)."""
    given = example.given[:, :, None, None, None].expand_as(example.source)
    return torch.cat([scaled_sources(plan, example), given], dim=1)


def to_unit(plan: Plan, target: Tensor) -> Tensor:
    """Targets (B, T, D, H, W) in [-1, 1]."""
    low, high = _ends(plan, target)
    return (target - low) / (high - low) * 2 - 1


def from_unit(plan: Plan, made: Tensor) -> Tensor:
    """The inverse of `to_unit`."""
    low, high = _ends(plan, made)
    return low + (made + 1) / 2 * (high - low)


def _limits(plan: Plan, names: Sequence[str]) -> list[tuple[float, float]]:
    return [normalize.limits(plan.channel(name).normalization) for name in names]


def _ends(plan: Plan, like: Tensor) -> tuple[Tensor, Tensor]:
    low, high = (_column(ends, like) for ends in zip(*_limits(plan, plan.targets), strict=True))
    return low, high


def _column(values: Sequence[float], like: Tensor) -> Tensor:
    column = torch.tensor(values, dtype=torch.float32)
    if like.device.type == "meta":
        column = column.to("meta")
    return to_device(column, like.device).view(1, -1, 1, 1, 1)
