"""Fingerprint, plan and preprocess as the number of cases grows: linear time, flat memory.

Cases are small (two channels of simulated heads), so that what each case leaves behind would show
beside them. Each step is a process of its own; time is counted after its imports.

    python benchmarks/scaling.py [--cases 10 100 1000] [--size 48 40 32]

Baseline of a row: the same step with the next fewer cases. Limit: CPU per further case and peak
memory that do not grow. What a step does once (the plan, the first use of a library) is in every
row.
"""

import json
import tempfile
import time
from pathlib import Path
from statistics import median

from measure import arguments, machine, print_table, run_apart
from plan_preprocess import make_dataset

STEPS = ("extract_fingerprint", "plan", "preprocess")


def run_here(step: str, workspace: Path) -> dict[str, float]:
    """Seconds and peak resident memory of one step in this process."""
    from liftnet.pipeline.fingerprint.extract_fingerprint import extract_fingerprint
    from liftnet.pipeline.plan import plan
    from liftnet.pipeline.preprocess.preprocess import preprocess

    before = peak_mib()
    started, cpu = time.perf_counter(), time.process_time()
    if step == "extract_fingerprint":
        extract_fingerprint(workspace=workspace)
    elif step == "plan":
        plan(workspace=workspace, gpu_memory=1.0)
    else:
        preprocess(workspace=workspace, clean=True)
    return {
        "wall": time.perf_counter() - started,
        "cpu": time.process_time() - cpu,
        "imported_mib": before,
        "peak_mib": peak_mib(),
    }


def peak_mib() -> float:
    """Peak resident memory of this process; getrusage would count its parent's (Linux only)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def main() -> None:
    """Print the table, or the JSON of one step."""
    parser = arguments(__doc__ or "", device=False)
    parser.add_argument("--cases", type=int, nargs="+", default=[10, 100, 1000])
    parser.add_argument("--size", type=int, nargs=3, default=[48, 40, 32])
    parser.add_argument("--here", nargs=2, help="for the benchmark itself: step and workspace")
    chosen = parser.parse_args()
    if chosen.here:
        print(json.dumps(run_here(chosen.here[0], Path(chosen.here[1]))))
        return
    print(machine("cpu", chosen.threads))
    found: dict[tuple[str, int], dict[str, float]] = {}
    for cases in chosen.cases:
        with tempfile.TemporaryDirectory() as folder:
            make_dataset(Path(folder) / "raw" / "Dataset001_Bench", chosen.size, cases)
            for step in STEPS:
                runs = [run_apart(__file__, ["--here", step, folder]) for _ in range(chosen.runs)]
                found[step, cases] = {key: median(run[key] for run in runs) for key in runs[0]}
    rows = []
    for step in STEPS:
        previous, known = 0, {"cpu": 0.0, "peak_mib": 0.0}
        for cases in chosen.cases:
            one = found[step, cases]
            each = 1000 * (one["cpu"] - known["cpu"]) / (cases - previous)
            growth = one["peak_mib"] - known["peak_mib"]
            rows.append(
                (step, cases, f"{one['wall']:.2f}", f"{one['cpu']:.2f}",
                 f"{each:.1f}" if previous else "", f"{one['imported_mib']:.0f}",
                 f"{one['peak_mib']:.0f}", f"{growth:+.0f}" if previous else "")
            )  # fmt: skip
            previous, known = cases, one
    columns = ("step", "cases", "wall s", "CPU s", "CPU ms per further case",
               "MiB after imports", "peak MiB", "more than with fewer")  # fmt: skip
    print_table(columns, rows)


if __name__ == "__main__":
    main()
