"""One zip of a trained model that can be given away: weights, plan, scores and a model card."""

import hashlib
import json
import shlex
import stat
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from zipfile import ZIP_STORED, ZipFile, ZipInfo

from liftnet.core.arguments import checked
from liftnet.core.errors import LiftnetError
from liftnet.core.names import check_folder_name
from liftnet.core.storage.checksum import file_sha256
from liftnet.core.storage.files import remove_drafts, written_whole
from liftnet.core.storage.jsonable import from_json, read_json, to_json
from liftnet.core.workspace import Workspace, find_workspace
from liftnet.host.failures import explained
from liftnet.host.lock import hold
from liftnet.host.progress import mention, say
from liftnet.host.text_table import counted
from liftnet.pipeline.models.model import Model, load_model
from liftnet.pipeline.models.model_file import (
    CARD,
    FINGERPRINT,
    IMPORTED,
    MANIFEST,
    MODEL_FILE_VERSION,
    PLAUSIBILITY,
    TRAINING_FACTS,
    WEIGHTS,
    FileEntry,
    Manifest,
)
from liftnet.pipeline.models.model_zip import MAX_EXPANDED
from liftnet.pipeline.models.runs import BEST, LATEST, Folds, fold_names
from liftnet.pipeline.plan import DEFAULT_PLAN, load_plan, method_of
from liftnet.pipeline.share.card import model_card
from liftnet.pipeline.share.contents import (
    Measured,
    case_names,
    find_scores,
    model_files,
    portable_plan,
    portable_recipe,
    validation_facts,
)
from liftnet.pipeline.share.leaks import refuse_leaks, refuse_texts
from liftnet.pipeline.share.training import training_by_fold, training_sentence
from liftnet.version import __version__

__all__ = ["export"]

EPOCH = (1980, 1, 1, 0, 0, 0)  # the first date that a zip can hold: no date of export


@checked
def export(
    output_file: Path | str,
    dataset: int | str | None = None,
    *,
    plan_name: str = DEFAULT_PLAN,
    fold: Folds | None = None,
    method: str | None = None,
    checkpoint: str = "best",
    scores: Path | str | None = None,
    data: str = "",
    licence: str = "",
    intended_use: str = "",
    overwrite: bool = False,
    workspace: Path | str | None = None,
) -> Path:
    """Write one zip with what prediction needs, and a model card; print every file that leaves.

    The same model gives the same bytes. Neither images nor names of cases nor paths are inside.

    Args:
        output_file: the zip.
        dataset: id or name of the trained dataset.
        plan_name: which plan.
        fold: which; by default all that are trained.
        method: which; by default the task's own.
        checkpoint: "best" on validation, or "latest".
        scores: folder of scores.json or cohort_scores.json; their summary goes along.
        data: where the training data come from, for the model card.
        licence: of the weights, for the model card.
        intended_use: for the model card.
        overwrite: replace a file that is there.
        workspace: the workspace folder.

    Returns:
        The zip.

    Raises:
        LiftnetError: If nothing is trained, the file is there, or a name would leave, in `data`,
            `licence` or `intended_use` too.
    """
    path = Path(output_file).absolute()
    _check_output(path, overwrite)
    space = find_workspace(workspace)
    name = space.dataset_name(dataset)
    mention(f"{name}: {space.describe()}")
    run = space.run_folder(name, plan_name)
    used = method_of(load_plan(space, name, plan_name), method)
    folds = None if fold is None else sorted(fold_names(fold))  # as prediction finds them
    model = load_model(run, used, folds, checkpoint=checkpoint, device="cpu")
    check_folder_name(model.plan.dataset, "dataset", where="plan.json")
    check_folder_name(model.plan.name, "plan", where="plan.json")
    before = _imported(run)
    texts = {
        "data": _one_line(data) or (before.data if before else ""),
        "licence": _one_line(licence) or (before.licence if before else ""),
        "intended_use": _one_line(intended_use) or (before.intended_use if before else ""),
    }
    plan, recipe = portable_plan(model.plan), portable_recipe(model.recipe)
    stage = used.stages(plan, recipe)[-1].name
    file = {"best": BEST, "latest": LATEST}[checkpoint]
    names = [folder.name.removeprefix("fold_") for folder in model.folders]
    training = training_by_fold(space, name, plan_name, names, imported=before is not None)
    facts = [
        validation_facts(folder / stage / file, len(cases))
        for folder, cases in zip(model.folders, training, strict=True)
    ]
    measured = None if scores is None else find_scores(Path(scores), plan)
    contents = model_files(model, plan, recipe, facts, _fingerprint(space, name, run), measured)
    private = [space.fingerprint_file(name), space.splits_file(name)]
    folders = [space.raw.parent, space.raw, space.results, Path.home()]
    cases = case_names(model.plan, model.folders, private)
    refuse_leaks(contents, cases, folders)
    refuse_texts(
        {f"--{option}": text for option, text in texts.items()},
        cases.union(*training, () if measured is None else measured.cases),
        folders,
    )
    manifest = Manifest(
        version=MODEL_FILE_VERSION,
        liftnet=__version__,
        task=plan.task,
        dataset=plan.dataset,
        plan=plan.name,
        method=used.name,
        folds=tuple(names),
        model=model.digest,
        files=(),
        **texts,
    )
    seen = training_sentence(measured, training, model.digest)
    card = model_card(manifest, plan, recipe, model.networks[0], facts, measured, seen, contents)
    contents = {CARD: card.encode(), **contents}
    _write(path, manifest, contents, overwrite)
    _report(path, contents, model, measured)
    if seen is not None:
        say(f"scores: {seen}")
    return path


