"""Step 5: synthesize absent images for a folder of new files."""

import hashlib
import re
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import nn

from liftnet.core.dataset import FILE_ENDINGS, Case, Channel, find_cases, require_channel
from liftnet.core.errors import CheckpointError, DatasetError, LiftnetError, PlanError
from liftnet.core.geometry import Placement
from liftnet.core.jsonable import read_json, write_json
from liftnet.core.plan import Plan
from liftnet.core.workspace import find_workspace
from liftnet.imageio import read_case, write_image
from liftnet.ops import normalize
from liftnet.pipeline.checkpoint import load_checkpoint, load_weights
from liftnet.pipeline.parallel import worker_count
from liftnet.pipeline.plan import DEFAULT_PLAN, read_plan
from liftnet.pipeline.preprocess import prepare, restore
from liftnet.pipeline.progress import progress, say
from liftnet.pipeline.train import BEST, LATEST, find_device, fold_folder, plan_digest
from liftnet.tasks import load_task
from liftnet.tasks.base import Request
from liftnet.version import __version__

__all__ = ["Failure", "predict"]

Result = TypeVar("Result")
MIN_GREY_LEVELS = 100  # ours: in fewer whole numbers, rounding would be seen


@dataclass(frozen=True)
class Failure:
    """A case that could not be synthesized, and why."""

    case: str
    error: LiftnetError


@dataclass(frozen=True)
class _Model:
    """Trained networks and the plan they belong to."""

    plan: Plan
    networks: tuple[nn.Module, ...]
    folders: tuple[Path, ...]
    digest: str
    device: torch.device


@dataclass(frozen=True)
class _Prepared:
    """A case on its way to the network."""

    case: Case
    request: Request
    voxels: np.ndarray
    placement: Placement
    subject: np.ndarray  # bool, on the prepared case's own grid: where a source is above its 0
    ranges: dict[str, tuple[float, float]]
    dtypes: dict[str, str]
    ending: str


def predict(
    input_folder: Path | str,
    output_folder: Path | str,
    dataset: int | str | None = None,
    *,
    fold: Sequence[int | str] | None = None,
    plan_name: str = DEFAULT_PLAN,
    mapper: bool = True,
    target: Sequence[str] | None = None,
    normalized: bool = False,
    continue_prediction: bool = False,
    num_parts: int = 1,
    part_id: int = 0,
    checkpoint: str = "best",
    device: str | None = None,
    num_processes: int | None = None,
    workspace: Path | str | None = None,
) -> list[Failure]:
    """Synthesize what the cases of a folder lack, each on its own grid.

    Args:
        input_folder: files named CASE_0000.nii.gz, numbered as in dataset.json.
        output_folder: receives CASE_0003.nii.gz (the absent channel) and CASE_0003.json.
        dataset: id or name of the trained dataset.
        fold: folds to average; by default all that are trained.
        plan_name: which plan.
        mapper: False uses the ablation trained without through-plane context.
        target: contrasts to synthesize even where they are present (they are not used then).
        normalized: write [0, 1] instead of typical intensities.
        continue_prediction: keep finished outputs that these weights made from these files.
        num_parts: split the cases over this many runs ...
        part_id: ... and do this part of them.
        checkpoint: "best" on validation, or "latest".
        device: "cuda", "cpu" or "mps".
        num_processes: files read and written at the same time.
        workspace: the workspace folder.

    Returns:
        The cases that failed; the others are done all the same.
    """
    space = find_workspace(workspace)
    name = space.dataset_name(dataset)
    say(f"{name}: {space.describe()}")
    source, output = Path(input_folder), Path(output_folder)
    refuse_one_folder(source, output)
    part = part_of(num_parts, part_id)
    model = load_model(
        space.run_folder(name, plan_name), fold, mapper=mapper, checkpoint=checkpoint, device=device
    )
    cases = find_inputs(source, model.plan)[part]
    wanted = check_targets(target, model.plan)
    _remove_half_written(output, {case.identifier for case in cases})
    failures: list[Failure] = []
    made: dict[str, float] = {}  # case -> seconds

    def prepare_case(case: Case) -> _Prepared | None:
        return _prepare_case(case, model, wanted, output, normalized, continue_prediction)

    workers = worker_count(num_processes)
    # Cases are read ahead and written behind while one is synthesized; at most `workers` of
    # each are held in memory.
    with (
        progress("Predict", len(cases)) as advance,
        ThreadPoolExecutor(workers) as readers,
        ThreadPoolExecutor(workers) as writers,
    ):
        ahead: list[tuple[Case, Future[_Prepared | None]]] = []
        behind: list[tuple[Case, Future[None]]] = []
        waiting = iter(cases)

        def collect(limit: int) -> None:
            while len(behind) > limit:
                case, future = behind.pop(0)
                _result(failures, case, future.result)
                advance()

        while True:
            while len(ahead) < workers + 1 and (case := next(waiting, None)) is not None:
                ahead.append((case, readers.submit(prepare_case, case)))
            if not ahead:
                break
            case, ready = ahead.pop(0)
            prepared = _result(failures, case, ready.result)
            started = time.monotonic()
            if prepared is None:
                advance()
                continue
            volumes = _result(failures, case, partial(_synthesize, model, prepared))
            if volumes is None:
                advance()
                continue
            made[case.identifier] = seconds = time.monotonic() - started
            job = writers.submit(_write_case, prepared, volumes, model, output, normalized, seconds)
            behind.append((case, job))
            collect(workers)
        collect(0)
    _report(failures, made, len(cases), output, model)
    return failures


