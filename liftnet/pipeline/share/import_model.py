"""A trained model from elsewhere, let into a workspace after everything about it was checked."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from liftnet.core.arguments import checked
from liftnet.core.errors import DatasetError, LiftnetError
from liftnet.core.names import check_folder_name
from liftnet.core.plan import Plan
from liftnet.core.storage.checksum import file_sha256
from liftnet.core.storage.files import missing_file, write_text
from liftnet.core.storage.jsonable import write_json, write_sealed
from liftnet.core.workspace import Workspace, command_line, find_workspace
from liftnet.host.progress import mention, say
from liftnet.imageio.raw_dataset import load_description
from liftnet.pipeline.models.checkpoint import save_checkpoint
from liftnet.pipeline.models.model_file import SUFFIX, FoldPapers, ModelFile, read_model_file
from liftnet.pipeline.models.plausibility import FILE as NUMBERS_FILE
from liftnet.pipeline.models.runs import (
    BEST,
    IMPORTED,
    MANIFEST,
    PLAN,
    RECIPE,
    fold_folder,
    plan_digest,
)
from liftnet.pipeline.models.training_facts import FACTS
from liftnet.pipeline.share.contents import COHORT_SCORES, FINGERPRINT, SCORES
from liftnet.pipeline.share.fetch import fetch
from liftnet.pipeline.share.place import place_model
from liftnet.tasks import load_task
from liftnet.tasks.base import SynthesisTask

__all__ = ["import_model"]

CARD = "README.md"


@checked
def import_model(
    input_file: Path | str,
    dataset: int | str | None = None,
    *,
    plan_name: str | None = None,
    sha256: str | None = None,
    show: bool = False,
    overwrite: bool = False,
    workspace: Path | str | None = None,
) -> Path | None:
    """Bring a model of `liftnet_export` into a workspace, where it predicts as where it was made.

    Everything is checked before anything is written into the workspace.

    Args:
        input_file: the file, or its https address.
        dataset: another number, or another name as Dataset012_Brains, than it was exported with.
        plan_name: another name of the plan than it was exported with.
        sha256: of the file, as `liftnet_export` has printed it.
        show: print the model card and import nothing.
        overwrite: replace a model of the same dataset and plan.
        workspace: the workspace folder.

    Returns:
        The folder of the model in the workspace's results; None if it was only shown.

    Raises:
        LiftnetError: If the file is not a model, was changed, or something would be overwritten.
    """
    source = str(input_file)
    with _local_file(source) as path:
        if not path.is_file():
            raise missing_file(path)
        digest = _check_digest(path, sha256, source)
        model = read_model_file(path)
        if show:
            say(model.papers.card)
            return None
        space = find_workspace(workspace)
        plan = _renamed(model.plan, dataset, plan_name)
        _check_dataset(space, plan)
        target = place_model(space, plan, partial(_arrange, model, plan), overwrite=overwrite)
    _report(model, plan, target, digest, checked=sha256 is not None)
    mention(f"Use it:\n  {_usage(model, plan, workspace)}")
    return target


@contextmanager
def _local_file(source: str) -> Iterator[Path]:
    """Yield the file itself, or a temporary copy of what a URL has, which is gone afterwards.

    Raises:
        LiftnetError: If it cannot be fetched safely, or is too large.
    """
    if "://" not in source:
        yield Path(source)
        return
    with TemporaryDirectory(prefix="liftnet_import_") as folder:
        path = Path(folder) / f"model{SUFFIX}"
        remedy = "Try again, or fetch the file on another machine and give its path to -i."
        where = fetch(source, path, what="model", remedy=remedy)
        mention(f"Fetched {path.stat().st_size:,} bytes from {where}")
        yield path


def _check_digest(path: Path, wanted: str | None, source: str) -> str:
    """The SHA-256 of a file.

    Raises:
        LiftnetError: If it is not the one that is wanted.
    """
    found = file_sha256(path)
    if wanted is not None and found != wanted.strip().lower():
        raise LiftnetError(
            f"The file has SHA-256 {found}, not {wanted.strip()}",
            where=source,
            remedy="Nothing was imported. Compare with what liftnet_export has printed.",
        )
    return found


def _renamed(plan: Plan, dataset: int | str | None, plan_name: str | None) -> Plan:
    """The plan under the names that the user wants."""
    name = plan.dataset
    if dataset is not None:
        text = str(dataset)
        name = f"Dataset{int(text):03d}_{name.partition('_')[2]}" if text.isdecimal() else text
    plan_name = plan.name if plan_name is None else plan_name
    check_folder_name(name, "dataset", where="-d")
    check_folder_name(plan_name, "plan", where="-p")
    return replace(plan, dataset=name, name=plan_name)


def _check_dataset(space: Workspace, plan: Plan) -> None:
    """Refuse a number that another dataset has, and images with other channels.

    Raises:
        DatasetError: If there are any.
    """
    number = plan.dataset.partition("_")[0]
    others = {
        path.name
        for root in (space.raw, space.preprocessed, space.results)
        if root.is_dir()
        for path in root.iterdir()
        if path.is_dir() and path.name.startswith(f"{number}_")
    } - {plan.dataset}
    remedy = f"Import it under a number of its own: -d {_free_number(space)}"
    if others:
        raise DatasetError(
            f"The workspace has another dataset with the number of {plan.dataset}: {min(others)}",
            where=space.describe(),
            remedy=remedy,
        )
    folder = space.raw / plan.dataset
    if not (folder / "dataset.json").is_file():
        return
    own = load_description(folder)
    channels = [c for group in (own.channels, own.targets) for c in group.values()]
    there = sorted((channel.name, channel.modality) for channel in channels)
    wanted = sorted((channel.name, channel.modality) for channel in plan.channels)
    if own.task != plan.task or there != wanted:
        raise DatasetError(
            f"{plan.dataset} in the workspace is another dataset: it has "
            f"{', '.join(name for name, _ in there)} for {own.task}, the model "
            f"{', '.join(name for name, _ in wanted)} for {plan.task}",
            where=str(folder),
            remedy=remedy,
        )


def _free_number(space: Workspace) -> int:
    """The first dataset number that the workspace does not use."""
    used = {
        int(path.name[7:10])
        for root in (space.raw, space.preprocessed, space.results)
        if root.is_dir()
        for path in root.iterdir()
        if re.match(r"Dataset\d{3}_", path.name)
    }
    return next(n for n in range(1, 1001) if n not in used)


def _arrange(model: ModelFile, plan: Plan, run: Path) -> None:
    """Write the folds as training leaves them, and the papers beside them."""
    papers, method, digest = model.papers, model.method, plan_digest(plan)
    stage = method.stages(plan, model.recipe)[-1].name
    for fold, known in papers.folds.items():
        folder = fold_folder(run, method.name, fold)
        save_checkpoint(folder / stage / BEST, {"network": model.tensors[fold]}, _facts(known))
        write_sealed(folder / PLAN, plan)
        write_sealed(folder / RECIPE, model.recipe)
        for name, numbers in ((NUMBERS_FILE, known.plausibility), (FACTS, known.training_facts)):
            if numbers is not None:
                write_sealed(folder / name, replace(numbers, plan=digest))
    folder = run / IMPORTED
    write_text(folder / CARD, papers.card)
    write_json(folder / MANIFEST, papers.manifest)
    if papers.fingerprint is not None:
        write_json(folder / FINGERPRINT, papers.fingerprint)
    if papers.scores is not None:
        cohort = papers.scores.get("kind") == "CohortScores"
        write_json(folder / (COHORT_SCORES if cohort else SCORES), papers.scores)


def _facts(fold: FoldPapers) -> dict[str, Any]:
    """What the checkpoint of a fold says beside its weights."""
    facts: dict[str, Any] = {"step": fold.step}
    if fold.training_cases:
        facts["training_cases"] = fold.training_cases
    if fold.score is not None:
        facts |= {"score": fold.score, "metric": fold.metric, "details": fold.details}
    return facts


def _report(model: ModelFile, plan: Plan, target: Path, digest: str, *, checked: bool) -> None:
    """Print what is there now."""
    manifest = model.papers.manifest
    folds = ", ".join(model.papers.folds)
    say(f"Imported {plan.dataset}, plan {plan.name}, fold {folds}: {target}")
    say(f"SHA-256 {digest}" + ("" if checked else ", compare it with what the sender names"))
    for what, text in (
        ("data", manifest.data),
        ("licence", manifest.licence),
        ("intended use", manifest.intended_use),
    ):
        mention(f"{what}: {text or 'not stated'}")
    mention(f"Read the model card: {target / IMPORTED / CARD}")


def _usage(model: ModelFile, plan: Plan, workspace: Path | str | None) -> str:
    """The command that predicts with an imported model; IMAGES stands for a folder."""
    from_images = isinstance(load_task(plan.task), SynthesisTask)
    source = ["-i", "IMAGES"] if from_images else ["-n", "10"]
    used = model.method.name
    method = [] if used == load_task(plan.task).default_method else ["--method", used]
    words = ["liftnet_predict", *method, *source, "-o", "predicted"]
    number = int(plan.dataset[7:10])
    return command_line(words, dataset=number, plan=plan.name, workspace=workspace)
