"""Step 3: `prepare` a case for the networks, `restore` a result to the case's own grid."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from acvl_utils.cropping_and_padding.bounding_boxes import crop_and_pad_nd, insert_crop_into_image

from liftnet.core.arguments import checked
from liftnet.core.dataset import Case
from liftnet.core.errors import DatasetError, LiftnetError
from liftnet.core.geometry import Geometry, Placement, Shape, Volume, axis_order, same_spacing, turn
from liftnet.core.plan import Plan
from liftnet.core.storage.jsonable import to_json
from liftnet.core.workspace import find_workspace
from liftnet.data.store import Store, StoredCase, write_case
from liftnet.host.failures import explained
from liftnet.host.lock import hold, part_name, refuse_busy
from liftnet.host.parallel import in_parallel, part_of, worker_count
from liftnet.host.progress import mention, progress, say
from liftnet.imageio import read_case
from liftnet.imageio.raw_dataset import load_dataset
from liftnet.ops import normalize
from liftnet.ops.compute.host_memory import keep_freed_memory
from liftnet.ops.mask import Box, bounding_box, box_about
from liftnet.ops.resample import resample
from liftnet.pipeline.plan import DEFAULT_PLAN, load_plan
from liftnet.pipeline.preprocess.parts import remove_strangers
from liftnet.pipeline.preprocess.subject import (
    above_background,
    find_subject,
    measured_ranges,
    without_background,
)

__all__ = [
    "Preparation",
    "prepare",
    "preprocess",
    "read_with_mask",
    "restore",
]

PREPARATION = 2  # counts what `prepare` makes of the same files; 2: background by one rule


class Preparation(NamedTuple):
    """A case as the networks see it.

    Attributes:
        voxels: (C, D, H, W) float32 in network units.
        placement: what `restore` undoes.
        ranges: channel -> the intensities that became 0 and 1.
        mask: bool (D, H, W), where the plan wants one.
        shown: bool (D, H, W) on the case's own grid, where a source is above its background.
        warnings: what is strange about the images, as sentences.
    """

    voxels: np.ndarray
    placement: Placement
    ranges: dict[str, tuple[float, float]]
    mask: np.ndarray | None
    shown: np.ndarray
    warnings: list[str]


def prepare(
    volume: Volume, names: tuple[str, ...], plan: Plan, mask: np.ndarray | None = None
) -> Preparation:
    """A case turned, cropped, normalized and resampled.

    What is found from voxels (foreground, mask) is found from the sources alone, as it must be
    at prediction; in the targets where there are no sources. Where the plan's background is zero,
    the sources are set to zero outside the subject, whatever interpolation or noise has left
    there.

    Args:
        volume: (C, D, H, W) on the case's own grid.
        names: the channel of each of its C images.
        plan: the plan.
        mask: (D, H, W) on the case's own grid (`inside_of`); by default found from the sources.

    Raises:
        DatasetError: If no subject is found.
    """
    axes = axis_order(volume.geometry, plan.grid.slice_axis)
    turned = turn(volume, axes)
    given = None if mask is None else turn(Volume(mask[None], volume.geometry), axes).voxels[0]
    subject, inside, strange = find_subject(turned.voxels, names, plan, given)
    box = _box(turned.geometry, plan, subject, inside)
    start, stop = zip(*box, strict=True)
    target = _target_shape(turned.geometry, box, plan)
    placement = Placement(volume.geometry, axes, start, stop, target)
    ranges = measured_ranges(turned.voxels, names, plan, subject)
    prepared = []
    for name, measured in zip(names, turned.voxels, strict=True):
        image = without_background(measured, subject, plan, name)
        normalization = plan.channel(name).normalization
        low, high = ranges[name]
        limits = normalize.limits(normalization)
        clipped = np.clip(image[placement.box], *normalize.source_limits(image, normalization))
        cropped = normalize.apply(clipped, low, high, limits)
        air = normalize.background_value(normalization, low, high)
        prepared.append(_padded(cropped, placement, air))
    voxels = np.stack(prepared)
    inside = None if inside is None else _padded(inside[placement.box], placement, False)
    if target != voxels.shape[1:]:
        voxels = resample(voxels, target)
        if inside is not None:
            inside = resample(inside[None].astype(np.float32), target)[0] > 0.5
    shown = above_background(turned.voxels, names, plan, ranges, subject)
    return Preparation(voxels, placement, ranges, inside, placement.to_source(shown), strange)


def _box(
    geometry: Geometry, plan: Plan, subject: np.ndarray | None, inside: np.ndarray | None
) -> Box:
    """The voxels that are used: all, those around the foreground, or the plan's box.

    A box to which images are padded lies about the centre of the foreground, and may end outside
    the image.
    """
    shape, grid = geometry.shape, plan.grid
    if grid.box is not None:
        sizes = [
            size if same_spacing(own, spacing) else max(1, round(size * spacing / own))
            for size, spacing, own in zip(
                grid.box, grid.spacing_mm, geometry.spacing_mm, strict=True
            )
        ]
        if not grid.pad_to_box:
            assert inside is not None
            return box_about(inside, sizes)
        assert subject is not None
        starts = [
            (a + b - size) // 2 for (a, b), size in zip(bounding_box(subject), sizes, strict=True)
        ]
        return [[start, start + size] for start, size in zip(starts, sizes, strict=True)]
    everything = [[0, size] for size in shape]
    if grid.crop_in_plane:
        assert subject is not None
        return [everything[0], *bounding_box(subject)[1:]]
    return everything


def _target_shape(geometry: Geometry, box: Box, plan: Plan) -> Shape:
    """The size of the prepared grid; the plan's box has exactly its size unless the image ends."""
    grid = plan.grid
    if grid.box is not None and grid.pad_to_box:
        return grid.box
    wanted = (grid.resample_through_plane, grid.resample_in_plane, grid.resample_in_plane)
    sizes = []
    for axis, (resampled, (start, stop)) in enumerate(zip(wanted, box, strict=True)):
        size, spacing = stop - start, geometry.spacing_mm[axis]
        if resampled and not same_spacing(spacing, grid.spacing_mm[axis]):
            size = max(1, round(size * spacing / grid.spacing_mm[axis]))
            if grid.box is not None and stop - start < geometry.shape[axis]:
                size = grid.box[axis]
        sizes.append(size)
    return (sizes[0], sizes[1], sizes[2])


