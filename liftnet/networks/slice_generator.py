"""Codes to slices and back: the generator G2D, the encoder that gives its codes, the critic."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from liftnet.networks.blocks import NEGATIVE_SLOPE, normalization_layer
from liftnet.networks.masked_autoencoder import SliceEncoder
from liftnet.ops.precision import without_autocast

__all__ = ["GeneratorSpec", "PatchDiscriminator", "SliceAutoencoder", "SliceGenerator", "draw_code"]

REDUCED_WIDTH = 32  # ours: maps from which the code is read; where things are is kept
LOG_VARIANCE_LIMIT = 10.0  # ours: exp of it stays finite in every type
CRITIC_SLOPE = 0.2  # pix2pix (Isola et al. 2017)
CRITIC_KERNEL = 4  # pix2pix: even, so that strided taps overlap evenly


@dataclass(frozen=True)
class GeneratorSpec:
    """The slice generator and its encoder."""

    in_plane: tuple[int, int]  # rows and columns, multiples of `stride`
    code_size: int
    style_size: int  # what the code becomes before it modulates
    widths: tuple[int, ...]  # feature maps per stage, finest first, at strides 1, 2, 4, ...

    @property
    def stride(self) -> int:
        """In-plane sizes must be multiples of this."""
        return int(2 ** (len(self.widths) - 1))


class ModulatedBlock(nn.Module):
    """Two 3x3 convolutions with a shortcut, at twice the size; a style modulates both.

    Maps are narrowed before they are enlarged (nearest, then a convolution: no checkerboards).
    Each normalization is followed by the style's scale and shift.
    """

    def __init__(self, in_width: int, width: int, *, style_size: int, enlarge: bool):
        super().__init__()
        self.narrow = nn.Conv2d(in_width, width, 1)
        self.enlarge = enlarge
        self.convolutions = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(2))
        self.normalizations = nn.ModuleList(normalization_layer("group", width) for _ in range(2))
        self.modulations = nn.ModuleList(nn.Linear(style_size, 2 * width) for _ in range(2))

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """Maps (N, width, 2 H, 2 W) of maps (N, in_width, H, W) under styles (N, S)."""
        x = self.narrow(x)
        if self.enlarge:
            x = F.interpolate(x, scale_factor=2.0, mode="nearest")
        y = x
        for convolution, normalize, modulate in zip(
            self.convolutions, self.normalizations, self.modulations, strict=True
        ):
            scale, shift = modulate(style).to(y.dtype)[:, :, None, None].chunk(2, 1)
            y = normalize(y) * (1 + scale) + shift
            y = convolution(F.leaky_relu(y, NEGATIVE_SLOPE))
        return x + y


class SliceGenerator(nn.Module):
    """G2D: codes to slices. The code makes the coarsest maps and modulates every stage.

    The output is linear. Its limits would be those of the intensities, and near both of a tanh the
    gradient vanishes: where the background is, and the brightest tissue. Whoever writes a volume
    clips it.

    Source: LiFT Eq. 1.
    Differs: the paper names no architecture. Ours is a residual decoder with adaptive
        normalization (Dumoulin et al. 2017; StyleGAN), so that the code acts at all scales.
    """

    def __init__(self, spec: GeneratorSpec):
        super().__init__()
        if any(side % spec.stride for side in spec.in_plane):
            raise ValueError(f"expected sides in multiples of {spec.stride}, got {spec.in_plane}")
        self.spec = spec
        self.start_shape = (spec.widths[-1], *(side // spec.stride for side in spec.in_plane))
        width, rows, columns = self.start_shape
        self.style = nn.Sequential(
            nn.Linear(spec.code_size, spec.style_size),
            nn.LeakyReLU(NEGATIVE_SLOPE),
            nn.Linear(spec.style_size, spec.style_size),
            nn.LeakyReLU(NEGATIVE_SLOPE),
        )
        self.start = nn.Linear(spec.code_size, width * rows * columns)
        outputs = list(reversed(spec.widths))
        self.stages = nn.ModuleList(
            ModulatedBlock(before, after, style_size=spec.style_size, enlarge=i > 0)
            for i, (before, after) in enumerate(zip([width, *outputs[:-1]], outputs, strict=True))
        )
        self.leave = nn.Conv2d(spec.widths[0], 1, 3, padding=1)

    def forward(self, codes: Tensor) -> Tensor:
        """Slices (N, 1, H, W), float32, of codes (N, c)."""
        style = self.style(codes)
        x = self.start(codes).unflatten(1, self.start_shape)
        for stage in self.stages:
            x = stage(x, style)
        x = F.leaky_relu(x, NEGATIVE_SLOPE)
        with without_autocast(x.device):  # bf16 would round the intensities
            return cast(Tensor, self.leave(x.float()))


class SliceAutoencoder(nn.Module):
    """An encoder of slices and the generator that decodes its codes.

    Source: LiFT Sec. 4.1, stage 1.
    Differs: the paper does not say how G2D is trained; ours is the decoder of an autoencoder whose
        codes are kept near a normal distribution (Kingma and Welling 2014).
    """

    def __init__(self, spec: GeneratorSpec):
        super().__init__()
        self.generator = SliceGenerator(spec)
        _, rows, columns = self.generator.start_shape
        self.encoder = SliceEncoder(1, spec.widths[1:])
        self.reduce = nn.Conv2d(spec.widths[-1], REDUCED_WIDTH, 1)
        self.describe = nn.Linear(REDUCED_WIDTH * rows * columns, 2 * spec.code_size)

    def encode(self, slices: Tensor) -> tuple[Tensor, Tensor]:
        """Mean codes and log variances (N, c), float32, of slices (N, 1, H, W)."""
        maps = F.leaky_relu(self.reduce(self.encoder(slices)[-1]), NEGATIVE_SLOPE)
        with without_autocast(maps.device):
            mean, log_variance = self.describe(maps.float().flatten(1)).chunk(2, 1)
        return mean, log_variance.clamp(-LOG_VARIANCE_LIMIT, LOG_VARIANCE_LIMIT)

    def forward(
        self, slices: Tensor, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Reconstructed slices (N, 1, H, W), mean codes and log variances (N, c).

        The mean code is decoded, or with a generator of random numbers one drawn about it.
        """
        mean, log_variance = self.encode(slices)
        code = mean if generator is None else draw_code(mean, log_variance, generator)
        return self.generator(code), mean, log_variance


def draw_code(mean: Tensor, log_variance: Tensor, generator: torch.Generator) -> Tensor:
    """Codes (N, c) drawn from normal distributions. Source: Kingma and Welling 2014, Eq. 10."""
    noise = torch.randn(mean.shape, generator=generator, device=generator.device, dtype=mean.dtype)
    return mean + (log_variance / 2).exp() * noise.to(mean.device)


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
