"""The one file in which a trained model travels: tensors of all folds, and its papers as JSON."""

import hashlib
import json
import math
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from liftnet.core.errors import LiftnetError
from liftnet.core.fingerprint import ChannelStatistics
from liftnet.core.names import check_folder_name
from liftnet.core.network_specs import ResNetSpec
from liftnet.core.plan import Plan
from liftnet.core.recipe import Recipe
from liftnet.core.scores import parse_cohort_scores, parse_scores
from liftnet.core.storage.files import flush_folder, missing_file
from liftnet.core.storage.jsonable import from_json, to_json
from liftnet.core.storage.strict_json import parse_json
from liftnet.host.failures import explained
from liftnet.methods import load_method
from liftnet.methods.base import Method
from liftnet.pipeline.models.checkpoint import METADATA, UNREADABLE, weights_digest, write_tensors
from liftnet.pipeline.models.plausibility import TrainingNumbers
from liftnet.pipeline.models.training_facts import TrainingFacts
from liftnet.pipeline.plan import parse_plan, parse_recipe

__all__ = [
    "MAX_BYTES",
    "SUFFIX",
    "DatasetStatistics",
    "FoldPapers",
    "Manifest",
    "ModelFile",
    "Papers",
    "read_model_file",
    "shown",
    "texts_of",
    "write_model_file",
]

MODEL_FILE_VERSION = 3
SUFFIX = ".safetensors"
SHA256 = "sha256"  # of the other papers, beside them
MAX_BYTES = 2**32  # ours: five folds of 200 million parameters
MAX_HEADER = 2**24  # ours: five folds have some 100 KB; this is the most that is parsed
MAX_VOXELS = 2**31  # ours: of a volume; 1290 along each side
HEAD_SIZE = 128  # bytes by which a file of another kind is recognised
TORCH = b"data.pkl"  # the first entry of what torch.save writes
DAMAGED = "Nothing was imported. Get the file again from where it was exported."
UNFIT = "Nothing was imported. Update liftnet, or ask for the model to be exported again."
FOREIGN = f"Give a {SUFFIX} file that liftnet_export has written."


@dataclass(frozen=True)
class Manifest:
    """Which model this is, and what its sender says of it."""

    liftnet: str
    method: str
    model: str  # digest of the weights, as in the JSON beside every image that they make
    data: str  # where the training data come from
    licence: str
    intended_use: str


@dataclass(frozen=True)
class DatasetStatistics:
    """The fingerprint of the dataset as a whole, and of none of its cases."""

    version: int  # of the fingerprint
    dataset: str
    foreground: str
    num_cases: int
    channels: dict[str, ChannelStatistics]


@dataclass(frozen=True)
class FoldPapers:
    """A fold's checkpoint, and numbers of its training cases without their names."""

    step: int
    training_cases: int = 0  # 0: not known
    score: float | None = None  # of validation during training, if the checkpoint was kept for it
    metric: str = ""
    details: dict[str, float] = field(default_factory=dict)
    plausibility: TrainingNumbers | None = None
    training_facts: TrainingFacts | None = None


@dataclass(frozen=True)
class Papers:
    """Everything in the file but tensors."""

    manifest: Manifest
    card: str  # Markdown
    plan: Any  # a Plan, or the JSON of one
    recipe: Any  # likewise
    folds: dict[str, FoldPapers]
    fingerprint: DatasetStatistics | None = None
    scores: Any = None  # Scores or CohortScores without cases, or their JSON
    version: int = MODEL_FILE_VERSION

    def parts(self) -> dict[str, Any]:
        """The JSON of each part that is there; a fold is a part by itself."""
        parts = {
            "manifest": self.manifest,
            "card": self.card,
            "plan": self.plan,
            "recipe": self.recipe,
            "fingerprint": self.fingerprint,
            "scores": self.scores,
            **{f"fold_{fold}": facts for fold, facts in self.folds.items()},
        }
        return {name: to_json(part) for name, part in parts.items() if part}


@dataclass(frozen=True)
class ModelFile:
    """A model file that was checked. The tensors are read from the file when they are used."""

    papers: Papers
    plan: Plan
    method: Method[Any]
    recipe: Recipe
    tensors: dict[str, dict[str, Tensor]]  # fold -> those of its network


def shown(text: str, length: int = 80) -> str:
    """Text from elsewhere for a message: printable ASCII, and not too much of it."""
    plain = text.encode("ascii", "backslashreplace").decode("ascii")
    plain = "".join(c if c.isprintable() else repr(c)[1:-1] for c in plain)
    return plain if len(plain) <= length else plain[: length - 3] + "..."


