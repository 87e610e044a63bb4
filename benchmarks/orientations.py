"""The same head in all 48 voxel orders as source: how many different results come out.

    python benchmarks/orientations.py --workspace WS -i FOLDER_OF_48_FILES [-p PLAN] [--no-mapper]

Each file stands for every source of a case; one target is synthesized, turned to one order, and
compared voxel by voxel with the first.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np

from liftnet.core.geometry import Volume, axis_order, turn
from liftnet.core.workspace import find_workspace
from liftnet.imageio import read_image
from liftnet.pipeline.plan import load_plan
from liftnet.pipeline.predict import predict


def main() -> None:
    """Print the number of files, of different results, and the largest difference."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workspace", required=True)
    parser.add_argument("-p", default="default")
    parser.add_argument("-i", type=Path, required=True)
    parser.add_argument("--no-mapper", action="store_true")
    arguments = parser.parse_args()
    space = find_workspace(arguments.workspace)
    name = space.dataset_name()
    plan = load_plan(space, name, arguments.p)
    target = len(plan.channels) - 1
    files = sorted(arguments.i.glob("*.nii.gz"))
    results = []
    with tempfile.TemporaryDirectory() as folder:
        sources, output = Path(folder) / "in", Path(folder) / "out"
        sources.mkdir()
        for file in files:
            for channel in range(target):
                link = sources / f"{file.name[:3]}_{channel:04d}.nii.gz"
                link.symlink_to(file.absolute())
        failures = predict(
            sources, output, name, plan_name=arguments.p, mapper=not arguments.no_mapper,
            workspace=arguments.workspace,
        )  # fmt: skip
        for file in files:
            path = output / f"{file.name[:3]}_{target:04d}.nii.gz"
            voxels, info = read_image(path)
            volume = Volume(voxels[None], info.geometry)
            results.append(turn(volume, axis_order(info.geometry, "axial")).voxels[0].copy())
    largest = max(float(np.abs(r - results[0]).max()) for r in results)
    distinct = len({r.tobytes() for r in results})
    spread = float(results[0].max() - results[0].min())
    print(
        f"{len(files)} voxel orders, {len(failures)} failed, {distinct} different results, "
        f"largest difference {largest:g} on a range of {spread:g}"
    )


if __name__ == "__main__":
    main()
