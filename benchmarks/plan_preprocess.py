"""CPU seconds of liftnet_plan_and_preprocess on 4 cases of 2x240x240x155, and where they go.

Baseline: nnU-Net 2.8.1 `nnUNetv2_plan_and_preprocess -c 2d` took 55 CPU s, 109 s wall on two busy
cores, on such a dataset (4 cases, 2 channels float32, ellipsoid heads of smooth noise with zero
background); quoted, not run here. Limit: the bytes that must move (files decompressed twice, and
the store written once) over the measured rate of a copy, and the decompression itself.

    python benchmarks/plan_preprocess.py [--runs 3] [--size 240 240 155] [--cases 4]

Each run is a process of its own, and so is each step, whose time contains the start of
Python and its imports; the row "imports" is that alone. The commands that plan also measure a few
training steps, to say how long the training takes; the functions of the first row do not.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import numpy as np
from measure import arguments, children_time, limits, machine, print_table
from scipy import ndimage

from liftnet.core.geometry import Geometry
from liftnet.imageio import read_image, write_image

NNUNET_CPU_SECONDS = 55.0
NNUNET_WALL_SECONDS = 109.0
AXES = ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0))
PASSES = 2  # over the raw files: fingerprint, preprocess


def make_dataset(folder: Path, size: Sequence[int], cases: int) -> None:
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
            path = folder / "imagesTr" / f"case{case:04d}_{channel:04d}.nii.gz"
            write_image(path, image, geometry, dtype="float32")
    channels = {str(i): {"name": n, "modality": "MR"} for i, n in enumerate(("t1n", "t2w"))}
    description = {"name": "Bench", "task": "missing_modality", "channels": channels}
    (folder / "dataset.json").write_text(json.dumps(description))


def time_command(command: str, options: Sequence[str], runs: int) -> tuple[float, float]:
    """Medians of CPU and wall seconds of a command in a process of its own."""
    rows = []
    for _ in range(runs):
        started = time.perf_counter()
        with children_time() as cpu:
            subprocess.run(
                [sys.executable, "-c", command, *options], check=True, stdout=subprocess.DEVNULL
            )
        rows.append((cpu[0], time.perf_counter() - started))
    cpu_seconds, wall = (median(values) for values in zip(*rows, strict=True))
    return cpu_seconds, wall


def main() -> None:
    """Print the tables."""
    parser = arguments(__doc__ or "", device=False)
    parser.add_argument("--size", type=int, nargs=3, default=(240, 240, 155))
    parser.add_argument("--cases", type=int, default=4)
    chosen = parser.parse_args()
    print(machine("cpu", chosen.threads))
    rows: list[tuple[str, float, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        workspace = ["--workspace", folder]
        raw = Path(folder) / "raw" / "Dataset001_Bench"
        make_dataset(raw, chosen.size, chosen.cases)
        steps = f"import liftnet; liftnet.plan_and_preprocess(workspace={folder!r}, clean=True)"
        found = time_command(steps, [], chosen.runs)
        rows.append(("liftnet.plan_and_preprocess()", *found))
        call = "from liftnet.cli.{0} import main; main()"
        for name in ("plan_and_preprocess", "extract_fingerprint", "plan", "preprocess"):
            clean = ["--clean"] if name.endswith("preprocess") else []
            found = time_command(call.format(name), [*workspace, *clean], chosen.runs)
            rows.append((f"liftnet_{name}", *found))
        imports = "import liftnet.pipeline.preprocess.plan_and_preprocess, SimpleITK, scipy.ndimage"
        rows.append(("imports alone", *time_command(imports, [], chosen.runs)))
        files = sorted((raw / "imagesTr").iterdir())
        bare = "import sys, numpy, pathlib; from liftnet.imageio import read_image\n"
        bare += f"for _ in range({PASSES}):\n for path in sys.argv[1:]:\n"
        bare += "  read_image(pathlib.Path(path))"
        found = time_command(bare, [str(path) for path in files], chosen.runs)
        rows.append((f"decompressing all files {PASSES} times alone", *found))
        voxels = sum(read_image(path)[0].size for path in files)
        stored = sum(path.stat().st_size for path in Path(folder).glob("preprocessed/*/*/cases/*"))
    moved = PASSES * 4 * voxels + stored
    rate = limits().bytes
    total = rows[0]
    print_table(
        ("what", "CPU s", "wall s", "CPU s of nnU-Net's"),
        [
            *((name, f"{cpu:.2f}", f"{wall:.2f}", f"1/{NNUNET_CPU_SECONDS / cpu:.1f}")
              for name, cpu, wall in rows),
            ("nnUNetv2_plan_and_preprocess 2.8.1 (quoted, 4 cases of 240x240x155)",
             f"{NNUNET_CPU_SECONDS:.0f}", f"{NNUNET_WALL_SECONDS:.0f}", "1"),
        ],
    )  # fmt: skip
    print(
        f"limit: {moved / 1e9:.2f} GB moved at {rate / 1e9:.1f} GB/s take {moved / rate:.2f} s, "
        f"{100 * moved / rate / total[2]:.1f} % of the wall time; decompressing alone is "
        f"{100 * rows[-1][1] / total[1]:.0f} % of the CPU time"
    )


if __name__ == "__main__":
    main()
