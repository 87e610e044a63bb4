"""What one training step sees: single slices of real volumes, or latents of volumes to make."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from liftnet.augment.apply import augment
from liftnet.core.geometry import SLICE_AXES
from liftnet.core.plan import Plan
from liftnet.data.store import Store
from liftnet.ops import normalize
from liftnet.tasks.base import Batch, draw_seeds

__all__ = [
    "PLANES",
    "LatentBatch",
    "SliceBatch",
    "augmented",
    "draw_slices",
    "joined",
    "real_volume",
]

PLANES = ("axial", "coronal", "sagittal")


@dataclass(frozen=True)
class SliceBatch(Batch):
    """Slices of one volume in network units.

    Attributes:
        planes: plane -> slices (n, 1, h, w).
        indices: plane -> their numbers (n,).
        seeds: plane -> (n,) for what is random in a step.
    """

    planes: dict[str, Tensor]
    indices: dict[str, Tensor]
    seeds: dict[str, Tensor]


@dataclass(frozen=True)
class LatentBatch(Batch):
    """One volume to make: its latent (L,)."""

    latent: Tensor


def real_volume(plan: Plan, store: Store, case: str) -> np.ndarray:
    """The voxels (D, H, W), float16, of a preprocessed case in network units."""
    return store.slab(case, channel=_channel(plan))[0].cpu().numpy()


def _channel(plan: Plan) -> int:
    return plan.channel_names.index(plan.targets[0])


def draw_slices(
    plan: Plan, store: Store, case: str, rng: np.random.Generator, counts: Mapping[str, int]
) -> SliceBatch:
    """Slices at random places: plane -> how many. All are as likely, near-empty ones too."""
    axes = SLICE_AXES[plan.grid.slice_axis]
    shape = store.describe(case).shape
    few = set(counts) == {plan.grid.slice_axis}  # others run through the whole volume
    volume = None if few else store.slab(case, channel=_channel(plan))[0]
    planes, indices, seeds = {}, {}, {}
    for plane, count in counts.items():
        # Rows and columns as `slices_of` has them, whatever the slice axis.
        order = [axes.index(world) for world in SLICE_AXES[plane]]
        chosen = rng.integers(shape[order[0]], size=count)
        if volume is None:
            spans = [slice(i, i + 1) for i in chosen.tolist()]
            slices = [store.slab(case, span, channel=_channel(plan))[0, 0] for span in spans]
        else:
            turned = volume.permute(order)
            slices = [turned[i] for i in chosen.tolist()]
        planes[plane] = torch.stack(slices)[:, None]
        indices[plane] = torch.from_numpy(chosen)
        seeds[plane] = draw_seeds(count, rng)
    return SliceBatch(case, planes, indices, seeds)


def augmented(plan: Plan, slices: Tensor, seeds: Tensor) -> Tensor:
    """Slices (N, 1, H, W), each moved by itself; air stays air."""
    air = normalize.limits(plan.channel(plan.targets[0]).normalization)[0]
    shifted = (slices - air)[:, :, None]
    _, moved = augment(shifted[:, :0], shifted, plan.augmentation, seeds)
    return moved[:, :, 0] + air


def joined(
    batches: Sequence[SliceBatch],
    plane: str,
    part: Literal["planes", "indices", "seeds"] = "planes",
) -> Tensor:
    """The slices (N, 1, h, w) of a plane from all volumes of a step, or another part of them."""
    return torch.cat([getattr(batch, part)[plane] for batch in batches])
