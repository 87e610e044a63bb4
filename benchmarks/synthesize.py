"""One volume through the paper-size networks: seconds, share of the machine's limit, peak memory.

The networks are those that the planner makes at 24 GiB for 240x240x155 at 1 mm, with random
weights (cost does not depend on them). `--size` is what goes into them: by default the plan's own
(the foreground box of a typical brain, or all of it where the plan does not crop);
`--size 155 240 240` is the paper's, and `--size 32 192 160` is done in some seconds on a laptop.
Sides are rounded up to what the network can take.

    python benchmarks/synthesize.py [--device cpu] [--size D H W] [--cases 1] [--compile]
    python benchmarks/synthesize.py --scaling

Each row is a process of its own, so that its peak memory is its own: of CUDA's allocator, or the
largest resident memory, above what the process held before and all in all. The row of two passes
is planned with a budget of 1.5 GiB, the others with 24; a CPU takes fewer slices at a time than a
plan allows, and the estimate is for what it takes. Limit: the arithmetic over the rate of a matrix
product, measured after each row; on a CPU both per CPU second, which other processes disturb less.
Baselines: the ablation without a mapper, and cWDM in its published size, of whose 1000 steps some
are run and the time of all follows. `--cases` volumes are made one after another; times are of one.

`--scaling`: a small network on deeper and larger volumes. Time and the volumes themselves should
grow with their size, the rest of the memory should not, in two passes.
"""

import json
import resource
import sys
from argparse import SUPPRESS, Namespace
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from time import perf_counter
from typing import Any

from measure import MATRIX_SIDE, arguments, machine, print_table, repeat, run_apart

SAMPLED_STEPS = 2  # of a sampler that are run; each takes the same time
ROWS = (
    ("missing_modality", "one", "lift"),
    ("missing_modality", "two", "lift"),
    ("missing_modality", "one", "no_mapper"),
    ("translation", "one", "lift"),
    ("missing_modality", "one", "cwdm"),
)
TWO_PASS_GIB = 1.5
SMALL_WIDTHS = (16, 32, 64, 128)
DEPTHS = (64, 128, 256, 512)
SIDES = (128, 256, 384)
GIB = 2**30


