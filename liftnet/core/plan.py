"""Every decision of a run, as data: what plan.json holds."""

from dataclasses import dataclass
from typing import Annotated, Literal

from liftnet.core.jsonable import Between
from liftnet.core.ranges import Amount, Count, Intensity, Layers, Limits, Range, Share, Size, Widths

__all__ = [
    "AugmentationSpec",
    "ChannelPlan",
    "ClipAndScale",
    "CriticSpec",
    "DriftSpec",
    "FeatureSpec",
    "GeneratorSpec",
    "Grid",
    "Inference",
    "MapperSpec",
    "MemoryEstimate",
    "MixerSpec",
    "NetworkSpec",
    "PercentileScale",
    "Plan",
    "ResNetSpec",
    "ResidualSpec",
    "Schedule",
    "TranslatorSpec",
    "ZScore",
]

PLAN_VERSION = 2


@dataclass(frozen=True)
class PercentileScale:
    """MR: clamp negatives to 0, clip to two quantiles of the image itself, scale to `limits`.

    `region` says over which voxels the quantiles are taken: the image's own non-zero voxels
    ("foreground", independent of the field of view) or the whole grid ("grid", cWDM's letter).
    `typical_low` and `typical_high` are the medians of the two quantiles over the training
    cases, in file units: the range in which a synthesized image is written.
    """

    region: Literal["foreground", "grid"]
    lower: Share
    upper: Share
    typical_low: Intensity
    typical_high: Intensity
    limits: Limits = (0.0, 1.0)  # what the two quantiles become

    def flaw(self) -> str | None:
        """What is impossible in a file that holds this, or None."""
        pairs = ((self.lower, self.upper), (self.typical_low, self.typical_high), self.limits)
        right = all(low < high for low, high in pairs)
        return None if right else "low is not below high"


@dataclass(frozen=True)
class ClipAndScale:
    """CT: clip to [low, high] in file units (HU), scale to `limits`; inverts exactly."""

    low: Intensity
    high: Intensity
    limits: Limits  # what `low` and `high` become


@dataclass(frozen=True)
class ZScore:
    """MR: subtract the image's own mean, divide by its standard deviation; only hot voxels end.

    `region` says over which voxels: those of the body that Otsu's threshold finds in the sources
    ("foreground", independent of the field of view) or all ("grid", LiFT's letter). The typical
    values are medians of foregrounds over the training cases, in file units.
    """

    region: Literal["foreground", "grid"]
    typical_mean: Intensity
    typical_std: Annotated[float, Between(1e-30, 1e30)]


Normalization = PercentileScale | ClipAndScale | ZScore


@dataclass(frozen=True)
class ChannelPlan:
    """One channel: its name, physics, normalization, and the type of its files."""

    name: str
    modality: Literal["MR", "CT"]
    normalization: Normalization


@dataclass(frozen=True)
class Grid:
    """The grid that networks see. Axes (D, H, W); D is the slice axis."""

    slice_axis: Literal["axial", "coronal", "sagittal"]
    spacing_mm: Annotated[tuple[float, float, float], Between(0, 1e6)]
    in_plane: Annotated[
        tuple[int, int], Between(0, 2**16)
    ]  # size of a training slice, a multiple of the U-Net's stride
    num_slices: Size  # median over cases; any number is accepted
    foreground: Literal["nonzero", "otsu"]
    crop_in_plane: bool  # to the foreground box; slices are never cropped
    resample_in_plane: bool
    resample_through_plane: bool
    mask: Literal["none", "body"]  # "body": a mask per case, from its file or from the sources
    box: (
        Annotated[tuple[int, int, int], Between(0, 2**16)] | None
    )  # only a box of this size is used: about the mask's centre,
    # or, with `pad_to_box`, about that of the foreground and padded where the image ends
    pad_to_box: bool = False


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


