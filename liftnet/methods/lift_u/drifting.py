"""The losses of the depth mapper: distances of codes, and the tri-planar drift of features."""

from collections.abc import Sequence

import torch
from torch import Tensor

from liftnet.core.network_specs import DriftSpec
from liftnet.core.plan import Plan
from liftnet.losses.drift import drift_loss, energy_distance
from liftnet.losses.feature_scale import FeatureScale, scale_of
from liftnet.methods.lift_u.bank import Bank, plane_features
from liftnet.methods.lift_u.batches import PLANES
from liftnet.methods.lift_u.recipe import LiftURecipe
from liftnet.networks.volume_generator import VolumeGenerator
from liftnet.ops.compute.processes import gather_items

__all__ = ["code_terms", "compare", "lifted_terms"]


def code_terms(
    codes: Tensor, bank: Bank, spec: DriftSpec, generator: torch.Generator
) -> dict[str, Tensor]:
    """The energy distance of codes (B, D, c) to those of real volumes: whole, and slice by slice.

    Source: ours; the start with energy distance that `docs/explanation` has measured.
    """
    volumes = pick(len(bank.cases), spec.positives, generator)
    real = bank.codes[volumes].to(codes.device)
    codes = gather_items(codes)
    whole = codes.flatten(1), real.flatten(1)
    slices = codes.transpose(0, 1), real.transpose(0, 1)
    return {
        "trajectory": energy_distance(*whole, scale=scale_of(whole[1])),
        "slices": energy_distance(*slices, scale=scale_of(slices[1])).mean(),
    }


def lifted_terms(
    network: VolumeGenerator,
    codes: Tensor,
    bank: Bank,
    plan: Plan,
    recipe: LiftURecipe,
    generator: torch.Generator,
) -> dict[str, Tensor]:
    """The drift of volumes made from codes (B, D, c), towards real ones, in three planes.

    The slices are made without a graph; the loss gives its gradient at the voxels, and the slices
    are made again, a few at a time, to carry it back to the codes. Memory so does not grow with
    the number of slices. The term "drift" carries the gradient of all terms.

    Source: LiFT Eq. 4 to 6, Algorithm 1.
    Differs: attraction and repulsion, slices matched by index, a bank of all real volumes, an
        energy term (see docs/explanation/generation.md).
    """
    spec, chunk = recipe.drift, recipe.inference.slice_batch
    flat = codes.flatten(0, 1)
    made = torch.cat(list(network.decode(flat.detach(), slice_batch=chunk)))
    volumes = made.unflatten(0, codes.shape[:2])[:, None].requires_grad_()
    rows = pick(len(bank.cases), spec.positives, generator)
    terms: dict[str, list[Tensor]] = {}
    for plane in PLANES:
        among = bank.varied[plane]
        indices = sorted(among[i] for i in pick(len(among), spec.slices_per_plane, generator))
        found = plane_features(network, plan, volumes, plane, indices)
        found = found * bank.balance[plane].to(found.device)
        found = gather_items(found.transpose(0, 1)).transpose(0, 1)
        for name, value in compare(found, bank, plane, indices, rows, recipe, generator).items():
            terms.setdefault(name, []).append(value)
    means = {name: torch.stack(values).mean() for name, values in terms.items()}
    (slopes,) = torch.autograd.grad(torch.stack(list(means.values())).sum(), volumes)
    back = network.code_gradients(flat, slopes[:, 0].flatten(0, 1), slice_batch=chunk)
    carrier = (flat * back).sum()
    values = {name: value.detach() for name, value in means.items()}
    return values | {"drift": values["drift"] + carrier - carrier.detach()}


def compare(
    found: Tensor,
    bank: Bank,
    plane: str,
    indices: Sequence[int],
    rows: Sequence[int],
    recipe: LiftURecipe,
    generator: torch.Generator,
) -> dict[str, Tensor]:
    """Weighted terms for balanced features (n, B, F) of generated slices of one plane.

    "drift" and "energy" compare slices, "trajectory" all n slices of a volume together, so that
    the slices of a volume belong to each other.
    """
    spec, weights = recipe.drift, recipe.losses
    scale = bank.scale(plane, indices, found.device)
    real = bank.positives(plane, indices, rows, found.device)
    if spec.bank == "pooled":  # any slice of any volume: LiFT Eq. 4
        others = torch.randint(
            len(bank.features[plane]), (len(rows),), generator=generator, device=generator.device
        ).tolist()
        pool = torch.stack(
            [
                bank.positives(plane, [s], [v], found.device)[0, 0]
                for s, v in zip(others, rows, strict=True)
            ]
        )
        real = pool.expand(len(indices), -1, -1)
        scale = repeated(scale_of(pool), len(indices))
    options = {"mode": spec.mode, "temperatures": spec.temperatures, "bandwidth": spec.bandwidth}
    terms = {"drift": drift_loss(found, real, scale=scale, **options)}  # type: ignore[arg-type]
    if weights["energy"] > 0:
        terms["energy"] = energy_distance(found, real, scale=scale).mean()
    if weights["trajectory"] > 0:
        whole = found.transpose(0, 1).flatten(1), real.transpose(0, 1).flatten(1)
        scale = scale_of(whole[1])
        terms["trajectory"] = drift_loss(*whole, scale=scale, **options)  # type: ignore[arg-type]
    return {name: weights[name] * value for name, value in terms.items()}


def repeated(scale: FeatureScale, count: int) -> FeatureScale:
    """One problem's scale for several problems."""
    return FeatureScale(
        *(part.expand(count, *part.shape) for part in (scale.mean, scale.distance, scale.cv))
    )


def pick(total: int, count: int, generator: torch.Generator) -> list[int]:
    """At most `count` different numbers below `total`."""
    order = torch.randperm(total, generator=generator, device=generator.device)
    return [int(i) for i in order[:count]]
