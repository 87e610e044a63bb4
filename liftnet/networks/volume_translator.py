"""LiFT-C: a 2D translator over all slices of a volume, joined by a context mixer."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from liftnet.core.plan import MixerSpec, TranslatorSpec
from liftnet.networks.context_mixer import ContextMixer, describe
from liftnet.networks.slice_translator import SliceFeatures, SliceTranslator
from liftnet.ops.depth import fold_slices, unfold_slices

__all__ = ["VolumeTranslator"]


class VolumeTranslator(nn.Module):
    """Source volumes (1, C, D, H, W) to target volumes (1, T, D, H, W).

    Source: LiFT Eq. 7 and 8, Algorithm 2. Without a mixer it is the paper's ablation.
    """

    def __init__(self, translator: TranslatorSpec, mixer: MixerSpec | None):
        super().__init__()
        self.translator = SliceTranslator(translator)
        self.mixer = ContextMixer(mixer, translator.widths) if mixer is not None else None

    def forward(
        self,
        sources: Sequence[Tensor],
        conditions: Tensor,
        *,
        starts: Sequence[int],
        count: int,
        slice_batch: int,
    ) -> Tensor:
        """Decoded slabs (B, T, count, H, W) of B volumes whose other slices only give context.

        Volumes (1, C, D, H, W) may differ in depth. Slices outside the slabs are encoded without
        a graph, so that memory does not grow with the depth (LiFT App. F: all D slices are
        encoded, a slab is decoded).
        """
        volumes = [fold_slices(source) for source in sources]
        slabs = [volume[a : a + count] for volume, a in zip(volumes, starts, strict=True)]
        repeated = conditions.repeat_interleave(count, dim=0)
        features = self.translator.encode(torch.cat(slabs), repeated)
        context = None
        if self.mixer is not None:
            own = describe(features, self.mixer.spec).split(count)
            contexts = []
            for volume, slab, a, condition in zip(
                volumes, own, starts, conditions.split(1), strict=True
            ):
                before = self._describe_frozen(volume[:a], condition, slice_batch)
                after = self._describe_frozen(volume[a + count :], condition, slice_batch)
                whole = self.mixer(torch.cat([*before, slab, *after])[None])
                contexts.append(whole[:, a : a + count])
            context = torch.cat(contexts)
        return unfold_slices(self.decode(features, repeated, context), len(volumes))

    @torch.no_grad()
    def synthesize(
        self, source: Tensor, condition: Tensor, *, slice_batch: int, keep_features: bool
    ) -> Tensor:
        """The whole target volume (1, T, D, H, W), in batches of slices.

        With `keep_features` each slice is encoded once and its features are kept; otherwise it is
        encoded again for decoding (Algorithm 2), so that memory does not grow with the depth.
        Both give the same volume.
        """
        slices = fold_slices(source)
        depth = len(slices)
        chunks = [(s, min(s + slice_batch, depth)) for s in range(0, depth, slice_batch)]
        if self.mixer is None:
            parts = [
                self.decode(self.encode(slices[a:b], condition), condition, None) for a, b in chunks
            ]
            return unfold_slices(torch.cat(parts), 1)
        kept: list[SliceFeatures] = []
        descriptors = []
        for a, b in chunks:
            features = self.encode(slices[a:b], condition)
            descriptors.append(describe(features, self.mixer.spec))
            if keep_features:
                kept.append(features)
        context = self.mixer(torch.cat(descriptors)[None])
        halo = self.mixer.halo
        parts = []
        for a, b in chunks:
            first, last = max(a - halo, 0), min(b + halo, depth)
            if keep_features:
                features = _gather(kept, first, last, slice_batch)
            else:
                features = self.encode(slices[first:last], condition)
            decoded = self.decode(features, condition, context[:, first:last])
            parts.append(decoded[a - first : b - first])
        return unfold_slices(torch.cat(parts), 1)

    def encode(self, slices: Tensor, condition: Tensor) -> SliceFeatures:
        """Features of slices (N, C, H, W) under one condition (1, K) or one each (N, K)."""
        encoded: SliceFeatures = self.translator.encode(slices, condition.expand(len(slices), -1))
        return encoded

    def decode(self, features: SliceFeatures, condition: Tensor, context: Tensor | None) -> Tensor:
        """Target slices (B n, T, H, W), with the context (B, n, size) of B slabs or without."""
        mixer = self.mixer
        adjust = None
        if mixer is not None and context is not None:

            def adjust(stage: int, maps: Tensor) -> Tensor:
                return mixer.adjust(stage, maps, context)

        count = len(features.bottleneck)
        return self.translator.decode(features, condition.expand(count, -1), adjust)

    @torch.no_grad()
    def _describe_frozen(self, slices: Tensor, condition: Tensor, slice_batch: int) -> list[Tensor]:
        assert self.mixer is not None
        return [
            describe(self.encode(part, condition), self.mixer.spec)
            for part in slices.split(slice_batch)
            if len(part)
        ]


def _gather(kept: list[SliceFeatures], first: int, last: int, size: int) -> SliceFeatures:
    """Features of slices first..last out of batches of `size` slices."""
    pieces = []
    for i, features in enumerate(kept):
        low, high = max(first - i * size, 0), min(last - i * size, len(features.bottleneck))
        if low < high:
            pieces.append([maps[low:high] for maps in features.stages])
    return SliceFeatures(tuple(torch.cat(maps) for maps in zip(*pieces, strict=True)))
