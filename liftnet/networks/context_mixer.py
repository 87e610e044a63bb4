"""The z-context mixer: what each slice learns from all the others."""

from collections.abc import Iterator
from typing import cast

import torch
from torch import Tensor, nn

from liftnet.core.network_specs import MixerSpec
from liftnet.networks.slice_stream import Waiting, with_neighbours
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
        pixels = maps.flatten(2).transpose(1, 2)  # (N, H W, width), as channels last are stored
        mean = pixels.mean(1, keepdim=True, dtype=torch.float32)
        parts.append(mean[:, 0])
        if spec.descriptor == "mean_std":  # a third of the time that `std` takes
            norm = torch.linalg.vector_norm(pixels - mean, dim=1)
            parts.append(norm / max(pixels.shape[1] - 1, 1) ** 0.5)
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
    def reach(self) -> int:
        """How many slices on each side a stage of the decoder mixes into one."""
        return self.spec.through_plane_kernel // 2

    def forward(self, descriptors: Tensor) -> Tensor:
        """Context vectors c (B, D, 2 hidden) from the descriptors (B, D, size) of whole volumes."""
        depth = relative_depth(descriptors.shape[1], device=descriptors.device)
        code = fourier_depth(depth, self.spec.fourier_frequencies)
        code = code.expand(descriptors.shape[0], -1, -1)
        context, _ = self.gru(torch.cat([self.standardize(descriptors), code], dim=-1))
        return context

    def adjust(self, stage: int, maps: Tensor, context: Tensor) -> Tensor:
        """Decoder maps (B D, width, h, w) with their context (B, D, size) brought in."""
        if stage >= max(len(self.inject), len(self.through_plane)):
            return maps
        ends = [maps[:1]] * self.reach, [maps[-1:]] * self.reach  # their weight is 0
        slab = torch.cat([*ends[0], maps, *ends[1]]) if self.reach else maps
        return _weighted(slab, self._weights(stage, context))

    def adjust_in_order(
        self, stage: int, chunks: Iterator[Tensor], context: Tensor, *, largest: int
    ) -> Iterator[Tensor]:
        """What `adjust` makes of the chunks of one volume, at most `largest` slices at a time."""
        if stage >= max(len(self.inject), len(self.through_plane)):
            return chunks
        weights = Waiting()
        weights.put(self._weights(stage, context))
        slabs = with_neighbours(chunks, self.reach, depth=context.shape[1], largest=largest)

        def adjusted(slab: Tensor) -> Tensor:
            return _weighted(slab, weights.take(len(slab) - 2 * self.reach))

        return map(adjusted, slabs)  # unlike a loop, it holds no slab while the next is made

    def _weights(self, stage: int, context: Tensor) -> Tensor:
        """What each map of a slice and its neighbours counts, and a constant: (B D, k + 1, width).

        Scale, shift, and the convolution along the slices of what they give, in one sum. Slices
        beyond an end of a volume count nothing.
        """
        count, reach = context.shape[1], self.reach
        if stage < len(self.inject):
            scale, shift = self.inject[stage](context).float().chunk(2, -1)
        else:
            convolution = cast(nn.Conv1d, self.through_plane[stage])
            scale = shift = context.new_zeros((*context.shape[:2], convolution.out_channels))
        if not self.through_plane:
            return torch.stack([1 + scale, shift], dim=2).flatten(0, 1)
        along = cast(nn.Conv1d, self.through_plane[stage]).weight[:, 0].t()  # (k, width)
        identity = torch.zeros_like(along)
        identity[reach] = 1
        near = nn.functional.pad(torch.stack([1 + scale, shift]), (0, 0, reach, reach))
        near = torch.stack([near[:, :, k : k + count] for k in range(2 * reach + 1)], dim=3)
        weights, constant = near * (along + identity)
        return torch.cat([weights, constant.sum(2, keepdim=True)], dim=2).flatten(0, 1)


def _weighted(slab: Tensor, weights: Tensor) -> Tensor:
    """Sums (n, width, h, w) of the neighbouring slices of a slab (n + k - 1, width, h, w).

    Args:
        slab: n slices, and those on either side.
        weights: of each map of the k slices, and a constant (n, k + 1, width).
    """
    count, centre = len(weights), (weights.shape[1] - 2) // 2
    *factors, constant = weights.to(slab.dtype)[..., None, None].unbind(1)
    total = torch.addcmul(constant, slab[centre : centre + count], factors[centre])
    for k, factor in enumerate(factors):
        if k != centre:
            total.addcmul_(slab[k : k + count], factor)
    return total