def part_of(num_parts: int, part_id: int) -> slice:
    """Every num_parts-th case, from part_id on."""
    if not 0 <= part_id < num_parts:
        raise LiftnetError(
            f"Part {part_id} of {num_parts} does not exist",
            where="-part_id",
            remedy=f"Use 0 to {num_parts - 1}.",
        )
    return slice(part_id, None, num_parts)


def load_model(
    run: Path,
    fold: Sequence[int | str] | None,
    *,
    mapper: bool,
    checkpoint: str,
    device: str | None,
) -> _Model:
    """The networks of the wanted folds, or of all that are trained.

    Raises:
        CheckpointError: If a fold is not trained, or folds belong to different plans.
    """
    where = find_device(device)
    names = {"best": BEST, "latest": LATEST}
    if checkpoint not in names:
        raise LiftnetError(
            f"There is no checkpoint '{checkpoint}'", where="-chk", remedy="Use best or latest."
        )
    parent = fold_folder(run, "x", mapper=mapper).parent
    if fold is None:
        folders = sorted(p for p in parent.glob("fold_*") if any(p.glob(f"*/{names[checkpoint]}")))
    else:
        folders = [fold_folder(run, str(f), mapper=mapper) for f in fold]
    if not folders:
        raise CheckpointError("Nothing is trained yet", where=str(parent), remedy="liftnet_train")
    networks: list[nn.Module] = []
    digest = hashlib.sha256()
    plan = None
    for folder in folders:
        if not (folder / "plan.json").is_file():
            raise CheckpointError(
                f"{folder.name} is not trained", where=str(folder), remedy="liftnet_train -f ..."
            )
        other, plan = plan, read_plan(folder / "plan.json")
        if other is not None and plan_digest(other) != plan_digest(plan):
            raise CheckpointError(
                f"{folder.name} was trained with another plan than {folders[0].name}",
                where=str(parent),
                remedy="Predict with folds of one plan (-f), or train this fold again.",
            )
        stage = load_task(plan.task).stages(plan, mapper=mapper)[-1]
        path = folder / stage.name / names[checkpoint]
        state = load_checkpoint(path)
        network = stage.build()
        group = "average" if "average" in state.groups else "network"
        load_weights(network, state.groups[group], where=path)
        networks.append(network.to(where).eval())
        for key, tensor in sorted(state.groups[group].items()):
            digest.update(key.encode() + tensor.numpy().tobytes())
    assert plan is not None
    return _Model(plan, tuple(networks), tuple(folders), digest.hexdigest()[:16], where)


def check_targets(target: Sequence[str] | None, plan: Plan) -> list[str] | None:
    """The wanted contrasts, or None if none is named.

    Raises:
        DatasetError: If the plan cannot make one of them.
    """
    for name in target or ():
        require_channel(str(name), list(plan.targets))
    return [str(name) for name in target] if target else None


