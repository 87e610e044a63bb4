"""LiFT-C: a 2D translator over all slices of a volume, joined by a context mixer."""

from collections import deque
from collections.abc import Iterator, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from liftnet.core.network_specs import MixerSpec, TranslatorSpec
from liftnet.networks.context_mixer import ContextMixer, describe
from liftnet.networks.slice_stream import Waiting
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

        With `keep_features` each slice is encoded once and its features are kept until they are
        decoded; otherwise it is encoded again (Algorithm 2), so that memory does not grow with
        the depth. Every slice is decoded once. Both give the same volume.
        """
        slices = source[0].transpose(0, 1)

        def encoded() -> Iterator[SliceFeatures]:
            return map(encode, slices.split(slice_batch))

        encode = partial(self.encode, condition=condition)
        features, context = encoded(), None
        if self.mixer is not None:
            kept = deque[SliceFeatures]()

            def keep(features: SliceFeatures) -> SliceFeatures:
                kept.append(features)
                return features

            context = self._context(map(keep, features) if keep_features else features)
            features = _emptied(kept) if keep_features else encoded()
        targets = self.translator.spec.target_channels
        volume = source.new_empty((1, targets, *source.shape[2:]))
        done = 0
        for made in self._decode_in_order(features, condition, context, largest=slice_batch):
            volume[0, :, done : done + len(made)] = made.transpose(0, 1)
            done += len(made)
        return volume

    @torch.no_grad()
    def trajectory(self, source: Tensor, condition: Tensor, *, slice_batch: int) -> Tensor:
        """Context vectors (D, 2 hidden) of the slices of a source; nothing is decoded.

        Source: LiFT Eq. 7, Fig. 7.

        Raises:
            ValueError: If there is no mixer.
        """
        slices = source[0].transpose(0, 1).split(slice_batch)
        return self._context(map(partial(self.encode, condition=condition), slices))[0]

    def _context(self, features: Iterator[SliceFeatures]) -> Tensor:
        """Context vectors (1, D, 2 hidden) from the features of a volume's slices in order."""
        if self.mixer is None:
            raise ValueError("expected a network with a mixer, got the ablation without one")
        described = map(partial(describe, spec=self.mixer.spec), features)
        context: Tensor = self.mixer(torch.cat(list(described))[None])
        return context

    def _decode_in_order(
        self,
        features: Iterator[SliceFeatures],
        condition: Tensor,
        context: Tensor | None,
        *,
        largest: int,
    ) -> Iterator[Tensor]:
        """Target slices (n, T, H, W) of one volume in order, at most `largest` at a time.

        Stages that mix neighbouring slices lag behind, and the skips wait for them.
        """
        skips = [Waiting() for _ in self.translator.decoder]

        def enter(features: SliceFeatures) -> Tensor:
            for line, maps in zip(skips, reversed(features.stages[:-1]), strict=True):
                line.put(maps)
            return features.bottleneck

        def decode(stage: int, maps: Tensor) -> Tensor:
            # A skip is held no longer than until it is joined.
            joined = self.translator.join(stage, maps, skips[stage].take(len(maps)))
            decoded: Tensor = self.translator.decoder[stage](joined, condition)
            return decoded

        # Unlike a loop, `map` holds no maps while the next are made.
        chunks: Iterator[Tensor] = map(enter, features)
        for stage in range(len(skips) + 1):
            if stage > 0:
                chunks = map(partial(decode, stage - 1), chunks)
            if self.mixer is not None and context is not None:
                chunks = self.mixer.adjust_in_order(stage, chunks, context, largest=largest)
        return map(self.translator.finish, chunks)

    def encode(self, slices: Tensor, condition: Tensor) -> SliceFeatures:
        """Features of slices (N, C, H, W) under one condition (1, K) or one each (N, K)."""
        encoded: SliceFeatures = self.translator.encode(slices, condition)
        return encoded

    def decode(self, features: SliceFeatures, condition: Tensor, context: Tensor | None) -> Tensor:
        """Target slices (B n, T, H, W), with the context (B, n, size) of B slabs or without."""
        mixer = self.mixer
        adjust = None
        if mixer is not None and context is not None:

            def adjust(stage: int, maps: Tensor) -> Tensor:
                return mixer.adjust(stage, maps, context)

        return self.translator.decode(features, condition, adjust)

    @torch.no_grad()
    def _describe_frozen(self, slices: Tensor, condition: Tensor, slice_batch: int) -> list[Tensor]:
        assert self.mixer is not None
        return [
            describe(self.encode(part, condition), self.mixer.spec)
            for part in slices.split(slice_batch)
            if len(part)
        ]


def _emptied(kept: deque[SliceFeatures]) -> Iterator[SliceFeatures]:
    """The kept features in order, each forgotten when it is handed out."""
    while kept:
        yield kept.popleft()