def _padded(image: np.ndarray, placement: Placement, outside: float) -> np.ndarray:
    """The box (D, H, W), of which the image has this part, with a value where the image ends."""
    bounds = zip(placement.bounds, placement.box, strict=True)
    box = [[start - part.start, stop - part.start] for (start, stop), part in bounds]
    return np.asarray(crop_and_pad_nd(image, box, outside))


def restore(voxels: np.ndarray, placement: Placement, *, outside: float) -> np.ndarray:
    """A result (D, H, W) on the prepared grid, back on the case's own grid and axis order.

    What lies outside the case's own grid, where it was padded, is left out.
    """
    d, h, w = (stop - start for start, stop in placement.bounds)
    if voxels.shape != (d, h, w):
        voxels = resample(voxels[None], (d, h, w))[0]
    whole = np.full(placement.turned_shape, outside, dtype=np.float32)
    return placement.to_source(insert_crop_into_image(whole, voxels, placement.bounds))


@checked
def preprocess(
    dataset: int | str | None = None,
    *,
    plan_name: str = DEFAULT_PLAN,
    num_parts: int = 1,
    part_id: int = 0,
    num_processes: int | None = None,
    clean: bool = False,
    workspace: Path | str | None = None,
) -> Path:
    """Prepare and store every training case; cases that are done already are kept.

    Args:
        dataset: id or name; may be left out where the workspace holds one dataset.
        plan_name: which plan.
        num_parts: split the cases over this many runs, which may go on at the same time ...
        part_id: ... and do this part of them.
        num_processes: cases worked on at the same time.
        clean: do every case of this part anew.
        workspace: the workspace folder.

    Returns:
        The folder of stored cases.

    Raises:
        DatasetError: If a case cannot be used.
        PlanError: If there is no such plan.
        LiftnetError: If another run works there, or a training that uses the cases is going on.
    """
    keep_freed_memory()
    space = find_workspace(workspace)
    name = space.dataset_name(dataset)
    part = part_of(num_parts, part_id)
    mention(f"{name}: {space.describe()}")
    plan = load_plan(space, name, plan_name)
    raw = load_dataset(space.raw / name)
    cases = raw.cases[part]
    store = Store(space.store(name, plan_name))
    own = {case.identifier for case in cases}

    def is_done(case: Case, *, read: bool = True) -> bool:
        with explained("case", case.identifier):
            key = case_key(case, plan)
        return store.is_current(case.identifier, key, mask=plan.grid.mask != "none", read=read)

    def work(case: Case) -> None:
        try:
            with explained("case", case.identifier):
                _store_case(case, case_key(case, plan), plan, store)
        except LiftnetError as error:
            error.where = error.where or f"case {case.identifier}"
            raise

    with hold(store.folder.parent, "liftnet_preprocess", part=part_name(num_parts, part_id)):
        refuse_busy(space.run_folder(name, plan_name))
        known = {case.identifier for case in raw.cases}
        remove_strangers(store.folder, known, own, clean=clean)
        workers = worker_count(num_processes)
        there = [case for case in cases if is_done(case, read=False)]
        finished = set()
        with progress("Check", len(there)) as advance:
            for case, whole in in_parallel(is_done, there, workers):
                finished |= {case.identifier} if whole else set()
                advance()
        todo = [case for case in cases if case.identifier not in finished]
        done = len(cases) - len(todo)
        with progress("Preprocess", len(cases), done=done) as advance:
            for _ in in_parallel(work, todo, workers):
                advance()
    kept = f" ({done} were there)" if done else ""
    if num_parts == 1:
        say(f"Preprocessed {len(cases)} cases{kept}: {store.folder}")
        return store.folder
    say(f"Preprocessed part {part_id} of {num_parts}, {len(cases)} cases{kept}: {store.folder}")
    complete = sum(case.identifier in own or is_done(case, read=False) for case in raw.cases)
    say(f"{complete} of {len(raw.cases)} cases of the dataset are complete")
    return store.folder


