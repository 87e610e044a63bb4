"""What a benchmark of methods found: what each costs, which is best, which failed."""

from dataclasses import dataclass, field
from pathlib import Path

from liftnet.core.scores import NOT_NOTED, Origin
from liftnet.core.storage.jsonable import from_json, read_versioned

__all__ = [
    "BENCHMARK",
    "BENCHMARK_VERSION",
    "Benchmark",
    "BenchmarkFailure",
    "BenchmarkRow",
    "PredictionCost",
    "TrainingCost",
    "read_benchmark",
]

BENCHMARK = "benchmark.json"
BENCHMARK_VERSION = 1


@dataclass(frozen=True)
class TrainingCost:
    """All training stages of one fold; None is what nothing notes or counts."""

    parameters: int | None  # of the network of the last stage, with what only its training needs
    steps: int
    flops: int | None  # of all steps
    seconds: float | None  # of all steps, without validations
    peak_gib: float | None
    device: str


@dataclass(frozen=True)
class PredictionCost:
    """One volume: medians over the cases, and the most memory; None is what nothing notes."""

    flops: float | None
    seconds: float | None
    peak_gib: float | None
    device: str
    sampler_steps: int | None  # None: nothing is drawn


@dataclass(frozen=True)
class BenchmarkRow:
    """A method, or the mean of several of the volumes that it draws of a case."""

    name: str  # as in comparison.json
    method: str
    closed_form: bool
    training: TrainingCost
    prediction: PredictionCost
    published: dict[str, str]  # metric -> the figure of its authors, in words


@dataclass(frozen=True)
class BenchmarkFailure:
    """A method that has no row, and why."""

    method: str
    problem: str
    where: str = ""
    remedy: str = ""


@dataclass(frozen=True)
class Benchmark:
    """What benchmark.json holds; the scores are in comparison.json beside it."""

    version: int
    dataset: str
    plan: str
    fold: str
    equal: str  # what is equal of the trainings, in a sentence
    minutes: float | None  # of training; None: equal operations
    rows: tuple[BenchmarkRow, ...]  # in the order of comparison.json, the baseline first
    failures: tuple[BenchmarkFailure, ...]
    best: str  # the row that is best in the main metric; "" if that is not known
    alike: tuple[str, ...]  # rows that no test tells from it, where there are cases enough to tell
    verdict: tuple[str, ...]
    liftnet: str
    made: Origin = field(default=NOT_NOTED, compare=False)


def read_benchmark(path: Path) -> Benchmark:
    """The content of a benchmark.json file.

    Raises:
        PlanError: If the file is missing, damaged or of another version.
    """
    remedy = "Make it again with liftnet_benchmark."
    data = read_versioned(path, BENCHMARK_VERSION, what="The benchmark has", remedy=remedy)
    return from_json(Benchmark, data, where=path)
