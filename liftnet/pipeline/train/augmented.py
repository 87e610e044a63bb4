"""The augmentation of a training step, for every method."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from liftnet.augment.apply import augment
from liftnet.core.plan import Plan, ZScore
from liftnet.core.recipe import AugmentationSpec
from liftnet.data.example import Example, joined
from liftnet.ops import normalize
from liftnet.ops.compute.transfer import to_device

__all__ = ["augmented"]

BRIGHT_Z = 4.0  # ours: z-scores from air to bright tissue


def augmented(batch: Sequence[Example], plan: Plan, spec: AugmentationSpec) -> list[Example]:
    """Each item moved as a whole, its sources changed; air stays air, what is not given stays so.

    Examples of one shape go through at once.
    """
    if len({(e.source.shape[1:], e.target.shape[1:]) for e in batch}) > 1:
        return [one for example in batch for one in augmented([example], plan, spec)]
    whole = joined(batch)
    number = whole.source.shape[1]
    air = whole.air[:, :, None, None, None]
    given = whole.given[:, :, None, None, None]
    units = _units(plan, whole.air.device)[:, :number, None, None, None]
    moved = augment(
        (whole.source - air[:, :number]) / units * given,
        whole.target - air[:, number:],
        spec,
        whole.seeds,
        weight=whole.mask if whole.mask.shape[1] else None,
    )
    parts = (
        (moved[0] * units + air[:, :number]) * given,
        moved[1] + air[:, number:],
        moved[2] if len(moved) > 2 else whole.mask,
    )
    sizes = [len(example.seeds) for example in batch]
    return [
        replace(example, source=source, target=target, mask=mask)
        for example, source, target, mask in zip(
            batch, *(part.split(sizes) for part in parts), strict=True
        )
    ]


def _units(plan: Plan, device: torch.device) -> Tensor:
    """(1, S): how far bright tissue is from air in each source, which augmentation takes for 1."""
    spans = []
    for name in plan.sources:
        rule = plan.channel(name).normalization
        low, high = normalize.limits(rule)
        spans.append(BRIGHT_Z if isinstance(rule, ZScore) else high - low)
    return to_device(torch.tensor([spans]), device)
