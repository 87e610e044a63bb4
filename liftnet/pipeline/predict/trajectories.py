"""What `--save-trajectory` writes: the vectors of every slice of a case, and figures of all."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from liftnet.core.errors import LiftnetError
from liftnet.core.request import Request
from liftnet.core.storage.files import written_whole
from liftnet.data.crops import whole
from liftnet.data.example import Example
from liftnet.data.store import UNREADABLE_ZIP
from liftnet.host.failures import explained
from liftnet.host.progress import say
from liftnet.methods.base import Generates, Method, Traces
from liftnet.ops.chunks import Chunk
from liftnet.pipeline.models.model import Model
from liftnet.pipeline.predict.outputs import Prepared
from liftnet.pipeline.predict.samples import Sample, sample_latent
from liftnet.visual.trajectory_figure import SlicePath, plot_trajectories

__all__ = [
    "Trajectory",
    "case_facts",
    "case_trajectory",
    "check_trajectory",
    "draw_trajectories",
    "example_of",
    "has_trajectory",
    "remove_half_saved",
    "sample_trajectory",
    "write_trajectory",
]

FOLDER = "trajectories"
FIGURE = "trajectories"
ARRAYS = ("vectors", "depth_mm", "model", "facts")
MOST_DRAWN = 100  # ours: more lines hide each other, and the vectors of these fit into 100 MB


@dataclass(frozen=True)
class Trajectory:
    """The vectors of one case's slices, and what they were made from."""

    case: str
    vectors: np.ndarray  # (D, K) float32
    depth_mm: np.ndarray  # (D,) from the first slice that the network saw
    facts: Mapping[str, Any]  # beside the weights


def check_trajectory(wanted: bool, method: Method[Any]) -> None:
    """Refuse to save what a method does not have.

    Raises:
        LiftnetError: If a trajectory is wanted and there is none.
    """
    if wanted and not isinstance(method, Traces | Generates):
        raise LiftnetError(
            f"Method {method.name} has no trajectory: no slice has a vector of its own",
            where="--save-trajectory",
            remedy="Leave out --save-trajectory, or name another --method.",
        )


def case_facts(inputs: Mapping[str, Any], request: Request) -> dict[str, Any]:
    """What a case's trajectory was made from, and for."""
    return {"inputs": inputs, "targets": list(request.made)}


def example_of(model: Model, prepared: Prepared, request: Request) -> Example:
    """A prepared case as a network sees it, on the model's device.

    Its seed follows from those of plan and call, and its name: the same alone and among others.
    """
    name = prepared.case.identifier
    seed = int.from_bytes(sha256(f"{model.plan.seed} {model.seed} {name}".encode()).digest()[:7])
    voxels = torch.from_numpy(prepared.voxels)
    example = whole(
        model.plan, request, voxels, prepared.ranges, name, seed=seed, mask=prepared.mask
    )
    return example.to(model.device)


def case_trajectory(model: Model, prepared: Prepared, chunk: Chunk) -> Trajectory:
    """The context vectors of a case, of the first network."""
    method, plan, recipe = model.method, model.plan, model.recipe
    assert isinstance(method, Traces)
    example = example_of(model, prepared, prepared.request)
    vectors = method.trajectory(plan, recipe, model.networks[0], example, chunk)
    facts = case_facts(prepared.inputs, prepared.request)
    return _trajectory(prepared.case.identifier, vectors, prepared.placement.spacing_mm[0], facts)


def sample_trajectory(model: Model, sample: Sample) -> Trajectory:
    """The codes of a generated volume's slices."""
    assert isinstance(model.method, Generates)
    vectors = model.method.codes(
        model.plan,
        model.recipe,
        model.networks[0],
        sample_latent(sample, model).to(model.device),
        temperature=sample.temperature,
        sigma_z=sample.sigma_z,
    )
    return _trajectory(sample.name, vectors, model.plan.grid.spacing_mm[0], sample.facts)


def _trajectory(case: str, vectors: Tensor, step_mm: float, facts: Mapping[str, Any]) -> Trajectory:
    depth = np.arange(len(vectors), dtype=np.float64) * step_mm
    return Trajectory(case, vectors.detach().float().cpu().numpy(), depth, facts)


