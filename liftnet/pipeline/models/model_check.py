"""Whether what a model file holds is a model: its JSON files, and weights that fit its recipe."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from liftnet.core.dataset import DatasetDescription
from liftnet.core.errors import LiftnetError
from liftnet.core.network_specs import ResNetSpec
from liftnet.core.plan import Plan
from liftnet.core.recipe import Recipe
from liftnet.core.scores import read_cohort_scores, read_scores
from liftnet.core.storage.files import missing_file
from liftnet.core.storage.jsonable import from_json
from liftnet.host.progress import keep_quiet
from liftnet.methods import load_method
from liftnet.methods.base import Method
from liftnet.pipeline.models.checkpoint import load_checkpoint
from liftnet.pipeline.models.model_file import (
    CARD,
    COHORT_SCORES,
    DATASET,
    FINGERPRINT,
    PLAN,
    PLAUSIBILITY,
    RECIPE,
    SCORES,
    TRAINING_FACTS,
    WEIGHTS,
    DatasetStatistics,
    Manifest,
    check_text,
    parse_file,
    unpack_model,
)
from liftnet.pipeline.models.model_zip import refused, shown
from liftnet.pipeline.models.plausibility import TrainingNumbers
from liftnet.pipeline.models.training_facts import TrainingFacts
from liftnet.pipeline.plan import read_plan, read_recipe
from liftnet.tasks import load_task

__all__ = ["Unpacked", "read_model_file"]

MAX_COUNT = 2**16  # ours: no layer has more channels, no network more layers
MAX_LIST = 64  # ours: no U-Net has more stages
NO_SIZES = ("Schedule", "MemoryEstimate", "AugmentationSpec")  # other parts are of networks
MAX_VOXELS = 2**31  # ours: of a volume; 1290 along each side


@dataclass(frozen=True)
class Unpacked:
    """A model file that was checked, and where its parts lie now."""

    manifest: Manifest
    plan: Plan
    recipe: Recipe
    folder: Path

    @property
    def method(self) -> Method[Any]:
        """The method whose model it is."""
        return load_method(self.manifest.method)

    def weights(self, fold: str) -> Path:
        """The checkpoint of a fold, of the last stage."""
        return self.folder / f"fold_{fold}" / WEIGHTS

    def plausibility(self, fold: str) -> Path:
        """What training images of a fold are like; may not be there."""
        return self.folder / f"fold_{fold}" / PLAUSIBILITY

    def training_facts(self, fold: str) -> Path:
        """What the training cases of a fold had; may not be there."""
        return self.folder / f"fold_{fold}" / TRAINING_FACTS


def read_model_file(path: Path, folder: Path) -> Unpacked:
    """A model file, checked as a whole and unpacked into an empty folder.

    Raises:
        LiftnetError: If it is not exactly what `liftnet_export` writes, or is damaged.
    """
    if not path.is_file():
        raise missing_file(path)
    manifest = unpack_model(path, folder)
    for entry in manifest.files:
        if entry.name.endswith(".json"):
            parse_file((folder / entry.name).read_bytes(), entry.name, path)
    check_text((folder / CARD).read_bytes(), CARD, path)
    plan = _checked(PLAN, path, lambda: _read_plan(folder / PLAN))
    _check_plan(plan, manifest, path)
    recipe = _checked(RECIPE, path, lambda: _read_recipe(folder / RECIPE, plan, manifest.method))
    _check_recipe(recipe, path)
    _check_papers(folder, path)
    unpacked = Unpacked(manifest, plan, recipe, folder)
    for fold in manifest.folds:
        _check_fold(unpacked, fold, path)
    return unpacked


def _checked(name: str, path: Path, work: Callable[[], Any]) -> Any:
    """What reading a file of the model gives; its errors name the model file."""
    try:
        return work()
    except LiftnetError as error:
        place = error.where or ""
        inside = place.partition(f"{name}: ")[2] if name in place else place
        where = f" ({shown(inside)})" if inside and "/" not in inside else ""
        remedy = error.remedy if name in (PLAN, RECIPE) else None  # others speak of training
        raise refused(f"{name}{where}: {shown(error.problem, 300)}", path, remedy) from None
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise refused(f"{name} makes no sense: {shown(str(error))}", path) from None


def _read_plan(path: Path) -> Plan:
    """The plan, refused before its numbers can cost anything."""
    data = parse_file(path.read_bytes(), path.name, path)
    task = data.get("task") if isinstance(data, dict) else None
    load_task(str(task))
    return read_plan(path)


def _read_recipe(path: Path, plan: Plan, name: str) -> Recipe:
    """The recipe of a method, refused before its numbers can cost anything."""
    method = load_method(name)
    why = method.unfit(plan)
    if why is not None:
        raise LiftnetError(f"method {name} cannot serve the plan: {why}")
    data = parse_file(path.read_bytes(), path.name, path)
    parts = data.items() if isinstance(data, dict) else ()
    for part, content in parts:
        if not isinstance(content, dict) or part == "reasons" or content.get("kind") in NO_SIZES:
            continue
        for place, value in _numbers(content, part):
            if isinstance(value, list) and len(value) > MAX_LIST:
                raise LiftnetError(f"{place} has {len(value)} values; at most {MAX_LIST} can be")
            if isinstance(value, int | float) and not abs(value) <= MAX_COUNT:
                raise LiftnetError(f"{place} is {value}; at most {MAX_COUNT} is possible")
    return read_recipe(path, plan, method)


def _numbers(node: Any, place: str) -> Iterator[tuple[str, Any]]:
    """Every value below a node of JSON, with its place."""
    yield place, node
    items: dict[Any, Any] = {}
    if isinstance(node, dict):
        items = node
    elif isinstance(node, list) and len(node) <= MAX_LIST:
        items = dict(enumerate(node))
    for key, value in items.items():
        yield from _numbers(value, f"{place}.{key}")


def _check_plan(plan: Plan, manifest: Manifest, path: Path) -> None:
    """Refuse a plan of another model than the manifest's, or of more than a machine can do."""
    for what in ("task", "dataset"):
        if getattr(plan, what) != getattr(manifest, what):
            raise refused(f"{PLAN} is of another {what} than the manifest says", path)
    if plan.name != manifest.plan:
        raise refused(f"{PLAN} has another name than the manifest says", path)
    grid = plan.grid
    weights = plan.budget.feature_weights
    if weights is not None and Path(weights).name != weights:
        raise refused(f"{PLAN} names a path on another machine", path)
    if grid.num_slices * math.prod(grid.in_plane) > MAX_VOXELS or (
        grid.box is not None and math.prod(grid.box) > MAX_VOXELS
    ):
        raise refused(f"{PLAN}: a volume has more than {MAX_VOXELS} voxels", path)