def sized(plan: Any, recipe: Any, chosen: Namespace) -> tuple[Any, Any]:
    """Both for volumes of this size, with as many slices at a time as the memory allows."""
    import torch

    from liftnet.core.recipe import Inference
    from liftnet.networks.synthesis import slices_at_a_time
    from liftnet.planning.sizing import plan_inference, plan_mixer, plan_translator

    if recipe.sampling is not None:
        if chosen.size:
            depth, *sides = chosen.size
            plan = replace(plan, grid=replace(plan.grid, num_slices=depth, in_plane=tuple(sides)))
        return plan, recipe
    if chosen.size:
        stride = 2 ** (len(recipe.translator.widths) - 1)
        depth, *sides = chosen.size
        in_plane = tuple(-(-side // stride) * stride for side in sides)
        plan = replace(plan, grid=replace(plan.grid, num_slices=depth, in_plane=in_plane))
    if chosen.small:
        sources, targets = recipe.translator.source_channels, recipe.translator.target_channels
        small = replace(
            recipe,
            translator=plan_translator(sources, targets, SMALL_WIDTHS),
            mixer=plan_mixer(SMALL_WIDTHS, "decoder"),
            inference=Inference(16, chosen.passes),
        )
        return plan, small
    if chosen.passes == "two":
        plan = replace(plan, budget=replace(plan.budget, memory_gib=TWO_PASS_GIB))
    recipe = plan_inference(plan, recipe, needed=partial(estimate, chosen.method, plan))
    area, device = plan.grid.in_plane[0] * plan.grid.in_plane[1], torch.device(chosen.device)
    planned = chosen.slice_batch or recipe.inference.slice_batch
    batch = slices_at_a_time(planned, area, device)
    return plan, replace(recipe, inference=Inference(batch, chosen.passes))


def estimate(method: str, plan: Any, recipe: Any) -> float:
    """The GiB that synthesis is said to take."""
    from liftnet.methods import load_method
    from liftnet.planning.cost import synthesis_gib

    chosen = load_method(method)
    return synthesis_gib(plan, recipe, chosen.stages(plan, recipe)[-1], chosen.synthesize)


def network_of(plan: Any, recipe: Any, method: str) -> Any:
    """The network of the last stage, with random weights."""
    from liftnet.methods import load_method

    return load_method(method).stages(plan, recipe)[-1].build()


def gigaflop(plan: Any, recipe: Any, method: str) -> float:
    """The arithmetic of one volume, as it is done, a multiply-add counted as 2."""
    from liftnet.methods import load_method
    from liftnet.planning.cost import synthesis_flops

    chosen = load_method(method)
    return (
        synthesis_flops(plan, recipe, chosen.stages(plan, recipe)[-1], chosen.synthesize, 1) / 1e9
    )


def measure_one(chosen: Namespace) -> dict[str, Any]:
    """Time, arithmetic and memory of one row, in this process."""
    import torch
    from brats_like import decided

    from liftnet.core.request import Request
    from liftnet.data.crops import whole
    from liftnet.methods import load_method
    from liftnet.ops.compute.host_memory import keep_freed_memory
    from liftnet.ops.compute.precision import place, supports_bfloat16
    from liftnet.pipeline.models.volumes import Training, make_volumes
    from liftnet.tasks import load_task

    device = torch.device(chosen.device)
    machine(chosen.device, chosen.threads)
    keep_freed_memory()
    number_bytes = 2 if supports_bfloat16(device) else 4
    planned = decided(24.0, task=chosen.task, method=chosen.method, bytes_per_number=number_bytes)
    plan, recipe = sized(*planned, chosen)
    work = 0.0 if chosen.small else gigaflop(plan, recipe, chosen.method)
    times = 1.0  # what is run, of all
    if recipe.sampling is not None:
        times = recipe.sampling.num_steps / SAMPLED_STEPS
        short = replace(recipe.sampling, num_steps=SAMPLED_STEPS)
        recipe = replace(recipe, sampling=short)
    of = Training(load_task(chosen.task), load_method(chosen.method), plan, recipe)
    names = plan.channel_names
    load_kernels(chosen)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    network = place(network_of(plan, recipe, chosen.method), device).eval().requires_grad_(True)
    if chosen.compile:
        compile_parts(network.translator)
    voxels = torch.rand(len(names), plan.grid.num_slices, *plan.grid.in_plane, device=device)
    ranges = dict.fromkeys(names, (0.0, 1000.0))
    example = whole(plan, Request(names[:-1], names[-1:]), voxels, ranges, "x", seed=0).to(device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()

    def make() -> None:
        for _ in range(chosen.cases):
            make_volumes(of, [network], example)

    started = perf_counter()
    if chosen.compile or device.type == "cuda" or chosen.small:
        make()
    warm_up = perf_counter() - started
    sample = repeat(make, runs=chosen.runs, device=chosen.device, warm=0)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    above = peak - before
    if device.type == "cuda":
        peak = above = torch.cuda.max_memory_allocated() / GIB
    return {
        "size": (plan.grid.num_slices, *plan.grid.in_plane),
        "slice_batch": recipe.inference.slice_batch,
        "parameters": sum(p.numel() for p in network.parameters()),
        "warm_up": warm_up,
        "wall": times * sample.wall / chosen.cases,
        "cpu": times * sample.cpu / chosen.cases,
        "gigaflop": work,
        "above": above,
        "peak": peak,
        "estimate": estimate(chosen.method, plan, recipe),
        "limit": 0.0
        if chosen.small
        else matrix_rate(chosen.device),  # last, as it takes memory itself
    }


def matrix_rate(device: str) -> float:
    """GFLOP of a large matrix product per second; of CPU time where there is no other device."""
    import torch

    from liftnet.ops.compute.precision import supports_bfloat16

    where = torch.device(device)
    dtype = torch.bfloat16 if supports_bfloat16(where) else torch.float32
    side = MATRIX_SIDE[where.type]
    a, b = (torch.randn(side, side, device=where).to(dtype) for _ in range(2))
    product = repeat(lambda: a @ b, runs=7, device=device, warm=2)
    return float(2 * side**3 / (product.cpu if where.type == "cpu" else product.wall) / 1e9)


def load_kernels(chosen: Namespace) -> None:
    """Have the libraries load what they need, so that it does not count as memory of synthesis."""
    import torch

    from liftnet.ops.compute.precision import autocast

    device = torch.device(chosen.device)
    layers = torch.nn.Conv2d(8, 8, 3, device=device), torch.nn.Linear(8, 8, device=device)
    with torch.no_grad(), autocast(device):
        layers[1](layers[0](torch.rand(2, 8, 8, 10, device=device)))


def compile_parts(translator: Any) -> None:
    """Encoder and decoder stages compiled, or one line why not."""
    import torch

    try:
        torch.compile(torch.nn.ReLU())(torch.zeros(2))
    except (RuntimeError, OSError) as error:
        print(f"not compiled: {str(error).splitlines()[0]}", file=sys.stderr)
        return
    translator.encode = torch.compile(translator.encode, dynamic=False)
    for i, block in enumerate(translator.decoder):
        translator.decoder[i] = torch.compile(block, dynamic=False)
    torch._dynamo.config.cache_size_limit = 64


def print_rows(chosen: Namespace) -> None:
    """Run every row of the first table."""
    columns = [
        "task", "passes", "method", "size", "at a time", "M parameters", "s", "CPU s", "TFLOP",
        "share of limit", "cWDM takes ... times", "against no mapper", "peak GiB", "in all",
        "estimate", "estimate / peak",
    ]  # fmt: skip
    results = {row: run_apart(__file__, options(chosen, *row)) for row in ROWS}
    baseline = results[("missing_modality", "one", "no_mapper")]
    time = "cpu" if chosen.device == "cpu" else "wall"
    cwdm = results[("missing_modality", "one", "cwdm")][time]
    rows: list[Sequence[object]] = []
    for (task, passes, method), r in results.items():
        rows.append((
            task, passes, method,
            "x".join(map(str, r["size"])), r["slice_batch"],
            f"{r['parameters'] / 1e6:.1f}", f"{r['wall']:.3g}", f"{r['cpu']:.3g}",
            f"{r['gigaflop'] / 1e3:.2f}", f"{r['gigaflop'] / r[time] / r['limit']:.0%}",
            f"{cwdm / r[time]:.0f}",
            f"{r[time] / baseline[time]:.2f}" if task == "missing_modality" else "-",
            f"{r['above']:.2f}", f"{r['peak']:.2f}", f"{r['estimate']:.2f}",
            f"{r['estimate'] / r['above']:.2f}",
        ))  # fmt: skip
    print_table(columns, rows)
    rates = ", ".join(f"{r['limit']:.0f}" for r in results.values())
    print(f"\nLimit, measured after each row: {rates} GFLOP per second of {time} time.")
    if chosen.compile:
        print("First volumes, with compiling:", [round(r["warm_up"]) for r in results.values()])


def print_scaling(chosen: Namespace) -> None:
    """Run a small network on volumes of several sizes."""
    sizes = [(depth, 128, 128) for depth in DEPTHS] + [(64, side, side) for side in SIDES]
    rows: list[Sequence[object]] = []
    for passes in ("one", "two"):
        for size in dict.fromkeys(sizes):
            own = Namespace(**{**vars(chosen), "size": size})
            r = run_apart(__file__, [*options(own, "missing_modality", passes, "lift"), "--small"])
            voxels = size[0] * size[1] * size[2] / 1e6
            volumes = voxels * 1e6 * 4 * (2 * 4 + 4) / GIB
            rows.append((
                passes, size[0], f"{size[1]}x{size[2]}", f"{r['wall']:.3g}", f"{r['cpu']:.3g}",
                f"{r['cpu'] / voxels:.3f}", f"{r['above']:.2f}", f"{volumes:.2f}",
                f"{r['estimate']:.2f}",
            ))  # fmt: skip
    columns = [
        "passes", "depth", "in-plane", "s", "CPU s", "CPU s per million voxels", "peak GiB",
        "of it volumes", "estimate",
    ]  # fmt: skip
    print_table(columns, rows)


def options(chosen: Namespace, task: str, passes: str, method: str) -> list[str]:
    """The command line of the process of one row."""
    words = ["--task", task, "--passes", passes, "--method", method, "--device", chosen.device]
    words += ["--size", *map(str, chosen.size)] if chosen.size else []
    words += ["--slice-batch", str(chosen.slice_batch), "--cases", str(chosen.cases)]
    words += ["--runs", str(chosen.runs), "--threads", str(chosen.threads)]
    return words + ["--compile"] * chosen.compile


def main() -> None:
    """Print the table."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--size", nargs=3, type=int, default=[], help="D H W")
    parser.add_argument("--cases", type=int, default=1)
    parser.add_argument("--compile", action="store_true", help="with torch.compile")
    parser.add_argument("--slice-batch", type=int, default=0, help="at a time; 0: as planned")
    parser.add_argument("--scaling", action="store_true")
    parser.add_argument("--small", action="store_true", help=SUPPRESS)
    parser.add_argument("--task", help=SUPPRESS)
    parser.add_argument("--passes", help=SUPPRESS)
    parser.add_argument("--method", help=SUPPRESS)
    chosen = parser.parse_args()
    if chosen.task:
        print(json.dumps(measure_one(chosen)))
        return
    print(f"{machine(chosen.device, chosen.threads)}; medians of {chosen.runs}\n")
    if chosen.scaling:
        print_scaling(chosen)
    else:
        print_rows(chosen)


if __name__ == "__main__":
    main()