def write_model_file(
    path: Path, papers: Papers, tensors: Mapping[str, Mapping[str, Tensor]]
) -> None:
    """Write a model, whole or not at all; the same model gives the same bytes.

    What a killed export has left half-written of the same file is deleted.

    Args:
        path: the file, which nobody else writes now.
        papers: of the model.
        tensors: fold -> those of its network, on the CPU.

    Raises:
        LiftnetError: If it is too large, or cannot be written.
    """
    named = {
        _key(fold, n): t.contiguous() for fold, some in tensors.items() for n, t in some.items()
    }
    if sum(tensor.nbytes for tensor in named.values()) > MAX_BYTES - MAX_HEADER:
        raise LiftnetError(
            f"The model has more than {MAX_BYTES / 2**30:.0f} GiB, the most a model file takes",
            where=str(path),
            remedy="Export fewer folds at a time: -f 0 1",
        )
    data = to_json(papers)
    draft = path.with_name(f".{path.name}.draft")  # a folder: the library has a draft of its own
    shutil.rmtree(draft, ignore_errors=True)
    try:
        with explained("file", str(path)):
            draft.mkdir()
            write_tensors(draft / path.name, named, json.dumps({**data, SHA256: _digest(data)}))
            (draft / path.name).replace(path)
            flush_folder(path.parent)
    except LiftnetError as error:
        error.where = str(path)
        raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def read_model_file(path: Path) -> ModelFile:
    """A model file, of which everything was checked.

    Raises:
        LiftnetError: If it is not exactly what `liftnet_export` writes, or is damaged.
    """
    if not path.is_file():
        raise missing_file(path)
    header = _read_header(path)
    found = _open_tensors(path)
    papers = _read_papers(header, path)
    with _naming(path):
        plan = parse_plan(papers.plan, where="plan")
        _check_plan(plan)
        method = load_method(papers.manifest.method)
        if why := method.unfit(plan):
            raise LiftnetError(f"Method {method.name} cannot serve the plan: {why}")
        recipe = parse_recipe(papers.recipe, plan, method, where="recipe")
        _check_recipe(recipe)
        if papers.scores is not None:
            cohort = papers.scores.get("kind") == "CohortScores"
            (parse_cohort_scores if cohort else parse_scores)(papers.scores, where="scores")
        wanted = _expected(method, plan, recipe)
        _check_tensors(found, {_key(f, n): t for f in papers.folds for n, t in wanted.items()})
        folds = {fold: {n: found[_key(fold, n)] for n in wanted} for fold in papers.folds}
        if (digest := weights_digest(folds.values())) != papers.manifest.model:
            raise LiftnetError(f"The weights have digest {digest}, not {papers.manifest.model}")
    return ModelFile(papers, plan, method, recipe, folds)


def _key(fold: str, name: str) -> str:
    """The name of a tensor in the file."""
    return f"fold_{fold}/{name}"