def _check_recipe(recipe: Recipe, path: Path) -> None:
    """Refuse a recipe that names a path."""
    for field in fields(recipe):
        spec = getattr(recipe, field.name)
        if isinstance(spec, ResNetSpec) and Path(spec.weights).name != spec.weights:
            raise refused(f"{RECIPE} names a path on another machine", path)


def _check_papers(folder: Path, path: Path) -> None:
    """Refuse papers that are not what their names say."""
    read: dict[str, Callable[[Path], Any]] = {
        DATASET: lambda file: _parsed(DatasetDescription, file),
        FINGERPRINT: lambda file: _parsed(DatasetStatistics, file),
        SCORES: read_scores,
        COHORT_SCORES: read_cohort_scores,
    }
    for name, reader in read.items():
        file = folder / name
        if file.is_file():
            _checked(name, path, lambda reader=reader, file=file: reader(file))  # type: ignore[misc]


def _parsed(kind: type, file: Path) -> Any:
    return from_json(kind, parse_file(file.read_bytes(), file.name, file), where=file.name)


def _check_fold(unpacked: Unpacked, fold: str, path: Path) -> None:
    """Refuse weights that are not those of the model's network, each of its shape and type."""
    name = f"fold_{fold}/{WEIGHTS}"
    file = unpacked.weights(fold)
    wanted = _expected(unpacked, path)
    try:
        with safe_open(file, framework="pt", device="cpu") as content:
            found = {
                key.removeprefix("network/"): tuple(content.get_slice(key).get_shape())
                for key in content.keys()  # noqa: SIM118 - not a dict
                if key.startswith("network/")
            }
            strangers = len(content.keys()) - len(found)
    except (SafetensorError, OSError, ValueError) as error:
        raise refused(f"{name} is no file of tensors: {shown(str(error))}", path) from None
    for key in sorted(wanted.keys() | found.keys()):
        if key not in found or key not in wanted or strangers:
            what = "lacks" if key not in found else "has what the recipe has not:"
            raise refused(f"{name} {what} {shown(key)}: it does not fit {RECIPE}", path)
        if found[key] != tuple(wanted[key].shape):
            raise refused(
                f"{name}: {shown(key)} is {found[key]}, the recipe's is {tuple(wanted[key].shape)}",
                path,
            )
    with keep_quiet():
        checkpoint = _checked(name, path, lambda: load_checkpoint(file))
    for key, tensor in checkpoint.groups["network"].items():
        if tensor.dtype != wanted[key].dtype:
            raise refused(f"{name}: {shown(key)} is of type {tensor.dtype}", path)
        if not torch.isfinite(tensor).all():
            raise refused(f"{name}: {shown(key)} has values that are not finite", path)
    for paper, kind in (
        (unpacked.plausibility(fold), TrainingNumbers),
        (unpacked.training_facts(fold), TrainingFacts),
    ):
        if paper.is_file():
            where = f"fold_{fold}/{paper.name}"
            _checked(where, path, lambda kind=kind, paper=paper: _parsed(kind, paper))  # type: ignore[misc]


def _expected(unpacked: Unpacked, path: Path) -> dict[str, torch.Tensor]:
    """The tensors of the model's network, without memory for them."""

    def build() -> dict[str, torch.Tensor]:
        stage = unpacked.method.stages(unpacked.plan, unpacked.recipe)[-1]
        with torch.device("meta"):
            return dict(stage.build().state_dict())

    found: dict[str, torch.Tensor] = _checked(f"{RECIPE}: its network", path, build)
    return found