def _check_output(path: Path, overwrite: bool) -> None:
    if path.is_dir():
        raise LiftnetError(
            "The output is a folder", where=str(path), remedy="Name a file: -o model.zip"
        )
    if path.exists() and not overwrite:
        raise LiftnetError(
            "The file is there already",
            where=str(path),
            remedy="Name another, or replace it with --overwrite.",
        )


def _one_line(text: str) -> str:
    """A text of the user, for one line of the model card, without control characters."""
    plain = " ".join(text.split())
    return "".join(c for c in plain if c.isprintable())


def _imported(run: Path) -> Manifest | None:
    """The manifest with which a model came here, if it was imported."""
    path = run / IMPORTED / MANIFEST
    return from_json(Manifest, read_json(path), where=path) if path.is_file() else None


def _fingerprint(space: Workspace, dataset: str, run: Path) -> Path:
    """The fingerprint of the dataset, or the one that came with an imported model."""
    own = space.fingerprint_file(dataset)
    return own if own.is_file() else run / IMPORTED / FINGERPRINT


def _write(path: Path, manifest: Manifest, contents: Mapping[str, bytes], overwrite: bool) -> None:
    """Write the zip, whole or not at all: stored, without dates, always in the same order."""
    if sum(map(len, contents.values())) > MAX_EXPANDED - 2**20:
        raise LiftnetError(
            f"The model has more than {MAX_EXPANDED / 2**30:.0f} GiB, the most a zip takes here",
            where=str(path),
            remedy="Export fewer folds at a time: -f 0 1",
        )
    files = tuple(
        FileEntry(name, len(content), hashlib.sha256(content).hexdigest())
        for name, content in contents.items()
    )
    text = json.dumps(to_json(replace(manifest, files=files)), indent=1) + "\n"
    with hold(path.parent, "liftnet_export", part=path.name), explained("file", str(path)):
        _check_output(path, overwrite)  # another export may have been faster
        remove_drafts(path)
        with written_whole(path) as temporary, ZipFile(temporary, "w", ZIP_STORED) as archive:
            for name, content in {MANIFEST: text.encode(), **contents}.items():
                info = ZipInfo(name, EPOCH)
                info.create_system = 3  # Unix, wherever it is written
                info.external_attr = (stat.S_IFREG | 0o644) << 16
                archive.writestr(info, content)


def _report(
    path: Path, contents: Mapping[str, bytes], model: Model, measured: Measured | None
) -> None:
    """Print what leaves, and what does not."""
    what = {
        WEIGHTS: "weights",
        PLAUSIBILITY: "what training images are like: numbers, no names",
        TRAINING_FACTS: "how many training cases had which channel, and their spacing: no names",
        CARD: "the model card: read it before you pass the file on",
        FINGERPRINT: "measurements of the whole dataset, none of a single case",
    }
    mention(f"What leaves in {path}:")
    with ZipFile(path) as archive:
        for info in archive.infolist():
            note = what.get(info.filename.rpartition("/")[2], "")
            mention(f"  {info.file_size:>12,} bytes  {info.filename:<28}{note}".rstrip())
    plan = model.plan
    mention(f"Names in it: {', '.join([plan.dataset, plan.name, *plan.channel_names])}.")
    mention(
        "Not in it: images, names of cases, paths, headers of image files, the optimizer, "
        "licence and reference of dataset.json."
    )
    if measured is not None and set(measured.models) != {model.digest}:
        made = ", ".join(measured.models) or "unknown weights"
        say(f"warning: the scores are of images made by {made}, not by these, {model.digest}")
    say(f"{path.name}: {counted(len(model.folders), 'fold')}, {path.stat().st_size:,} bytes")
    command = ["liftnet_import", "-i", path.name, "--sha256", file_sha256(path)]
    mention(f"Next, on the machine that is to use it:\n  {shlex.join(command)}")
