"""The plain 3D U-Net, in the form of nnU-Net or with attention on its skips."""

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from liftnet.networks.blocks import NEGATIVE_SLOPE, Recomputed

__all__ = ["Attention", "UNet3d"]

REDUCTION = 16  # CBAM: of the channels between both layers of its perceptron
VIEW = 7  # CBAM: voxels along each axis that decide about a place
TRIAL_SIDE = 8  # ours: of the volumes on which a block is tried

Stride = tuple[int, int, int]  # along (D, H, W)


class VolumeBlock(Recomputed):
    """Two 3^3 convolutions, each with instance norm and leaky ReLU, of what it is given, joined.

    The first one strides; where the block is pooled, the largest of the voxels is taken instead.
    """

    def __init__(self, before: int, width: int, stride: Stride, *, pooled: bool, bias: bool):
        super().__init__()
        self.pool = nn.MaxPool3d(stride) if pooled and max(stride) > 1 else nn.Identity()
        self.convolutions = nn.ModuleList(
            nn.Conv3d(entered, width, 3, stride=step, padding=1, bias=bias)
            for entered, step in ((before, 1 if pooled else stride), (width, 1))
        )
        self.norms = nn.ModuleList(nn.InstanceNorm3d(width, affine=True) for _ in range(2))

    def trial(self, device: torch.device) -> tuple[Tensor, ...]:
        """A volume."""
        first = self.convolutions[0]
        assert isinstance(first, nn.Conv3d)
        return (torch.zeros(1, first.in_channels, *(TRIAL_SIDE,) * 3, device=device),)

    def _compute(self, *features: Tensor) -> Tensor:
        """Features (N, width, d, h, w) of some of one size (N, c, D, H, W)."""
        x = self.pool(torch.cat(features, dim=1) if len(features) > 1 else features[0])
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x = F.leaky_relu(norm(convolution(x)), NEGATIVE_SLOPE, inplace=True)
        return x


class Attention(Recomputed):
    """Features weighted by channel, then by place: the convolutional block attention module.

    Source: Woo et al. 2018 (CBAM), Eq. 2 and 3.
    """

    def __init__(self, width: int):
        super().__init__()
        inner = max(1, width // REDUCTION)
        self.shared = nn.Sequential(nn.Linear(width, inner), nn.ReLU(), nn.Linear(inner, width))
        self.around = nn.Conv3d(2, 1, VIEW, padding=VIEW // 2, bias=False)

    def trial(self, device: torch.device) -> tuple[Tensor, ...]:
        """A volume."""
        first = self.shared[0]
        assert isinstance(first, nn.Linear)
        return (torch.zeros(1, first.in_features, *(TRIAL_SIDE,) * 3, device=device),)

    def _compute(self, x: Tensor) -> Tensor:
        """Features of the same size (N, width, D, H, W)."""
        volume = (2, 3, 4)
        by_channel = self.shared(x.mean(volume)) + self.shared(x.amax(volume))
        x = x * by_channel.sigmoid()[:, :, None, None, None]
        by_place = self.around(torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], 1))
        return x * by_place.sigmoid()


class UNet3d(nn.Module):
    """Levels of two convolutions each, transposed convolutions on the way up, skips joined.

    Sides must be multiples of the product of the strides. There is no activation at the end.

    Source: nnU-Net's plain 3D network without deep supervision; with `attention` the network of
        Bensebihi et al. 2026, of which only the abstract could be read: CBAM on every skip; the
        largest of the voxels in place of strides, and biases, are ours.
    Differs: kernels are 3^3 in all levels; nnU-Net has 1x3x3 where slices are thick.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        widths: Sequence[int],
        strides: Sequence[Stride],
        *,
        attention: bool,
    ):
        """`widths` has one number for each level, `strides` what lies between two of them."""
        super().__init__()

        def block(before: int, width: int, stride: Stride = (1, 1, 1)) -> VolumeBlock:
            return VolumeBlock(before, width, stride, pooled=attention, bias=attention)

        levels = list(zip(pairwise(widths), strides, strict=True))
        self.encoder = nn.ModuleList(
            [block(inputs, widths[0]), *(block(*pair, stride) for pair, stride in levels)]
        )
        levels.reverse()
        self.up = nn.ModuleList(
            nn.ConvTranspose3d(coarse, fine, stride, stride=stride, bias=attention)
            for (fine, coarse), stride in levels
        )
        self.skips = nn.ModuleList(
            Attention(fine) if attention else nn.Identity() for (fine, _), _ in levels
        )
        self.decoder = nn.ModuleList(block(2 * fine, fine) for (fine, _), _ in levels)
        for module in self.modules():
            if isinstance(module, nn.Conv3d | nn.ConvTranspose3d):
                nn.init.kaiming_normal_(module.weight, a=NEGATIVE_SLOPE)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        self.head = nn.Conv3d(widths[0], outputs, 1)  # PyTorch's smaller weights: within [-1, 1]

    def forward(self, volumes: Tensor) -> Tensor:
        """Volumes (N, outputs, D, H, W) of volumes (N, inputs, D, H, W)."""
        kept = [volumes]
        for block in self.encoder:
            kept.append(block(kept[-1]))
        x = kept.pop()
        for up, skip, block in zip(self.up, self.skips, self.decoder, strict=True):
            x = block(up(x), skip(kept.pop()))
        made: Tensor = self.head(x)
        return made