def _digest(data: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()


def _refused(problem: str, path: Path, remedy: str = DAMAGED) -> LiftnetError:
    """The error of a model file that is not let in."""
    return LiftnetError(problem, where=str(path), remedy=remedy)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """A context in which an error of a part of the model is one of the file, and names the part."""
    try:
        yield
    except LiftnetError as error:
        part = f"{shown(error.where)}: " if error.where else ""
        raise _refused(part + shown(error.problem, 300), path, UNFIT) from None
    except (
        ArithmeticError,
        AttributeError,
        LookupError,
        RuntimeError,
        TypeError,
        ValueError,
    ) as error:
        raise _refused(f"The model makes no sense: {shown(str(error))}", path, UNFIT) from None


def _read_header(path: Path) -> bytes:
    """The header of a safetensors file, if it is one and the header is not too long."""
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise _refused(f"The file has {size} bytes; a model has at most {MAX_BYTES}", path)
    with path.open("rb") as file:
        head = file.read(HEAD_SIZE)
        if (other := _other_kind(head)) is not None:
            raise _refused(f"A model is one safetensors file; this is {other}", path, FOREIGN)
        length = int.from_bytes(head[:8], "little")
        if length > MAX_HEADER:
            raise _refused(
                f"The header claims {length} bytes; that of a model has at most {MAX_HEADER}", path
            )
        file.seek(8)
        return file.read(length)


def _other_kind(head: bytes) -> str | None:
    """What a file is that is not safetensors, by its first bytes."""
    if TORCH in head or (len(head) > 1 and head[0] == 0x80 and 2 <= head[1] <= 5):
        return "a pickle, as of torch.save, which can run code when it is loaded"
    if head.startswith(b"PK"):
        return "a zip"
    if head.lstrip()[:1] == b"<":
        return "a web page"
    if head[8:9] != b"{":
        return "something else" if head else "empty"
    return None


def _open_tensors(path: Path) -> dict[str, Tensor]:
    """Every tensor of the file, not yet read.

    The library refuses a header that is not JSON, unknown types, tensors that overlap or do not
    cover the file exactly, and sizes that do not follow from shapes.
    """
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except UNREADABLE as error:
        raise _refused(f"The file is damaged or cut off: {shown(str(error))}", path) from None


def _read_papers(header: bytes, path: Path) -> Papers:
    """The papers, which hold nothing but what they must, as it was written, in printable text.

    The library would take a key that occurs twice, and more keys than a header has.
    """
    try:
        entries = parse_json(header.decode("utf-8"))
        metadata = entries.pop("__metadata__", None) or {}
        more = any(len(entry) != 3 for entry in entries.values()) or len(metadata) > 1
        data = parse_json(metadata.get(METADATA, "null"))
    except ValueError as error:
        raise _refused(f"The header is damaged: {shown(str(error))}", path) from None
    if not isinstance(data, dict) or "manifest" not in data:
        raise _refused("The file holds weights, but no model of liftnet_export", path, FOREIGN)
    version = data.get("version")
    if version != MODEL_FILE_VERSION:
        newer = isinstance(version, int) and version > MODEL_FILE_VERSION
        raise _refused(
            f"The model file has format {shown(str(version))}, this liftnet reads "
            f"{MODEL_FILE_VERSION}",
            path,
            "Install a newer liftnet." if newer else "Ask for it to be exported again.",
        )
    if data.pop(SHA256, None) != _digest(data) or more:
        what = "it holds more than liftnet_export writes" if more else "its SHA-256 differs"
        raise _refused(f"The header was changed: {what}", path)
    with _naming(path):
        papers = from_json(Papers, data, where="")
    for text in texts_of({**data, "card": papers.card.split("\n")}):
        if not text.isprintable():
            raise _refused(f"The header holds control characters: {shown(text)}", path)
    if not papers.folds or not all(re.fullmatch(r"[0-9]{1,4}|all", f) for f in papers.folds):
        raise _refused(f"The model has folds {shown(', '.join(papers.folds))}", path)
    return papers


def texts_of(node: Any) -> Iterator[str]:
    """Every text below a node of JSON, keys as well."""
    if isinstance(node, str):
        yield node
    elif isinstance(node, dict):
        yield from node
        yield from texts_of(list(node.values()))
    elif isinstance(node, list):
        for value in node:
            yield from texts_of(value)


def _check_plan(plan: Plan) -> None:
    """Refuse a plan whose names are none of folders, or of more than a machine can do."""
    check_folder_name(plan.dataset, "dataset", where="plan.dataset")
    check_folder_name(plan.name, "plan", where="plan.name")
    weights = plan.budget.feature_weights
    if weights is not None and Path(weights).name != weights:
        raise LiftnetError("It names a path on another machine", where="plan.budget")
    grid = plan.grid
    if grid.num_slices * math.prod(grid.in_plane) > MAX_VOXELS or (
        grid.box is not None and math.prod(grid.box) > MAX_VOXELS
    ):
        raise LiftnetError(f"A volume has more than {MAX_VOXELS} voxels", where="plan.grid")


def _check_recipe(recipe: Recipe) -> None:
    """Refuse a recipe that names a path."""
    for part in fields(recipe):
        spec = getattr(recipe, part.name)
        if isinstance(spec, ResNetSpec) and Path(spec.weights).name != spec.weights:
            raise LiftnetError("It names a path on another machine", where=f"recipe.{part.name}")


def _expected(method: Method[Any], plan: Plan, recipe: Recipe) -> dict[str, Tensor]:
    """The tensors of the model's network, without memory for them."""
    stage = method.stages(plan, recipe)[-1]
    with torch.device("meta"):
        return dict(stage.build().state_dict())


def _check_tensors(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    """Refuse tensors that are not those of the recipe's network: names, shapes, types, numbers."""
    for key in sorted(found.keys() ^ wanted.keys()):
        verb = "lacks" if key in wanted else "has"
        raise LiftnetError(f"The file {verb} {shown(key)}: it does not fit the recipe")
    for key, tensor in found.items():
        own = wanted[key]
        if tensor.shape != own.shape or tensor.dtype != own.dtype:
            kinds = [f"{tuple(one.shape)} {one.dtype}" for one in (tensor, own)]
            raise LiftnetError(f"{key} is {kinds[0]}, in the recipe's network {kinds[1]}")
        if not torch.isfinite(tensor).all():
            raise LiftnetError(f"{key} has values that are not finite")
