"""Milliseconds of one training step of LiFT-C, and what each measure against its cost is worth.

The baseline is the same step in float32 with channels first, not compiled. The data are in the
device's memory, so nothing is waited for. All variants run in one process, in turn.

    python benchmarks/train_step.py [--device cpu] [--gpu-memory 0.3] [--size 32 80 80] [--steps 10]

On a GPU: `--device cuda --gpu-memory 24 --size 155 240 240` is the paper's size.
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from brats_like import decided, make_store, shorter
from measure import arguments, limits, machine, print_table, wait_for
from torch.utils.flop_counter import FlopCounterMode

from liftnet.methods.lift.joint import ContextTranslation
from liftnet.networks.blocks import compile_blocks, set_recompute
from liftnet.ops.compute import precision
from liftnet.ops.compute.host_memory import keep_freed_memory
from liftnet.pipeline.train.feed import make_feed
from liftnet.pipeline.train.state import Run, make_optimizer, set_rates
from liftnet.pipeline.train.step import take_step
from liftnet.tasks.missing_modality import TASK

NATIVE = precision.supports_bfloat16
VARIANTS = {  # name -> bfloat16, channels last, compiled, recomputed
    "float32, channels first": (False, False, False, False),
    "float32, channels last": (False, True, False, False),
    "bfloat16, channels first": (True, False, False, False),
    "bfloat16, channels last": (True, True, False, False),
    "the same, activations recomputed": (True, True, False, True),
    "the same, compiled": (True, True, True, False),
}


def main() -> None:
    """Print the table."""
    parser = arguments(__doc__)
    parser.add_argument("--gpu-memory", type=float, default=0.3, help="GiB, decides the widths")
    parser.add_argument("--size", type=int, nargs=3, default=(32, 80, 80), help="D H W")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--no-compile", action="store_true")
    parser.add_argument("--give-back", action="store_true", help="leave malloc as it is")
    options = parser.parse_args()
    print(machine(options.device, options.threads))
    if options.device == "cpu" and not options.give_back:
        keep_freed_memory()
    device = torch.device(options.device)
    plan, recipe = decided(options.gpu_memory, size=tuple(options.size))
    recipe = shorter(replace(recipe, feeding="resident"), 10**6)
    stage, widths = ContextTranslation(recipe), recipe.translator.widths  # type: ignore[attr-defined, arg-type]
    schedule = stage.schedule
    print(
        f"{schedule.volumes_per_step} volumes of {plan.grid.num_slices}x{plan.grid.in_plane[0]}x"
        f"{plan.grid.in_plane[1]}, {schedule.decoded_slices} slices decoded, widths {widths}"
    )
    rate = limits(options.device)
    print(f"limit: {rate.flops / 1e9:.0f} GFLOP/s of a matrix product")
    with tempfile.TemporaryDirectory() as folder:
        store = make_store(Path(folder), plan, 2)
        store = store.hold(store.identifiers(), device)
        steps: dict[str, Callable[[], None]] = {}
        for name, variant in VARIANTS.items():
            if variant[2] and options.no_compile:
                continue
            step, problem = prepare(plan, stage, store, device, *variant)
            if problem:
                print(f"{name}: {problem}")
                continue
            steps[name] = in_precision(step, variant[0])
        with FlopCounterMode(display=False) as counter:
            next(iter(steps.values()))()
        operations = counter.get_total_flops()
        peaks = {name: warm(step, device) for name, step in steps.items()}
        wall, cpu = measure(steps, options)
    baseline = statistics.median(next(iter(wall.values())))
    rows = []
    for name, seconds in wall.items():
        median = statistics.median(seconds)
        rows.append(
            (
                name,
                f"{1e3 * median:.1f}",
                f"{1e3 * statistics.median(cpu[name]):.0f}",
                f"{baseline / median:.2f}",
                f"{operations / 1e9:.0f}",
                f"{100 * operations / median / rate.flops:.0f} %",
                peaks[name],
            )
        )
    print_table(
        ("step", "wall ms", "CPU ms", "times faster", "GFLOP", "of the limit", "peak GiB"), rows
    )


def warm(step: Callable[[], None], device: torch.device) -> str:
    """The peak GiB of steps on CUDA; the first of them compiles."""
    step()
    if device.type != "cuda":
        step()
        return ""
    torch.cuda.reset_peak_memory_stats()
    step()
    return f"{torch.cuda.max_memory_allocated() / 2**30:.2f}"


def measure(steps: dict[str, Callable[[], None]], options):  # type: ignore[no-untyped-def]
    """Wall and CPU seconds of a step, in turns; one number per run."""
    wall: dict[str, list[float]] = {name: [] for name in steps}
    cpu: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(options.runs):
        for name, step in steps.items():
            wait_for(options.device)
            started, used = time.perf_counter(), time.process_time()
            for _ in range(options.steps):
                step()
            wait_for(options.device)
            wall[name].append((time.perf_counter() - started) / options.steps)
            cpu[name].append((time.process_time() - used) / options.steps)
    return wall, cpu


def prepare(plan, stage, store, device, native, last, compiled, recompute):  # type: ignore[no-untyped-def]
    """A function that makes one step, and why it cannot be compiled, if so."""
    torch.manual_seed(0)
    network = stage.build().to(device)
    if last:
        network = precision.place(network, device)
    set_recompute(network, recompute)
    problem = compile_blocks(network) if compiled else None
    average = stage.build().to(device).requires_grad_(False)
    run = Run(network, average, make_optimizer(network, stage.schedule), recent=[])
    feed = make_feed(TASK, plan, stage, store, store.identifiers(), 0, device=device)
    generator = torch.Generator(device)

    def step() -> None:
        set_rates(run.optimizer, stage.schedule, run.step)
        take_step(run, plan, stage.recipe, stage, None, next(feed), generator)

    return step, problem


def in_precision(step: Callable[[], None], native: bool) -> Callable[[], None]:
    """The step in bfloat16 where the device has it, or in float32."""

    def changed() -> None:
        precision.supports_bfloat16 = NATIVE if native else lambda device: False
        step()

    return changed


if __name__ == "__main__":
    main()
