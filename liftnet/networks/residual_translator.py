"""LiFT-C in two stages: a frozen 2D translator, and a residual that knows the other slices."""

from collections import deque
from collections.abc import Iterator, Sequence
from functools import partial
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from liftnet.core.network_specs import MixerSpec, ResidualSpec, TranslatorSpec
from liftnet.networks.blocks import NEGATIVE_SLOPE
from liftnet.networks.context_mixer import ContextMixer, describe
from liftnet.networks.slice_stream import with_neighbours
from liftnet.networks.slice_translator import SliceFeatures, SliceTranslator
from liftnet.ops.compute.precision import without_autocast
from liftnet.ops.depth import fold_slices

__all__ = ["ResidualHead", "ResidualTranslator"]


class ResidualHead(nn.Module):
    """An additive correction of each slice from its neighbours' maps and its context vector.

    It starts as no correction at all: the last layer is zero.
    """

    def __init__(self, spec: ResidualSpec, *, channels: int, context_size: int, targets: int):
        super().__init__()
        self.spec = spec
        self.enter = nn.Conv2d(channels, spec.width, 3, padding=1)
        self.modulation = nn.Linear(context_size, 2 * spec.width)
        mixed = (2 * spec.neighbours + 1) * spec.width
        self.mix = nn.Conv2d(mixed, spec.width, 3, padding=1)
        self.convolutions = nn.ModuleList(
            nn.Conv2d(spec.width, spec.width, 3, padding=1) for _ in range(spec.convolutions)
        )
        self.leave = nn.Conv2d(spec.width, targets, 1)
        for layer in (self.enter, self.mix, *self.convolutions):
            assert isinstance(layer, nn.Conv2d)
            nn.init.kaiming_normal_(layer.weight, a=NEGATIVE_SLOPE)
            nn.init.zeros_(cast(Tensor, layer.bias))
        for layer in (self.modulation, self.leave):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(cast(Tensor, layer.bias))

    def forward(self, maps: Tensor, context: Tensor) -> Tensor:
        """Corrections (W, n, T, H, W') of n slices of W windows.

        `maps` (W, n + 2 neighbours, channels, H, W') and `context` (W, n + 2 neighbours, size) hold
        `neighbours` more slices on each side.
        """
        windows = len(maps)
        x = self.read(maps.flatten(0, 1), context.flatten(0, 1)).unflatten(0, (windows, -1))
        count = x.shape[1] - 2 * self.spec.neighbours
        near = [x[:, i : i + count] for i in range(2 * self.spec.neighbours + 1)]
        return self.correct(near).unflatten(0, (windows, count))

    def read(self, maps: Tensor, context: Tensor) -> Tensor:
        """Slices (N, width, H, W) from what is seen of them (N, channels, H, W) and (N, size)."""
        x = self.enter(maps)
        scale, shift = self.modulation(context).to(x.dtype)[..., None, None].chunk(2, 1)
        own = None if torch.is_grad_enabled() else x  # without a graph, in place
        return _activated(torch.addcmul(shift, x, 1 + scale, out=own))

    def correct(self, near: Sequence[Tensor]) -> Tensor:
        """Corrections (N, T, H, W) of slices, read with their neighbours: each (..., width, H, W).

        Source: LiFT Sec. 5.3, the additive residual.
        """
        x = _activated(self.mix(torch.cat(list(near), dim=-3).flatten(0, -4)))
        for convolution in self.convolutions:
            x = x + _activated(convolution(x))
        with without_autocast(x.device):  # bf16 would round the intensities
            return cast(Tensor, self.leave(x.float()))


def _activated(maps: Tensor) -> Tensor:
    """Maps after the activation, in place where there is no graph."""
    return F.leaky_relu(maps, NEGATIVE_SLOPE, inplace=not torch.is_grad_enabled())


