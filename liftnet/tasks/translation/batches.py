"""What one training step sees: windows of volumes, their targets and masks."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from liftnet.augment.apply import augment
from liftnet.core.plan import Plan
from liftnet.data.store import Store
from liftnet.ops import normalize
from liftnet.ops.depth import draw_starts
from liftnet.ops.in_plane import fit_in_plane
from liftnet.tasks.base import Batch, draw_seeds

__all__ = ["WindowBatch", "augmented", "draw_windows", "take_windows"]

UNIT = 4.0  # ours: z-scores from air to bright tissue; augmentation expects them to be about 1


@dataclass(frozen=True)
class WindowBatch(Batch):
    """One volume of a training step, or a slab of it, in network units.

    Attributes:
        source: (1, S, D, H, W), the plan's sources; 0 where one is absent or hidden.
        target: (1, T, D, H, W).
        mask: (1, 1, D, H, W), 1 inside.
        air: (1, S + T) network values of air.
        given: (1, S), 1 for sources that are given.
        supervised: (1, T), 1 for targets that the case has.
        seeds: (1,) for what is random in a step.
        starts: first slice of each window that is decoded.
        count: slices of a window.
    """

    source: Tensor
    target: Tensor
    mask: Tensor
    air: Tensor
    given: Tensor
    supervised: Tensor
    seeds: Tensor
    starts: tuple[int, ...]
    count: int


def draw_windows(
    plan: Plan,
    store: Store,
    case: str,
    rng: np.random.Generator,
    *,
    windows: int,
    count: int,
    whole: bool,
    thinnest: int | None = None,
) -> WindowBatch:
    """`windows` slabs of `count` slices at random heights; with `whole` in their whole volume.

    Without `whole` there is one window, and nothing else of the volume is read. No slab has more
    slices than the `thinnest` volume of the step.
    """
    described = store.describe(case)
    depth = described.shape[0]
    count = min(count, depth, thinnest or depth)
    starts = draw_starts(rng, depth, count, windows)
    span = slice(None)
    if not whole:
        span, starts = slice(starts[0], starts[0] + count), (0,)
    # As it is stored: what is air stays exactly air.
    air = [float(np.float16(v)) for v in normalize.background_values(plan, described.ranges)]
    voxels, mask = store.slab(case, span), store.mask_slab(case, span)
    joined = torch.cat([voxels, mask[None].to(voxels.dtype)])
    fitted = fit_in_plane(joined, plan.grid.in_plane, [*air, 0.0], rng=rng)
    order = [plan.channel_names.index(name) for name in (*plan.sources, *plan.targets)]
    volume = torch.stack([fitted[i] for i in order])[None]
    number = len(plan.sources)
    present = draw_present(plan, described.present, rng)
    supervised = [name in described.present for name in plan.targets]
    return WindowBatch(
        case=case,
        source=volume[:, :number],
        target=volume[:, number:],
        mask=fitted[-1:][None],
        air=torch.tensor([[air[i] for i in order]]),
        given=torch.tensor([present], dtype=torch.float32),
        supervised=torch.tensor([supervised], dtype=torch.float32),
        seeds=draw_seeds(1, rng),
        starts=starts,
        count=count,
    )


def draw_present(plan: Plan, present: Sequence[str], rng: np.random.Generator) -> tuple[bool, ...]:
    """Per source, whether it is given: all that the case has, or now and then fewer.

    With probability `source_dropout` a random number is hidden, each count equally likely, and at
    least one is kept: so that a model of several sources serves cases that lack some.
    """
    given = [name for name in plan.sources if name in present]
    hidden: set[str] = set()
    if len(given) > 1 and rng.random() < plan.source_dropout:
        hidden = set(rng.permutation(given)[: rng.integers(1, len(given))].tolist())
    return tuple(name in given and name not in hidden for name in plan.sources)


def augmented(batch: WindowBatch, plan: Plan) -> tuple[Tensor, Tensor, Tensor]:
    """Source, target and mask of a batch, all slices of an item moved alike.

    Items may be joined along the first axis.
    """
    number = batch.source.shape[1]
    air = batch.air[:, :, None, None, None]
    given = batch.given[:, :, None, None, None]
    source, target, mask = augment(
        (batch.source - air[:, :number]) / UNIT * given,
        batch.target - air[:, number:],
        plan.augmentation,
        batch.seeds,
        weight=batch.mask,
    )
    return (source * UNIT + air[:, :number]) * given, target + air[:, number:], mask


def take_windows(volume: Tensor, starts: Sequence[int], count: int) -> Tensor:
    """Windows (W, C, count, H, W') of a volume (1, C, D, H, W')."""
    return torch.cat([volume[:, :, start : start + count] for start in starts])
