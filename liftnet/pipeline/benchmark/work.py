"""One method of a benchmark: planned, trained, predicted, scored; what is done stays."""

from typing import Any, NamedTuple

from liftnet.core.benchmark import BenchmarkFailure
from liftnet.core.errors import LiftnetError
from liftnet.core.scores import Scores
from liftnet.core.storage.jsonable import from_json, read_json, write_json
from liftnet.host.failures import file_problem
from liftnet.host.progress import keep_quiet, mention, say
from liftnet.host.text_table import counted
from liftnet.methods.base import Method
from liftnet.metrics.catalogue import digits_of, main_metrics, short_name, unit_of
from liftnet.ops.compute.host_memory import forget_freed_memory, is_out_of_memory
from liftnet.pipeline.benchmark.budget import equal_recipe
from liftnet.pipeline.benchmark.rows import Place, cost_of, is_scored, places_of
from liftnet.pipeline.benchmark.setting import Setting
from liftnet.pipeline.compare.reuse import Asked, earlier_scores
from liftnet.pipeline.evaluate.evaluate import evaluate_pairs
from liftnet.pipeline.evaluate.table import units_of
from liftnet.pipeline.models.runs import RECIPE, fold_folder
from liftnet.pipeline.plan import read_recipe
from liftnet.pipeline.predict.predict import predict
from liftnet.pipeline.train.train import train

__all__ = ["Done", "found_already", "work_on"]

FAILURE = "failure.json"


class Done(NamedTuple):
    """What came of a method: its rows, scored, or why it has none."""

    places: list[Place]
    failure: BenchmarkFailure | None = None


def work_on(setting: Setting, method: Method[Any]) -> Done:
    """Do all that is left to do of a method; why it cannot be done is kept, too."""
    path = setting.output / method.name / FAILURE
    path.unlink(missing_ok=True)
    try:
        return Done(_do(setting, method))
    except LiftnetError as error:
        problem = error
    except OSError as error:
        problem = file_problem(error)
    except (MemoryError, RuntimeError, ImportError, SystemError) as error:
        if not is_out_of_memory(error):
            raise
        problem = LiftnetError(
            "The memory is too small",
            where=f"{method.name} on {setting.device.type}",
            remedy=f"Plan it for less: liftnet_plan --method {method.name} --gpu-memory GIB, and "
            "the same options with -p NAME as a plan of its own for all methods.",
        )
    failure = BenchmarkFailure(
        method.name, problem.problem, problem.where or "", problem.remedy or ""
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, failure)
    say(f"{method.name} failed: {problem}")
    return Done([], failure)


def _do(setting: Setting, method: Method[Any]) -> list[Place]:
    """The rows of a method, which is planned, trained, predicted and scored.

    Raises:
        LiftnetError: If a case could not be predicted or scored, besides what every step raises.
    """
    plan, files = setting.plan, setting.files
    shared: dict[str, Any] = {"workspace": setting.workspace}
    forget_freed_memory()
    recipe = equal_recipe(
        setting.space,
        plan,
        method,
        setting.budget,
        fold=setting.fold,
        folder=setting.output / method.name,
        device=setting.device,
    )
    shared |= {"device": str(setting.device)}
    own: dict[str, Any] = {"plan_name": plan.name, "method": method.name, "fold": setting.fold}
    train(plan.dataset, **own, **shared)
    places = places_of(method, recipe, setting.samples, setting.output)
    for place in places:
        forget_freed_memory()
        failures = predict(
            files.inputs,
            place.folder,
            plan.dataset,
            target=files.target,
            masks=files.masks,
            samples=place.samples,
            continue_prediction=True,
            num_processes=setting.num_processes,
            **own,
            **shared,
        )
        if failures:
            first = failures[0].error
            raise LiftnetError(
                f"{counted(len(failures), 'case')} could not be predicted: {first.problem}",
                where=first.where or f"case {failures[0].case}",
                remedy=first.remedy,
            )
        _say_result(setting, place, _score(setting, place))
    return places


def _say_result(setting: Setting, place: Place, scores: Scores) -> None:
    """One line of how good a row is, and what it has cost."""
    rows = list(scores.summary.values())
    metric = main_metrics(list(rows[-1]))[0]  # the average is the last
    mean = rows[-1][metric].mean
    run = setting.space.run_folder(setting.plan.dataset, setting.plan.name)
    cost = cost_of(place, run, setting.fold)
    took = [
        f"{seconds:.3g} s {what}"
        for seconds, what in (
            (cost.training.seconds, "of training"),
            (cost.prediction.seconds, "a volume"),
        )
        if seconds is not None
    ]
    unit = unit_of(metric, units_of(scores.cases))
    found = f"{short_name(metric)} {mean:.{digits_of(metric, [mean])}f} {unit}".rstrip()
    say(f"{place.name}: {', '.join([found, *took])}")


def _score(setting: Setting, place: Place) -> Scores:
    """The scores of a row, made unless they are there.

    Raises:
        LiftnetError: If an image could not be scored.
    """
    files, name = setting.files, setting.plan.dataset
    asked = Asked(files.protocol, files.references, files.sources, name, setting.workspace)
    path = place.folder / "scores.json"
    scores, reason = earlier_scores(path, place.folder, asked)
    if scores is not None:
        mention(f"Scored already: {path}")
        return scores
    mention(f"Score {place.name}" + (f" again: {reason}" if reason else ""))
    with keep_quiet():
        scores = evaluate_pairs(
            place.folder,
            files.references,
            protocol=files.protocol,
            dataset=name,
            sources=files.sources,
            masks=files.score_masks,
            num_processes=setting.num_processes,
            workspace=setting.workspace,
        )
    if scores.failures:
        first = scores.failures[0]
        raise LiftnetError(
            f"{counted(len(scores.failures), 'image')} could not be scored: {first.problem}",
            where=f"case {first.case}",
            remedy="Correct or remove the file; the same command goes on.",
        )
    return scores


def found_already(setting: Setting, method: Method[Any]) -> Done | None:
    """What another part has made of a method; None where it is still to be done."""
    path = setting.output / method.name / FAILURE
    if path.is_file():
        return Done([], from_json(BenchmarkFailure, read_json(path), where=path))
    plan, files = setting.plan, setting.files
    run = setting.space.run_folder(plan.dataset, plan.name)
    stored = fold_folder(run, method.name, setting.fold) / RECIPE
    if not stored.is_file():
        return None
    recipe = read_recipe(stored, plan, method)
    places = places_of(method, recipe, setting.samples, setting.output)
    if not all(is_scored(place, files.protocol, files.references) for place in places):
        return None
    return Done(places)
