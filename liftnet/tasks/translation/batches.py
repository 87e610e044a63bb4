"""What one training step sees: windows of volumes, their targets and masks."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from torch import Tensor

from liftnet.augment.apply import augment
from liftnet.core.plan import Plan
from liftnet.data.store import Store
from liftnet.ops import normalize
from liftnet.ops.in_plane import fit_in_plane
from liftnet.tasks.base import Batch

__all__ = ["WindowBatch", "augmented", "draw_windows", "take_windows"]

UNIT = 4.0  # ours: z-scores from air to bright tissue; augmentation expects them to be about 1


@dataclass(frozen=True)
class WindowBatch(Batch):
    """One volume of a training step, or a slab of it, in network units.

    Attributes:
        source: (1, S, D, H, W), the plan's sources; 0 where one is absent or hidden.
        target: (1, T, D, H, W).
        mask: (1, 1, D, H, W), 1 inside.
        air: network value of air in each of the S + T channels.
        present: per source, whether it is given.
        supervised: per target, whether the case has it.
        starts: first slice of each window that is decoded.
    """

    case: str
    source: Tensor
    target: Tensor
    mask: Tensor
    air: tuple[float, ...]
    present: tuple[bool, ...]
    supervised: tuple[bool, ...]
    starts: tuple[int, ...]

    def to(self, device: torch.device) -> Self:
        """The same batch on a device, as float32."""
        return replace(
            self,
            source=self.source.to(device, non_blocking=True).float(),
            target=self.target.to(device, non_blocking=True).float(),
            mask=self.mask.to(device, non_blocking=True).float(),
        )


def draw_windows(
    plan: Plan,
    store: Store,
    case: str,
    rng: np.random.Generator,
    *,
    windows: int,
    count: int,
    whole: bool,
) -> WindowBatch:
    """`windows` slabs of `count` slices at random heights; with `whole` in their whole volume.

    Without `whole` there is one window, and nothing else of the volume is read.
    """
    described = store.describe(case)
    voxels, mask = store.voxels(case), store.mask(case)
    depth = voxels.shape[1]
    count = min(count, depth)
    # Windows may start beyond either end and are pushed back, so that outer slices are seen as
    # often as inner ones.
    drawn = rng.integers(-(count // 2), depth - count // 2, size=windows)
    starts = tuple(int(s) for s in np.clip(drawn, 0, depth - count))
    if not whole:
        span = slice(starts[0], starts[0] + count)
        voxels, mask, starts = voxels[:, span], mask[span], (0,)
    # As it is stored: what is air stays exactly air.
    air = [float(np.float16(v)) for v in normalize.background_values(plan, described.ranges)]
    joined = np.concatenate([voxels, mask[None].astype(voxels.dtype)])
    fitted = fit_in_plane(joined, plan.grid.in_plane, [*air, 0.0], rng=rng)
    order = [plan.channel_names.index(name) for name in (*plan.sources, *plan.targets)]
    volume = torch.from_numpy(fitted[order])[None]
    number = len(plan.sources)
    return WindowBatch(
        case=case,
        source=volume[:, :number],
        target=volume[:, number:],
        mask=torch.from_numpy(fitted[-1:])[None],
        air=tuple(air[i] for i in order),
        present=draw_present(plan, described.present, rng),
        supervised=tuple(name in described.present for name in plan.targets),
        starts=starts,
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


def augmented(
    batch: WindowBatch, plan: Plan, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Source, target and mask of a batch, all slices of an item moved alike.

    Items may be joined along the first axis; `air` and `present` are then those of all.
    """
    device, number = batch.source.device, batch.source.shape[1]
    air = torch.tensor(batch.air, device=device).view(-1, number + batch.target.shape[1], 1, 1, 1)
    given = torch.tensor(batch.present, device=device).view(-1, number, 1, 1, 1)
    source, target, mask = augment(
        (batch.source - air[:, :number]) / UNIT * given,
        batch.target - air[:, number:],
        plan.augmentation,
        generator,
        weight=batch.mask,
    )
    return (source * UNIT + air[:, :number]) * given, target + air[:, number:], mask


def take_windows(volume: Tensor, starts: Sequence[int], count: int) -> Tensor:
    """Windows (W, C, count, H, W') of a volume (1, C, D, H, W')."""
    return torch.cat([volume[:, :, start : start + count] for start in starts])
