"""liftnet_predict on a folder of cases: what it takes beyond pure synthesis, and where that goes.

Reading, preparing, restoring and writing overlap with synthesis; the target is that they cost
less than a quarter of its time on a GPU. On a CPU synthesis takes all cores itself, so there the
CPU seconds beyond synthesis are the measure. The dataset is simulated (ellipsoid heads of smooth
noise), the network is the planner's with random weights: cost does not depend on them.

    python benchmarks/predict_folder.py [--device cpu] [--size 96 96 48] [--cases 20]
    python benchmarks/predict_folder.py --device cuda --size 240 240 155 --gpu-memory 24

Baseline of a row, and limit of its wall time: the same synthesis alone, in the same process, after
the folder is done. Each run is a process of its own; its wall seconds count from before torch is
imported. The zlib level shows in .mha and .nrrd files only: ITK writes every .nii.gz at level 6.
"""

import json
import shutil
import tempfile
import threading
import time
from pathlib import Path
from statistics import median
from typing import Any

from measure import arguments, machine, print_table, run_apart, wait_for
from plan_preprocess import make_dataset

DATASET = "Dataset001_Bench"
START = ("plan", "load")
STEPS = ("read", "prepare", "examine", "restore", "write")
SYNTHESES = 5  # alone, of which the median counts


def make_workspace(root: Path, size: list[int], cases: int, gpu_memory: float) -> None:
    """A planned dataset, a fold of random weights, and a folder "new" of cases that lack t2w."""
    import torch

    from liftnet.methods import load_method
    from liftnet.pipeline.fingerprint.extract_fingerprint import extract_fingerprint
    from liftnet.pipeline.models.checkpoint import save_checkpoint
    from liftnet.pipeline.models.runs import BEST
    from liftnet.pipeline.plan import plan

    make_dataset(root / "raw" / DATASET, size, cases)
    extract_fingerprint(workspace=root)
    decided = plan(workspace=root, gpu_memory=gpu_memory, steps=100)
    stage = load_method("lift").stages(*decided)[-1]
    torch.manual_seed(0)
    network = stage.build()
    for parameter in network.parameters():  # as built, it would make an image of one value
        parameter.data += 0.05 * torch.randn_like(parameter)
    network.translator.head.bias.data += 0.5  # in the middle of the range
    folder = root / "results" / DATASET / "default" / "lift" / "fold_0"
    (folder / stage.name).mkdir(parents=True)
    planned = root / "preprocessed" / DATASET / "default"
    shutil.copy(planned / "plan.json", folder)
    shutil.copy(planned / "recipes" / "lift.json", folder / "recipe.json")
    save_checkpoint(folder / stage.name / BEST, {"network": network.state_dict()}, {})
    (root / "new").mkdir()
    for path in (root / "raw" / DATASET / "imagesTr").glob("*_0000.nii.gz"):
        shutil.move(path, root / "new" / path.name)


def predict_here(root: Path, workers: int, level: int, device: str, threads: int) -> dict[str, Any]:
    """Predict in this process: seconds of the whole, of each step, and of synthesis alone."""
    begun = time.perf_counter()
    from liftnet.imageio import write
    from liftnet.pipeline.predict import case as predict_case
    from liftnet.pipeline.predict import outputs
    from liftnet.pipeline.predict import predict as step

    machine(device, threads)
    imports = time.perf_counter() - begun
    write.COMPRESSION_LEVEL = level
    spent = dict.fromkeys((*START, *STEPS), 0.0)
    loaded = [0.0]
    lock = threading.Lock()

    def watch(module: Any, name: str, key: str) -> None:
        work = getattr(module, name)

        def watched(*args: Any, **options: Any) -> Any:
            before = time.thread_time()
            result = work(*args, **options)
            if key == "load":
                loaded[0] = time.perf_counter() - begun
            with lock:
                spent[key] += time.thread_time() - before
            return result

        setattr(module, name, watched)

    watch(step, "load_plan", "plan")
    watch(step, "load_model", "load")
    watch(predict_case, "read_with_mask", "read")
    watch(predict_case, "prepare", "prepare")
    watch(outputs, "examine", "examine")
    watch(outputs, "restore", "restore")
    watch(outputs, "write_image", "write")
    synthesize, calls = step._synthesize, []

    def remembered(*args: Any) -> Any:
        calls[:] = [args]
        return synthesize(*args)

    step._synthesize = remembered
    output = root / f"out_{workers}_{level}"
    shutil.rmtree(output, ignore_errors=True)
    step.predict(root / "new", output, workspace=root, device=device, num_processes=workers)
    wall, cpu = time.perf_counter() - begun, time.process_time()
    walls, cpus = [], []
    for _ in range(SYNTHESES):
        started, before = time.perf_counter(), time.process_time()
        synthesize(*calls[0])
        wait_for(device)
        walls.append(time.perf_counter() - started)
        cpus.append(time.process_time() - before)
    images = list(output.glob("*.nii.gz"))
    within = sum(json.loads(p.read_text())["seconds"] for p in output.glob("*.json"))
    return {
        "imports": imports,
        "loaded": loaded[0],
        "wall": wall,
        "cpu": cpu,
        "within": within,
        "alone_wall": len(images) * median(walls),
        "alone_cpu": len(images) * median(cpus),
        "mb": sum(path.stat().st_size for path in images) / 1e6 / len(images),
        **spent,
    }


