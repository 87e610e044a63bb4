"""What of a case a training step sees: each way once, for every method."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from liftnet.core.geometry import SLICE_AXES
from liftnet.core.plan import Plan
from liftnet.core.request import Request
from liftnet.data.example import Example, draw_seeds
from liftnet.data.store import Store
from liftnet.ops import normalize
from liftnet.ops.depth import draw_starts
from liftnet.ops.in_plane import fit

__all__ = [
    "Crop",
    "Nothing",
    "Patch",
    "Planes",
    "Slab",
    "Whole",
    "Windows",
    "draw",
    "whole",
]

InPlane = Literal["centre", "anywhere"]  # of slices larger than the plan's, which part is seen


@dataclass(frozen=True)
class Slab:
    """`count` neighbouring slices at a random height; nothing else of the case is read."""

    count: int
    in_plane: InPlane = "anywhere"


@dataclass(frozen=True)
class Windows:
    """The whole volume, of which `number` windows of `count` slices are compared."""

    count: int
    number: int
    in_plane: InPlane = "anywhere"


@dataclass(frozen=True)
class Whole:
    """The whole volume, all of which is compared."""

    in_plane: InPlane = "anywhere"


@dataclass(frozen=True)
class Patch:
    """A box of (D, H, W) voxels at a random place; air where the volume is smaller."""

    size: tuple[int, int, int]


@dataclass(frozen=True)
class Planes:
    """Single slices at random places, plane -> how many; an example for each plane.

    All are as likely, near-empty ones too.
    """

    counts: Mapping[str, int]


@dataclass(frozen=True)
class Nothing:
    """No voxel: only the seed of a volume to make."""


Crop = Whole | Slab | Windows | Patch | Planes | Nothing


def draw(
    store: Store,
    plan: Plan,
    request: Request,
    crop: Crop,
    case: str,
    rng: np.random.Generator,
    *,
    thinnest: int | None = None,
) -> tuple[Example, ...]:
    """What a step sees of a case, where the store has it; threads draw several at a time.

    Args:
        store: of the preprocessed cases.
        plan: whose channels and grid they have.
        request: which channels are given, and which are to be made.
        crop: what of the case.
        case: which one.
        rng: random numbers of this draw alone.
        thinnest: slices of the thinnest volume that this one may be joined with; no slab or window
            has more.
    """
    if isinstance(crop, Nothing):
        nothing = torch.zeros(1, 0, 0, 0, 0)
        seeds = draw_seeds(1, rng)
        return (_example(case, plan, request, nothing, nothing, nothing, [], seeds, (), 0),)
    if isinstance(crop, Planes):
        return tuple(_slices(store, plan, request, crop.counts, case, rng))
    return (_crop(store, plan, request, crop, case, rng, thinnest),)


def _crop(
    store: Store,
    plan: Plan,
    request: Request,
    crop: Whole | Slab | Windows | Patch,
    case: str,
    rng: np.random.Generator,
    thinnest: int | None,
) -> Example:
    """A part of a volume, with what is compared of it."""
    described = store.describe(case)
    depth = described.shape[0]
    starts: tuple[int, ...] = (0,)
    span, count = slice(None), depth
    size: tuple[int, ...] = plan.grid.in_plane
    if isinstance(crop, Patch):
        count = min(crop.size[0], depth)
        first = int(rng.integers(depth - count + 1))
        span, size, count = slice(first, first + count), crop.size, crop.size[0]
    elif isinstance(crop, Slab | Windows):
        count = min(crop.count, depth, thinnest or depth)
        starts = draw_starts(rng, depth, count, crop.number if isinstance(crop, Windows) else 1)
        if isinstance(crop, Slab):
            span, starts = slice(starts[0], starts[0] + count), (0,)
    air = _air(plan, described.ranges)
    voxels, background = store.slab(case, span), list(air)
    if plan.grid.mask != "none":
        mask = store.mask_slab(case, span)
        voxels, background = torch.cat([voxels, mask[None].to(voxels.dtype)]), [*air, 0.0]
    anywhere = isinstance(crop, Patch) or crop.in_plane == "anywhere"
    fitted = fit(voxels, size, background, rng=rng if anywhere else None)
    nothing = fitted[0][None, None][:, :0]
    rows = [plan.channel_names.index(name) for name in (*plan.sources, *plan.targets)]
    number = len(plan.sources)
    return _example(
        case,
        plan,
        request,
        torch.stack([fitted[i] for i in rows[:number]])[None] if number else nothing,
        torch.stack([fitted[i] for i in rows[number:]])[None],
        nothing if plan.grid.mask == "none" else fitted[-1][None, None],
        [air[i] for i in rows],
        draw_seeds(1, rng),
        starts,
        count,
    )


def whole(
    plan: Plan,
    request: Request,
    voxels: Tensor,
    ranges: Mapping[str, tuple[float, float]],
    case: str,
    *,
    seed: int,
    mask: np.ndarray | None = None,
) -> Example:
    """A whole case, as a network makes volumes of it.

    Args:
        plan: whose channels it has.
        request: which of them are given, and which are to be made.
        voxels: (C, D, H, W) in network units, float32.
        ranges: channel -> intensities that became 0 and 1.
        case: its name.
        seed: of what is random about it.
        mask: bool (D, H, W) of the subject, where the plan wants one.
    """
    air = normalize.background_values(plan, ranges)
    rows = [plan.channel_names.index(name) for name in (*plan.sources, *plan.targets)]
    sources, targets = rows[: len(plan.sources)], rows[len(plan.sources) :]
    depth = voxels.shape[1]
    return _example(
        case,
        plan,
        request,
        voxels[sources][None],
        voxels[targets][None],
        voxels[None, :0] if mask is None else torch.from_numpy(mask)[None, None],
        [air[row] for row in rows],
        torch.tensor([seed]),
        (0,),
        depth,
    )


def _slices(
    store: Store,
    plan: Plan,
    request: Request,
    counts: Mapping[str, int],
    case: str,
    rng: np.random.Generator,
) -> list[Example]:
    """Single slices of the first target, an example (n, ...) for each plane."""
    axes = SLICE_AXES[plan.grid.slice_axis]
    channel = plan.channel_names.index(plan.targets[0])
    described = store.describe(case)
    few = set(counts) == {plan.grid.slice_axis}  # others run through the whole volume
    volume = None if few else store.slab(case, channel=channel)[0]
    air = [_air(plan, described.ranges)[channel]]
    examples = []
    for plane, count in counts.items():
        # Rows and columns as `slices_of` has them, whatever the slice axis.
        order = [axes.index(world) for world in SLICE_AXES[plane]]
        chosen = rng.integers(described.shape[order[0]], size=count).tolist()
        if volume is None:
            spans = [slice(i, i + 1) for i in chosen]
            slices = [store.slab(case, span, channel=channel)[0, 0] for span in spans]
        else:
            turned = volume.permute(order)
            slices = [turned[i] for i in chosen]
        target = torch.stack(slices)[:, None, None]
        none = target[:, :0]
        seeds = draw_seeds(count, rng)
        examples.append(
            _example(
                case, plan, request, none, target, none, air, seeds, tuple(chosen), 1, plane=plane
            )
        )
    return examples


def _example(
    case: str,
    plan: Plan,
    request: Request,
    source: Tensor,
    target: Tensor,
    mask: Tensor,
    air: list[float],
    seeds: Tensor,
    windows: tuple[int, ...],
    count: int,
    plane: str = "",
) -> Example:
    """An example whose items are all of one request."""
    given = torch.tensor([[name in request.given for name in plan.sources]], dtype=torch.float32)
    made = torch.tensor([[name in request.made for name in plan.targets]])
    items = len(seeds)
    return Example(
        case=case,
        source=source,
        target=target,
        mask=mask,
        air=torch.tensor([air]).expand(items, -1),
        given=given.expand(items, -1),
        made=made.expand(items, -1),
        seeds=seeds,
        windows=windows,
        count=count,
        plane=plane,
    )


def _air(plan: Plan, ranges: Mapping[str, tuple[float, float]]) -> list[float]:
    """The value of air in each of the plan's channels as it is stored: it stays exactly air."""
    return [float(np.float16(value)) for value in normalize.background_values(plan, ranges)]