def refuse_one_folder(source: Path, output: Path) -> None:
    """Keep results away from sources: they would be taken for sources, or overwrite them.

    Raises:
        DatasetError: If the two folders are the same.
    """
    if source.resolve() == output.resolve():
        raise DatasetError(
            "Input and output folder are the same",
            where=str(source),
            remedy="Name another folder with -o.",
        )


def find_inputs(folder: Path, plan: Plan) -> list[Case]:
    """The cases of an input folder.

    Raises:
        DatasetError: If there is none.
    """
    if not folder.is_dir():
        raise DatasetError("The input folder does not exist", where=str(folder))
    channels = {str(i): Channel(c.name, c.modality) for i, c in enumerate(plan.channels)}
    found, strangers = find_cases(folder, channels)
    for path in strangers:
        if path.name.lower().endswith(FILE_ENDINGS):
            say(
                f"warning: {path.name} is not named CASE_0000 to "
                f"CASE_{len(channels) - 1:04d}; left out"
            )
    if not found:
        raise DatasetError(
            "The input folder holds no case",
            where=str(folder),
            remedy="Name files CASE_0000.nii.gz, with numbers "
            + ", ".join(f"{int(i):04d} for {c.name}" for i, c in channels.items())
            + ".",
        )
    return [Case(identifier, images) for identifier, images in sorted(found.items())]


def _result(failures: list[Failure], case: Case, work: Callable[[], Result]) -> Result | None:
    """What the work returns, or None if it failed, which is noted."""
    try:
        return work()
    except LiftnetError as error:
        failures.append(Failure(case.identifier, error))
    except OSError as error:
        problem = LiftnetError(
            error.strerror or str(error),
            where=str(error.filename or case.identifier),
            remedy="Check the path, its permissions and the free space.",
        )
        failures.append(Failure(case.identifier, problem))
    except torch.OutOfMemoryError:
        problem = LiftnetError(
            "The device's memory is too small for this case",
            where=f"case {case.identifier}",
            remedy="Use a smaller inference.slice_batch in plan.json, or -device cpu.",
        )
        failures.append(Failure(case.identifier, problem))
    return None


def _remove_half_written(output: Path, cases: set[str]) -> None:
    """Delete what a killed run left of these cases' files."""
    for path in output.glob(".*") if output.is_dir() else ():
        match = re.fullmatch(
            r"\.(?:\d+\.)?(.+)_\d{4}\.(?:json\.\d+\.tmp|nii|nii\.gz|mha|nrrd)", path.name
        )
        if match and match[1] in cases:
            path.unlink(missing_ok=True)


def _output_path(output: Path, plan: Plan, case: str, target: str, ending: str) -> Path:
    return output / f"{case}_{plan.channel_names.index(target):04d}{ending}"


def _input_facts(case: Case, request: Request) -> dict[str, list[int]]:
    stats = {name: case.images[name].stat() for name in request.sources}
    return {name: [s.st_size, s.st_mtime_ns] for name, s in stats.items()}


def _prepare_case(
    case: Case,
    model: _Model,
    wanted: Sequence[str] | None,
    output: Path,
    normalized: bool,
    keep_finished: bool,
) -> _Prepared | None:
    """Read and prepare a case, or None if its outputs are there already."""
    plan = model.plan
    where = f"case {case.identifier}"
    present = [name for name in plan.channel_names if name in case.images]
    try:
        request = load_task(plan.task).request(plan, present, wanted)
    except LiftnetError as error:
        error.where = where
        raise
    first = case.images[request.sources[0]]
    ending = next(e for e in FILE_ENDINGS if first.name.lower().endswith(e))
    if keep_finished and all(
        _is_finished(
            _output_path(output, plan, case.identifier, target, ending),
            {
                "model": model.digest,
                "inputs": _input_facts(case, request),
                "range": list(_output_range(plan, target, normalized)),
            },
        )
        for target in request.targets
    ):
        return None
    images = {name: case.images[name] for name in request.sources}
    volume, dtypes = read_case(images, where=where)
    if not (volume.voxels > 0).any():
        raise DatasetError(
            "All source images are empty", where=where, remedy="Check the files of this case."
        )
    voxels, placement, ranges = prepare(volume, request.sources, plan)
    full = np.zeros((len(plan.channels), *voxels.shape[1:]), dtype=np.float32)
    full[[plan.channel_names.index(name) for name in request.sources]] = voxels
    lows = np.array([ranges[name][0] for name in request.sources], dtype=np.float32)
    subject = np.asarray((volume.voxels > lows[:, None, None, None]).any(axis=0))
    return _Prepared(case, request, full, placement, subject, ranges, dtypes, ending)


