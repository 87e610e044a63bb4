"""What benchmarks/fuzz.py asks of a damaged input that was taken: the answer must be right."""

import json
import math
import re
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

__all__ = ["WrongAnswerError", "check_image", "check_taken"]


DERIVED = ("kind", "target_channels")  # follow from the place, and from the targets


class WrongAnswerError(Exception):
    """What was accepted is not what is in the file."""


def close(taken: Any, given: Any) -> bool:
    """Whether a value that was taken holds everything that the JSON file says."""
    if isinstance(given, dict) and isinstance(taken, dict):
        return all(close(taken.get(k), v) for k, v in given.items() if k not in DERIVED)
    if isinstance(given, list) and isinstance(taken, list):
        return len(taken) == len(given) and all(map(close, taken, given))
    if isinstance(given, bool) or isinstance(taken, bool):
        return given is taken
    if isinstance(given, int | float) and isinstance(taken, int | float):
        wanted = float(given) if isinstance(taken, float) else given  # 2**53 + 1 is rounded
        return wanted == taken and (isinstance(given, int) or math.isfinite(given))
    return bool(given == taken)


def check_taken(path: Path, taken: object) -> None:
    """Raise WrongAnswerError unless a dataclass read from a JSON file says what the file says."""
    from liftnet.core.storage.jsonable import to_json

    def no_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({key for key, _ in pairs}) < len(pairs):
            raise WrongAnswerError("a key that occurs twice was accepted")
        return dict(pairs)

    given = json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=no_twice)
    try:
        json.dumps(given, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise WrongAnswerError("text that cannot be written was accepted") from None
    own = to_json(taken)
    if isinstance(given, dict) and given.get("version") != own.get("version"):
        return  # an earlier version, brought up to date
    if not close(own, given):
        raise WrongAnswerError("what was taken is not what the file says")


def check_image(path: Path) -> None:
    """Read an image as liftnet does, and compare it with what its format's own library reads."""
    from liftnet.imageio import read_image

    array, info = read_image(path)
    numbers = (*info.geometry.spacing_mm, *info.geometry.origin_mm)
    if array.shape != info.geometry.shape or array.dtype != np.float32:
        raise WrongAnswerError(f"array {array.shape} {array.dtype}, geometry {info.geometry.shape}")
    if not all(map(math.isfinite, numbers)) or min(info.geometry.spacing_mm) <= 0:
        raise WrongAnswerError(f"grid {numbers}")
    other = _by_nibabel(path) if ".nii" in path.name else _by_itk(path)
    if other is None:
        return
    voxels, affine = other
    if voxels.shape != array.shape:
        raise WrongAnswerError(f"shape {array.shape}, not {voxels.shape}")
    with np.errstate(all="ignore"):
        if not np.allclose(array, voxels.astype(np.float32), rtol=1e-5, equal_nan=True):
            raise WrongAnswerError("other voxels")
    geometry = info.geometry
    columns = [np.multiply(geometry.direction[a], geometry.spacing_mm[a]) for a in (2, 1, 0)]
    own = np.column_stack([*columns, geometry.origin_mm]) * [[-1], [-1], [1]]
    corner = np.array([*(np.array(voxels.shape[::-1]) - 1), 1])
    bound = 0.11 * min(geometry.spacing_mm) + 1e-5 * np.abs(own).max()
    if np.abs((own - affine) @ corner).max() > bound:
        raise WrongAnswerError("another place")


def _by_nibabel(path: Path) -> tuple[np.ndarray, np.ndarray] | None:
    import nibabel

    try:
        image: Any = nibabel.load(path)
        units = image.header.get_xyzt_units()[0] if "xyzt_units" in image.header else "mm"
        if image.dataobj.offset < len(image.header.binaryblock) + 4:
            return None  # without an offset nibabel takes the header for voxels
        data = np.asarray(image.dataobj)
    except Exception:  # where nibabel cannot read it, there is nothing to compare
        return None
    scale = {"meter": 1000.0, "micron": 0.001}.get(units, 1.0)
    return data.reshape(data.shape[:3]).T, image.affine[:3] * scale


def _by_itk(path: Path) -> tuple[np.ndarray, np.ndarray] | None:
    import SimpleITK as sitk

    head = path.read_bytes()[:2000]
    packed, sized = (
        re.search(rb"^%s\s*=\s*%s" % words, head, re.MULTILINE)
        for words in ((b"CompressedData", b"[Tt1]"), (b"CompressedDataSize", b"\\d"))
    )
    if packed and not sized:
        return None  # without the size ITK gives what lies in its memory
    try:
        image = sitk.ReadImage(str(path))
    except RuntimeError:  # where ITK cannot read it, there is nothing to compare
        return None
    matrix = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine = np.column_stack([matrix, image.GetOrigin()]) * [[-1], [-1], [1]]
    return sitk.GetArrayFromImage(image), affine


def read_dataset(path: Path) -> object:
    """dataset.json, and the order of its channels."""
    from liftnet.core.dataset import channel_list
    from liftnet.imageio.raw_dataset import load_description

    description = load_description(path.parent)
    channel_list(description)
    return description


def use_plan(path: Path) -> object:
    """plan.json, with its reasons."""
    from liftnet.pipeline.plan import explain, read_plan

    plan = read_plan(path)
    explain(plan)
    return plan


def use_recipe(path: Path, plan: Path) -> object:
    """A recipe under a plan, with the networks that it describes."""
    import torch

    from liftnet.methods import load_method
    from liftnet.pipeline.plan import explain, read_plan, read_recipe

    decided, method = read_plan(plan), load_method("lift")
    recipe = read_recipe(path, decided, method)
    with torch.device("meta"):
        for stage in method.stages(decided, recipe):
            stage.build()
    explain(recipe)
    return recipe


def use_fingerprint(path: Path) -> object:
    """fingerprint.json, with the grid and the normalization that follow from it.

    The sizes of networks are left out: to measure them takes seconds for any fingerprint.
    """
    from liftnet.core.errors import DatasetError
    from liftnet.pipeline.fingerprint.extract_fingerprint import read_fingerprint
    from liftnet.planning.grid import plan_grid, stride_of
    from liftnet.planning.normalization import percentile_scale, z_score

    fingerprint = read_fingerprint(path)
    for crop in (False, True):
        grid = plan_grid(fingerprint, {}, crop=crop)
        if min(grid.in_plane) < 1 or grid.num_slices < 1 or stride_of(grid) < 1:
            raise WrongAnswerError(f"grid {grid.in_plane}, {grid.num_slices} slices")
    for rule in (percentile_scale, z_score):
        try:
            rule("t1", fingerprint, {})
        except DatasetError:  # the channel is not there any more
            continue
    return fingerprint


def use_splits(path: Path) -> object:
    """splits.json, with one of its folds."""
    from liftnet.pipeline.train.splits import load_splits, pick_fold

    cases = [f"c{i}" for i in range(4)]
    splits = load_splits(path, cases, {})
    pick_fold(splits, "0", cases, path)
    return splits


def use_facts(path: Path) -> object:
    """The JSON beside a predicted image; what of it names a folder must not lead out of one."""
    from liftnet.pipeline.evaluate.setting import read_facts

    facts = read_facts(path.with_suffix(".nii.gz"))
    if facts is not None:
        low, high = facts.written_range
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise WrongAnswerError(f"range {facts.written_range}")
        if any(set(name) & {"/", "\0"} or name == ".." for name in (facts.dataset, facts.plan)):
            raise WrongAnswerError("a name that leads to another folder")
    return facts


def use_stored(path: Path) -> object:
    """The JSON part of a stored case."""
    from liftnet.data.store import Store

    return Store(path.parent).describe(path.stem)


def use_array(folder: Path) -> None:
    """A stored case: voxels and mask as training takes them."""
    from liftnet.data.store import Store

    store = Store(folder)
    slab = store.slab("case", slice(0, 2))
    if slab.ndim != 4 or str(slab.dtype) != "torch.float16":
        raise WrongAnswerError(f"voxels {tuple(slab.shape)} {slab.dtype}")
    slab.float().sum()


def use_checkpoint(path: Path, fold: Path) -> None:
    """A checkpoint: tensors into the network of its fold, as prediction does."""
    from liftnet.pipeline.models.checkpoint import finished_steps, load_checkpoint, load_weights
    from liftnet.pipeline.models.runs import read_run

    finished_steps(path)
    state = load_checkpoint(path)
    plan, method, recipe = read_run(fold)
    network = method.stages(plan, recipe)[-1].build()
    for group in ("network", "average"):
        load_weights(network, state.groups.get(group, {}), where=path)


def use_model(path: Path) -> None:
    """A model file; what is let in can be exported again."""
    from liftnet.pipeline.share.export import export
    from liftnet.pipeline.share.import_model import import_model

    with TemporaryDirectory() as name:
        run = import_model(path, workspace=name)
        assert run is not None
        again = export(Path(name) / path.name, plan_name=run.name, workspace=name)
        import_model(again, show=True)


def use_weights(path: Path) -> None:
    """A file of weights trained elsewhere."""
    from liftnet.networks.features import FrozenNorm, fit_weights, read_weights

    fit_weights(FrozenNorm(8), read_weights(path), where=path, unused=("fc.",))


def use_trajectory(path: Path) -> None:
    """A trajectory; one that is damaged counts as not there."""
    from liftnet.pipeline.predict.trajectories import _read

    _read(path)