def print_rows(root: Path, chosen: Any) -> None:
    """A table of whole runs, and one of what the CPU seconds beyond synthesis are made of."""
    wholes, parts = [], []
    grid = [(w, 1) for w in chosen.workers] + [(chosen.workers[-1], x) for x in chosen.levels]
    for workers, level in grid:
        runs = []
        for _ in range(chosen.runs):
            options = ["--here", str(root), "--device", chosen.device]
            options += ["--threads", str(chosen.threads)]
            options += ["--workers", str(workers), "--levels", str(level)]
            runs.append(run_apart(__file__, options))
        found = {key: median(run[key] for run in runs) for key in runs[0]}
        alone = found["alone_wall"]
        after = found["wall"] - found["loaded"] - alone
        cpu = found["cpu"] - found["alone_cpu"]
        wholes.append(
            (workers, level, f"{alone:.2f}", f"{found['within']:.2f}", f"{found['wall']:.2f}",
             f"{found['loaded']:.2f}", f"{after:.2f}", f"{100 * after / alone:.0f} %",
             f"{found['mb']:.2f}")
        )  # fmt: skip
        known = [found[key] for key in (*START, *STEPS)]
        parts.append(
            (workers, level, f"{cpu:.2f}", *(f"{seconds:.2f}" for seconds in known),
             f"{cpu - sum(known):.2f}", f"{1000 * sum(known[len(START):]) / chosen.cases:.0f}")
        )  # fmt: skip
    print("\nWall seconds; start: until the network is loaded; beyond: than synthesis alone\n")
    columns = ("-np", "zlib level", "synthesis alone", "the same in predict", "whole process",
               "start", "beyond after it", "share", "MB per image")  # fmt: skip
    print_table(columns, wholes)
    print("\nCPU seconds beyond synthesis alone; other: Python, imports, and what is noise\n")
    columns = ("-np", "zlib level", "all", *START, *STEPS, "other", "ms per case")
    print_table(columns, parts)


def main() -> None:
    """Print the tables, or the JSON of one run."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--size", type=int, nargs=3, default=[96, 96, 48])
    parser.add_argument("--cases", type=int, default=20)
    parser.add_argument("--gpu-memory", type=float, default=0.2, help="GiB, decides the network")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4], help="-np")
    parser.add_argument("--levels", type=int, nargs="+", default=[6], help="zlib, besides 1")
    parser.add_argument("--here", type=Path, help="for the benchmark itself: one run")
    chosen = parser.parse_args()
    if chosen.here is not None:
        level, workers = chosen.levels[0], chosen.workers[0]
        found = predict_here(chosen.here, workers, level, chosen.device, chosen.threads)
        print(json.dumps(found))
        return
    print(machine(chosen.device, chosen.threads))
    with tempfile.TemporaryDirectory() as folder:
        make_workspace(Path(folder), chosen.size, chosen.cases, chosen.gpu_memory)
        print_rows(Path(folder), chosen)


if __name__ == "__main__":
    main()
