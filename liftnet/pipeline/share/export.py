"""One file of a trained model that can be given away: weights, plan, scores and a model card."""

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from liftnet.core.arguments import checked
from liftnet.core.errors import LiftnetError
from liftnet.core.names import check_folder_name
from liftnet.core.storage.checksum import file_sha256
from liftnet.core.storage.jsonable import from_json, read_json
from liftnet.core.workspace import Workspace, find_workspace
from liftnet.host.failures import explained
from liftnet.host.lock import hold
from liftnet.host.progress import mention, say
from liftnet.host.text_table import counted
from liftnet.pipeline.models.checkpoint import load_checkpoint
from liftnet.pipeline.models.model import CHECKPOINTS, load_model
from liftnet.pipeline.models.model_file import SUFFIX, Manifest, Papers, write_model_file
from liftnet.pipeline.models.runs import IMPORTED, MANIFEST, Folds, fold_names
from liftnet.pipeline.plan import DEFAULT_PLAN, load_plan, method_of
from liftnet.pipeline.report.training import training_cases
from liftnet.pipeline.share.card import model_card
from liftnet.pipeline.share.contents import (
    FINGERPRINT,
    Measured,
    case_names,
    find_scores,
    find_statistics,
    fold_papers,
    portable_plan,
    portable_recipe,
)
from liftnet.pipeline.share.leaks import refuse_leaks, refuse_texts
from liftnet.version import __version__

__all__ = ["export"]


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
    """Write one file with what prediction needs, and a model card; print every part that leaves.

    The same model gives the same bytes. Neither images nor names of cases nor paths are inside.

    Args:
        output_file: the file, which ends in .safetensors.
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
        The file.

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
    plan = portable_plan(model.plan)
    names = [folder.name.removeprefix("fold_") for folder in model.folders]
    training = training_by_fold(space, name, plan_name, names, imported=before is not None)
    place = Path(used.stages(model.plan, model.recipe)[-1].name) / CHECKPOINTS[checkpoint]
    states = {folder / place: load_checkpoint(folder / place) for folder in model.folders}
    measured = None if scores is None else find_scores(Path(scores), plan)
    own = space.fingerprint_file(name)
    papers = Papers(
        Manifest(__version__, used.name, model.digest, **texts),
        "",
        plan,
        portable_recipe(model.recipe),
        dict(zip(names, fold_papers(model, plan, states, training), strict=True)),
        find_statistics(own if own.is_file() else run / IMPORTED / FINGERPRINT),
        None if measured is None else measured.scores,
    )
    weights = {fold: s.weights for fold, s in zip(names, states.values(), strict=True)}
    seen = training_sentence(measured, training, model.digest)
    card = model_card(papers, model.networks[0], measured, seen, _sizes(papers, weights))
    papers = replace(papers, card=card)
    private = case_names(model.plan, model.folders, [own, space.splits_file(name)])
    folders = [space.raw.parent, space.raw, space.results, Path.home()]
    refuse_texts(
        {f"--{option}": text for option, text in texts.items()},
        private.union(*training, () if measured is None else measured.cases),
        folders,
    )
    refuse_leaks(papers.parts(), private, folders)
    with hold(path.parent, "liftnet_export", part=path.name), explained("file", str(path)):
        _check_output(path, overwrite)  # another export may have been faster
        write_model_file(path, papers, weights)
    _report(path, papers, _sizes(papers, weights), measured)
    if seen is not None:
        say(f"scores: {seen}")
    return path


def _check_output(path: Path, overwrite: bool) -> None:
    if path.suffix != SUFFIX:
        raise LiftnetError(
            f"A model is written as one {SUFFIX} file",
            where=str(path),
            remedy=f"Name it so: -o model{SUFFIX}",
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


def training_by_fold(
    space: Workspace, dataset: str, plan: str, folds: Sequence[str], *, imported: bool
) -> list[set[str]]:
    """The training cases of each fold; empty where they are not known.

    Nothing is known of an imported model: a dataset of its name may be here and be another.
    """
    return [set() if imported else training_cases(space, dataset, plan, fold) for fold in folds]


def training_sentence(
    measured: Measured | None, training: Sequence[set[str]], model: str
) -> str | None:
    """How many of the scored cases a fold was trained on; None where no case was scored.

    Args:
        measured: the scores.
        training: the training cases of each fold.
        model: digest of the weights.
    """
    if measured is None or not measured.cases:
        return None
    count = len(measured.cases)
    seen = len(set(measured.cases) & set().union(*training))
    known = bool(training) and all(training)
    if seen:
        least = "" if known else "At least "
        verb = "was a training case" if seen == 1 else "were training cases"
        folds = "this fold" if len(training) == 1 else "these folds"
        end = "" if set(measured.models) == {model} else (
            ", unless folds made the image that were not trained on it"
        )  # fmt: skip
        return (
            f"{least}{seen} of the {count} scored cases {verb} of {folds}: what is measured on "
            f"them does not hold for new cases{end}."
        )
    if not known:
        return (
            f"It is not known whether any of the {count} scored cases was used for training: "
            "what is measured on training cases does not hold for new cases."
        )
    return f"None of the {count} scored cases was used for training these folds."


def _sizes(papers: Papers, weights: Mapping[str, Mapping[str, Tensor]]) -> dict[str, int]:
    """Part of the file -> its bytes."""
    sizes = {name: len(json.dumps(part)) for name, part in papers.parts().items()}
    tensors = {f"fold_{f}, weights": sum(t.nbytes for t in n.values()) for f, n in weights.items()}
    return sizes | tensors


def _report(
    path: Path, papers: Papers, sizes: Mapping[str, int], measured: Measured | None
) -> None:
    """Print what leaves, and what does not."""
    what = {
        "card": "the model card: read it before you pass the file on (liftnet_import --show)",
        "fingerprint": "measurements of the whole dataset, none of a single case",
        **{
            f"fold_{fold}": "what its training cases are like: numbers, no names"
            for fold in papers.folds
        },
    }
    mention(f"What leaves in {path}:")
    for name, size in sizes.items():
        mention(f"  {size:>12,} bytes  {name:<18}{what.get(name, '')}".rstrip())
    plan, model = papers.plan, papers.manifest.model
    mention(f"Names in it: {', '.join([plan.dataset, plan.name, *plan.channel_names])}.")
    mention(
        "Not in it: images, names of cases, paths, headers of image files, the optimizer, "
        "licence and reference of dataset.json."
    )
    if measured is not None and set(measured.models) != {model}:
        made = ", ".join(measured.models) or "unknown weights"
        say(f"warning: the scores are of images made by {made}, not by these, {model}")
    say(f"{path.name}: {counted(len(papers.folds), 'fold')}, {path.stat().st_size:,} bytes")
    command = ["liftnet_import", "-i", path.name, "--sha256", file_sha256(path)]
    mention(f"Next, on the machine that is to use it:\n  {shlex.join(command)}")
