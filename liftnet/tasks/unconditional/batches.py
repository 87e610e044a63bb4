"""What one training step sees: single slices of real volumes, or latents of volumes to make."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from torch import Tensor

from liftnet.augment.apply import augment
from liftnet.core.geometry import SLICE_AXES
from liftnet.core.plan import Plan
from liftnet.data.store import Store
from liftnet.ops import normalize
from liftnet.tasks.base import Batch

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
        indices: plane -> their numbers.
    """

    case: str
    planes: dict[str, Tensor]
    indices: dict[str, tuple[int, ...]]

    def to(self, device: torch.device) -> Self:
        """The same batch on a device, as float32."""
        moved = {k: v.to(device, non_blocking=True).float() for k, v in self.planes.items()}
        return replace(self, planes=moved)


@dataclass(frozen=True)
class LatentBatch(Batch):
    """One volume to make: its latent (L,)."""

    case: str
    latent: Tensor

    def to(self, device: torch.device) -> Self:
        """The same batch on a device, as float32."""
        return replace(self, latent=self.latent.to(device, non_blocking=True).float())


def real_volume(plan: Plan, store: Store, case: str) -> np.ndarray:
    """The voxels (D, H, W) of a preprocessed case in network units; not writable."""
    return np.asarray(store.voxels(case)[plan.channel_names.index(plan.targets[0])])


def draw_slices(
    plan: Plan, store: Store, case: str, rng: np.random.Generator, counts: Mapping[str, int]
) -> SliceBatch:
    """Slices at random places: plane -> how many. All are as likely, near-empty ones too."""
    volume = real_volume(plan, store, case)
    axes = SLICE_AXES[plan.grid.slice_axis]
    planes, indices = {}, {}
    for plane, count in counts.items():
        # Rows and columns as `slices_of` has them, whatever the slice axis.
        turned = volume.transpose([axes.index(world) for world in SLICE_AXES[plane]])
        chosen = rng.integers(len(turned), size=count)
        planes[plane] = torch.from_numpy(turned[chosen][:, None])
        indices[plane] = tuple(chosen.tolist())
    return SliceBatch(case, planes, indices)


def augmented(plan: Plan, slices: Tensor, generator: torch.Generator) -> Tensor:
    """Slices (N, 1, H, W), each moved by itself; air stays air."""
    air = normalize.limits(plan.channel(plan.targets[0]).normalization)[0]
    shifted = (slices - air)[:, :, None]
    _, moved = augment(shifted[:, :0], shifted, plan.augmentation, generator)
    return moved[:, :, 0] + air


def joined(batches: Sequence[SliceBatch], plane: str) -> Tensor:
    """The slices (N, 1, h, w) of a plane from all volumes of a step."""
    return torch.cat([batch.planes[plane] for batch in batches])
