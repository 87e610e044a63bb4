"""The rows of a benchmark: where each lies, whether it is there, and what it has cost."""

import statistics
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from liftnet.core.benchmark import BenchmarkRow, PredictionCost, TrainingCost
from liftnet.core.errors import PlanError
from liftnet.core.recipe import Recipe
from liftnet.core.scores import read_scores
from liftnet.core.storage.jsonable import from_json, read_json
from liftnet.methods import load_method
from liftnet.methods.base import Method
from liftnet.pipeline.compare.reuse import newer_file
from liftnet.pipeline.models.runs import fold_folder, read_run
from liftnet.pipeline.report.results import prediction_facts
from liftnet.pipeline.train.cost import COST, StageCost

__all__ = ["Place", "cost_of", "is_scored", "places_of"]


class Place(NamedTuple):
    """A row: a method, how many of its samples are averaged, and the folder of its images."""

    name: str
    method: str
    samples: int | None  # None: a case has one result
    folder: Path


def places_of(method: Method[Any], recipe: Recipe, samples: int, output: Path) -> list[Place]:
    """The rows of a method: of one that samples, one sample, and the mean of several.

    One sample is as real as images get, the mean is nearer to the truth: neither is the method.
    """
    own = method.name
    if not recipe.draws:
        return [Place(own, own, None, output / own)]
    found = [Place(own, own, 1, output / own)]
    if samples > 1:
        name, folder = f"{own}, mean of {samples}", output / f"{own}_mean_of_{samples}"
        found.append(Place(name, own, samples, folder))
    return found


def is_scored(place: Place, protocol: str, references: Path) -> bool:
    """Whether the scores of a row are there, and no image has changed since."""
    path = place.folder / "scores.json"
    try:
        scores = read_scores(path)
    except PlanError:
        return False
    same = Path(scores.reference_folder).resolve() == references.resolve()
    return same and scores.protocol.name == protocol and newer_file(path, scores) is None


def cost_of(place: Place, run: Path, fold: str) -> BenchmarkRow:
    """What a row has cost.

    Args:
        place: the row, predicted.
        run: the folder of everything trained under the plan.
        fold: that was trained.

    Raises:
        PlanError: If what training noted is damaged.
    """
    method = load_method(place.method)
    figures = method.figures
    return BenchmarkRow(
        name=place.name,
        method=place.method,
        closed_form=method.closed_form,
        training=_training(fold_folder(run, place.method, fold)),
        prediction=_prediction([facts for _, facts in prediction_facts(place.folder)]),
        published={metric: str(text) for metric, text in figures.items()},
    )


def _training(folder: Path) -> TrainingCost:
    """The cost of all stages, from the notes of each."""
    plan, method, recipe = read_run(folder)
    files = [folder / stage.name / COST for stage in method.stages(plan, recipe)]
    costs = [from_json(StageCost, read_json(path), where=path) for path in files if path.is_file()]
    whole = len(costs) == len(files)  # an older version noted none
    flops = [0 if cost.steps == 0 else cost.flops_per_step for cost in costs]
    peaks = [cost.peak_memory_gib for cost in costs if cost.peak_memory_gib is not None]
    return TrainingCost(
        parameters=costs[-1].parameters if costs else None,
        steps=sum(cost.steps for cost in costs),
        flops=sum(
            cost.steps * count
            for cost, count in zip(costs, flops, strict=True)
            if count is not None
        )
        if whole and None not in flops
        else None,
        seconds=round(sum(cost.seconds for cost in costs), 3) if whole else None,
        peak_gib=max(peaks, default=None),
        device=", ".join(dict.fromkeys(cost.device for cost in costs)),
    )


def _prediction(facts: list[dict[str, Any]]) -> PredictionCost:
    """The cost of a volume, from the notes beside each."""
    samplings = [entry["sampling"] for entry in facts if entry.get("sampling")]
    peaks = _numbers(entry.get("peak_memory_gib") for entry in facts)
    return PredictionCost(
        flops=_median(entry.get("flops") for entry in facts),
        seconds=_median(entry.get("seconds") for entry in facts),
        peak_gib=max(peaks, default=None),
        device=", ".join(dict.fromkeys(str(entry.get("device")) for entry in facts)),
        sampler_steps=samplings[0]["num_steps"] if samplings else None,
    )


def _median(values: Iterable[Any]) -> float | None:
    found = _numbers(values)
    return statistics.median(found) if found else None


def _numbers(values: Iterable[Any]) -> list[float]:
    return [float(value) for value in values if isinstance(value, int | float)]
