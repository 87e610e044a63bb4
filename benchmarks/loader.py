"""How fast training volumes reach the device, and how long a step waits for them.

First table: batches drawn as fast as they come, nothing else done; the limit is the bytes of a
batch over the rate of a copy. The baseline is batchgenerators' MultiThreadedAugmenter, whose
workers are processes, as nnU-Net uses it. Second table: real
training steps; the share of the time in which the loop waited for data, and on CUDA the share in
which the device stood idle between the end of one step and the start of the next, by its events.

    python benchmarks/loader.py [--device cpu] [--gpu-memory 0.3] [--size 64 96 96] [--cases 6]
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import torch
from batchgenerators.dataloading.multi_threaded_augmenter import MultiThreadedAugmenter
from brats_like import decided, make_store, shorter
from measure import arguments, limits, machine, print_table, wait_for

from liftnet.core.plan import Plan
from liftnet.data.example import Example
from liftnet.data.feed import Feed, Steps
from liftnet.data.store import Store
from liftnet.methods.lift.joint import ContextTranslation
from liftnet.networks.blocks import compile_blocks
from liftnet.ops.compute.host_memory import keep_freed_memory
from liftnet.ops.compute.precision import place
from liftnet.pipeline.train.feed import draw_step, hold_cases, make_feed
from liftnet.pipeline.train.state import Run, make_optimizer, set_rates
from liftnet.pipeline.train.step import take_step
from liftnet.tasks.missing_modality import TASK

SKIPPED = 3  # steps before a feed is warm


def draws(
    plan: Plan, stage: ContextTranslation, store: Store, device: torch.device, kind: str
) -> Feed[list[Example]]:
    """A feed of one kind."""
    cases = store.identifiers()
    if kind == "resident":
        memory = replace(stage.recipe.memory, dataset_gib=1e6)
        resident = replace(stage.recipe, feeding="resident", memory=memory)
        held = hold_cases(store, resident, cases, device)
        return make_feed(TASK, plan, stage, held, cases, 0, device=device)
    return make_feed(TASK, plan, stage, store, cases, 0, device=device)


def main() -> None:
    """Print both tables."""
    parser = arguments(__doc__)
    parser.add_argument("--gpu-memory", type=float, default=0.3, help="GiB, decides the widths")
    parser.add_argument("--size", type=int, nargs=3, default=(64, 96, 96), help="D H W")
    parser.add_argument("--cases", type=int, default=6)
    parser.add_argument("--batches", type=int, default=40)
    parser.add_argument("--steps", type=int, default=10)
    options = parser.parse_args()
    print(machine(options.device, options.threads))
    device = torch.device(options.device)
    if device.type == "cpu":
        keep_freed_memory()
    plan, recipe = decided(options.gpu_memory, size=tuple(options.size))
    stage = ContextTranslation(shorter(recipe, 10**6))  # type: ignore[arg-type]
    rate = limits(options.device)
    kinds = ["2 processes", "4 processes", "drawn when asked", "threads", "resident"]
    with tempfile.TemporaryDirectory() as folder:
        store = make_store(Path(folder), plan, options.cases)
        size = sum(
            tensor.nbytes
            for example in draw_step(TASK, plan, stage, store, store.identifiers(), 0)
            for tensor in example.tensors()
        )
        print(f"{size / 2**20:.1f} MiB per step as stored; copied at {rate.bytes / 1e9:.1f} GB/s")
        rows: list[tuple[str, ...]] = []
        baseline = 0.0
        for kind in kinds:
            seconds = drain(plan, stage, store, device, kind, options)
            baseline = baseline or seconds
            rows.append(
                (
                    kind,
                    f"{1e3 * seconds:.2f}",
                    f"{size / seconds / 1e9:.2f}",
                    f"{baseline / seconds:.2f}",
                    f"{100 * 3 * size / rate.bytes / seconds:.0f} %",  # 2 read, 4 written
                )
            )
        print_table(("feed alone", "ms a step", "GB/s", "times faster", "of the limit"), rows)
        rows = []
        for kind in ("drawn when asked", "threads", "resident"):
            took, waited, idle = train(plan, stage, store, device, kind, options)
            rows.append(
                (kind, f"{1e3 * took:.1f}", f"{100 * waited / took:.2f} %")
                + ((f"{100 * idle:.2f} %",) if device.type == "cuda" else ("",))
            )
        print_table(("feed while training", "ms a step", "waited", "device idle"), rows)


def drain(plan, stage, store, device, kind, options) -> float:  # type: ignore[no-untyped-def]
    """Seconds of a batch, one after another."""

    def draw(step: int) -> list[Example]:
        return draw_step(TASK, plan, stage, store, store.identifiers(), step)

    if kind.endswith("processes"):
        return drain_processes(draw, int(kind.split()[0]), device, options.batches)
    if kind == "drawn when asked":
        started = time.perf_counter()
        for step in range(options.batches):
            for example in draw(step):
                example.to(device)
        wait_for(options.device)
        return (time.perf_counter() - started) / options.batches
    with closing(draws(plan, stage, store, device, kind)) as feed:
        for _ in range(SKIPPED):
            next(feed)
        started = time.perf_counter()
        for _ in range(options.batches):
            for example in next(feed):
                example.to(device)
        wait_for(options.device)
        return (time.perf_counter() - started) / options.batches


def drain_processes(
    draw: Callable[[int], list[Example]], workers: int, device: torch.device, count: int
) -> float:
    """Seconds of a batch that comes from worker processes."""

    def alone(step: int) -> list[Example]:
        torch.set_num_threads(1)  # a forked process has none of torch's threads
        return draw(step)

    source = MultiThreadedAugmenter(
        Steps(alone, range(10**6), workers), None, workers, num_cached_per_queue=2
    )
    for _ in range(SKIPPED * workers):
        next(source)
    started = time.perf_counter()
    for _ in range(count):
        for example in next(source)["item"]:
            example.to(device)
    wait_for(str(device))
    seconds = (time.perf_counter() - started) / count
    source._finish()
    return seconds


def train(plan, stage, store, device, kind, options):  # type: ignore[no-untyped-def]
    """Seconds of a step, of them waited, and the share in which a CUDA device was idle."""
    network = place(stage.build(), device)
    average = stage.build().to(device).requires_grad_(False)
    run = Run(network, average, make_optimizer(network, stage.schedule), recent=[])
    cuda = device.type == "cuda"
    if cuda:
        compile_blocks(network)
    generator = torch.Generator(device)
    ends, starts = [], []
    waited = 0.0
    asked = kind == "drawn when asked"
    with closing(draws(plan, stage, store, device, kind)) as feed:
        began = 0.0
        for step in range(SKIPPED + options.steps):
            if step == SKIPPED:
                wait_for(options.device)
                began, waited, feed.waited = time.perf_counter(), 0.0, 0.0
            set_rates(run.optimizer, stage.schedule, step)
            before = time.perf_counter()
            if asked:
                drawn = draw_step(TASK, plan, stage, store, store.identifiers(), step)
                given = [example.to(device) for example in drawn]
                waited += time.perf_counter() - before
            else:
                given = next(feed)
            if cuda:
                starts.append(torch.cuda.current_stream().record_event(torch.cuda.Event(True)))
            take_step(run, plan, stage.recipe, stage, None, given, generator)
            if cuda:
                ends.append(torch.cuda.current_stream().record_event(torch.cuda.Event(True)))
        wait_for(options.device)
        seconds = (time.perf_counter() - began) / options.steps
        waited += feed.waited
    idle = 0.0
    if cuda:
        gaps = [
            a.elapsed_time(b) for a, b in zip(ends[SKIPPED:], starts[SKIPPED + 1 :], strict=False)
        ]
        idle = statistics.fmean(gaps) / 1e3 / seconds
    return seconds, waited / options.steps, idle


if __name__ == "__main__":
    main()
