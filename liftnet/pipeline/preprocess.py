"""Step 3: `prepare` a case for the networks, `restore` a result to the case's own grid."""

import hashlib
import json
from pathlib import Path

import numpy as np

from liftnet.core.dataset import Case, load_dataset
from liftnet.core.errors import LiftnetError
from liftnet.core.geometry import Placement, Volume, axis_order, turn
from liftnet.core.jsonable import to_json
from liftnet.core.plan import Plan
from liftnet.core.workspace import find_workspace
from liftnet.data.store import Store, StoredCase, write_case
from liftnet.imageio import read_case
from liftnet.ops import normalize
from liftnet.ops.mask import bounding_box, foreground
from liftnet.ops.resample import resample
from liftnet.pipeline.parallel import in_parallel, worker_count
from liftnet.pipeline.plan import DEFAULT_PLAN, load_plan
from liftnet.pipeline.progress import progress, say

__all__ = ["prepare", "preprocess", "restore"]

SAME_SPACING = 0.02  # ours: a difference in spacing below 2 % is left as it is


def prepare(
    volume: Volume, names: tuple[str, ...], plan: Plan
) -> tuple[np.ndarray, Placement, dict[str, tuple[float, float]]]:
    """A case as the networks see it: turned, cropped, normalized, resampled.

    Args:
        volume: (C, D, H, W) on the case's own grid.
        names: the channel of each of its C images.
        plan: the plan.

    Returns:
        Voxels (C, D, H, W) float32 in [0, 1], the placement that `restore` undoes, and per
        channel the intensities that became 0 and 1.
    """
    axes = axis_order(volume.geometry, plan.grid.slice_axis)
    turned = turn(volume, axes)
    shape = turned.geometry.shape
    start, stop = (0, 0, 0), shape
    if plan.grid.crop_in_plane:
        box_start, box_stop = bounding_box(foreground(turned.voxels, plan.grid.foreground))
        start, stop = (0, *box_start[1:]), (shape[0], *box_stop[1:])
    box = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
    ranges, prepared = {}, []
    for image, name in zip(turned.voxels, names, strict=True):
        low, high = normalize.intensity_range(image, plan.channel(name).normalization)
        ranges[name] = (low, high)
        prepared.append(normalize.apply(image[box], low, high))
    target = _target_shape(turned.geometry.spacing_mm, prepared[0].shape, plan)
    voxels = np.stack(prepared)
    if target != voxels.shape[1:]:
        voxels = resample(voxels, target)
    return voxels, Placement(volume.geometry, axes, start, stop, target), ranges


def _target_shape(
    spacing: tuple[float, float, float], shape: tuple[int, ...], plan: Plan
) -> tuple[int, int, int]:
    grid = plan.grid
    wanted = (grid.resample_through_plane, grid.resample_in_plane, grid.resample_in_plane)
    sizes = [
        max(1, round(n * s / t)) if resampled and abs(s / t - 1) > SAME_SPACING else n
        for n, s, t, resampled in zip(shape, spacing, grid.spacing_mm, wanted, strict=True)
    ]
    return (sizes[0], sizes[1], sizes[2])


def restore(voxels: np.ndarray, placement: Placement, *, outside: float) -> np.ndarray:
    """A result (D, H, W) on the prepared grid, back on the case's own grid and axis order."""
    box_shape = tuple(b - a for a, b in zip(placement.start, placement.stop, strict=True))
    if voxels.shape != box_shape:
        voxels = resample(voxels[None], (box_shape[0], box_shape[1], box_shape[2]))[0]
    whole = np.full(placement.turned_shape, outside, dtype=np.float32)
    whole[placement.box] = voxels
    return placement.to_source(whole)


def preprocess(
    dataset: int | str | None = None,
    *,
    plan_name: str = DEFAULT_PLAN,
    num_processes: int | None = None,
    clean: bool = False,
    workspace: Path | str | None = None,
) -> Path:
    """Prepare and store every training case; cases that are done already are kept.

    Returns:
        The folder of stored cases.
    """
    space = find_workspace(workspace)
    name = space.dataset_name(dataset)
    say(f"{name}: {space.describe()}")
    plan = load_plan(space, name, plan_name)
    raw = load_dataset(space.raw / name)
    store = Store(space.store(name, plan_name))
    keys = {case.identifier: case_key(case, plan) for case in raw.cases}
    _remove_strangers(store, set() if clean else set(keys))
    todo = [c for c in raw.cases if not store.is_current(c.identifier, keys[c.identifier])]

    def work(case: Case) -> None:
        try:
            _store_case(case, keys[case.identifier], plan, store)
        except LiftnetError as error:
            error.where = error.where or f"case {case.identifier}"
            raise

    done = len(raw.cases) - len(todo)
    with progress("Preprocess", len(raw.cases), done=done) as advance:
        for _ in in_parallel(work, todo, worker_count(num_processes)):
            advance()
    kept = f" ({done} were there)" if done else ""
    say(f"Preprocessed {len(raw.cases)} cases{kept}: {store.folder}")
    return store.folder


def case_key(case: Case, plan: Plan) -> str:
    """A digest of everything that decides a stored case: its files and the preparation."""
    files = {
        name: [str(path), path.stat().st_size, path.stat().st_mtime_ns]
        for name, path in case.images.items()
    }
    facts = [files, to_json(plan.grid), to_json(plan.channels)]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def _store_case(case: Case, key: str, plan: Plan, store: Store) -> None:
    names = tuple(name for name in plan.channel_names if name in case.images)
    volume, _ = read_case(
        {name: case.images[name] for name in names}, where=f"case {case.identifier}"
    )
    voxels, placement, ranges = prepare(volume, names, plan)
    full = np.zeros((len(plan.channels), *voxels.shape[1:]), dtype=np.float16)
    full[[plan.channel_names.index(name) for name in names]] = voxels
    stored = StoredCase(case.identifier, key, names, placement.shape, ranges, placement)
    write_case(store.folder, full, stored)


def _remove_strangers(store: Store, known: set[str]) -> None:
    """Delete stored cases that the dataset no longer has, and half-written files."""
    if not store.folder.is_dir():
        return
    for path in store.folder.iterdir():
        if path.stem not in known or path.name.startswith("."):
            path.unlink()
