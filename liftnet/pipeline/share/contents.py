"""What of a trained model leaves in its zip, without anything that names a case or a place."""

import json
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from liftnet.core.dataset import Channel, DatasetDescription
from liftnet.core.errors import LiftnetError, PlanError
from liftnet.core.fingerprint import Fingerprint
from liftnet.core.network_specs import ResNetSpec
from liftnet.core.plan import Plan
from liftnet.core.recipe import Recipe
from liftnet.core.scores import NOT_NOTED, CohortScores, Scores, read_cohort_scores, read_scores
from liftnet.core.storage.jsonable import from_json, read_json, to_json, write_json
from liftnet.pipeline.fingerprint.extract_fingerprint import read_fingerprint
from liftnet.pipeline.models.checkpoint import load_checkpoint, save_checkpoint
from liftnet.pipeline.models.model import Model
from liftnet.pipeline.models.model_file import (
    COHORT_SCORES,
    DATASET,
    FINGERPRINT,
    IMPORTED,
    PLAN,
    PLAUSIBILITY,
    RECIPE,
    SCORES,
    TRAINING_FACTS,
    WEIGHTS,
    DatasetStatistics,
)
from liftnet.pipeline.models.plausibility import FILE as NUMBERS_FILE
from liftnet.pipeline.models.plausibility import TrainingNumbers
from liftnet.pipeline.models.runs import LOG, plan_digest

__all__ = [
    "TRAINING_CASES",
    "Measured",
    "case_names",
    "find_scores",
    "model_files",
    "portable_plan",
    "portable_recipe",
    "validation_facts",
]

TRAINING_CASES = "training_cases"  # their number, among the facts beside the weights


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


def model_files(
    model: Model,
    plan: Plan,
    recipe: Recipe,
    facts: Sequence[Mapping[str, Any]],
    fingerprint: Path,
    measured: Measured | None,
) -> dict[str, bytes]:
    """Name in the zip -> content, of everything but model card and manifest.

    Args:
        model: with its folds.
        plan: as it leaves.
        recipe: likewise.
        facts: of each fold's checkpoint, as `validation_facts` has them.
        fingerprint: the file, which may be missing.
        measured: scores.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_json(folder / PLAN, plan)
        write_json(folder / RECIPE, recipe)
        write_json(folder / DATASET, _description(plan))
        if fingerprint.parent.name == IMPORTED and fingerprint.is_file():
            shutil.copyfile(fingerprint, folder / FINGERPRINT)
        elif fingerprint.is_file():
            write_json(folder / FINGERPRINT, _without_cases(read_fingerprint(fingerprint)))
        if measured is not None:
            cohort = isinstance(measured.scores, CohortScores)
            write_json(folder / (COHORT_SCORES if cohort else SCORES), measured.scores)
        numbers = _anonymous([_numbers(fold, model.plan) for fold in model.folders], plan)
        for fold, network, known, had, fact in zip(
            model.folders, model.networks, numbers, model.facts, facts, strict=True
        ):
            weights = {"network": network.state_dict()}
            save_checkpoint(folder / fold.name / WEIGHTS, weights, dict(fact))
            if known is not None:
                write_json(folder / fold.name / PLAUSIBILITY, known)
            if had is not None:
                write_json(
                    folder / fold.name / TRAINING_FACTS, replace(had, plan=plan_digest(plan))
                )
        found = sorted(path for path in folder.rglob("*") if path.is_file())
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def validation_facts(path: Path, training: int) -> dict[str, Any]:
    """Of a checkpoint: its step, and its score on validation cases if it was kept for that.

    Args:
        path: the checkpoint.
        training: on how many cases it was trained; 0 takes what came with an imported one.
    """
    facts = load_checkpoint(path).facts
    log = path.with_name(LOG)
    rows = log.read_text(encoding="utf-8").splitlines() if log.is_file() else []
    named = [re.search(r'"validation_(\w+)": ', row) for row in rows]
    kept: dict[str, Any] = {"step": int(facts["step"])}
    known = training or int(facts.get(TRAINING_CASES, 0))
    if known:
        kept[TRAINING_CASES] = known
    if "score" in facts:
        kept["score"] = float(facts["score"])
        kept["details"] = {str(k): float(v) for k, v in facts.get("details", {}).items()}
        metric = next((found[1] for found in named if found), "")
        kept["metric"] = str(facts.get("metric", metric))  # an imported model has no log
    return kept


def find_scores(folder: Path, plan: Plan) -> Measured:
    """The scores in a folder, or in the file that is named, without cases and folders.

    Raises:
        LiftnetError: If there are none, or they are of another dataset.
    """
    names = (SCORES, COHORT_SCORES)
    path = folder
    if folder.is_dir():
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


def _description(plan: Plan) -> DatasetDescription:
    """What a user of the model must know of its images; what somebody wrote by hand stays."""
    given = [channel for channel in plan.channels if channel.name in plan.sources]
    made = [channel for channel in plan.channels if channel.name not in plan.sources]
    if not given:  # volumes from nothing: the channel is in imagesTr all the same
        given, made = made, []

    def numbered(channels: Sequence[Any]) -> dict[str, Channel]:
        return {str(i): Channel(c.name, c.modality) for i, c in enumerate(channels)}

    name = plan.dataset.partition("_")[2]
    return DatasetDescription(name, plan.task, numbered(given), numbered(made))


def _without_cases(found: Fingerprint) -> DatasetStatistics:
    count = len(found.cases)
    return DatasetStatistics(found.version, found.dataset, found.foreground, count, found.channels)


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
