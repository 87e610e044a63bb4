"""Whether generated volumes vary as real ones do: what the value of the drift does not say."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from liftnet.core.plan import Plan
from liftnet.losses.drift import energy_distance
from liftnet.losses.drift_monitors import (
    collapsed,
    diversity_ratio,
    effective_neighbours,
    nearest_ratio,
    trace_ratio,
)
from liftnet.methods.base import Validation
from liftnet.methods.lift_u.bank import Bank, plane_features
from liftnet.methods.lift_u.batches import PLANES
from liftnet.methods.lift_u.generation import generate_volume, latent_of
from liftnet.methods.lift_u.recipe import LiftURecipe
from liftnet.metrics.cohort import delta_z_profile, depth_order
from liftnet.networks.volume_generator import VolumeGenerator
from liftnet.ops import normalize
from liftnet.ops.planes import plane_indices

__all__ = ["check_samples"]

CHECKED_SLICES = 8  # ours: per plane, evenly spaced
CHECK_SEED = 1  # ours: the same latents at every check
REMEDY = (
    "Use drift.mode attract_repel and drift.bank matched; raise losses.energy or "
    "depth_mapping.volumes_per_step of the recipe, and train anew (--restart)."
)


@torch.no_grad()
def check_samples(
    network: VolumeGenerator,
    plan: Plan,
    recipe: LiftURecipe,
    bank: Bank,
    held_out: Bank,
    history: Sequence[Mapping[str, float]],
) -> Validation:
    """The energy distance of slice features (lower is better), the monitors, and an alarm.

    Compared with the `held_out` volumes, a bank with the balance of the training's: a network that
    repeats what it was trained on must not win. Details: "diversity" and "trace" (of generated over
    that of real features, median over slices), "depth_order", "delta_z" (mean step between slices
    over the real one).

    With the `bank` of training volumes, since they tell how it is followed and whether it is
    copied: "neighbours" (volumes that attract a generated one at the narrowest temperature) and
    "nearest" (distance to the nearest volume over that between real ones). The scale of features is
    the bank's, too.
    """
    spec, size = recipe.drift, recipe.inference.slice_batch
    device = next(network.parameters()).device
    volumes = torch.stack(
        [
            generate_volume(
                plan, size, network, latent_of(recipe.mapper, CHECK_SEED, number), temperature=1.0
            )
            for number in range(spec.checked_volumes)
        ]
    )
    rows = np.unique(np.linspace(0, len(bank.cases) - 1, 4 * len(volumes)).round().astype(int))
    found: dict[str, list[torch.Tensor]] = {}
    for plane in PLANES:
        count = len(bank.features[plane])
        indices = plane_indices(count, min(CHECKED_SLICES, count))
        made = torch.cat(
            [plane_features(network, plan, v[None, None], plane, indices) for v in volumes], dim=1
        ) * bank.balance[plane].to(device)
        trained = bank.positives(plane, indices, rows.tolist(), device)
        real = held_out.positives(plane, indices, range(len(held_out.cases)), device)
        scale = bank.scale(plane, indices, device)
        ratios = {
            "energy": energy_distance(made, real, scale=scale),
            "diversity": diversity_ratio(made, real),
            "trace": trace_ratio(made, real),
            "nearest": nearest_ratio(made, trained),
            "neighbours": effective_neighbours(
                made, trained, scale=scale, temperatures=spec.temperatures
            )[..., 0],
        }
        for name, values in ratios.items():
            found.setdefault(name, []).append(values)
    details = {name: float(torch.cat(values).nanmedian()) for name, values in found.items()}
    score = float(torch.cat(found["energy"]).mean())
    arrays = volumes.cpu().numpy()
    details["depth_order"] = depth_order(arrays, held_out.depth)
    details["delta_z"] = float(np.mean([delta_z_profile(v) for v in arrays])) / held_out.step
    del details["energy"]
    known = [*(row for row in history if {"diversity", "trace"} <= row.keys()), details]
    alarm = collapsed([row["diversity"] for row in known], [row["trace"] for row in known])
    low, _ = normalize.limits(plan.channel(plan.targets[0]).normalization)
    images = {f"generated {i}": arrays[i] - low for i in range(min(3, len(arrays)))}
    return Validation(score, "monitors", details, images, alarm=alarm, remedy=REMEDY)
