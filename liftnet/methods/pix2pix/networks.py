"""The networks of pix2pix, with instance norm and without dropout at prediction.

Differs: the original keeps dropout and the batch's statistics at test time, so that its result is
random and depends on the batch; batch norm of one slice in that way is instance norm.
"""

from itertools import pairwise
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["ResNetGenerator", "UNetGenerator", "initialize_"]

SLOPE = 0.2  # pix2pix
STD = 0.02  # pix2pix: of initial weights
DROPOUT = 0.5  # pix2pix: in the inner blocks, in training only here


class Down(nn.Module):
    """A 4x4 convolution that halves the size, after a leaky ReLU but in the first."""

    def __init__(self, before: int, width: int, *, first: bool, norm: bool):
        super().__init__()
        self.first = first
        self.convolution = nn.Conv2d(before, width, 4, stride=2, padding=1, bias=False)
        self.norm = nn.InstanceNorm2d(width, affine=True) if norm else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, width, H / 2, W / 2)."""
        entered = x if self.first else F.leaky_relu(x, SLOPE)
        return cast(Tensor, self.norm(self.convolution(entered)))


class Up(nn.Module):
    """A transposed 4x4 convolution that doubles the size, after a ReLU."""

    def __init__(self, before: int, width: int, *, last: bool, dropout: bool):
        super().__init__()
        self.convolution = nn.ConvTranspose2d(before, width, 4, stride=2, padding=1, bias=last)
        self.norm = nn.Identity() if last else nn.InstanceNorm2d(width, affine=True)
        self.dropout = DROPOUT if dropout else 0.0

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, width, 2 H, 2 W)."""
        x = self.norm(self.convolution(F.relu(x)))
        return F.dropout(x, self.dropout, self.training) if self.dropout else x


class Residual(nn.Module):
    """Two 3x3 convolutions whose result is added to what they were given."""

    def __init__(self, width: int):
        super().__init__()
        self.layers = nn.Sequential(
            *normed(nn.Conv2d(width, width, 3, bias=False, padding=1, padding_mode="reflect")),
            nn.Dropout(DROPOUT),
            *normed(nn.Conv2d(width, width, 3, bias=False, padding=1, padding_mode="reflect"))[:2],
        )

    def forward(self, x: Tensor) -> Tensor:
        """Maps of the same size (N, width, H, W)."""
        return x + cast(Tensor, self.layers(x))


def normed(convolution: nn.Conv2d | nn.ConvTranspose2d) -> list[nn.Module]:
    """A convolution with its norm and ReLU."""
    return [convolution, nn.InstanceNorm2d(convolution.out_channels, affine=True), nn.ReLU(True)]


class ResNetGenerator(nn.Module):
    """Two halvings, some residual blocks, two doublings; slices whose sides are multiples of 4.

    Source: pix2pix `ResnetGenerator`: 7x7 at both ends, widths w, 2w, 4w, reflected borders.
    """

    def __init__(self, inputs: int, outputs: int, width: int, blocks: int):
        super().__init__()
        ends: dict[str, Any] = {"padding": 3, "padding_mode": "reflect"}
        half: dict[str, Any] = {"stride": 2, "padding": 1, "bias": False}
        self.layers = nn.Sequential(
            *normed(nn.Conv2d(inputs, width, 7, bias=False, **ends)),
            *normed(nn.Conv2d(width, 2 * width, 3, **half)),
            *normed(nn.Conv2d(2 * width, 4 * width, 3, **half)),
            *(Residual(4 * width) for _ in range(blocks)),
            *normed(nn.ConvTranspose2d(4 * width, 2 * width, 3, output_padding=1, **half)),
            *normed(nn.ConvTranspose2d(2 * width, width, 3, output_padding=1, **half)),
            nn.Conv2d(width, outputs, 7, **ends),
        )

    def forward(self, slices: Tensor) -> Tensor:
        """Slices (N, outputs, H, W) in [-1, 1]."""
        return torch.tanh(self.layers(slices))


class UNetGenerator(nn.Module):
    """`halvings` steps down and up, with skips; slices whose sides are multiples of 2^halvings.

    Source: pix2pix `UnetGenerator`: widths w, 2w, 4w, 8w, 8w, ...
    """

    def __init__(self, inputs: int, outputs: int, width: int, halvings: int):
        super().__init__()
        widths = [width * min(2**i, 8) for i in range(halvings)]
        inner = halvings - 1
        self.down = nn.ModuleList(
            Down(before, after, first=i == 0, norm=0 < i < inner)
            for i, (before, after) in enumerate(pairwise([inputs, *widths]))
        )
        steps = []
        for i in reversed(range(halvings)):
            before = widths[i] * (1 if i == inner else 2)
            after = widths[i - 1] if i else outputs
            steps.append(Up(before, after, last=i == 0, dropout=4 <= i < inner))
        self.up = nn.ModuleList(steps)

    def forward(self, slices: Tensor) -> Tensor:
        """Slices (N, outputs, H, W) in [-1, 1]."""
        skips: list[Tensor] = []
        x = slices
        for step in self.down:
            x = step(x)
            skips.append(x)
        x = self.up[0](skips.pop())
        for step in self.up[1:]:
            x = step(torch.cat([skips.pop(), x], dim=1))
        return torch.tanh(x)


def initialize_(network: nn.Module) -> nn.Module:
    """The network with the initial weights of pix2pix: N(0, 0.02); norms N(1, 0.02)."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(module.weight, 0.0, STD)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.InstanceNorm2d):
            nn.init.normal_(module.weight, 1.0, STD)
            nn.init.zeros_(module.bias)
    return network
