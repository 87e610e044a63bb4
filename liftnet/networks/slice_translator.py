"""The 2D U-Net: `encode` a slice to its bottleneck and skips, `decode` them to the target slice."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from liftnet.core.network_specs import TranslatorSpec
from liftnet.networks.blocks import ConvBlock
from liftnet.ops.compute.precision import without_autocast

__all__ = ["SliceFeatures", "SliceTranslator"]

Adjust = Callable[[int, Tensor], Tensor]


@dataclass(frozen=True)
class SliceFeatures:
    """What `encode` keeps of N slices: feature maps per stage, finest first, bottleneck last."""

    stages: tuple[Tensor, ...]

    @property
    def bottleneck(self) -> Tensor:
        """The coarsest features h_d (N, width, h, w)."""
        return self.stages[-1]


class SliceTranslator(nn.Module):
    """The conditional 2D translator G = D o E on slices of the slice axis.

    Source: LiFT Sec. 4.2.
    Differs: the paper gives no widths or blocks; ours are a plain U-Net in nnU-Net's manner
        (two convolutions per stage, strided down, He initialization), conditioned on which
        sources are present.
    """

    def __init__(self, spec: TranslatorSpec):
        super().__init__()
        self.spec = spec
        widths = spec.widths

        def block(in_width: int, width: int, stride: int = 1) -> ConvBlock:
            return ConvBlock(
                in_width,
                width,
                convolutions=spec.convolutions_per_stage,
                condition_size=spec.condition_size,
                normalization=spec.normalization,
                stride=stride,
            )

        inputs = [spec.source_channels, *widths[:-1]]
        self.encoder = nn.ModuleList(
            block(inputs[i], width, stride=1 if i == 0 else 2) for i, width in enumerate(widths)
        )
        # Decoder stages from coarse to fine: narrow at the coarse size, enlarge, join the skip.
        finer = list(reversed(widths[:-1]))
        coarser = list(reversed(widths[1:]))
        self.narrow = nn.ModuleList(nn.Conv2d(c, f, 1) for c, f in zip(coarser, finer, strict=True))
        self.decoder = nn.ModuleList(block(2 * f, f) for f in finer)
        self.head = nn.Conv2d(widths[0], spec.target_channels, 1)

    @property
    def stride(self) -> int:
        """In-plane sizes must be multiples of this."""
        return int(2 ** (len(self.spec.widths) - 1))

    def encode(self, slices: Tensor, condition: Tensor) -> SliceFeatures:
        """Features of slices (N, C, H, W) under the availability code (N, K) or (1, K)."""
        stages = []
        x = slices
        for block in self.encoder:
            x = block(x, condition)
            stages.append(x)
        return SliceFeatures(tuple(stages))

    def decode(
        self, features: SliceFeatures, condition: Tensor, adjust: Adjust | None = None
    ) -> Tensor:
        """Target slices (N, C, H, W); arguments as in `decode_features`."""
        return self.finish(self.decode_features(features, condition, adjust))

    def decode_features(
        self, features: SliceFeatures, condition: Tensor, adjust: Adjust | None = None
    ) -> Tensor:
        """The finest decoder maps (N, width, H, W), from which `finish` makes the target.

        `adjust(stage, maps)` changes the maps of the bottleneck (stage 0) and after each decoder
        stage (1, 2, ... from coarse to fine): where a mixer brings in the other slices.
        """
        x = features.bottleneck
        if adjust is not None:
            x = adjust(0, x)
        for i, skip in enumerate(reversed(features.stages[:-1])):
            x = self.decode_stage(i, x, skip, condition)
            if adjust is not None:
                x = adjust(i + 1, x)
        return x

    def decode_stage(self, stage: int, maps: Tensor, skip: Tensor, condition: Tensor) -> Tensor:
        """Maps (N, width, 2h, 2w) of a decoder stage, 0 the coarsest, from those before it."""
        return cast(Tensor, self.decoder[stage](self.join(stage, maps, skip), condition))

    def join(self, stage: int, maps: Tensor, skip: Tensor) -> Tensor:
        """What a decoder stage sees (N, 2 width, 2h, 2w): maps enlarged, and the skip."""
        enlarged = F.interpolate(self.narrow[stage](maps), scale_factor=2.0, mode="nearest")
        return torch.cat([enlarged, skip], dim=1)

    def finish(self, maps: Tensor) -> Tensor:
        """Target slices (N, C, H, W) from the finest decoder maps, float32."""
        with without_autocast(maps.device):  # bf16 would round the intensities
            return cast(Tensor, self.head(maps.float()))
