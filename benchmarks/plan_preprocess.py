"""CPU seconds of liftnet_plan_and_preprocess on 4 cases of 2x240x240x155, in a process of its own.

Baseline: nnU-Net 2.8.1 `nnUNetv2_plan_and_preprocess -c 2d` takes 55 CPU s on such a dataset
(4 cases, 2 channels float32, ellipsoid heads of smooth noise with zero background).

    python benchmarks/plan_preprocess.py [--runs 3] [--size 240 240 155]
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from scipy import ndimage

from liftnet.core.geometry import Geometry
from liftnet.imageio import write_image

NNUNET_CPU_SECONDS = 55.0
AXES = ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0))


def make_dataset(folder: Path, size: tuple[int, int, int], cases: int) -> None:
    """Ellipsoid heads of smooth noise, zero outside."""
    width, height, depth = size
    shape = (depth, height, width)
    geometry = Geometry(shape, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), AXES)
    axes = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij", sparse=True)
    radii = (0.9, 0.78, 0.6)
    inside = sum((a / r) ** 2 for a, r in zip(axes, radii, strict=True)) < 1
    rng = np.random.default_rng(0)
    for case in range(cases):
        for channel in range(2):
            noise = rng.standard_normal([n // 8 + 2 for n in shape])
            zoom = [n / m for n, m in zip(shape, noise.shape, strict=True)]
            smooth = ndimage.zoom(noise, zoom, order=1)[:depth, :height, :width]
            image = np.where(inside, 500 + 100 * smooth, 0).clip(0).astype(np.float32)
            path = folder / "imagesTr" / f"case{case}_{channel:04d}.nii.gz"
            write_image(path, image, geometry, dtype="float32")
    channels = {str(i): {"name": n, "modality": "MR"} for i, n in enumerate(("t1n", "t2w"))}
    description = {"name": "Bench", "task": "missing_modality", "channels": channels}
    (folder / "dataset.json").write_text(json.dumps(description))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--size", type=int, nargs=3, default=(240, 240, 155))
    arguments = parser.parse_args()
    command = [sys.executable, "-c", "from liftnet.cli.plan_and_preprocess import main; main()"]
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        workspace = Path(folder)
        make_dataset(workspace / "raw" / "Dataset001_Bench", tuple(arguments.size), 4)
        for _ in range(arguments.runs):
            before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
            subprocess.run(
                [*command, "--workspace", folder, "--clean"], check=True, capture_output=True
            )
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            rows.append((cpu, time.perf_counter() - started))
    cpu, wall = (statistics.median(values) for values in zip(*rows, strict=True))
    print("| tool | CPU s | wall s | ratio of CPU s |")
    print("|---|---|---|---|")
    print(f"| liftnet_plan_and_preprocess, median of {len(rows)} | {cpu:.1f} | {wall:.1f} | 1 |")
    ratio = NNUNET_CPU_SECONDS / cpu
    print(f"| nnUNetv2_plan_and_preprocess 2.8.1 (quoted) | {NNUNET_CPU_SECONDS} | | {ratio:.1f} |")


if __name__ == "__main__":
    main()
