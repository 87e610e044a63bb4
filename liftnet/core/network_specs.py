"""The sizes of networks, as recipes hold them."""

from dataclasses import dataclass
from typing import Annotated, Literal

from liftnet.core.storage.jsonable import Between
from liftnet.core.storage.ranges import Amount, Count, Layers, Share, Size, Widths

__all__ = [
    "CriticSpec",
    "DriftSpec",
    "FeatureSpec",
    "GeneratorSpec",
    "MapperSpec",
    "MixerSpec",
    "ResNetSpec",
    "ResidualSpec",
    "TimeUNetSpec",
    "TranslatorSpec",
]


@dataclass(frozen=True)
class TranslatorSpec:
    """The 2D U-Net."""

    source_channels: Size
    target_channels: Size
    condition_size: Size  # length of the availability code
    widths: Widths  # feature maps per stage, finest first
    convolutions_per_stage: Layers
    normalization: Literal["group", "instance", "none"]


@dataclass(frozen=True)
class MixerSpec:
    """The bidirectional GRU over slice descriptors, and where its context enters."""

    descriptor: Literal["mean", "mean_std"]  # "mean": LiFT Sec. 4.2, global average pooling
    descriptor_stages: Literal["bottleneck", "all"]
    hidden_size: Size
    num_layers: Layers
    fourier_frequencies: Layers
    inject: Literal["none", "bottleneck", "decoder"]  # "none": a residual head takes it instead
    through_plane_kernel: Annotated[
        int, Between(-99, 99)
    ]  # 0: none (the paper); 3: a depthwise convolution along slices


@dataclass(frozen=True)
class ResidualSpec:
    """The head that corrects the frozen translator's slices, knowing their neighbours."""

    width: Size  # feature maps
    convolutions: Layers
    neighbours: Layers  # slices on each side that it sees


@dataclass(frozen=True)
class FeatureSpec:
    """The masked autoencoder of slices whose features the drift compares."""

    widths: Widths  # feature maps per stage, finest first, at strides 2, 4, 8, ...
    patch: Size  # pixels along each side of what is hidden at once
    masked: Share  # share of patches hidden


@dataclass(frozen=True)
class ResNetSpec:
    """ResNet-18 trained on ImageNet, in place of the masked autoencoder."""

    weights: str  # path of the file
    sha256: str


@dataclass(frozen=True)
class GeneratorSpec:
    """The slice generator: principal components, and a U-Net that refines what they give."""

    in_plane: Annotated[
        tuple[int, int], Between(0, 2**16)
    ]  # rows and columns, multiples of `stride`; the grid's
    code_size: Size  # principal components
    widths: Widths  # feature maps per stage, finest first, at strides 1, 2, 4, ...

    @property
    def stride(self) -> int:
        """In-plane sizes must be multiples of this."""
        return int(2 ** (len(self.widths) - 1))


@dataclass(frozen=True)
class CriticSpec:
    """The critic of slices against which the generator is trained."""

    widths: Widths  # feature maps per layer, at strides 2, 4, 8, ...


@dataclass(frozen=True)
class MapperSpec:
    """The depth mapper: one latent of a volume to the codes of all its slices."""

    latent_size: Size
    code_size: Size
    hidden_size: Size
    num_blocks: Layers
    fourier_frequencies: Layers
    waves: Annotated[int, Between(-1, 2**16)]  # cosines of the smooth part


@dataclass(frozen=True)
class DriftSpec:
    """How generated volumes are compared with real ones."""

    mode: Literal["attract_repel", "attract"]  # "attract": LiFT Eq. 5
    bank: Literal["matched", "pooled"]  # real slices of the same index, or of any (LiFT Eq. 4)
    start: Literal["real", "random"]  # the mapper begins at the codes of real volumes, or anywhere
    positives: Count  # real volumes per problem
    slices_per_plane: Count  # problems per plane and step
    temperatures: Annotated[
        tuple[float, ...], Between(0, 1e6)
    ]  # widths of the kernel, in spreads of the real distances
    bandwidth: Amount  # R of "attract", in mean real distances
    checked_volumes: Count  # generated at each validation, for the monitors


@dataclass(frozen=True)
class TimeUNetSpec:
    """The time-conditioned U-Net of diffusions, flows and bridges."""

    dimensions: Literal[2, 3]
    inputs: Size  # what is refined, and the sources
    outputs: Size
    condition_size: Size  # length of the code of what is given and wanted; 0: always the same
    width: Size
    multipliers: Widths  # of the width at each size, finest first
    blocks: Layers  # residual blocks at each size; one more on the way up