class ResidualTranslator(nn.Module):
    """Source volumes (1, C, D, H, W) to target volumes (1, T, D, H, W).

    Source: LiFT Sec. 5.3: the translator is frozen, mixer and head are trained.
    Differs: the paper leaves the head open. Ours sees the source, the baseline and the finest
        decoder maps of a slice and of its neighbours, and is modulated by the slice's context.
    """

    def __init__(self, translator: TranslatorSpec, mixer: MixerSpec, residual: ResidualSpec):
        super().__init__()
        self.translator = SliceTranslator(translator).requires_grad_(False)
        self.mixer = ContextMixer(mixer, translator.widths)
        channels = translator.source_channels + translator.target_channels + translator.widths[0]
        self.residual = ResidualHead(
            residual,
            channels=channels,
            context_size=2 * mixer.hidden_size,
            targets=translator.target_channels,
        )

    def forward(
        self,
        sources: Sequence[Tensor],
        conditions: Tensor,
        *,
        starts: Sequence[Sequence[int]],
        count: int,
        slice_batch: int,
    ) -> tuple[Tensor, Tensor]:
        """Baseline and correction (W, T, count, H, W') of windows of `count` slices.

        Window w of a volume begins at slice starts[volume][w]; all volumes' windows follow each
        other. Every slice of a volume is encoded for the context (LiFT App. F), only those of
        windows are decoded, and neither keeps a graph: the translator is frozen.
        """
        baselines, corrections = [], []
        for source, condition, first in zip(sources, conditions.split(1), starts, strict=True):
            slices = fold_slices(source)
            depth = len(slices)
            windows = torch.stack([self._reach(start, count, depth) for start in first])
            needed, rows = torch.unique(windows, return_inverse=True)
            with torch.no_grad():
                descriptors, maps = self._read(slices, condition, needed.tolist(), slice_batch)
                baseline, seen = self._see(slices[needed.to(slices.device)], maps)
            context = self.mixer(descriptors[None])[0]
            windows, rows = windows.to(slices.device), rows.to(slices.device)
            corrections.append(self.residual(seen[rows], context[windows]))
            inner = slice(self.residual.spec.neighbours, self.residual.spec.neighbours + count)
            baselines.append(baseline[rows[:, inner]])
        return torch.cat(baselines).transpose(1, 2), torch.cat(corrections).transpose(1, 2)

    @torch.no_grad()
    def synthesize(
        self, source: Tensor, condition: Tensor, *, slice_batch: int, keep_features: bool
    ) -> Tensor:
        """The whole target volume (1, T, D, H, W), in batches of slices.

        With `keep_features` the finest decoder maps of all slices are kept while the descriptors
        are gathered; otherwise each slice is encoded again, and then decoded (LiFT Algorithm 2).
        Both give the same volume, and correct every slice once.
        """
        slices = source[0].transpose(0, 1)
        parts = slices.split(slice_batch)
        kept = deque[Tensor]()

        def keep(features: SliceFeatures) -> SliceFeatures:
            kept.append(self._decode(features, condition))
            return features

        encoded = map(partial(self._encode, condition=condition), parts)
        context = self._context(map(keep, encoded) if keep_features else encoded)
        volume = source.new_empty((1, self.translator.spec.target_channels, *source.shape[2:]))

        def read(part: Tensor, own: Tensor, target: Tensor) -> Tensor:
            if keep_features:
                maps = kept.popleft()
            else:
                maps = self._decode(self._encode(part, condition), condition)
            baseline, seen = self._see(part, maps)
            target[:] = baseline
            del maps, baseline
            return self.residual.read(seen, own)

        targets = volume[0].transpose(0, 1)
        entered = map(read, parts, context.split(slice_batch), targets.split(slice_batch))
        near, done = self.residual.spec.neighbours, 0
        slabs = with_neighbours(entered, near, depth=len(slices), largest=slice_batch)
        for correction in map(self._correct_slab, slabs):
            targets[done : done + len(correction)] += correction
            done += len(correction)
        return volume

    @torch.no_grad()
    def trajectory(self, source: Tensor, condition: Tensor, *, slice_batch: int) -> Tensor:
        """Context vectors (D, 2 hidden) of the slices of a source; nothing is decoded.

        Source: LiFT Eq. 7, Fig. 7.
        """
        slices = source[0].transpose(0, 1).split(slice_batch)
        return self._context(map(partial(self._encode, condition=condition), slices))

    def _context(self, features: Iterator[SliceFeatures]) -> Tensor:
        """Context vectors (D, 2 hidden) from the features of a volume's slices in order."""
        described = map(partial(describe, spec=self.mixer.spec), features)
        context: Tensor = self.mixer(torch.cat(list(described))[None])[0]
        return context

    def _reach(self, start: int, count: int, depth: int) -> Tensor:
        """The slices of a window and its neighbours; beyond either end the last slice again."""
        near = self.residual.spec.neighbours
        return torch.arange(start - near, start + count + near).clamp(0, depth - 1)

    def _read(
        self, slices: Tensor, condition: Tensor, needed: Sequence[int], slice_batch: int
    ) -> tuple[Tensor, Tensor]:
        """Descriptors (D, size) of all slices, finest decoder maps of the needed ones in order."""
        descriptors, maps = [], []
        for start in range(0, len(slices), slice_batch):
            features = self._encode(slices[start : start + slice_batch], condition)
            descriptors.append(describe(features, self.mixer.spec))
            size = len(descriptors[-1])
            inside = [i - start for i in needed if start <= i < start + size]
            if len(inside) == size:
                maps.append(self._decode(features, condition))
            elif inside:
                some = SliceFeatures(tuple(stage[inside] for stage in features.stages))
                maps.append(self._decode(some, condition))
        return torch.cat(descriptors), torch.cat(maps) if maps else slices[:0]

    def _encode(self, slices: Tensor, condition: Tensor) -> SliceFeatures:
        encoded: SliceFeatures = self.translator.encode(slices, condition)
        return encoded

    def _decode(self, features: SliceFeatures, condition: Tensor) -> Tensor:
        decoded: Tensor = self.translator.decode_features(features, condition)
        return decoded

    def _correct_slab(self, slab: Tensor) -> Tensor:
        """Corrections (n, T, H, W) of the inner slices of what the head has read."""
        parts = range(2 * self.residual.spec.neighbours + 1)
        count = len(slab) - len(parts) + 1
        return self.residual.correct([slab[i : i + count] for i in parts])

    def _see(self, slices: Tensor, maps: Tensor) -> tuple[Tensor, Tensor]:
        """The baseline of slices, and what the head sees of them (N, channels, H, W)."""
        baseline = self.translator.finish(maps)
        joined = [baseline.to(maps.dtype), slices.to(maps.dtype), maps]
        return baseline, torch.cat(joined, dim=1)
