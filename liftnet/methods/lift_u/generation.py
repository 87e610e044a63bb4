"""From a seed to a volume, slice by slice."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from liftnet.core.network_specs import MapperSpec
from liftnet.core.plan import Plan
from liftnet.methods.lift_u.batches import PLANES
from liftnet.networks.volume_generator import VolumeGenerator, slice_features
from liftnet.ops import normalize
from liftnet.ops.depth import smooth_depth
from liftnet.ops.planes import plane_size, slices_of

__all__ = ["codes_of", "describe_volume", "generate_volume", "latent_from", "latent_of"]

GENERATION = 2  # ours: apart from the random numbers of training, see training_feed.py


def latent_of(mapper: MapperSpec, seed: int, number: int) -> Tensor:
    """The latent (L,) of one volume; each number has random numbers of its own."""
    return latent_from(mapper, [seed, number, GENERATION])


def latent_from(mapper: MapperSpec, seed: int | Sequence[int]) -> Tensor:
    """The latent (L,) of a seed, from the standard normal distribution."""
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.standard_normal(mapper.latent_size, dtype=np.float32))


@torch.no_grad()
def codes_of(
    plan: Plan,
    network: VolumeGenerator,
    latent: Tensor,
    *,
    temperature: float,
    sigma_z: float = 0.0,
) -> Tensor:
    """The codes (D, c) of the slices of the volume of a latent, on the network's device.

    `sigma_z`, in slices, smooths them along the slice axis.

    Source: LiFT Eq. 1, Fig. 6; App. D names sigma_z = 1.5 beside the temperature.
    Differs: it does not say what sigma_z is. As the spread of z it would be the temperature again;
        here z is what it is in Delta_z, delta_z and lambda_z, the slice axis.
    """
    device = next(network.parameters()).device
    depth = plan.grid.num_slices
    codes = network.codes(latent[None].to(device), depth, temperature=temperature)[0]
    return smooth_depth(codes, sigma_z)


@torch.no_grad()
def generate_volume(
    plan: Plan,
    slice_batch: int,
    network: VolumeGenerator,
    latent: Tensor,
    *,
    temperature: float,
    sigma_z: float = 0.0,
) -> Tensor:
    """A volume (D, H, W) in network units; at most `slice_batch` slices are in work.

    Source: LiFT Eq. 1 to 3.
    """
    device = next(network.parameters()).device
    low, high = normalize.limits(plan.channel(plan.targets[0]).normalization)
    codes = codes_of(plan, network, latent, temperature=temperature, sigma_z=sigma_z)
    volume = torch.empty(len(codes), *plan.grid.in_plane, device=device)
    start = 0
    for slices in network.decode(codes, slice_batch=slice_batch):
        volume[start : start + len(slices)] = slices.clamp(low, high)
        start += len(slices)
    return volume


@torch.no_grad()
def describe_volume(
    plan: Plan, slice_batch: int, network: VolumeGenerator, volume: Tensor
) -> Tensor:
    """The mean features of a volume's slices in each plane, (F,), float32 on the CPU."""
    device = next(network.parameters()).device
    placed = volume.to(device).float()[None, None]
    parts = []
    for plane in PLANES:
        count = plane_size(volume.shape, plane, slice_axis=plan.grid.slice_axis)[0]
        total = torch.zeros(())
        for chunk in torch.arange(count).split(slice_batch):
            slices = slices_of(placed, plane, chunk, slice_axis=plan.grid.slice_axis)[0]
            total = total + slice_features(network.features, slices)[0].sum(dim=0).cpu()
        parts.append(total / count)
    return torch.cat(parts)
