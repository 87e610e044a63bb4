"""The score of whole volumes during training."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from liftnet.core.plan import Plan
from liftnet.core.request import Request
from liftnet.data.store import Store
from liftnet.metrics.sharpness import known_means, sharpness_in_plane
from liftnet.ops import normalize
from liftnet.tasks.base import Validation
from liftnet.tasks.translation.synthesis import synthesize

__all__ = ["validate"]


def validate(plan: Plan, network: nn.Module, store: Store, cases: Sequence[str]) -> Validation:
    """The mean absolute error over whole volumes, the mean over targets.

    In HU if all targets are CT, otherwise in units of each target's range.

    Source: LiFT App. F (checkpoints by validation MAE).
    """
    device = next(network.parameters()).device
    in_hu = all(plan.channel(name).modality == "CT" for name in plan.targets)
    errors: dict[str, list[float]] = {}
    sharpness: dict[str, list[float]] = {}
    images: dict[str, np.ndarray] = {}
    for case in cases:
        described = store.describe(case)
        sources = tuple(name for name in plan.sources if name in described.present)
        targets = tuple(name for name in plan.targets if name in described.present)
        voxels = torch.from_numpy(np.asarray(store.voxels(case), np.float32))
        air = normalize.background_values(plan, described.ranges)
        request = Request(sources, targets)
        inside = _subject(plan, store, case, voxels.numpy(), air)
        predicted = synthesize(plan, [network], voxels.to(device), request, air).cpu()
        for name, volume in zip(targets, predicted, strict=True):
            rule = plan.channel(name).normalization
            low, high = normalize.limits(rule)
            reference = voxels[plan.channel_names.index(name)]
            error = float((volume - reference).abs().mean()) / (high - low)
            span = normalize.written_range(rule)
            errors.setdefault(name, []).append(error * (span[1] - span[0] if in_hu else 1.0))
            sharpness.setdefault(name, []).append(
                sharpness_in_plane(volume.numpy(), reference.numpy(), inside, axis=0)
            )
            if not images:
                images = {s: voxels[plan.channel_names.index(s)].numpy() for s in sources}
                images |= {f"{name} predicted": volume.numpy()}
                images |= {f"{name} reference": reference.numpy()}
    means = {name: float(np.mean(values)) for name, values in errors.items()}
    score = float(np.mean(list(means.values())))
    metric = "mae_hu" if in_hu else "mae"
    return Validation(score, metric, means, images, sharpness=known_means(sharpness))


def _subject(
    plan: Plan, store: Store, case: str, voxels: np.ndarray, air: Sequence[float]
) -> np.ndarray:
    """The stored mask (D, H, W), or where a channel of the voxels (C, D, H, W) is above its air."""
    if plan.grid.mask != "none":
        return np.asarray(store.mask(case))
    # Stored air is this number to within one step of its type.
    limits = np.nextafter(np.array(air, np.float16), np.float16(np.inf))
    return np.asarray((voxels > limits[:, None, None, None]).any(axis=0))
