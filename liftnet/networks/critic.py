"""The critic of patches: which places of an image look real."""

from itertools import pairwise
from typing import cast

from torch import Tensor, nn

__all__ = ["PatchCritic"]

SLOPE = 0.2  # pix2pix


class PatchCritic(nn.Module):
    """The 70x70 PatchGAN: a logit for each place, of a source and a target together.

    Source: Isola et al. 2017; instance norm in place of the batch norm of a single image.
    """

    def __init__(self, inputs: int, width: int):
        super().__init__()
        widths = [width, 2 * width, 4 * width, 8 * width]
        layers: list[nn.Module] = []
        for i, (before, after) in enumerate(pairwise([inputs, *widths])):
            stride = 2 if i < 3 else 1
            layers.append(nn.Conv2d(before, after, 4, stride=stride, padding=1, bias=i == 0))
            if i:
                layers.append(nn.InstanceNorm2d(after, affine=True))
            layers.append(nn.LeakyReLU(SLOPE))
        self.layers = nn.Sequential(*layers, nn.Conv2d(widths[-1], 1, 4, padding=1))

    def forward(self, slices: Tensor) -> Tensor:
        """Logits (N, 1, h, w)."""
        return cast(Tensor, self.layers(slices))
