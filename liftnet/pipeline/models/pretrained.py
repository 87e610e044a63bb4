"""Weights that another training left, to begin a new one with."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from liftnet.core.errors import CheckpointError, PlanError
from liftnet.core.plan import Plan
from liftnet.core.recipe import Recipe
from liftnet.core.storage.jsonable import read_versioned, to_json, write_sealed
from liftnet.host.progress import mention, say
from liftnet.host.text_table import first_names
from liftnet.methods.base import Method, Stage
from liftnet.ops.compute.processes import is_first
from liftnet.pipeline.models.checkpoint import (
    has_checkpoint,
    header_facts,
    load_checkpoint,
    weights_digest,
)
from liftnet.pipeline.models.model_file import SUFFIX, read_model_file
from liftnet.pipeline.models.pretrained_match import TensorMatch, differences, fit, match_tensors
from liftnet.pipeline.models.runs import BEST, LATEST, PLAN, read_run

__all__ = [
    "PRETRAINED",
    "Fitting",
    "Pretrained",
    "begin_from",
    "how_to_fit",
    "pretrained_origins",
    "read_pretrained",
    "submodule",
]

PRETRAINED = "pretrained.json"
PRETRAINED_VERSION = 1
NAMES = "Name a checkpoint, the folder of a trained fold, or a model of liftnet_export."
SIZES = ("widths", "hidden_size", "num_layers", "convolutions_per_stage")  # that tensors have
Fitting = Callable[[Mapping[str, Tensor]], dict[str, Tensor]]  # a network's tensors -> those to put
SHOWN_NAMES = 6  # ours: the others are in pretrained.json


@dataclass(frozen=True)
class Pretrained:
    """Weights of a trained network, and the plan that they belong to."""

    name: str  # of the file, without folders, which may name people
    digest: str  # of the weights
    plan: Plan  # of the training that left them
    recipe: Recipe
    method: str
    fold: str
    tensors: dict[str, Tensor]


def read_pretrained(path: Path, fold: str) -> Pretrained:
    """The weights in an exported model, the folder of a fold, or a checkpoint inside of one.

    `fold` is the one to take where there are several; if it is not there, the first is.

    Raises:
        LiftnetError: If there are no weights, or no plan is beside them.
    """
    if path.is_dir():
        return _from_checkpoint(_last_checkpoint(path), path.name)
    if not path.is_file():
        remedy = NAMES
        if path.parts[:1] in (("http:",), ("https:",)):
            remedy = "Bring it here with liftnet_import first, or fetch the file and name it."
        raise CheckpointError("There is no such file of weights", where=str(path), remedy=remedy)
    facts = header_facts(path)
    in_run = "format" in facts or _fold_of(path) is not None
    if path.suffix != SUFFIX or "manifest" in facts or not in_run:
        return _from_model_file(path, fold)
    return _from_checkpoint(path, path.name)


def _from_model_file(path: Path, fold: str) -> Pretrained:
    """Weights of a model file, which is checked as when it is imported."""
    found = read_model_file(path)
    number = fold.removeprefix("fold_")
    number = number if number in found.tensors else next(iter(found.tensors))
    made = (found.plan, found.method, found.recipe)
    return _pretrained(path.name, made, f"fold_{number}", found.tensors[number])


def _last_checkpoint(folder: Path) -> Path:
    """The best checkpoint of the last stage that the folder of a fold has one of."""
    if (folder / "plan.json").is_file():
        plan, method, recipe = read_run(folder)
        for stage in reversed(method.stages(plan, recipe)):
            for name in (BEST, LATEST):
                if has_checkpoint(folder / stage.name / name):
                    return folder / stage.name / name
    raise CheckpointError(
        "The folder holds no trained fold",
        where=str(folder),
        remedy="Name the folder of a fold, results/DATASET/PLAN/METHOD/fold_0.",
    )


def _fold_of(path: Path) -> Path | None:
    """The folder of a fold in which a checkpoint lies."""
    return next((some for some in path.absolute().parents[:2] if (some / PLAN).is_file()), None)


def _from_checkpoint(path: Path, name: str) -> Pretrained:
    folder = _fold_of(path)
    if folder is None:
        raise CheckpointError(
            "The plan of these weights is not beside them: nothing says what their channels are",
            where=str(path),
            remedy="Name the checkpoint where training left it, in the folder of its fold.",
        )
    return _pretrained(name, read_run(folder), folder.name, load_checkpoint(path).weights)


def _pretrained(
    name: str,
    made: tuple[Plan, Method[Any], Recipe],
    fold: str,
    tensors: dict[str, Tensor],
) -> Pretrained:
    plan, method, recipe = made
    return Pretrained(name, weights_digest([tensors]), plan, recipe, method.name, fold, tensors)


def begin_from(
    path: Path | None,
    plan: Plan,
    recipe: Recipe,
    stages: Sequence[Stage[Any]],
    folder: Path,
    *,
    restart: bool = False,
) -> Fitting | None:
    """What gives a network the weights to begin with, or None.

    Says what fits, and notes it in `pretrained.json`.

    Raises:
        CheckpointError: If nothing fits, or the run began with other weights.
    """
    note = folder / PRETRAINED
    started = [not restart and has_checkpoint(folder / stage.name / LATEST) for stage in stages]
    begun = any(started)
    earlier = _read_note(note) if begun and note.is_file() else None
    if path is None:
        if earlier is not None and not all(started):
            raise CheckpointError(
                f"This run began with the weights of {earlier['file']}, which its next stage needs",
                where=str(folder),
                remedy="Give the same --pretrained again, or begin anew with --restart.",
            )
        if not begun and is_first():
            note.unlink(missing_ok=True)
        return None
    pretrained = read_pretrained(path, folder.name)
    if begun and (earlier is None or earlier["digest"] != pretrained.digest):
        raise CheckpointError(
            "This run began with "
            + (f"{earlier['file']}" if earlier else "random weights")
            + f", not with the weights of {pretrained.name}",
            where=str(folder),
            remedy="Leave --pretrained as it was, begin anew with --restart, or train a plan of "
            "another name (liftnet_plan -p NAME).",
        )
    if not begun:
        _examine(pretrained, plan, recipe, stages, folder)
    return partial(_fitted, pretrained, plan)


def how_to_fit(method: str, recipe: Recipe, pretrained: Pretrained) -> str:
    """What makes a recipe of a method whose networks have the sizes of these weights."""
    other = pretrained.recipe
    if type(recipe) is not type(other):
        return f"Take weights of the same method; these are of {pretrained.method}."
    sizes = [
        f"{method}.{field.name}.{size}={to_json(getattr(spec, size))}".replace(" ", "")
        for field in fields(other)
        for size in SIZES
        if hasattr(spec := getattr(other, field.name), size)
        and getattr(spec, size) != getattr(getattr(recipe, field.name), size, None)
    ]
    if not sizes:
        return "Take weights of the same kind of network."
    settings = " ".join(f"'{size}'" for size in sizes)
    return f"Make a plan with the sizes of these weights: liftnet_plan -p NAME --set {settings}"


def _examine(
    pretrained: Pretrained,
    plan: Plan,
    recipe: Recipe,
    stages: Sequence[Stage[Any]],
    folder: Path,
) -> None:
    """Say what fits which stage, and write it down.

    Raises:
        CheckpointError: If nothing does.
    """
    matches: dict[str, list[TensorMatch]] = {}
    trained: set[str] = set()  # submodules that an earlier stage hands on
    for stage in stages:
        network = stage.build()
        own = {k: v for k, v in network.state_dict().items() if submodule(k) not in trained}
        matches[stage.name] = match_tensors(own, plan, pretrained.tensors, pretrained.plan)
        trained |= {name for name, _ in network.named_children()}
    every = [match for stage in matches.values() for match in stage]
    if not any(match.taken for match in every):
        raise CheckpointError(
            f"Nothing of {pretrained.name} fits this plan",
            where=f"the file's plan: task {pretrained.plan.task}, '{pretrained.plan.name}' of "
            f"{pretrained.plan.dataset}",
            remedy=how_to_fit(folder.parent.name, recipe, pretrained),
        )
    notes = differences(plan, pretrained.plan)
    if pretrained.plan.dataset == plan.dataset and pretrained.fold != folder.name:
        notes.append(f"the weights are of {pretrained.fold}, whose training cases validate here")
    used = {match.name for match in every if match.taken}
    unused = sorted(set(pretrained.tensors) - used)
    facts = {
        "version": PRETRAINED_VERSION,
        "file": pretrained.name,
        "digest": pretrained.digest,
        "task": pretrained.plan.task,
        "method": pretrained.method,
        "dataset": pretrained.plan.dataset,
        "plan": pretrained.plan.name,
        "fold": pretrained.fold,
        "differences": notes,
        "stages": {name: _summary(some) for name, some in matches.items()},
        "unused": unused,
    }
    if not is_first():
        return
    write_sealed(folder / PRETRAINED, facts)
    mention(f"Begins with {pretrained.name}: {pretrained.plan.dataset}, {pretrained.fold}")
    for name, some in matches.items():
        for line in _in_words(name, some):
            mention(line)
    if unused:
        mention(
            f"  of the file, {len(unused)} tensors are not used: {first_names(unused, SHOWN_NAMES)}"
        )
    for line in notes:
        say(f"warning: {line}")


def _summary(matches: list[TensorMatch]) -> dict[str, Any]:
    """Counts, shares of numbers, and names."""
    numbers = sum(match.numbers for match in matches)
    facts: dict[str, Any] = {"tensors": len(matches), "parameters": numbers}
    for how in ("matched", "reshaped", "new"):
        some = [match for match in matches if match.how == how]
        taken = sum(match.numbers if how == "new" else match.taken for match in some)
        facts[how] = {"tensors": len(some), "parameters": taken}
        facts[how]["share"] = round(taken / max(numbers, 1), 4)
        if how != "matched":
            facts[how]["names"] = {match.name: match.note for match in some}
    return facts


def _in_words(stage: str, matches: list[TensorMatch]) -> list[str]:
    facts = _summary(matches)
    if not matches:
        return [f"  {stage}: goes on from the stage before"]
    counts = [
        f"{facts[how]['tensors']} {how} ({100 * facts[how]['share']:.3g} %)"
        for how in ("matched", "reshaped", "new")
    ]
    lines = [f"  {stage}, tensors (share of parameters): {', '.join(counts)}"]
    lines += [f"    reshaped {match.name}: {match.note}" for match in matches if match.entries]
    unfit = [match.name for match in matches if match.how == "new"]
    return lines + ([f"    new: {first_names(unfit, SHOWN_NAMES)}"] if unfit else [])


def _read_note(path: Path) -> dict[str, Any]:
    """What `pretrained.json` says.

    Raises:
        PlanError: If it is damaged or of another version.
    """
    remedy = "Begin anew with --restart."
    data = read_versioned(path, PRETRAINED_VERSION, what="The note has", remedy=remedy)
    if not all(isinstance(data.get(key), str) for key in ("file", "digest")):
        raise PlanError("The note of pretrained weights is damaged", where=str(path), remedy=remedy)
    return dict(data)


def pretrained_origins(folders: Sequence[Path]) -> dict[str, str]:
    """Fold -> the file that its training began with, and the digest of the weights in it."""
    found = {}
    for folder in folders:
        if (folder / PRETRAINED).is_file():
            try:
                note = _read_note(folder / PRETRAINED)
            except PlanError:  # of another version; prediction needs it not
                continue
            found[folder.name] = f"{note['file']} ({note['digest']})"
    return found


def submodule(name: str) -> str:
    """The submodule of a network that a tensor belongs to."""
    return name.split(".")[0]


def _fitted(pretrained: Pretrained, plan: Plan, own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    matches = match_tensors(own, plan, pretrained.tensors, pretrained.plan)
    return fit(own, pretrained.tensors, matches)
