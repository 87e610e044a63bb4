"""What of a trained model leaves, without anything that names a case or a place."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from liftnet.core.errors import LiftnetError, PlanError
from liftnet.core.network_specs import ResNetSpec
from liftnet.core.plan import Plan
from liftnet.core.recipe import Recipe
from liftnet.core.scores import NOT_NOTED, CohortScores, Scores, read_cohort_scores, read_scores
from liftnet.core.storage.jsonable import from_json, read_json, to_json
from liftnet.pipeline.fingerprint.extract_fingerprint import read_fingerprint
from liftnet.pipeline.models.checkpoint import Checkpoint
from liftnet.pipeline.models.model import Model
from liftnet.pipeline.models.model_file import DatasetStatistics, FoldPapers
from liftnet.pipeline.models.plausibility import FILE as NUMBERS_FILE
from liftnet.pipeline.models.plausibility import TrainingNumbers
from liftnet.pipeline.models.runs import IMPORTED, LOG, plan_digest

__all__ = [
    "COHORT_SCORES",
    "FINGERPRINT",
    "SCORES",
    "Measured",
    "case_names",
    "find_scores",
    "find_statistics",
    "fold_papers",
    "portable_plan",
    "portable_recipe",
]

FINGERPRINT = "fingerprint.json"  # among the papers of an imported model; and so are these
SCORES = "scores.json"
COHORT_SCORES = "cohort_scores.json"


@dataclass(frozen=True)
class Measured:
    """Scores that were measured elsewhere; in `scores` are no cases."""

    scores: Scores | CohortScores
    units: tuple[str, ...]  # of the rows
    models: tuple[str, ...]  # digests of the weights that made the images, as far as known
    cases: tuple[str, ...]  # their names, which stay here


def portable_plan(plan: Plan) -> Plan:
    """The plan without the folder of a file that its budget names."""
    weights = plan.budget.feature_weights
    name = None if weights is None else Path(weights).name
    return replace(plan, budget=replace(plan.budget, feature_weights=name))


def portable_recipe(recipe: Recipe) -> Recipe:
    """The recipe without the folder of a file that it names."""
    changed: dict[str, Any] = {}
    for field in fields(recipe):
        spec = getattr(recipe, field.name)
        if isinstance(spec, ResNetSpec):
            changed[field.name] = replace(spec, weights=Path(spec.weights).name)
    return replace(recipe, **changed)


def fold_papers(
    model: Model, plan: Plan, states: Mapping[Path, Checkpoint], training: Sequence[set[str]]
) -> list[FoldPapers]:
    """What leaves of each fold beside its weights.

    Args:
        model: with its folds.
        plan: as it leaves.
        states: the file of each fold's checkpoint -> what it holds.
        training: the training cases of each fold; none takes what came with an imported one.
    """
    numbers = _anonymous([_numbers(fold, model.plan) for fold in model.folders], plan)
    return [
        replace(
            _validation(path.with_name(LOG), state.facts, len(cases)),
            plausibility=known,
            training_facts=None if had is None else replace(had, plan=plan_digest(plan)),
        )
        for (path, state), cases, known, had in zip(
            states.items(), training, numbers, model.facts, strict=True
        )
    ]


def find_statistics(path: Path) -> DatasetStatistics | None:
    """What is known of the dataset as a whole, from its fingerprint or one that was imported."""
    if not path.is_file():
        return None
    if path.parent.name == IMPORTED:
        return from_json(DatasetStatistics, read_json(path), where=path)
    found = read_fingerprint(path)
    count = len(found.cases)
    return DatasetStatistics(found.version, found.dataset, found.foreground, count, found.channels)


def _validation(log: Path, facts: Mapping[str, Any], training: int) -> FoldPapers:
    """Of a checkpoint: its step, and its score on validation cases if it was kept for that.

    Args:
        log: of its training, which names the metric; may be missing.
        facts: of the checkpoint.
        training: on how many cases it was trained; 0 takes what came with an imported one.
    """
    rows = log.read_text(encoding="utf-8").splitlines() if log.is_file() else []
    named = [re.search(r'"validation_(\w+)": ', row) for row in rows]
    found = FoldPapers(int(facts["step"]), training or int(facts.get("training_cases", 0)))
    if "score" not in facts:
        return found
    details = {str(k): float(v) for k, v in facts.get("details", {}).items()}
    metric = next((found[1] for found in named if found), "")
    metric = str(facts.get("metric", metric))  # an imported model has no log
    return replace(found, score=float(facts["score"]), metric=metric, details=details)


def find_scores(folder: Path, plan: Plan) -> Measured:
    """The scores in a folder, or in the file that is named, without cases and folders.

    Raises:
        LiftnetError: If there are none, or they are of another dataset.
    """
    names = (SCORES, COHORT_SCORES)
    path = next((folder / name for name in names if (folder / name).is_file()), folder)
    if not path.is_file():
        raise LiftnetError(
            f"There is neither {SCORES} nor {COHORT_SCORES}",
            where=str(folder),
            remedy="Make them with liftnet_evaluate, or leave out --scores.",
        )
    cohort = "cohort" in path.name
    found: Scores | CohortScores = read_cohort_scores(path) if cohort else read_scores(path)
    if found.task != plan.task or found.dataset not in ("", plan.dataset):
        raise LiftnetError(
            f"The scores are of task '{found.task}', dataset '{found.dataset}'; the model is of "
            f"'{plan.task}', '{plan.dataset}'",
            where=str(path),
            remedy="Name the scores of this model with --scores.",
        )
    if isinstance(found, CohortScores):
        models = _makers(Path(found.generated_folder))
        bare = replace(
            found,
            generated_folder="",
            real_folder="",
            training_folder="",
            closest=(),
            warnings=tuple(text for text in found.warnings if "/" not in text),
            made=NOT_NOTED,
        )
        return Measured(bare, (), models, ())
    models = _makers(Path(found.predicted_folder)) or _makers(path.parent)
    units = tuple(sorted({row.notes.get("unit", "") for row in found.cases}))
    bare_scores = replace(
        found,
        predicted_folder="",
        reference_folder="",
        sources_folder="",
        cases=(),
        without_reference=(),
        failures=(),
        made=NOT_NOTED,
    )
    cases = tuple(sorted({row.case for row in found.cases}))
    return Measured(bare_scores, units, models, cases)


def case_names(plan: Plan, folders: Sequence[Path], files: Sequence[Path]) -> set[str]:
    """Every name of a case that is found beside a model: in its folds, fingerprint and splits."""
    names = {case for fold in folders for case in _cases_of(_numbers(fold, plan))}
    for path in files:
        if path.is_file():
            found = read_json(path)
            if isinstance(found, dict):
                names |= set(found.get("cases", {}))
            elif isinstance(found, list):
                names |= {c for fold in found for group in fold.values() for c in group}
    return names


def _numbers(folder: Path, plan: Plan) -> TrainingNumbers | None:
    """What training images of a fold are like, if it is known for this plan."""
    try:
        path = folder / NUMBERS_FILE
        found = from_json(TrainingNumbers, read_json(path), where=path)
    except PlanError:
        return None
    return found if found.plan == plan_digest(plan) else None


def _cases_of(numbers: TrainingNumbers | None) -> list[str]:
    return [] if numbers is None else list(numbers.cases)


def _anonymous(folds: Sequence[TrainingNumbers | None], plan: Plan) -> list[TrainingNumbers | None]:
    """The same with numbers for names, the same in all folds; their order says nothing."""
    known = {case: n for fold in folds if fold is not None for case, n in fold.cases.items()}
    order = sorted(known, key=lambda case: (json.dumps(to_json(known[case])), case))
    alias = {case: str(i + 1) for i, case in enumerate(order)}
    digest = plan_digest(plan)
    return [
        None
        if fold is None
        else TrainingNumbers(
            digest, {alias[case]: fold.cases[case] for case in order if case in fold.cases}
        )
        for fold in folds
    ]


def _makers(folder: Path) -> tuple[str, ...]:
    """The digests of the weights that made the images of a folder, from the JSON beside them."""
    found = set()
    for path in sorted(folder.glob("*.json")) if folder.is_dir() else ():
        try:
            facts = read_json(path)
        except PlanError:
            continue
        if isinstance(facts, dict) and isinstance(facts.get("model"), str):
            found.add(facts["model"])
    return tuple(sorted(found))