def write_trajectory(trajectory: Trajectory, model: Model, output: Path) -> None:
    """Write trajectories/CASE.npz, whole or not at all."""
    path = _file(output, trajectory.case)
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as temporary, temporary.open("wb") as handle:
        np.savez_compressed(
            handle,
            vectors=trajectory.vectors,
            depth_mm=trajectory.depth_mm,
            model=np.array(model.digest),
            facts=np.array(_text(trajectory.facts)),
        )


def has_trajectory(output: Path, case: str, model: Model, facts: Mapping[str, Any]) -> bool:
    """Whether a case's trajectory is there, of these weights and these facts."""
    stored = _read(_file(output, case))
    if stored is None:
        return False
    return (stored["model"].item(), stored["facts"].item()) == (model.digest, _text(facts))


def remove_half_saved(output: Path, cases: set[str]) -> None:
    """Delete what a killed run left of these cases' trajectories."""
    folder = output / FOLDER
    for path in folder.glob(".*.tmp") if folder.is_dir() else ():
        match = re.fullmatch(r"\.(.+)\.npz\.\d+\.tmp", path.name)
        if match and match[1] in cases:
            path.unlink(missing_ok=True)


def draw_trajectories(wanted: bool, output: Path, model: Model) -> None:
    """Draw, if wanted, all in the folder that these weights made; of several parts, the last does.

    With several targets each has a figure of the cases that it was made for: what is absent
    decides what the mixer reads.

    Source: LiFT Fig. 6 and 7.
    """
    if not wanted:
        return
    files = sorted((output / FOLDER).glob("[!.]*.npz"))
    own = {path: made for path in files if (made := _targets(path, model)) is not None}
    targets = model.plan.targets
    for target in targets if len(targets) > 1 else ("",):
        name = f"{FIGURE}_{target}.png" if target else f"{FIGURE}.png"
        with explained("picture", name):
            shown = [path for path in own if not target or target in own[path]]
            _draw(shown, target, output / name, model)


def _draw(own: list[Path], target: str, figure: Path, model: Model) -> None:
    """Draw these trajectories, or as many as can be told apart; nothing without any."""
    picked = np.linspace(0, len(own) - 1, min(len(own), MOST_DRAWN)).round()
    shown = []
    for path in [own[int(index)] for index in picked]:
        stored = _read(path)
        if stored is not None:
            shown.append(SlicePath(path.stem, stored["vectors"], stored["depth_mm"]))
    if not shown:
        return
    plan, found = model.plan, f"{len(own)} case{'s' if len(own) > 1 else ''}"
    count = f"{len(shown)} of {found}" if len(own) > len(shown) else found
    of = f", {target}" if target else ""
    title = f"{plan.dataset}, plan {plan.name}, {model.folders[0].name}{of}: {count}"
    plot_trajectories(shown, figure, title=title)
    first = ""
    if len(model.folders) > 1:
        first = f", those of {model.folders[0].name}, the first of {len(model.folders)} folds"
    say(f"Trajectories of {found}{first}: {figure}")


def _file(output: Path, case: str) -> Path:
    return output / FOLDER / f"{case}.npz"


def _text(facts: Mapping[str, Any]) -> str:
    """What a trajectory was made from, as JSON."""
    return json.dumps(facts, sort_keys=True)


def _targets(path: Path, model: Model) -> tuple[str, ...] | None:
    """What was made of a case with a whole file that these weights made, else None."""
    stored = _read(path, "model", "facts")
    if stored is None or str(stored["model"]) != model.digest:
        return None
    return tuple(json.loads(str(stored["facts"])).get("targets", ()))


def _read(path: Path, *names: str) -> dict[str, np.ndarray] | None:
    """The arrays of a trajectory, or some; None if it is not there, or damaged."""
    try:
        # np.load closes no damaged file that it opens itself.
        with path.open("rb") as handle, np.load(handle, allow_pickle=False) as stored:
            return {name: stored[name] for name in names or ARRAYS}
    except UNREADABLE_ZIP:
        return None