def case_key(case: Case, plan: Plan) -> str:
    """A digest of everything that decides a stored case: its files and the preparation."""
    files = {
        name: [str(path), path.stat().st_size, path.stat().st_mtime_ns]
        for name, path in case.images.items()
    }
    if plan.grid.mask == "body" and case.mask is not None:
        stat = case.mask.stat()
        files["mask"] = [str(case.mask), stat.st_size, stat.st_mtime_ns]
    facts = [PREPARATION, files, to_json(plan.grid), to_json(plan.channels), plan.sources]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def _store_case(case: Case, key: str, plan: Plan, store: Store) -> None:
    names = tuple(name for name in plan.channel_names if name in case.images)
    volume, mask, _ = read_with_mask(case, names, plan, where=f"case {case.identifier}")
    if case_key(case, plan) != key:
        raise DatasetError(
            "A file of this case was replaced while it was read",
            remedy="Run the same command again when the files no longer change.",
        )
    done = prepare(volume, names, plan, mask)
    full = done.voxels  # float32, since arithmetic on float16 is slow on a CPU
    if names != plan.channel_names:
        full = np.zeros((len(plan.channels), *done.voxels.shape[1:]), dtype=np.float32)
        full[[plan.channel_names.index(name) for name in names]] = done.voxels
    placement = done.placement
    stored = StoredCase(case.identifier, key, names, placement.shape, done.ranges, placement)
    write_case(store.folder, full, stored, mask=done.mask)


def read_with_mask(
    case: Case, names: Sequence[str], plan: Plan, *, where: str
) -> tuple[Volume, np.ndarray | None, dict[str, str]]:
    """Images of a case as one volume, its mask if it has one that the plan uses, stored types.

    Raises:
        LiftnetError: If a file cannot be read, or they do not share one grid.
    """
    files = {name: case.images[name] for name in names}
    if plan.grid.mask == "none" or case.mask is None:
        volume, dtypes = read_case(files, where=where)
        return volume, None, dtypes
    volume, dtypes = read_case({**files, "mask": case.mask}, where=where)
    dtypes.pop("mask")
    return Volume(volume.voxels[:-1], volume.geometry), volume.voxels[-1], dtypes
