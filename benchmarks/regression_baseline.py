"""Per-voxel regression of each contrast from the others: the baseline that a network must clear.

Fits, on the preprocessed training cases of a workspace, one polynomial per target from all other
contrasts (voxels where any source is above zero), applies it to the files of a folder, and writes
images and JSON beside them as liftnet_predict does, so that liftnet_evaluate scores both alike.

    python benchmarks/regression_baseline.py --workspace WS -i IMAGES_TS -o OUT --degree 2
"""

import argparse
from itertools import combinations_with_replacement
from pathlib import Path

import numpy as np

from liftnet.core.jsonable import write_json
from liftnet.core.plan import Plan
from liftnet.core.workspace import find_workspace
from liftnet.data.store import Store
from liftnet.imageio import read_case, write_image
from liftnet.ops import normalize
from liftnet.pipeline.plan import load_plan
from liftnet.pipeline.predict import find_inputs
from liftnet.pipeline.preprocess import prepare, restore

VOXELS_PER_CASE = 20_000


def terms(sources: np.ndarray, degree: int) -> np.ndarray:
    """All monomials up to a degree of source values (S, N): (T, N)."""
    rows = [np.ones_like(sources[0])]
    for d in range(1, degree + 1):
        for pick in combinations_with_replacement(range(len(sources)), d):
            rows.append(np.prod(sources[list(pick)], axis=0))
    return np.stack(rows)


def fit(store: Store, plan: Plan, degree: int) -> dict[str, np.ndarray]:
    """Least-squares weights per target over all complete training cases."""
    rng = np.random.default_rng(0)
    samples = []
    for case in store.identifiers():
        if store.describe(case).present == plan.channel_names:
            voxels = np.asarray(store.voxels(case), np.float32).reshape(len(plan.channels), -1)
            inside = np.flatnonzero((voxels > 0).any(0))
            samples.append(voxels[:, rng.choice(inside, min(len(inside), VOXELS_PER_CASE))])
    values = np.concatenate(samples, axis=1).astype(np.float64)
    weights = {}
    for i, name in enumerate(plan.channel_names):
        design = terms(np.delete(values, i, axis=0), degree)
        weights[name] = np.linalg.lstsq(design.T, values[i], rcond=None)[0]
    return weights


def main() -> None:
    """Fit, predict every contrast of every complete case, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workspace", required=True)
    parser.add_argument("-p", default="default")
    parser.add_argument("-i", type=Path, required=True)
    parser.add_argument("-o", type=Path, required=True)
    parser.add_argument("--degree", type=int, default=1)
    arguments = parser.parse_args()
    space = find_workspace(arguments.workspace)
    name = space.dataset_name()
    plan = load_plan(space, name, arguments.p)
    weights = fit(Store(space.store(name, arguments.p)), plan, arguments.degree)
    for case in find_inputs(arguments.i, plan):
        volume, _ = read_case(case.images, where=case.identifier)
        voxels, placement, _ = prepare(volume, tuple(case.images), plan)
        for i, target in enumerate(plan.channel_names):
            sources = np.delete(voxels, i, axis=0)
            flat = terms(sources.reshape(len(sources), -1), arguments.degree)
            predicted = np.clip(weights[target] @ flat, 0, 1).reshape(voxels.shape[1:])
            predicted *= (sources > 0).any(0)
            low, high = normalize.typical_range(plan.channel(target).normalization)
            image = restore(normalize.invert(predicted, low, high), placement, outside=low)
            path = arguments.o / f"{case.identifier}_{i:04d}.nii.gz"
            facts = {
                "case": case.identifier,
                "target": target,
                "sources": [n for n in plan.channel_names if n != target],
                "intensity": {"low": low, "high": high, "dtype": "float32"},
                "model": f"per-voxel regression of degree {arguments.degree}",
            }
            write_json(path.with_name(f"{case.identifier}_{i:04d}.json"), facts)
            write_image(path, image, placement.source, dtype="float32")


if __name__ == "__main__":
    main()
