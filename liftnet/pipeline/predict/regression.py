"""Trivial baselines: each absent voxel by regression from the same voxel of the sources.

Degree 1 and 2 are polynomials of all sources; degree 0 is a table of mean targets for each
intensity of the first source, as MR intensity to mean HU.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from liftnet.core.dataset import Case, split_ending
from liftnet.core.errors import DatasetError
from liftnet.core.plan import Plan
from liftnet.core.request import Request
from liftnet.core.workspace import find_workspace
from liftnet.data.store import Store
from liftnet.imageio import read_case
from liftnet.ops import normalize
from liftnet.pipeline.plan import DEFAULT_PLAN, load_plan
from liftnet.pipeline.predict.inputs import find_inputs
from liftnet.pipeline.predict.outputs import output_path, write_with_facts
from liftnet.pipeline.preprocess.preprocess import prepare, restore
from liftnet.pipeline.preprocess.subject import refuse_wrong_intensities
from liftnet.tasks import load_synthesis
from liftnet.version import __version__

__all__ = ["features", "fit", "fit_table", "predict_by_regression"]

BINS = 512  # ours: finer than the noise of an image
BIN_RANGE = (-4.0, 8.0)  # ours: z-scores of MR; [0, 1] and [-1, 1] lie inside


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
        degree: 1 for a linear regression, 2 for one with squares and products, 0 for a table.
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
        request = load_synthesis(plan.task).request(plan, present, target)
        for one in request.made:
            key = (request.given, one)
            if key not in fitted:
                fit_one = fit_table if degree == 0 else partial(fit, degree=degree)
                fitted[key] = fit_one(store, plan, request.given, one)
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
    """The weights (F,) that minimize the squared error over all voxels of the subject.

    Raises:
        DatasetError: If no stored case has all these contrasts.
    """
    total: np.ndarray | float = 0.0
    products: np.ndarray | float = 0.0
    for voxels in _subject_voxels(store, plan, sources, target):
        regressors = features(voxels[:-1], degree)
        total = total + regressors @ regressors.T
        products = products + regressors @ voxels[-1]
    weights: np.ndarray = np.linalg.lstsq(np.atleast_2d(total), np.atleast_1d(products))[0]
    return weights


def fit_table(store: Store, plan: Plan, sources: Sequence[str], target: str) -> np.ndarray:
    """The mean target (BINS,) over all voxels whose first source lies in each bin of BIN_RANGE.

    Raises:
        DatasetError: If no stored case has the channels.
    """
    sums, counts = np.zeros(BINS), np.zeros(BINS)
    for voxels in _subject_voxels(store, plan, sources, target):
        bins = to_bins(voxels[0])
        sums += np.bincount(bins, weights=voxels[-1], minlength=BINS)
        counts += np.bincount(bins, minlength=BINS)
    filled = np.flatnonzero(counts)
    table: np.ndarray = np.interp(np.arange(BINS), filled, sums[filled] / counts[filled])
    return table


def to_bins(values: np.ndarray) -> np.ndarray:
    """The bin of each network value, those beyond the range in the outermost bins."""
    low, high = BIN_RANGE
    bins: np.ndarray = ((values - low) * (BINS / (high - low))).astype(np.int64).clip(0, BINS - 1)
    return bins


def _subject_voxels(
    store: Store, plan: Plan, sources: Sequence[str], target: str
) -> Iterator[np.ndarray]:
    """Per case that has all: sources and target (C + 1, N), N voxels that can be anything.

    Where MR is made, these are the voxels where a source is above its background; CT is fitted
    everywhere, air included.
    """
    rows = [plan.channel_names.index(name) for name in (*sources, target)]
    used = 0
    for case in store.identifiers():
        described = store.describe(case)
        if not {*sources, target} <= set(described.present):
            continue
        used += 1
        voxels = np.asarray(store.voxels(case)[rows], np.float64).reshape(len(rows), -1)
        if plan.channel(target).modality == "MR":
            air = np.array(normalize.background_values(plan, described.ranges), np.float16)
            # Stored air is this number to within one step of its type.
            air = np.nextafter(air, np.float16(np.inf))[rows[:-1], None]
            voxels = voxels[:, (voxels[:-1] > air).any(axis=0)]
        yield voxels
    if not used:
        raise DatasetError(
            f"No training case has {target} together with {', '.join(sources)}",
            where=str(store.folder),
            remedy="Give this case fewer sources.",
        )


def _predict_case(
    case: Case,
    plan: Plan,
    request: Request,
    fitted: dict[tuple[tuple[str, ...], str], np.ndarray],
    output: Path,
    degree: int,
) -> list[Path]:
    """Write every target of a case on its own grid, as `predict` does."""
    images = {name: case.images[name] for name in request.given}
    volume, _ = read_case(images, where=f"case {case.identifier}")
    refuse_wrong_intensities(volume.voxels, request.given, plan)
    done = prepare(volume, request.given, plan)
    voxels, placement = done.voxels, done.placement
    flat = voxels.reshape(len(voxels), -1)
    _, ending = split_ending(case.images[request.given[0]])
    written = []
    for target in request.made:
        weights, channel = fitted[request.given, target], plan.channel(target)
        values = weights[to_bins(flat[0])] if degree == 0 else weights @ features(flat, degree)
        made = np.clip(values, *normalize.limits(channel.normalization))
        made = normalize.invert(
            made.reshape(voxels.shape[1:]), *normalize.typical_range(channel.normalization)
        )
        outside = normalize.background(channel.normalization)
        image = restore(made, placement, outside=outside)
        if channel.modality == "MR":
            image = np.where(done.shown, image, np.float32(outside))
        low, high = normalize.written_range(channel.normalization)
        facts = {
            "case": case.identifier,
            "target": target,
            "sources": list(request.given),
            "intensity": {"low": low, "high": high, "dtype": "float32"},
            "task": plan.task,
            "dataset": plan.dataset,
            "plan": plan.name,
            "modality": channel.modality,
            "variant": f"per-voxel regression of degree {degree}",
            "liftnet": __version__,
        }
        path = output_path(output, plan, case.identifier, target, ending)
        write_with_facts(path, image, placement.source, facts)
        written.append(path)
    return written
