"""Every decision about the data: what plan.json holds."""

from dataclasses import dataclass
from typing import Annotated, Literal

from liftnet.core.storage.jsonable import Between
from liftnet.core.storage.ranges import Amount, Count, Intensity, Limits, Share, Size

__all__ = [
    "PLAN_VERSION",
    "Budget",
    "ChannelPlan",
    "ClipAndScale",
    "Grid",
    "Normalization",
    "PercentileScale",
    "Plan",
    "ZScore",
]

PLAN_VERSION = 3


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
    in_plane: Annotated[tuple[int, int], Between(0, 2**16)]  # size of a training slice
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
class Budget:
    """What the training of a method may use."""

    memory_gib: Amount
    bytes_per_number: Size  # 2 where the device computes in bfloat16, else 4
    num_steps: Count | None  # null: the method's own number
    feature_weights: str | None = None  # file of a feature network trained elsewhere


@dataclass(frozen=True)
class Plan:
    """The decisions about data, shared by all methods; edit the file or use `--set key=value`."""

    version: int
    task: str
    dataset: str
    name: str
    channels: tuple[ChannelPlan, ...]
    sources: tuple[str, ...]
    targets: tuple[str, ...]
    source_dropout: Share  # probability that a training step hides more sources than it must
    grid: Grid
    seed: int
    reasons: dict[str, str]  # setting -> why it has its value, and the source of the rule
    budget: Budget  # for the recipes under this plan

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
