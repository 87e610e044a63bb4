"""The trivial baseline: each absent voxel by regression from the same voxel of the sources."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from liftnet.core.dataset import FILE_ENDINGS, Case
from liftnet.core.errors import DatasetError
from liftnet.core.jsonable import write_json
from liftnet.core.plan import Plan
from liftnet.core.workspace import find_workspace
from liftnet.data.store import Store
from liftnet.imageio import read_case, write_image
from liftnet.ops import normalize
from liftnet.pipeline.inputs import find_inputs
from liftnet.pipeline.plan import DEFAULT_PLAN, load_plan
from liftnet.pipeline.preprocess import prepare, restore
from liftnet.tasks import load_task
from liftnet.tasks.base import Request
from liftnet.version import __version__

__all__ = ["features", "fit", "predict_by_regression"]


def predict_by_regression(
    input_folder: Path | str,
    output_folder: Path | str,
    dataset: int | str | None = None,
    *,
    degree: int = 1,
    plan_name: str = DEFAULT_PLAN,
    target: Sequence[str] | None = None,
    workspace: Path | str | None = None,
) -> list[Path]:
    """The files written: what the cases of a folder lack, by least squares over all training cases.

    Files, range and JSON are those of `predict`, so that `evaluate` treats both alike.

    Args:
        input_folder: files named CASE_0000.nii.gz, numbered as in dataset.json.
        output_folder: receives CASE_0003.nii.gz and CASE_0003.json.
        dataset: id or name of a preprocessed dataset.
        degree: 1 for a linear regression, 2 for one with squares and products.
        plan_name: which plan.
        target: contrasts to synthesize even where they are present (they are not used then).
        workspace: the workspace folder.

    Raises:
        DatasetError: If no training case has the contrasts of a case together with its target.
    """
    space = find_workspace(workspace)
    name = space.dataset_name(dataset)
    plan = load_plan(space, name, plan_name)
    store = Store(space.store(name, plan_name))
    fitted: dict[tuple[tuple[str, ...], str], np.ndarray] = {}
    written = []
    for case in find_inputs(Path(input_folder), plan):
        present = [n for n in plan.channel_names if n in case.images]
        request = load_task(plan.task).request(plan, present, target)
        for one in request.targets:
            key = (request.sources, one)
            if key not in fitted:
                fitted[key] = fit(store, plan, request.sources, one, degree=degree)
        written += _predict_case(case, plan, request, fitted, Path(output_folder), degree)
    return written


def features(sources: np.ndarray, degree: int) -> np.ndarray:
    """The regressors (F, N) of sources (C, N): 1, the sources, and for degree 2 their products.

    >>> features(np.array([[2.0], [3.0]]), 2).ravel().tolist()
    [1.0, 2.0, 3.0, 4.0, 6.0, 9.0]
    """
    if degree not in (1, 2):
        raise ValueError(f"expected degree 1 or 2, got {degree}")
    rows = [np.ones(sources.shape[1]), *sources]
    if degree == 2:
        count = len(sources)
        rows += [sources[i] * sources[j] for i in range(count) for j in range(i, count)]
    return np.stack(rows)


def fit(
    store: Store, plan: Plan, sources: Sequence[str], target: str, *, degree: int = 1
) -> np.ndarray:
    """The weights (F,) that minimize the squared error over all voxels where a source is positive.

    Raises:
        DatasetError: If no stored case has all these contrasts.
    """
    total: np.ndarray | float = 0.0
    products: np.ndarray | float = 0.0
    rows = [plan.channel_names.index(name) for name in (*sources, target)]
    used = 0
    for case in store.identifiers():
        if not {*sources, target} <= set(store.describe(case).present):
            continue
        voxels = np.asarray(store.voxels(case)[rows], np.float64).reshape(len(rows), -1)
        voxels = voxels[:, (voxels[:-1] > 0).any(axis=0)]
        regressors = features(voxels[:-1], degree)
        total = total + regressors @ regressors.T
        products = products + regressors @ voxels[-1]
        used += 1
    if not used:
        raise DatasetError(
            f"No training case has {target} together with {', '.join(sources)}",
            where=str(store.folder),
            remedy="Give this case fewer sources.",
        )
    weights: np.ndarray = np.linalg.lstsq(np.atleast_2d(total), np.atleast_1d(products))[0]
    return weights


def _predict_case(
    case: Case,
    plan: Plan,
    request: Request,
    fitted: dict[tuple[tuple[str, ...], str], np.ndarray],
    output: Path,
    degree: int,
) -> list[Path]:
    """Write every target of a case on its own grid, the JSON first, as `predict` does."""
    images = {name: case.images[name] for name in request.sources}
    volume, _ = read_case(images, where=f"case {case.identifier}")
    voxels, placement, _ = prepare(volume, request.sources, plan)
    flat = voxels.reshape(len(voxels), -1)
    regressors = features(flat, degree)
    subject = (flat > 0).any(axis=0)
    ending = next(e for e in FILE_ENDINGS if case.images[request.sources[0]].name.endswith(e))
    written = []
    for target in request.targets:
        values = fitted[request.sources, target] @ regressors
        image = (np.clip(values, 0, 1) * subject).reshape(voxels.shape[1:]).astype(np.float32)
        low, high = normalize.typical_range(plan.channel(target).normalization)
        facts = {
            "case": case.identifier,
            "target": target,
            "sources": list(request.sources),
            "intensity": {"low": low, "high": high, "dtype": "float32"},
            "task": plan.task,
            "dataset": plan.dataset,
            "plan": plan.name,
            "variant": f"per-voxel regression of degree {degree}",
            "liftnet": __version__,
        }
        name = f"{case.identifier}_{plan.channel_names.index(target):04d}"
        write_json(output / f"{name}.json", facts)
        path = output / f"{name}{ending}"
        restored = restore(normalize.invert(image, low, high), placement, outside=low)
        write_image(path, restored, placement.source, dtype="float32")
        written.append(path)
    return written
