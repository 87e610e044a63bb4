"""The z-context mixer: what each slice learns from all the others."""

from typing import cast

import torch
from torch import Tensor, nn

from liftnet.core.plan import MixerSpec
from liftnet.networks.slice_translator import SliceFeatures
from liftnet.ops.depth import fourier_depth, relative_depth

__all__ = ["ContextMixer", "describe", "descriptor_size"]


def descriptor_size(spec: MixerSpec, widths: tuple[int, ...]) -> int:
    """The length of a slice descriptor b_d for a translator of these widths."""
    stages = widths if spec.descriptor_stages == "all" else widths[-1:]
    return sum(stages) * (2 if spec.descriptor == "mean_std" else 1)


def describe(features: SliceFeatures, spec: MixerSpec) -> Tensor:
    """Slice descriptors b (N, size), pooled over the slice, float32.

    Source: LiFT Sec. 4.2, b_d = Pool(h_d): `descriptor="mean"`, `descriptor_stages="bottleneck"`.
    """
    stages = features.stages if spec.descriptor_stages == "all" else features.stages[-1:]
    parts = []
    for maps in stages:
        flat = maps.float().flatten(2)
        parts.append(flat.mean(-1))
        if spec.descriptor == "mean_std":
            parts.append(flat.std(-1))
    return torch.cat(parts, dim=1)


class ContextMixer(nn.Module):
    """A bidirectional GRU over slice descriptors, and the layers that bring its context back.

    Source: LiFT Eq. 7, (c_1, ..., c_D) = BiGRU(b_1:D, gamma(1:D)).
    Differs: with `inject="decoder"` the context also enters after every decoder stage, and with
        `through_plane_kernel=3` neighbouring slices of a slab are mixed there by a depthwise
        convolution along the slice axis; both start at zero, as the paper's 2D translator.
    """

    def __init__(self, spec: MixerSpec, widths: tuple[int, ...]):
        super().__init__()
        self.spec = spec
        maps = [widths[-1], *reversed(widths[:-1])]  # bottleneck, then decoder stages
        self.standardize = nn.LayerNorm(descriptor_size(spec, widths))
        self.gru = nn.GRU(
            descriptor_size(spec, widths) + 2 * spec.fourier_frequencies,
            spec.hidden_size,
            num_layers=spec.num_layers,
            batch_first=True,
            bidirectional=True,
        )
        injected = {"none": [], "bottleneck": maps[:1], "decoder": maps}[spec.inject]
        layers = [nn.Linear(2 * spec.hidden_size, 2 * m) for m in injected]
        self.inject = nn.ModuleList(layers)
        for layer in layers:
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        kernel = spec.through_plane_kernel
        convolutions = [
            nn.Conv1d(m, m, kernel, padding=kernel // 2, groups=m, bias=False)
            for m in (maps if kernel else [])
        ]
        self.through_plane = nn.ModuleList(convolutions)
        for convolution in convolutions:
            nn.init.zeros_(convolution.weight)

    @property
    def halo(self) -> int:
        """How many slices on each side a decoded slice depends on, beyond its context vector."""
        return len(self.through_plane) * (self.spec.through_plane_kernel // 2)

    def forward(self, descriptors: Tensor) -> Tensor:
        """Context vectors c (B, D, 2 hidden) from the descriptors (B, D, size) of whole volumes."""
        depth = relative_depth(descriptors.shape[1], device=descriptors.device)
        code = fourier_depth(depth, self.spec.fourier_frequencies)
        code = code.expand(descriptors.shape[0], -1, -1)
        context, _ = self.gru(torch.cat([self.standardize(descriptors), code], dim=-1))
        return context

    def adjust(self, stage: int, maps: Tensor, context: Tensor) -> Tensor:
        """Decoder maps (B D, width, h, w) with their context (B, D, size) brought in."""
        if stage < len(self.inject):
            layer = self.inject[stage]
            scale, shift = layer(context.flatten(0, 1)).to(maps.dtype)[..., None, None].chunk(2, 1)
            maps = maps * (1 + scale) + shift
        if self.through_plane:
            maps = maps + self._mix_neighbours(stage, maps, context.shape[0])
        return maps

    def _mix_neighbours(self, stage: int, maps: Tensor, num_volumes: int) -> Tensor:
        """A depthwise convolution along D, as weighted sums of shifted slabs (no transposes)."""
        convolution = cast(nn.Conv1d, self.through_plane[stage])
        weight = convolution.weight.to(maps.dtype)  # (width, 1, kernel)
        slab = maps.unflatten(0, (num_volumes, -1))
        reach = weight.shape[-1] // 2
        mixed = slab * weight[:, 0, reach][:, None, None]
        for offset in range(1, min(reach, slab.shape[1] - 1) + 1):
            ahead = slab[:, offset:] * weight[:, 0, reach + offset][:, None, None]
            behind = slab[:, :-offset] * weight[:, 0, reach - offset][:, None, None]
            mixed = mixed + nn.functional.pad(ahead, (0, 0, 0, 0, 0, 0, 0, offset))
            mixed = mixed + nn.functional.pad(behind, (0, 0, 0, 0, 0, 0, offset, 0))
        return mixed.flatten(0, 1)
