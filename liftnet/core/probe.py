"""What a memorization probe found: the nearest training volumes of predicted and held-out ones."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from liftnet.core.storage.jsonable import from_json, read_versioned

__all__ = [
    "COPIES",
    "NO_COPY",
    "PROBE_VERSION",
    "TOO_FEW",
    "CopyRule",
    "NearestVolume",
    "Probe",
    "ProbeChannel",
    "ProbeDistances",
    "ProbeGroup",
    "ProbeMeasure",
    "ProbedBy",
    "read_probe",
]

PROBE_VERSION = 2  # 1: one channel only, and no distances among training volumes
COPIES = "copies found"
NO_COPY = "no copy found"
TOO_FEW = "too few to conclude"
ProbedBy = Literal["voxels", "blocks", "hu"]  # hu: voxels of CT in HU, of MR as "voxels"


@dataclass(frozen=True)
class ProbeMeasure:
    """The distance of a task's probe."""

    name: str
    description: str
    unit: str
    scale: float  # the unit's width of [0, 1], in which volumes are held
    power: int  # of the error in the distance: 1 absolute, 2 squared
    pooled: bool  # whether descriptors are compared instead of voxels


@dataclass(frozen=True)
class NearestVolume:
    """A volume and the two training volumes that are nearest to it."""

    volume: str
    nearest: str
    distance: float
    second: str
    second_distance: float
    ratio: float  # of the two errors, nearest by second: of roots where the distance is squared
    suspect: bool  # nearer than the rule allows


@dataclass(frozen=True)
class ProbeGroup:
    """The distances of a group of volumes to their nearest training volumes."""

    n: int
    mean: float
    minimum: float
    percentile_5: float
    volumes: tuple[NearestVolume, ...]  # the nearest first


@dataclass(frozen=True)
class CopyRule:
    """What counts as a copy: either of two limits undercut, derived from held-out volumes."""

    distance_limit: float
    ratio_limit: float
    description: str


@dataclass(frozen=True)
class ProbeDistances:
    """The distances of one channel's volumes, and what they were compared on."""

    rule: CopyRule
    predicted: ProbeGroup
    held_out: ProbeGroup
    training: ProbeGroup | None  # each to the nearest other one; None: not measured
    ratio_of_means: float  # predicted by held-out; below 1: predicted volumes are nearer
    ratio_of_minima: float
    predicted_by_training: float | None  # of means; LiFT App. D, task B
    held_out_by_training: float | None
    grid: str  # the grid on which volumes were compared, in a sentence
    shape: tuple[int, int, int]  # (D, H, W) of that grid
    picture: str  # file of the closest pair, beside probe.json


@dataclass(frozen=True)
class ProbeChannel:
    """What was found in one channel."""

    channel: str
    verdict: str  # "copies found", "no copy found" or "too few to conclude"
    copies: tuple[str, ...]  # the predicted volumes that count as copies; if too few, suspects
    num_predicted: int
    num_held_out: int
    num_training: int
    measure: ProbeMeasure
    distances: ProbeDistances | None  # None: there are fewer than 1 held-out or 2 training volumes
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Probe:
    """What probe.json holds."""

    version: int
    verdict: str  # of all channels: copies if any has some, else too few if any has
    task: str
    dataset: str  # "" if it is not known
    channels: tuple[ProbeChannel, ...]
    predicted_folder: str
    training_folder: str
    held_out_folder: str
    liftnet: str


def read_probe(path: Path) -> Probe:
    """The content of a probe.json file.

    Raises:
        PlanError: If the file is missing, damaged or of another version.
    """
    remedy = "Make it again with liftnet_probe."
    data = read_versioned(path, PROBE_VERSION, what="The probe has", remedy=remedy)
    return from_json(Probe, data, where=path)
