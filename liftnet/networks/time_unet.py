"""The time-conditioned U-Net of diffusions, flows and bridges, of slices or of volumes."""

import math
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from liftnet.core.network_specs import TimeUNetSpec
from liftnet.networks.blocks import GroupNorm, Recomputed
from liftnet.ops.compute.precision import without_autocast

__all__ = ["TimeBlock", "TimeUNet"]

MOST_GROUPS = 32  # Dhariwal and Nichol 2021
MAX_PERIOD = 10_000  # Vaswani et al. 2017
TRIAL_SIDE = 8  # ours: of what a block is tried on
CONVOLUTIONS: dict[int, Any] = {2: nn.Conv2d, 3: nn.Conv3d}
POOLS: dict[int, Any] = {2: F.avg_pool2d, 3: F.avg_pool3d}


def norm_of(width: int) -> nn.Module:
    """Group normalization with 32 groups, or the most below that divide the width."""
    groups = next(n for n in range(min(MOST_GROUPS, width), 0, -1) if width % n == 0)
    return GroupNorm(groups, width)


def at_zero(layer: nn.Module) -> nn.Module:
    """The layer with all weights 0, so that what it adds begins as nothing."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


class TimeBlock(Recomputed):
    """Two convolutions beside a shortcut, told the time after the first; may halve or double."""

    def __init__(
        self, dimensions: int, before: int, width: int, embedding: int, resize: str = "none"
    ):
        super().__init__()
        convolution = CONVOLUTIONS[dimensions]
        self.dimensions, self.resize = dimensions, resize
        self.norm_in = norm_of(before)
        self.first = convolution(before, width, 3, padding=1)
        self.time = nn.Linear(embedding, width)
        self.norm_out = norm_of(width)
        self.second = at_zero(convolution(width, width, 3, padding=1))
        self.shortcut = nn.Identity() if before == width else convolution(before, width, 1)

    def _compute(self, x: Tensor, embedding: Tensor) -> Tensor:
        """Maps (N, width, ...) of maps (N, before, ...) and an embedding (N, K)."""
        entered = self._resized(F.silu(self.norm_in(x)))
        told = self.time(F.silu(embedding)).to(entered.dtype)
        maps = self.first(entered) + told.view(*told.shape, *(1,) * self.dimensions)
        added = self.second(F.silu(self.norm_out(maps)))
        return cast(Tensor, self.shortcut(self._resized(x)) + added)

    def _resized(self, x: Tensor) -> Tensor:
        if self.resize == "half":
            return cast(Tensor, POOLS[self.dimensions](x, 2))
        if self.resize == "double":
            return F.interpolate(x, scale_factor=2.0, mode="nearest")
        return x

    def trial(self, device: torch.device) -> tuple[Tensor, ...]:
        """Two small maps."""
        maps = torch.zeros(2, self.first.in_channels, *(TRIAL_SIDE,) * self.dimensions)
        return maps.to(device), torch.zeros(2, self.time.in_features, device=device)


class TimeUNet(nn.Module):
    """Residual blocks at each size, one more on the way up; skips are joined; no attention.

    Source: the network of cWDM, which is that of Dhariwal and Nichol 2021 in three dimensions.
    """

    def __init__(self, spec: TimeUNetSpec):
        super().__init__()
        self.spec = spec
        dimensions, width, size = spec.dimensions, spec.width, 4 * spec.width
        convolution = CONVOLUTIONS[dimensions]
        self.time = nn.Sequential(nn.Linear(width, size), nn.SiLU(), nn.Linear(size, size))
        self.code = (
            at_zero(nn.Linear(spec.condition_size, size, bias=False))
            if spec.condition_size
            else None
        )
        self.enter = convolution(spec.inputs, width, 3, padding=1)

        def block(before: int, after: int, resize: str = "none") -> TimeBlock:
            return TimeBlock(dimensions, before, after, size, resize)

        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        skips, now = [width], width
        last = len(spec.multipliers) - 1
        for level, multiplier in enumerate(spec.multipliers):
            for _ in range(spec.blocks):
                self.down.append(block(now, multiplier * width))
                now = multiplier * width
                skips.append(now)
            if level < last:
                self.down.append(block(now, now, "half"))
                skips.append(now)
        self.middle = nn.ModuleList([block(now, now), block(now, now)])
        for level, multiplier in reversed(list(enumerate(spec.multipliers))):
            for _ in range(spec.blocks + 1):
                self.up.append(block(now + skips.pop(), multiplier * width))
                now = multiplier * width
            if level:
                self.up.append(block(now, now, "double"))
        self.norm = norm_of(now)
        self.leave = at_zero(convolution(now, spec.outputs, 3, padding=1))

    def forward(self, x: Tensor, times: Tensor, code: Tensor) -> Tensor:
        """What the network says of (N, inputs, ...), (N, outputs, ...) float32.

        Args:
            x: sizes are multiples of 2 to the power of the number of multipliers less one.
            times: (N,), from 0 to 1000.
            code: (N, condition_size) of what is given and wanted; may have no column.
        """
        embedding = self.time(_waves(times, self.spec.width))
        if self.code is not None:
            embedding = embedding + self.code(code)
        maps = self.enter(x)
        skips = [maps]
        for step in self.down:
            maps = step(maps, embedding)
            skips.append(maps)
        for step in self.middle:
            maps = step(maps, embedding)
        for step in self.up:
            if step.resize == "none":
                maps = torch.cat([maps, skips.pop()], dim=1)
            maps = step(maps, embedding)
        maps = F.silu(self.norm(maps))
        with without_autocast(maps.device):  # bf16 would round what is added up in a sampler
            return cast(Tensor, self.leave(maps.float()))


def _waves(times: Tensor, size: int) -> Tensor:
    """Cosines and sines (N, size) of times (N,).

    Source: Vaswani et al. 2017.
    """
    half = size // 2
    steps = torch.arange(half, dtype=torch.float32, device=times.device)
    angles = times[:, None] * torch.exp(steps * (-math.log(MAX_PERIOD) / half))
    return torch.cat([angles.cos(), angles.sin()], dim=1)
