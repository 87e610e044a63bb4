"""Real volumes and their slices, as the stages of this task see them."""

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from liftnet.core.plan import Plan
from liftnet.data.example import Example, joined
from liftnet.data.store import Store

__all__ = ["PLANES", "in_plane", "real_volume", "slices_in"]

PLANES = ("axial", "coronal", "sagittal")


def real_volume(plan: Plan, store: Store, case: str) -> np.ndarray:
    """The voxels (D, H, W), float16, of a preprocessed case in network units."""
    channel = plan.channel_names.index(plan.targets[0])
    return store.slab(case, channel=channel)[0].cpu().numpy()


def in_plane(batch: Sequence[Example], plane: str) -> Example:
    """The slices of a plane from all volumes of a step."""
    return joined([example for example in batch if example.plane == plane])


def slices_in(example: Example) -> Tensor:
    """Single slices as a batch (N, 1, h, w)."""
    return example.target[:, :, 0]
