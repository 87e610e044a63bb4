"""A masked autoencoder of slices: features learned from the dataset itself."""

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from liftnet.core.network_specs import FeatureSpec
from liftnet.networks.blocks import NEGATIVE_SLOPE, normalization_layer
from liftnet.ops.compute.precision import without_autocast
from liftnet.ops.compute.processes import mean_over_ranks
from liftnet.ops.compute.transfer import to_device
from liftnet.ops.item_random import item_uniform

__all__ = ["MaskedAutoencoder", "SliceEncoder", "random_patches"]

SEEN_WEIGHT = 0.1  # ours: what was seen must come through too, but is not what is learned
PATCH_STREAM = 1  # of random numbers; the augmentation has those from 1000 on


class DownBlock(nn.Module):
    """Two normalized 3x3 convolutions with a shortcut; the second may halve the size."""

    def __init__(self, in_width: int, width: int, stride: int):
        super().__init__()
        self.normalize1 = normalization_layer("group", in_width)
        self.convolution1 = nn.Conv2d(in_width, width, 3, padding=1)
        self.normalize2 = normalization_layer("group", width)
        self.convolution2 = nn.Conv2d(width, width, 3, stride=stride, padding=1)
        self.shortcut = nn.Conv2d(in_width, width, 1, bias=False)
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, width, H / stride, W / stride), rounded up, of maps (N, in_width, H, W)."""
        y = self.convolution1(F.leaky_relu(self.normalize1(x), NEGATIVE_SLOPE))
        y = self.convolution2(F.leaky_relu(self.normalize2(y), NEGATIVE_SLOPE))
        if self.stride > 1:
            x = F.avg_pool2d(x, self.stride, ceil_mode=True, count_include_pad=False)
        return cast(Tensor, y + self.shortcut(x))


class SliceEncoder(nn.Module):
    """Residual stages that halve a slice each: maps at strides 2, 4, 8, ..."""

    def __init__(self, channels: int, widths: Sequence[int]):
        super().__init__()
        self.enter = nn.Conv2d(channels, widths[0], 3, stride=2, padding=1)
        inputs = (widths[0], *widths[:-1])
        self.stages = nn.ModuleList(
            DownBlock(before, width, 2 if i else 1)
            for i, (before, width) in enumerate(zip(inputs, widths, strict=True))
        )

    def forward(self, slices: Tensor) -> list[Tensor]:
        """Maps per stage, finest first, of slices (N, C, H, W) of any size."""
        x = self.enter(slices)
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps


class MaskedAutoencoder(nn.Module):
    """An encoder whose features fill in hidden patches of a slice, and the decoder that shows it.

    Hidden pixels are 0 and marked in a second input channel, so that an unmasked slice is a normal
    input. The decoder is narrow, and sees every stage of the encoder: what it needs at a scale the
    maps of that scale must hold.

    Source: Deng et al. 2026 (drifting), App.: a residual encoder with GroupNorm, half of the
        patches zeroed, L2 on them.
    """

    def __init__(self, spec: FeatureSpec):
        super().__init__()
        self.spec = spec
        self.encoder = SliceEncoder(2, spec.widths)
        width = spec.widths[0]
        self.read = nn.ModuleList(nn.Conv2d(w, width, 1) for w in spec.widths)
        self.fill = nn.ModuleList(DownBlock(width, width, 1) for _ in spec.widths)
        self.leave = nn.Conv2d(width, 1, 3, padding=1)

    def forward(self, slices: Tensor, hidden: Tensor) -> Tensor:
        """Whole slices (N, 1, H, W), float32, of slices whose `hidden` pixels are not looked at."""
        seen = slices.masked_fill(hidden, 0.0)
        maps = self.encoder(torch.cat([seen, hidden.to(seen.dtype)], dim=1))
        x = self.fill[-1](self.read[-1](maps[-1]))
        for i in reversed(range(len(maps) - 1)):
            x = F.interpolate(x, size=maps[i].shape[2:], mode="nearest")
            x = self.fill[i](x + self.read[i](maps[i]))
        x = F.interpolate(F.leaky_relu(x, NEGATIVE_SLOPE), size=slices.shape[2:], mode="nearest")
        with without_autocast(x.device):  # bf16 would round the intensities
            return cast(Tensor, self.leave(x.float()))

    def encode(self, slices: Tensor) -> list[Tensor]:
        """Maps per stage, finest first, of whole slices (N, 1, H, W); as `ResNet18` gives them."""
        return cast(list[Tensor], self.encoder(torch.cat([slices, torch.zeros_like(slices)], 1)))

    def loss(self, slices: Tensor, seeds: Tensor) -> Tensor:
        """The squared error of hidden pixels, and a little of all.

        Slices are (N, 1, H, W); `seeds` (N,), on the processor, decide what is hidden of each.
        """
        spec, seeds = self.spec, to_device(seeds, slices.device)
        hidden = random_patches(slices.shape, spec.patch, spec.masked, seeds)
        error = (self(slices, hidden) - slices.float()).square()
        filled = (error * hidden).sum() / mean_over_ranks(hidden.sum().float()).clamp(min=1)
        return cast(Tensor, filled + SEEN_WEIGHT * error.mean())


def random_patches(shape: Sequence[int], patch: int, share: float, seeds: Tensor) -> Tensor:
    """Which pixels (N, 1, H, W) are hidden: whole patches, `share` of those of each slice.

    Each slice has its own of the `seeds` (N,), int64.

    The grid of patches begins at a corner; those at the far sides may be cut.

    Raises:
        ValueError: If the share is outside [0, 1], or the patch has no pixel.
    """
    if not 0 <= share <= 1 or patch < 1:
        raise ValueError(f"expected a share in [0, 1] and a patch >= 1, got {share} and {patch}")
    count, _, height, width = shape
    rows, columns = -(-height // patch), -(-width // patch)
    draw = item_uniform(seeds, PATCH_STREAM, (rows * columns,))
    hidden = draw.argsort(1).argsort(1) < round(share * rows * columns)
    grid = hidden.view(count, 1, rows, columns)
    whole = grid.repeat_interleave(patch, 2).repeat_interleave(patch, 3)
    return whole[:, :, :height, :width]
