"""A trained model from elsewhere, let into a workspace after everything about it was checked."""

import re
import shlex
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from liftnet.core.arguments import checked
from liftnet.core.dataset import load_description
from liftnet.core.errors import DatasetError
from liftnet.core.names import check_folder_name
from liftnet.core.plan import Plan
from liftnet.core.storage.files import missing_file
from liftnet.core.storage.jsonable import from_json, read_json, write_sealed
from liftnet.core.workspace import Workspace, find_workspace
from liftnet.host.progress import keep_quiet, mention, say
from liftnet.pipeline.models.model import load_model
from liftnet.pipeline.models.model_check import Unpacked, read_model_file
from liftnet.pipeline.models.model_file import CARD, IMPORTED
from liftnet.pipeline.models.model_zip import refused
from liftnet.pipeline.models.plausibility import FILE as NUMBERS_FILE
from liftnet.pipeline.models.plausibility import TrainingNumbers
from liftnet.pipeline.models.runs import BEST, RECIPE, fold_folder, plan_digest
from liftnet.pipeline.models.training_facts import FACTS, TrainingFacts
from liftnet.pipeline.share.fetch import check_digest, local_file
from liftnet.pipeline.share.place import place_model
from liftnet.tasks import load_task
from liftnet.tasks.base import SynthesisTask

__all__ = ["import_model"]


@checked
def import_model(
    input_file: Path | str,
    dataset: int | str | None = None,
    *,
    plan_name: str | None = None,
    sha256: str | None = None,
    overwrite: bool = False,
    workspace: Path | str | None = None,
) -> Path:
    """Bring a model of `liftnet_export` into a workspace, where it predicts as where it was made.

    Everything is checked before anything is written into the workspace.

    Args:
        input_file: the zip, or its https address.
        dataset: another number, or another name as Dataset012_Brains, than it was exported with.
        plan_name: another name of the plan than it was exported with.
        sha256: of the zip, as `liftnet_export` has printed it.
        overwrite: replace a model of the same dataset and plan.
        workspace: the workspace folder.

    Returns:
        The folder of the model in the workspace's results.

    Raises:
        LiftnetError: If the file is not a model, was changed, or something would be overwritten.
    """
    space = find_workspace(workspace)
    source = str(input_file)
    with local_file(source) as path, TemporaryDirectory(prefix="liftnet_import_") as scratch:
        if not path.is_file():
            raise missing_file(path)
        digest = check_digest(path, sha256, source)
        unpacked = read_model_file(path, Path(scratch) / "zip")
        plan = _renamed(unpacked.plan, dataset, plan_name)
        _check_dataset(space, plan)
        run = Path(scratch) / "run"
        _arrange(unpacked, plan, run)
        _check_weights(unpacked, plan, run, path)
        target = place_model(space, plan, run, overwrite=overwrite)
    _report(unpacked, plan, target, digest, checked=sha256 is not None)
    where = ["--workspace", str(workspace)] if workspace is not None else []
    mention(f"Use it:\n  {shlex.join([*_usage(unpacked, plan), *where])}")
    return target


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


def _arrange(unpacked: Unpacked, plan: Plan, run: Path) -> None:
    """Lay the files out as training leaves them, and the papers beside them."""
    manifest = unpacked.manifest
    task, method = load_task(plan.task), unpacked.method
    stage = method.stages(plan, unpacked.recipe)[-1].name
    for fold in manifest.folds:
        folder = fold_folder(run, method.name, fold)
        (folder / stage).mkdir(parents=True)
        shutil.move(unpacked.weights(fold), folder / stage / BEST)
        write_sealed(folder / "plan.json", plan)
        write_sealed(folder / RECIPE, unpacked.recipe)
        numbers = unpacked.plausibility(fold)
        if numbers.is_file() and isinstance(task, SynthesisTask):
            known = from_json(TrainingNumbers, read_json(numbers), where=numbers.name)
            if known.plan == plan_digest(unpacked.plan):
                known = replace(known, plan=plan_digest(plan))
            write_sealed(folder / NUMBERS_FILE, known)
        facts = unpacked.training_facts(fold)
        if facts.is_file():
            had = from_json(TrainingFacts, read_json(facts), where=facts.name)
            if had.plan == plan_digest(unpacked.plan):
                had = replace(had, plan=plan_digest(plan))
            write_sealed(folder / FACTS, had)
    papers = run / IMPORTED
    papers.mkdir()
    for file in sorted(unpacked.folder.iterdir()):
        if file.is_file():
            shutil.move(file, papers / file.name)


def _check_weights(unpacked: Unpacked, plan: Plan, run: Path, path: Path) -> None:
    """Load the model as prediction does, and compare the digest of its weights."""
    manifest = unpacked.manifest
    with keep_quiet():
        model = load_model(
            run,
            unpacked.method,
            manifest.folds,
            checkpoint="best",
            device="cpu",
        )
    if model.digest != manifest.model:
        raise refused(f"The weights have digest {model.digest}, not {manifest.model}", path)


def _report(unpacked: Unpacked, plan: Plan, target: Path, digest: str, *, checked: bool) -> None:
    """Print what is there now, and how to use it."""
    manifest = unpacked.manifest
    folds: Sequence[str] = manifest.folds
    say(f"Imported {plan.dataset}, plan {plan.name}, fold {', '.join(folds)}: {target}")
    say(f"SHA-256 {digest}" + ("" if checked else ", compare it with what the sender names"))
    for what, text in (
        ("data", manifest.data),
        ("licence", manifest.licence),
        ("intended use", manifest.intended_use),
    ):
        mention(f"{what}: {text or 'not stated'}")
    mention(f"Read the model card: {target / IMPORTED / CARD}")


def _usage(unpacked: Unpacked, plan: Plan) -> list[str]:
    """The command that predicts with an imported model; IMAGES stands for a folder."""
    from_images = isinstance(load_task(plan.task), SynthesisTask)
    source = ["-i", "IMAGES"] if from_images else ["-n", "10"]
    own = load_task(plan.task).default_method
    used = unpacked.manifest.method
    method = [] if used == own else ["--method", used]
    number = str(int(plan.dataset[7:10]))
    named = ["-d", number, "-p", plan.name]
    return ["liftnet_predict", *named, *method, *source, "-o", "predicted"]