def _is_finished(path: Path, expected: dict[str, Any]) -> bool:
    """Whether an output is there whole, and its JSON says that it was made from these facts."""
    if not path.is_file():
        return False
    try:
        facts = read_json(_sidecar(path))
        intensity = facts["intensity"]
        found = {k: facts[k] for k in ("model", "inputs")}
        return {**found, "range": [intensity["low"], intensity["high"]]} == expected
    except (PlanError, KeyError, TypeError):  # damaged: made again
        return False


def _output_range(plan: Plan, target: str, normalized: bool) -> tuple[float, float]:
    """The intensities that the network's 0 and 1 become in the file."""
    return (0.0, 1.0) if normalized else normalize.typical_range(plan.channel(target).normalization)


def _output_type(dtypes: dict[str, str], low: float, high: float) -> str:
    """The sources' own type if it is one integer type that can hold the range, else float32."""
    kinds = {np.dtype(dtype) for dtype in dtypes.values()}
    if len(kinds) > 1 or min(kinds).kind not in "iu":
        return "float32"
    limits = np.iinfo(min(kinds))
    holds = limits.min <= low and high <= limits.max and high - low >= MIN_GREY_LEVELS
    return min(kinds).name if holds else "float32"


def _sidecar(path: Path) -> Path:
    ending = next(e for e in FILE_ENDINGS if path.name.lower().endswith(e))
    return path.with_name(path.name[: -len(ending)] + ".json")


def _synthesize(model: _Model, prepared: _Prepared) -> np.ndarray:
    source = torch.from_numpy(prepared.voxels).to(model.device)
    task = load_task(model.plan.task)
    return task.synthesize(model.plan, model.networks, source, prepared.request).cpu().numpy()


def _write_case(
    prepared: _Prepared,
    volumes: np.ndarray,
    model: _Model,
    output: Path,
    normalized: bool,
    seconds: float,
) -> None:
    """Write every target on the case's own grid; its JSON comes last, and marks it complete."""
    plan, case, request = model.plan, prepared.case, prepared.request
    for target, volume in zip(request.targets, volumes, strict=True):
        low, high = _output_range(plan, target, normalized)
        dtype = _output_type(prepared.dtypes, low, high)
        image = restore(normalize.invert(volume, low, high), prepared.placement, outside=low)
        image = np.where(prepared.subject, image, np.float32(low))  # resampling blurs the edge
        path = _output_path(output, plan, case.identifier, target, prepared.ending)
        facts = {
            "case": case.identifier,
            "target": target,
            "sources": list(request.sources),
            "source_ranges": {k: list(v) for k, v in prepared.ranges.items()},
            "intensity": {"low": low, "high": high, "dtype": dtype},
            "task": plan.task,
            "dataset": plan.dataset,
            "plan": plan.name,
            "folds": [folder.name for folder in model.folders],
            "variant": model.folders[0].parent.name,
            "model": model.digest,
            "inputs": _input_facts(case, request),
            "seconds": round(seconds, 3),
            "device": model.device.type,
            "liftnet": __version__,
        }
        _sidecar(path).unlink(missing_ok=True)
        write_image(path, image, prepared.placement.source, dtype=dtype)
        write_json(_sidecar(path), facts)


def _report(
    failures: list[Failure], made: dict[str, float], total: int, output: Path, model: _Model
) -> None:
    for failure in failures:
        say(f"failed: {failure.case}: {failure.error}")
    mean = sum(made.values()) / max(len(made), 1)
    seconds = f", {mean:.2f} s each on {model.device.type}" if made else ""
    kept = total - len(set(made) | {failure.case for failure in failures})
    there = f" ({kept} were there)" if kept else ""
    say(
        f"Predicted {total - len(failures)} of {total} cases{there} with "
        f"{len(model.networks)} fold(s){seconds}: {output}"
    )
