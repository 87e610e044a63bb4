"""What an evaluation found: one row per case and contrast, and their summary."""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from liftnet.core.geometry import SliceAxis, Triple
from liftnet.core.storage.jsonable import from_json, read_json
from liftnet.core.storage.migration import refuse_other

__all__ = [
    "AVERAGE",
    "COHORT_SCORES_VERSION",
    "NOT_NOTED",
    "SCORES_VERSION",
    "CaseScore",
    "ClosestPair",
    "CohortRow",
    "CohortScores",
    "Compared",
    "Comparison",
    "MetricSummary",
    "Origin",
    "Protocol",
    "ScoreFailure",
    "Scores",
    "parse_cohort_scores",
    "parse_scores",
    "read_cohort_scores",
    "read_scores",
    "with_infinities",
]

SCORES_VERSION = 1
COHORT_SCORES_VERSION = 1
REMEDY = "Make them again with liftnet_evaluate."
AVERAGE = "average"  # the key of the summary over all contrasts


@dataclass(frozen=True)
class Origin:
    """How a result was made: the command without folders above the last, machine, time."""

    command: str = ""  # "" from Python
    hardware: str = ""
    seconds: float = 0.0
    date: str = ""  # ISO 8601, UTC
    inputs: str = ""  # digest of files and setting, where parts were merged


NOT_NOTED = Origin()


@dataclass(frozen=True)
class Protocol:
    """A convention of scoring: which range, which grid, which mask, said in one sentence."""

    name: str
    description: str
    needs_source: bool = False  # the mask comes from the first source of the case
    needs_mask: bool = False  # of CT: the mask is a file of its own


@dataclass(frozen=True)
class Comparison:
    """A predicted image beside its reference, both in file units.

    Volumes have canonical axes (D = z, H = y, W = x) and one shape.
    """

    case: str
    channel: str
    predicted: np.ndarray
    reference: np.ndarray
    subject: np.ndarray  # bool: the foreground of all reference channels of the case
    subject_note: str  # which channels those are
    slice_axis: SliceAxis
    spacing_mm: Triple = field(kw_only=True)  # along D, H, W
    modality: str | None = None  # None: not known
    written_range: tuple[float, float] | None = None  # file units of the network's 0 and 1
    source: np.ndarray | None = None  # the case's first source, where the protocol needs it
    source_name: str = ""
    mask: np.ndarray | None = None  # bool: the case's mask file, where the protocol needs it


@dataclass(frozen=True)
class Compared:
    """Both images as a protocol compares them (D, H, W), on the whole grid.

    `unit` is that of their difference, HU or "" for the range [0, 1].
    """

    predicted: np.ndarray
    reference: np.ndarray
    unit: str
    notes: dict[str, str]  # how they came about, as in the rows of the scores


@dataclass(frozen=True)
class CaseScore:
    """The metrics of one contrast of one case, and how they came about.

    `notes` says how the predicted image came to its range and where masks came from.
    """

    case: str
    contrast: str
    metrics: dict[str, float]
    notes: dict[str, str]


@dataclass(frozen=True)
class MetricSummary:
    """One metric over `n` cases: mean, sample standard deviation, 95 % bootstrap interval.

    `std` divides by n - 1; it is 0 for one case, and NaN if a value is infinite.
    """

    mean: float
    std: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class ScoreFailure:
    """A predicted file that could not be scored, and why."""

    case: str
    problem: str


@dataclass(frozen=True)
class Scores:
    """What scores.json holds.

    `summary` goes contrast -> metric -> statistics over cases; its key "average" holds those of
    the means over each case's contrasts. An infinite PSNR (equal images) is null in the file.
    """

    version: int
    protocol: Protocol
    task: str
    dataset: str  # "" if it is not known
    slice_axis: SliceAxis  # the axis of delta_z
    predicted_folder: str
    reference_folder: str
    sources_folder: str
    summary: dict[str, dict[str, MetricSummary]]
    cases: tuple[CaseScore, ...]
    without_reference: tuple[str, ...]  # predicted files that were not scored
    failures: tuple[ScoreFailure, ...]
    liftnet: str
    made: Origin = field(default=NOT_NOTED, compare=False)


def read_scores(path: Path) -> Scores:
    """The content of a scores.json file, with infinite values put back.

    Raises:
        PlanError: If the file is missing, damaged or of another version.
    """
    return parse_scores(read_json(path), where=path)


def parse_scores(data: Any, *, where: Path | str) -> Scores:
    """Scores from the JSON of a file, with infinite values put back.

    Raises:
        PlanError: If they are of another version; names the place.
    """
    refuse_other(data, SCORES_VERSION, what="The scores have", where=where, remedy=REMEDY)
    return from_json(Scores, with_infinities(data), where=where)


@dataclass(frozen=True)
class CohortRow:
    """One metric of a generated cohort and the same of a real one; None where there is none."""

    group: str  # what it is computed from: the name of the features, or "voxels"
    metric: str
    generated: float | None
    real: float | None
    good: str  # what a good value is


@dataclass(frozen=True)
class ClosestPair:
    """The volume of a cohort that is nearest to one it is compared with, in mean voxel error."""

    cohort: str  # "generated" or "real"
    volume: str
    neighbour: str
    distance: float  # in units of [-1, 1]


@dataclass(frozen=True)
class CohortScores:
    """What cohort_scores.json holds: generated volumes against real ones, as two cohorts."""

    version: int
    protocol: Protocol
    task: str
    dataset: str  # "" if it is not known
    plan: str  # "" if there is none
    channel: str
    generated_folder: str
    real_folder: str
    training_folder: str  # "" if none was given
    num_generated: int
    num_real: int
    num_training: int
    shape: tuple[int, int, int]  # (D, H, W) of every volume that was compared
    features: dict[str, int]  # name -> length: numbers of different features do not compare
    rows: tuple[CohortRow, ...]
    closest: tuple[ClosestPair, ...]
    notes: tuple[str, ...]  # what the numbers rest on
    warnings: tuple[str, ...]
    liftnet: str
    made: Origin = field(default=NOT_NOTED, compare=False)


def read_cohort_scores(path: Path) -> CohortScores:
    """The content of a cohort_scores.json file.

    Raises:
        PlanError: If the file is missing, damaged or of another version.
    """
    return parse_cohort_scores(read_json(path), where=path)


def parse_cohort_scores(data: Any, *, where: Path | str) -> CohortScores:
    """Scores of a cohort from the JSON of a file.

    Raises:
        PlanError: If they are of another version; names the place.
    """
    refuse_other(data, COHORT_SCORES_VERSION, what="The scores have", where=where, remedy=REMEDY)
    return from_json(CohortScores, data, where=where)


def with_infinities(node: Any, key: str = "") -> Any:
    """JSON in which null is the number that it stands for: infinite, and no spread around it."""
    if node is None:
        return math.nan if key == "std" else math.inf
    if isinstance(node, dict):
        return {k: with_infinities(v, k) for k, v in node.items()}
    if isinstance(node, list):
        return [with_infinities(v) for v in node]
    return node
