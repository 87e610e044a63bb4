"""What a comparison of methods found: their means, and paired differences from one of them."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from liftnet.core.geometry import SliceAxis
from liftnet.core.scores import NOT_NOTED, MetricSummary, Origin, Protocol, with_infinities
from liftnet.core.storage.jsonable import from_json, read_versioned

__all__ = [
    "COMPARISON_VERSION",
    "Direction",
    "LeftOut",
    "Method",
    "MethodComparison",
    "MetricComparison",
    "PairedDifference",
    "better_words",
    "read_comparison",
]

COMPARISON_VERSION = 1

# Which value of a metric is the better one.
Direction = Literal["higher", "lower", "nearest 0", "nearest 1", "unknown"]


def better_words(better: Direction) -> str:
    """Which value is the better one, in words for a heading; "" if it is not known.

    >>> better_words("lower"), better_words("unknown")
    ('lower is better', '')
    """
    return "" if better == "unknown" else f"{better} is better"


@dataclass(frozen=True)
class Method:
    """One of the methods that are compared."""

    name: str
    scores_folder: str  # where its scores.json lies
    predicted_folder: str
    liftnet: str  # the version that scored it


@dataclass(frozen=True)
class PairedDifference:
    """A method minus the baseline, one difference per case.

    Of a metric that is best at 1, a ratio, the difference is that of |log2|.
    Mean, interval and `cohens_dz` are those of the finite differences, None if there are none;
    the tests, `rank_biserial` and wins are those of all. Signs are those of the difference, not
    of what is better.
    """

    mean: float | None
    low: float | None  # 95 % bootstrap interval over cases
    high: float | None
    n: int
    infinite: int  # of n: one of the two images equals the reference, the other does not
    p: float  # Wilcoxon signed-rank, two-sided
    p_holm: float  # corrected for all tests of the metric
    rank_biserial: float  # matched pairs, -1 to 1
    cohens_dz: float | None  # None: the differences have no spread
    wins: int | None  # cases on which the method is better; None: the sign does not say
    ties: int
    losses: int | None


@dataclass(frozen=True)
class MetricComparison:
    """One metric of one contrast, or of the average over contrasts, by the methods' names."""

    metric: str
    contrast: str
    better: Direction
    unit: str  # "" for similarities and errors in units of the [0, 1] range
    means: dict[str, MetricSummary]
    differences: dict[str, PairedDifference]  # of every method but the baseline


@dataclass(frozen=True)
class LeftOut:
    """An image, or one metric of it, that not all methods have; it counts for none."""

    case: str
    contrast: str
    metric: str  # "" for the whole image
    absent_in: tuple[str, ...]


@dataclass(frozen=True)
class MethodComparison:
    """What comparison.json holds. An infinite mean (equal images) is null in the file."""

    version: int
    protocol: Protocol
    task: str
    dataset: str  # "" if it is not known
    slice_axis: SliceAxis  # the axis of delta_z
    reference_folder: str
    baseline: str
    methods: tuple[Method, ...]  # the baseline comes first
    main_metrics: tuple[str, ...]  # those of the table and the conclusions
    results: tuple[MetricComparison, ...]
    cases: tuple[str, ...]  # those with an image that all methods have
    left_out: tuple[LeftOut, ...]
    warnings: tuple[str, ...]
    conclusions: tuple[str, ...]
    liftnet: str
    made: Origin = field(default=NOT_NOTED, compare=False)


def read_comparison(path: Path) -> MethodComparison:
    """The content of a comparison.json file, with infinite means put back.

    Raises:
        PlanError: If the file is missing, damaged or of another version.
    """
    remedy = "Make it again with liftnet_compare."
    data = read_versioned(path, COMPARISON_VERSION, what="The comparison has", remedy=remedy)
    results = data.get("results")
    for result in results if isinstance(results, list) else ():
        if isinstance(result, dict) and isinstance(result.get("means"), dict):
            result["means"] = with_infinities(result["means"])
    return from_json(MethodComparison, data, where=path)
