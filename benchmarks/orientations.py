"""One image in all 48 voxel orders as source: how many different results come out.

    python benchmarks/orientations.py --workspace WS -i FOLDER_OF_48_FILES [-d 1] [-p PLAN]
    python benchmarks/orientations.py --workspace WS -i ONE_FILE --spacing 2.5 1 1 [-d 3]

A single file is first resampled to a spacing (D, H, W in mm) and stored in all 48 orders. Each file
stands for every source of a case; one target is synthesized, compared with its source in grid and
orientation, turned to one order, and compared voxel by voxel with the first.
"""

import argparse
import tempfile
from dataclasses import replace
from itertools import permutations, product
from pathlib import Path

import numpy as np

from liftnet.core.geometry import AxisOrder, Geometry, Volume, axis_order, turn
from liftnet.core.plan import Plan
from liftnet.core.workspace import find_workspace
from liftnet.imageio import read_image, write_image
from liftnet.ops.resample import resample
from liftnet.pipeline.plan import load_plan
from liftnet.pipeline.predict.predict import predict


def store_all_orders(file: Path, spacing: list[float] | None, folder: Path) -> None:
    """Write the image of a file in all 48 voxel orders, on another spacing if one is given."""
    voxels, info = read_image(file)
    volume = turn(Volume(voxels[None], info.geometry), axis_order(info.geometry, "axial"))
    grid = volume.geometry
    image = np.ascontiguousarray(volume.voxels)
    if spacing:
        sizes = [
            round(n * s / t) for n, s, t in zip(grid.shape, grid.spacing_mm, spacing, strict=True)
        ]
        shape = (sizes[0], sizes[1], sizes[2])
        image = resample(image, shape)
        grid = replace(grid, shape=shape, spacing_mm=(spacing[0], spacing[1], spacing[2]))
    flips = list(product((False, True), repeat=3))
    orders = [AxisOrder(o, f) for o in permutations(range(3)) for f in flips]
    for number, order in enumerate(orders):
        turned = turn(Volume(image, grid), order)
        path = folder / f"o{number:02d}.nii.gz"
        write_image(path, np.ascontiguousarray(turned.voxels[0]), turned.geometry, dtype=info.dtype)


def compare(files: list[Path], output: Path, plan: Plan, target: str) -> str:
    """One line: results, the largest difference, types, and grids that differ from their source."""
    results: list[np.ndarray] = []
    kinds, moved = set(), 0
    for file in files:
        voxels, info = read_image(output / f"{file.name[:3]}_{plan.file_number(target):04d}.nii.gz")
        source: Geometry = read_image(file)[1].geometry
        moved += source.differs(info.geometry) is not None
        kinds.add(info.dtype)
        volume = Volume(voxels[None], info.geometry)
        results.append(turn(volume, axis_order(info.geometry, "axial")).voxels[0].copy())
    largest = max(float(np.abs(r - results[0]).max()) for r in results)
    distinct = len({r.tobytes() for r in results})
    return (
        f"{len(files)} voxel orders, {distinct} different results, largest difference {largest:g} "
        f"on a range of {results[0].min():g} to {results[0].max():g}; stored as "
        f"{', '.join(sorted(kinds))}; {moved} not on the grid and axes of their source"
    )


def main() -> None:
    """Print how results of the 48 orders differ."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workspace", required=True)
    parser.add_argument("-d", default=None)
    parser.add_argument("-p", default="default")
    parser.add_argument("-i", type=Path, required=True)
    parser.add_argument("--spacing", type=float, nargs=3, default=None)
    parser.add_argument("--method", default=None)
    arguments = parser.parse_args()
    space = find_workspace(arguments.workspace)
    name = space.dataset_name(arguments.d)
    plan = load_plan(space, name, arguments.p)
    target = plan.targets[-1]
    with tempfile.TemporaryDirectory() as folder:
        stored, sources, output = (Path(folder) / part for part in ("stored", "in", "out"))
        stored.mkdir()
        sources.mkdir()
        if arguments.i.is_file():
            store_all_orders(arguments.i, arguments.spacing, stored)
        files = sorted((stored if arguments.i.is_file() else arguments.i).glob("*.nii.gz"))
        for file in files:
            for channel in plan.sources:
                if channel != target:
                    link = sources / f"{file.name[:3]}_{plan.file_number(channel):04d}.nii.gz"
                    link.symlink_to(file.absolute())
        failures = predict(
            sources, output, name, plan_name=arguments.p, method=arguments.method,
            workspace=arguments.workspace,
        )  # fmt: skip
        print(f"{len(failures)} failed")
        print(compare(files, output, plan, target))


if __name__ == "__main__":
    main()
