"""One process against several that share each step, through torchrun: losses and seconds.

The same plan, preprocessed folder and global batch; each process has one thread, so that the two
use two processors and one uses one. Another row gives one process all threads.

    python benchmarks/processes.py [--device cpu] [--processes 2] [--steps 30] [--size 32 96 96]
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measure import arguments, machine, print_table

CHILD = """
import sys
from liftnet.cli.train import main
sys.argv = ["liftnet_train", *sys.argv[1:]]
main()
"""


def main() -> None:
    """Print the table."""
    parser = arguments(__doc__)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--size", type=int, nargs=3, default=(32, 96, 96), help="D H W")
    parser.add_argument("--gpu-memory", type=float, default=0.3, help="GiB, decides the widths")
    options = parser.parse_args()
    print(machine(options.device, options.threads))
    with tempfile.TemporaryDirectory() as folder:
        rows = []
        logs = []
        everything = os.cpu_count() or 1
        for processes, threads in ((1, 1), (1, everything), (options.processes, 1)):
            workspace = Path(folder) / f"{processes}x{threads}"
            prepare(workspace, options)
            started = time.perf_counter()
            run(workspace, processes, threads, options.device)
            took = time.perf_counter() - started
            log = read_log(workspace)
            logs.append(log)
            spent = [row["seconds_per_step"] for row in log if "seconds_per_step" in row][1:]
            rows.append([processes, threads, f"{1e3 * sum(spent) / len(spent):.0f}", took])
        baseline = float(rows[0][2])
        first = [row["loss"] for row in logs[0] if "loss" in row]
        for row, log in zip(rows, logs, strict=True):
            losses = [r["loss"] for r in log if "loss" in r]
            worst = max(abs(a - b) / a for a, b in zip(first, losses, strict=True))
            row += [f"{baseline / float(row[2]):.2f}", f"{losses[-1]:.6f}", f"{worst:.1e}"]
            row[3] = f"{row[3]:.1f}"
        print_table(
            ("processes", "threads each", "ms a step", "command s", "times faster", "last loss",
             "largest relative difference of a loss"), rows,
        )  # fmt: skip


def prepare(workspace: Path, options) -> None:  # type: ignore[no-untyped-def]
    """A planned and preprocessed dataset of made volumes."""
    from dataclasses import replace

    from brats_like import decided, make_store, shorter

    from liftnet.core.storage.jsonable import write_json

    plan, recipe = decided(options.gpu_memory, size=tuple(options.size), steps=options.steps * 2)
    schedule = replace(
        recipe.context_translation, volumes_per_step=2 * options.processes, validation_cases=1,
        validate_every=options.steps, decoded_slices=8,
    )  # fmt: skip
    recipe = replace(recipe, slice_translation=None, context_translation=schedule)
    folder = workspace / "preprocessed" / "Dataset001_B" / "default"
    make_store(folder / "cases", plan, 8)
    write_json(folder / "plan.json", replace(plan, dataset="Dataset001_B", name="default"))
    write_json(folder / "recipes" / "lift.json", shorter(recipe, options.steps))
    (workspace / "raw" / "Dataset001_B").mkdir(parents=True)


def run(workspace: Path, processes: int, threads: int, device: str) -> None:
    """Train fold 0."""
    script = workspace / "train.py"
    script.write_text(CHILD)
    launcher = [sys.executable]
    if processes > 1:
        launcher += ["-m", "torch.distributed.run", "--standalone"]
        launcher += ["--nproc-per-node", str(processes)]
    command = [*launcher, str(script), "-d", "1", "--workspace", str(workspace), "-device", device]
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)


def read_log(workspace: Path) -> list[dict[str, float]]:
    """The rows of the log."""
    (path,) = workspace.glob("results/*/default/*/fold_0/context_translation/log.jsonl")
    return [json.loads(line) for line in path.read_text().splitlines()]


if __name__ == "__main__":
    main()
