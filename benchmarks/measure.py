"""What all benchmarks share: the machine in words, its measured limits, medians, and a table."""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

__all__ = [
    "Limits",
    "Sample",
    "arguments",
    "children_time",
    "limits",
    "machine",
    "print_table",
    "repeat",
    "run_apart",
    "wait_for",
]

MATRIX_SIDE = {"cpu": 2048, "cuda": 8192}  # large enough that its time is arithmetic
COPIED_BYTES = {"cpu": 2**28, "cuda": 2**31}  # larger than any cache


@dataclass(frozen=True)
class Sample:
    """Medians over some runs of the same work."""

    wall: float  # seconds
    cpu: float  # seconds of all threads of this process
    runs: int


@dataclass(frozen=True)
class Limits:
    """What this machine can do at most, measured."""

    flops: float  # of a large matrix product per second, in the type that networks compute in
    bytes: float  # read and written per second by a copy


def arguments(description: str, *, device: bool = True) -> argparse.ArgumentParser:
    """A parser with the options that every benchmark has."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    if device:
        parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--threads", type=int, default=0, help="of the processor; 0: all")
    parser.add_argument("--runs", type=int, default=3, help="medians are over so many")
    return parser


def machine(device: str = "cpu", threads: int = 0) -> str:
    """The hardware and the versions, in one line; sets the number of threads if one is given."""
    import torch

    from liftnet.ops.compute.machine import describe_machine

    if threads:
        torch.set_num_threads(threads)
    return f"{describe_machine(device)}; torch {torch.__version__}; {time.strftime('%Y-%m-%d')}"


def wait_for(device: str) -> None:
    """Wait until a device has done what it was given."""
    if device.startswith("cuda"):
        import torch

        torch.cuda.synchronize()


def repeat(work: Callable[[], Any], *, runs: int, device: str = "cpu", warm: int = 1) -> Sample:
    """Medians of the time that `work` takes, after `warm` runs that do not count."""
    wall, cpu = [], []
    for i in range(warm + runs):
        wait_for(device)
        started, used = time.perf_counter(), time.process_time()
        work()
        wait_for(device)
        if i >= warm:
            wall.append(time.perf_counter() - started)
            cpu.append(time.process_time() - used)
    return Sample(statistics.median(wall), statistics.median(cpu), runs)


def limits(device: str = "cpu") -> Limits:
    """The rates of a matrix product and of a copy, here and now."""
    import torch

    from liftnet.ops.compute.precision import supports_bfloat16

    kind = device.split(":")[0]
    where = torch.device(device)
    dtype = torch.bfloat16 if supports_bfloat16(where) else torch.float32
    side = MATRIX_SIDE[kind]
    a = torch.randn(side, side, device=where).to(dtype)
    b = torch.randn(side, side, device=where).to(dtype)
    product = repeat(lambda: a @ b, runs=5, device=device, warm=2)
    data = torch.zeros(COPIED_BYTES[kind] // 4, device=where)
    target = torch.empty_like(data)
    copy = repeat(lambda: target.copy_(data), runs=5, device=device, warm=2)
    return Limits(2 * side**3 / product.wall, 2 * COPIED_BYTES[kind] / copy.wall)


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A Markdown table, its columns padded so that it can be read in a terminal."""
    texts = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(cell) for cell in column) for column in zip(columns, *texts, strict=True)]

    def line(cells: Sequence[str]) -> str:
        padded = (cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
        return "| " + " | ".join(padded) + " |"

    print(line(columns))
    print("|" + "|".join("-" * (width + 2) for width in widths) + "|")
    for row in texts:
        print(line(row), flush=True)


def run_apart(script: str, options: Sequence[str]) -> dict[str, Any]:
    """The JSON on the last line that a script prints, run in a process of its own."""
    command = [sys.executable, script, *options]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


@contextmanager
def children_time() -> Iterator[list[float]]:
    """A list that receives the CPU seconds of processes that were started and ended inside."""
    spent: list[float] = []
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    yield spent
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
