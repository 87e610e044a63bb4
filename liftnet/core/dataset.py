"""What a raw dataset is: its dataset.json, and its cases."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from liftnet.core.errors import DatasetError
from liftnet.core.storage.jsonable import did_you_mean

__all__ = [
    "Case",
    "Channel",
    "Dataset",
    "DatasetDescription",
]

Modality = Literal["MR", "CT"]


@dataclass(frozen=True)
class Channel:
    """One kind of image in a dataset."""

    name: str
    modality: Modality = "MR"


@dataclass(frozen=True)
class DatasetDescription:
    """The content of dataset.json."""

    name: str
    task: str
    channels: dict[str, Channel]  # "0" -> Channel, the number in CASE_0000.nii.gz
    targets: dict[str, Channel] = field(default_factory=dict)  # translation: in targetsTr
    file_ending: str = ".nii.gz"
    licence: str = "unknown"
    reference: str = ""
    patients: dict[str, str] = field(default_factory=dict)  # case -> patient, where names mislead


@dataclass(frozen=True)
class Case:
    """One subject's images: channel name -> file; absent contrasts are simply not there."""

    identifier: str
    images: dict[str, Path]
    mask: Path | None = None


@dataclass(frozen=True)
class Dataset:
    """A raw dataset: its description and its training cases."""

    folder: Path
    description: DatasetDescription
    cases: tuple[Case, ...]

    @property
    def sources(self) -> tuple[Channel, ...]:
        """The channels in imagesTr. Without targets any of them can be the one to make."""
        return _in_order(self.description.channels)

    @property
    def targets(self) -> tuple[Channel, ...]:
        """The channels in targetsTr, which are never an input; for translation only."""
        return _in_order(self.description.targets)

    @property
    def channels(self) -> tuple[Channel, ...]:
        """All channels in file order: sources first, then targets."""
        return (*self.sources, *self.targets)


def _in_order(channels: dict[str, Channel]) -> tuple[Channel, ...]:
    return tuple(channel for _, channel in sorted(channels.items(), key=lambda item: int(item[0])))


def channel_list(description: DatasetDescription) -> tuple[Channel, ...]:
    """The channels of a dataset in file order: sources first, then targets."""
    return (*_in_order(description.channels), *_in_order(description.targets))


def require_channel(name: str, channels: list[str]) -> None:
    """Refuse a channel name that the dataset does not have.

    Raises:
        DatasetError: If `name` is not one of `channels`.
    """
    if name not in channels:
        raise DatasetError(f"No channel '{name}'", remedy=did_you_mean(name, channels))
