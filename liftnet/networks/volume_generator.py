"""LiFT-U: a depth mapper over a frozen slice generator, and the features that compare volumes."""

from collections.abc import Iterator, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from liftnet.core.network_specs import FeatureSpec, GeneratorSpec, MapperSpec, ResNetSpec
from liftnet.networks.depth_mapper import DepthMapper
from liftnet.networks.features import ResNet18, pooled_parts
from liftnet.networks.masked_autoencoder import MaskedAutoencoder
from liftnet.networks.slice_generator import SliceGenerator
from liftnet.ops.compute.precision import autocast
from liftnet.ops.depth import relative_depth

__all__ = ["FEATURE_GRIDS", "VolumeGenerator", "feature_maps", "make_features", "slice_features"]

FEATURE_GRIDS = (1, 2)  # ours: of a slice, and of its quarters; 4x4 quarters the gain of 2x2


class VolumeGenerator(nn.Module):
    """Latents to volumes.

    Submodules: `features` and `generator`, which are frozen, and `mapper`.

    Source: LiFT Eq. 1 to 3.
    """

    def __init__(
        self, features: FeatureSpec | ResNetSpec, generator: GeneratorSpec, mapper: MapperSpec
    ):
        super().__init__()
        self.features = make_features(features)
        self.generator = SliceGenerator(generator)
        self.mapper = DepthMapper(mapper)

    def codes(self, latents: Tensor, num_slices: int, *, temperature: float = 1.0) -> Tensor:
        """Codes (B, D, c) of the slices of volumes with these latents (B, L)."""
        positions = relative_depth(num_slices, device=latents.device)
        return cast(Tensor, self.mapper(latents, positions, temperature=temperature))

    @torch.no_grad()
    def decode(self, codes: Tensor, *, slice_batch: int) -> Iterator[Tensor]:
        """Slices (n, H, W), float32, of codes (N, c), at most `slice_batch` at a time.

        Always as many are decoded together, the last ones with zeros: a slice so does not depend,
        to the last bit, on how many others there are.
        """
        for chunk in codes.split(slice_batch):
            missing = slice_batch - len(chunk)
            filled = torch.cat([chunk, chunk.new_zeros(missing, chunk.shape[1])])
            with autocast(codes.device):
                yield self.generator(filled)[: len(chunk), 0]

    def code_gradients(self, codes: Tensor, gradients: Tensor, *, slice_batch: int) -> Tensor:
        """The gradient (N, c) at codes (N, c) of a loss whose gradient at the slices is given.

        `gradients` are (N, H, W). The slices are made again, `slice_batch` at a time, so that the
        graph of only so many is held.
        """
        parts = []
        for chunk, upstream in zip(
            codes.detach().split(slice_batch), gradients.split(slice_batch), strict=True
        ):
            leaf = chunk.requires_grad_()
            with torch.enable_grad(), autocast(codes.device):
                slices = self.generator(leaf)
            parts += torch.autograd.grad(slices, leaf, upstream[:, None])
        return torch.cat(parts)


def make_features(spec: FeatureSpec | ResNetSpec) -> MaskedAutoencoder | ResNet18:
    """The feature network of a plan with random weights."""
    return ResNet18() if isinstance(spec, ResNetSpec) else MaskedAutoencoder(spec)


def feature_maps(features: nn.Module, slices: Tensor) -> list[Tensor]:
    """Maps, finest first, of whole slices (N, 1, H, W)."""
    if isinstance(features, MaskedAutoencoder):
        return features.encode(slices)
    return cast(list[Tensor], features(slices))


def slice_features(features: nn.Module, slices: Tensor) -> tuple[Tensor, Sequence[int]]:
    """Features (N, F), float32, of slices (N, H, W), and the width of each of their parts.

    Means and standard deviations of every map, over the slice and over its quarters.

    Source: Deng et al. 2026, App.; LiFT Eq. 4, E_feat.
    """
    with autocast(slices.device):
        maps = feature_maps(features, slices[:, None])
    parts = [part.flatten(1) for part in pooled_parts(maps, grids=FEATURE_GRIDS)]
    return torch.cat(parts, dim=1), [part.shape[1] for part in parts]