NetworkSpec = (
    TranslatorSpec
    | MixerSpec
    | ResidualSpec
    | FeatureSpec
    | ResNetSpec
    | GeneratorSpec
    | CriticSpec
    | MapperSpec
)


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
class AugmentationSpec:
    """Probabilities per item, and ranges. Geometry is shared by sources and targets."""

    flip_probability: Annotated[tuple[float, float, float], Between(0, 1)]  # along D, H, W
    rotation_probability: Share
    rotation_degrees: Amount
    scale_probability: Share
    scale_range: Range
    shear_probability: Share
    shear_range: Amount
    elastic_probability: Share
    elastic_displacement: Amount  # fraction of the in-plane size
    elastic_control_points: Annotated[int, Between(2, 1000)]
    noise_probability: Share
    noise_std: Amount
    blur_probability: Share
    blur_sigma: Range
    brightness_probability: Share
    brightness_range: Range
    contrast_probability: Share
    contrast_range: Range
    gamma_probability: Share
    gamma_range: Range
    low_resolution_probability: Share
    low_resolution_range: Range
    bias_field_probability: Share
    bias_field_strength: Amount


@dataclass(frozen=True)
class Schedule:
    """One training stage. A submodule without a learning rate is frozen."""

    num_steps: Count
    volumes_per_step: Count
    windows_per_volume: Count  # slabs decoded and supervised per volume
    decoded_slices: Count  # contiguous slices of each
    learning_rates: dict[str, Annotated[float, Between(0, 1e3)]]
    weight_decay: Amount
    betas: Annotated[tuple[float, float], Between(0, 0.9999999)]
    warmup_steps: Count
    final_rate: Share  # cosine decay ends at this fraction of the learning rate
    gradient_clip: Amount
    ema_half_life: Annotated[int, Between(1, 1e9)]  # steps
    validate_every: Count  # steps
    validation_cases: Count  # at most so many whole volumes per validation
    checkpoint_minutes: Amount
    loader_workers: Layers  # threads that read cases ahead


@dataclass(frozen=True)
class Inference:
    """How whole volumes are synthesized."""

    slice_batch: Count
    passes: Literal["one", "two"]  # one: keep the skips; two: LiFT Algorithm 2
    temperature: Amount = 1.0  # by which the latent of a generated volume is multiplied
    sigma_z: Amount = 0.0  # slices: how far its codes are smoothed along the slice axis


@dataclass(frozen=True)
class MemoryEstimate:
    """Peak bytes of tensors, without the libraries themselves, in GiB."""

    budget_gib: Amount
    bytes_per_number: Size  # 2: bfloat16, 4: float32
    training_gib: Amount
    prediction_gib: Amount
    dataset_gib: Amount = 0.0  # all preprocessed training cases


@dataclass(frozen=True)
class Plan:
    """What plan.json holds; edit it or use `--set key=value`."""

    version: int
    task: str
    dataset: str
    name: str
    channels: tuple[ChannelPlan, ...]
    sources: tuple[str, ...]
    targets: tuple[str, ...]
    source_dropout: float  # probability that a training step hides more sources than it must
    grid: Grid
    networks: dict[str, NetworkSpec]
    losses: dict[str, Annotated[float, Between(-1e9, 1e9)]]
    augmentation: AugmentationSpec
    stages: dict[str, Schedule]
    inference: Inference
    memory: MemoryEstimate
    seed: int
    reasons: dict[str, str]  # setting -> why it has its value, and the source of the rule
    drift: DriftSpec | None = None  # for generation only
    recompute: bool = False  # maps of blocks for the gradient, instead of keeping them
    feeding: Literal["resident", "read"] = "read"  # training cases: held in memory, or as needed

    @property
    def guides(self) -> tuple[str, ...]:
        """The channels in which foreground and mask are found: the sources, if there are any."""
        return self.sources or self.targets

    @property
    def channel_names(self) -> tuple[str, ...]:
        """The names of all channels, in order."""
        return tuple(channel.name for channel in self.channels)

    def file_number(self, name: str) -> int:
        """The number in the file name of a channel's image: CASE_0003.nii.gz.

        Targets that are never a source have numbers of their own, as in targetsTr.
        """
        pure = [channel for channel in self.channel_names if channel not in self.sources]
        return pure.index(name) if name in pure else self.channel_names.index(name)

    def channel(self, name: str) -> ChannelPlan:
        """The plan of one channel."""
        return next(channel for channel in self.channels if channel.name == name)
