"""LiFT-C in two stages: a frozen 2D translator, and a residual that knows the other slices."""

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from liftnet.core.plan import MixerSpec, ResidualSpec, TranslatorSpec
from liftnet.networks.blocks import NEGATIVE_SLOPE
from liftnet.networks.context_mixer import ContextMixer, describe
from liftnet.networks.slice_translator import SliceFeatures, SliceTranslator
from liftnet.ops.depth import fold_slices, unfold_slices
from liftnet.ops.precision import without_autocast

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
        windows, given = maps.shape[:2]
        count = given - 2 * self.spec.neighbours
        x = self.enter(maps.flatten(0, 1))
        modulation = self.modulation(context.flatten(0, 1)).to(x.dtype)
        scale, shift = modulation[..., None, None].chunk(2, 1)
        x = F.leaky_relu(x * (1 + scale) + shift, NEGATIVE_SLOPE).unflatten(0, (windows, given))
        near = [x[:, i : i + count] for i in range(2 * self.spec.neighbours + 1)]
        x = F.leaky_relu(self.mix(torch.cat(near, dim=2).flatten(0, 1)), NEGATIVE_SLOPE)
        for convolution in self.convolutions:
            x = x + F.leaky_relu(convolution(x), NEGATIVE_SLOPE)
        with without_autocast(x.device):  # bf16 would round the intensities
            correction: Tensor = self.leave(x.float())
        return correction.unflatten(0, (windows, count))


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
        are gathered; otherwise each slice is encoded and decoded again (LiFT Algorithm 2). Both
        give the same volume.
        """
        slices = fold_slices(source)
        depth = len(slices)
        keep = list(range(depth)) if keep_features else []
        descriptors, kept = self._read(slices, condition, keep, slice_batch)
        context = self.mixer(descriptors[None])[0]
        parts = []
        for start in range(0, depth, slice_batch):
            count = min(slice_batch, depth - start)
            reach = self._reach(start, count, depth).to(slices.device)
            if keep_features:
                maps = kept[reach]
            else:
                needed = torch.unique(reach)
                again = self._decode(self._encode(slices[needed], condition), condition)
                maps = again[torch.searchsorted(needed, reach)]
            baseline, seen = self._see(slices[reach], maps)
            correction = self.residual(seen[None], context[None, reach])[0]
            inner = slice(self.residual.spec.neighbours, self.residual.spec.neighbours + count)
            parts.append(baseline[inner] + correction)
        return unfold_slices(torch.cat(parts), 1)

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
        encoded: SliceFeatures = self.translator.encode(slices, condition.expand(len(slices), -1))
        return encoded

    def _decode(self, features: SliceFeatures, condition: Tensor) -> Tensor:
        count = len(features.bottleneck)
        decoded: Tensor = self.translator.decode_features(features, condition.expand(count, -1))
        return decoded

    def _see(self, slices: Tensor, maps: Tensor) -> tuple[Tensor, Tensor]:
        """The baseline of slices, and what the head sees of them (N, channels, H, W)."""
        baseline = self.translator.finish(maps)
        joined = [baseline.to(maps.dtype), slices.to(maps.dtype), maps]
        return baseline, torch.cat(joined, dim=1)
