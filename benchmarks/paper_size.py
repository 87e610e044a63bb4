"""One volume of 240x240x155 through the paper-size network: seconds, GFLOP, peak memory.

The network is the one that the planner makes at 24 GiB for BraTS-like input, with random weights
(cost does not depend on them). Each variant runs in a process of its own, so that its peak
resident memory is its own; the plan's estimate stands beside it.

    python benchmarks/paper_size.py [--device cpu] [--full] [--threads N]

`--full` takes slices of 240x240 as the paper does, else the foreground box of a typical brain.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

VARIANTS = (("one", True), ("two", True), ("one", False))


def measure(passes: str, mapper: bool, full: bool, device: str, threads: int) -> dict[str, float]:
    """Seconds, GFLOP and GiB of one variant, in this process."""
    import torch

    from liftnet.core.dataset import Channel, Dataset, DatasetDescription
    from liftnet.core.fingerprint import CaseFingerprint, Fingerprint, IntensityRange
    from liftnet.core.plan import Inference
    from liftnet.ops.precision import place
    from liftnet.pipeline.extract_fingerprint import summarize
    from liftnet.tasks import load_task
    from liftnet.tasks.base import Budget, Request
    from liftnet.tasks.missing_modality.context_translation import build_network
    from liftnet.tasks.missing_modality.memory import synthesis_gib, synthesis_gigaflop

    if threads:
        torch.set_num_threads(threads)
    names = ("t1n", "t1c", "t2w", "t2f")
    typical = IntensityRange(400.0, 100.0, 0.0, 400.0, 900.0, 0.0, 1200.0)
    start, stop = ((0, 0, 0), (155, 240, 240)) if full else ((5, 34, 50), (150, 212, 190))
    case = CaseFingerprint(
        (155, 240, 240), (1.0, 1.0, 1.0), "SPL", start, stop, 0.18, 0.82,
        dict.fromkeys(names, typical), {},
    )  # fmt: skip
    channels = {str(i): Channel(name) for i, name in enumerate(names)}
    dataset = Dataset(Path(), DatasetDescription("B", "missing_modality", channels), ())
    measured: Fingerprint = summarize(replace(dataset, folder=Path("Dataset001_B")), {"a": case})
    task = load_task("missing_modality")
    plan = task.plan(dataset, measured, Budget(24.0, 2, None), "bench")
    plan = replace(plan, inference=Inference(plan.inference.slice_batch, passes))  # type: ignore[arg-type]
    network = place(build_network(plan, mapper=mapper), torch.device(device)).eval()
    source = torch.rand(4, plan.grid.num_slices, *plan.grid.in_plane, device=device)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    seconds = []
    for _ in range(3 if device == "cuda" else 1):
        started = time.perf_counter()
        task.synthesize(plan, [network], source, Request(names[:3], names[3:]), [0.0] * 4)
        if device == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20 - before
    if device == "cuda":
        peak = torch.cuda.max_memory_allocated() / 2**30
    return {
        "in_plane": plan.grid.in_plane,
        "parameters": sum(p.numel() for p in network.parameters()),
        "seconds": min(seconds),
        "gigaflop": synthesis_gigaflop(plan, passes=passes, mapper=mapper),
        "gib": peak,
        "estimate": synthesis_gib(plan, mapper=mapper),
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        passes, mapper = arguments.one
        result = measure(
            passes, mapper == "True", arguments.full, arguments.device, arguments.threads
        )
        print(json.dumps(result))
        return
    print(
        "| passes | mapper | in-plane | M parameters | s | TFLOP | GFLOP/s | peak GiB | estimate |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for passes, mapper in VARIANTS:
        command = [sys.executable, __file__, "--one", passes, str(mapper)]
        command += ["--device", arguments.device, "--threads", str(arguments.threads)]
        command += ["--full"] if arguments.full else []
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        r = json.loads(done.stdout.splitlines()[-1])
        print(
            f"| {passes} | {mapper} | {r['in_plane'][0]}x{r['in_plane'][1]} "
            f"| {r['parameters'] / 1e6:.1f} | {r['seconds']:.1f} | {r['gigaflop'] / 1e3:.2f} "
            f"| {r['gigaflop'] / r['seconds']:.0f} | {r['gib']:.2f} | {r['estimate']:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
