"""Codes to slices and back: the generator G2D, and the critic that it is trained against."""

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from liftnet.core.network_specs import GeneratorSpec, TranslatorSpec
from liftnet.networks.slice_translator import SliceTranslator
from liftnet.ops.compute.precision import without_autocast

__all__ = ["PatchDiscriminator", "SliceGenerator"]

CONVOLUTIONS = 2  # nnU-Net: per stage
OVERSAMPLED = 16  # Halko et al. 2011: more directions than are kept
POWER_ITERATIONS = 4  # Halko et al. 2011: for spectra that fall slowly
LEAST_UNIT = 1e-6  # ours: of slices that are all alike
CRITIC_SLOPE = 0.2  # pix2pix (Isola et al. 2017)
CRITIC_KERNEL = 4  # pix2pix: even, so that strided taps overlap evenly


class SliceGenerator(nn.Module):
    """G2D: codes to slices, and slices to codes.

    A code holds the coordinates of a slice along the principal components of all training slices,
    in one unit for all of them, so that distances between codes are distances between slices. A
    U-Net, which sees the code at every scale, adds to the slice of the components what they leave
    out. It begins with nothing to add: a new generator is as good as its components.

    The output is linear; whoever writes a volume clips it.

    Source: LiFT Eq. 1.
    Differs: the paper names no architecture. Ours needs no training to give every slice a code
        that can be decoded (measured against a convolutional autoencoder in
        docs/explanation/generation.md).
    """

    mean: Tensor
    components: Tensor
    unit: Tensor

    def __init__(self, spec: GeneratorSpec):
        super().__init__()
        if any(side % spec.stride for side in spec.in_plane):
            raise ValueError(f"expected sides in multiples of {spec.stride}, got {spec.in_plane}")
        self.spec = spec
        pixels = spec.in_plane[0] * spec.in_plane[1]
        self.register_buffer("mean", torch.zeros(pixels))
        self.register_buffer("components", torch.zeros(spec.code_size, pixels))
        self.register_buffer("unit", torch.ones(()))
        self.refiner = SliceTranslator(
            TranslatorSpec(1, 1, spec.code_size, spec.widths, CONVOLUTIONS, "none")
        )
        for parameter in self.refiner.head.parameters():
            nn.init.zeros_(parameter)

    @torch.no_grad()
    def fit(self, slices: Tensor) -> None:
        """Take the principal components of slices (N, 1, H, W); no more than N - 1 are not 0.

        Random numbers come from torch's global generator.

        Source: Halko et al. 2011 (the randomized decomposition).
        """
        if len(slices) < 2:
            raise ValueError(f"expected two slices or more, got {len(slices)}")
        flat = slices.flatten(1).float()
        self.mean.copy_(flat.mean(dim=0))
        offsets = flat - self.mean
        kept = min(self.spec.code_size, len(flat) - 1, flat.shape[1])
        rank = min(kept + OVERSAMPLED, *flat.shape)
        _, _, directions = torch.svd_lowrank(offsets, q=rank, niter=POWER_ITERATIONS)
        self.components.zero_()
        self.components[:kept] = directions[:, :kept].mT
        coordinates = offsets @ self.components[:kept].mT
        self.unit.copy_(coordinates.square().mean().sqrt().clamp(min=LEAST_UNIT))

    def encode(self, slices: Tensor) -> Tensor:
        """Codes (N, c), float32, of slices (N, 1, H, W)."""
        with without_autocast(slices.device):
            offsets = slices.flatten(1).float() - self.mean
            return offsets @ self.components.mT / self.unit

    def project(self, codes: Tensor) -> Tensor:
        """The slices (N, 1, H, W), float32, that the components alone give."""
        with without_autocast(codes.device):
            flat = self.mean + (codes.float() * self.unit) @ self.components
            return flat.unflatten(1, (1, *self.spec.in_plane))

    def forward(self, codes: Tensor) -> Tensor:
        """Slices (N, 1, H, W), float32, of codes (N, c)."""
        coarse = self.project(codes)
        added = self.refiner.decode(self.refiner.encode(coarse, codes), codes)
        return coarse + added


class SpectralConvolution(nn.Module):
    """A convolution whose weight is divided by its largest singular value, in float32.

    In training one power iteration per call follows the weight.

    Source: Miyato et al. 2018, Alg. 1.
    """

    direction: Tensor

    def __init__(self, in_width: int, width: int, kernel: int, *, stride: int):
        super().__init__()
        plain = nn.Conv2d(in_width, width, kernel)
        self.weight = plain.weight
        self.bias = nn.Parameter(torch.zeros(width))
        self.stride = stride
        self.padding = kernel // 2 - (1 if kernel % 2 == 0 else 0)
        left = torch.linalg.svd(plain.weight.detach().flatten(1), full_matrices=False)[0][:, 0]
        self.register_buffer("direction", left.contiguous())

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, width, H', W') of maps (N, in_width, H, W)."""
        with without_autocast(x.device):
            matrix = self.weight.flatten(1)
            with torch.no_grad():
                right = F.normalize(matrix.mT @ self.direction, dim=0)
                left = F.normalize(matrix @ right, dim=0)
                if self.training:
                    self.direction.copy_(left)
            weight = self.weight / (left @ (matrix @ right))
        return F.conv2d(x, weight, self.bias, stride=self.stride, padding=self.padding)


class PatchDiscriminator(nn.Module):
    """A critic of patches: one logit per place, for a hinge loss.

    There is no normalization of maps, so that slices of a batch do not meet, and with
    `spectral=False` it is a plain network for a gradient penalty (R1; it can be derived twice).

    Source: pix2pix (Isola et al. 2017), PatchGAN.
    """

    def __init__(self, widths: Sequence[int], *, spectral: bool = True):
        super().__init__()

        def layer(in_width: int, width: int, kernel: int, stride: int) -> nn.Module:
            if spectral:
                return SpectralConvolution(in_width, width, kernel, stride=stride)
            return nn.Conv2d(in_width, width, kernel, stride=stride, padding=(kernel - 1) // 2)

        inputs = (1, *widths[:-1])
        self.stages = nn.ModuleList(
            layer(before, width, CRITIC_KERNEL, 2)
            for before, width in zip(inputs, widths, strict=True)
        )
        self.leave = layer(widths[-1], 1, 3, 1)

    def forward(self, slices: Tensor) -> Tensor:
        """Logits (N, 1, h, w), float32, of slices (N, 1, H, W): h = H / 2^stages, rounded down."""
        x = slices
        for stage in self.stages:
            x = F.leaky_relu(stage(x), CRITIC_SLOPE)
        with without_autocast(x.device):
            return cast(Tensor, self.leave(x.float()))
