"""Damaged inputs at every entry point: right answers, refusals, crashes, hangs and memory.

An input is refused rightly with a LiftnetError (a command: exit code 1 and a message; 2 for what
the command line itself does not take). Anything else that is raised is a crash, and so are an
answer that the oracle contradicts (nibabel, SimpleITK, the file's own JSON), a process that dies
and memory beyond the bound. An input that takes longer than ten seconds
hangs, a command that takes longer than a minute.

    python benchmarks/fuzz.py [--seconds 60] [--only plan.json ...] [--seed 0]

Each entry point has a process of its own, begun again after the input of which it died. For each
input its memory is limited to what it has before it and 500 MiB; the peak is counted from there.
Another version is tried by putting its folder before this one:
PYTHONPATH=FOLDER python benchmarks/fuzz.py.
"""

import argparse
import json
import mmap
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import fuzz_checks as checks
import fuzz_files as files
import fuzz_places as places
import mutations
from fuzz_places import NAME, Entry
from measure import arguments, machine, print_table

MEMORY_BOUND = 500 * 2**20  # ours: beside it, the reader's own work on a valid file is small
HANG_SECONDS = 10
COMMAND_SECONDS = 60  # to plan measures the memory of many networks
SHOWN = 40  # kinds of crashes that are printed per entry


class Hang(BaseException):
    """The input took too long."""


def entries() -> dict[str, Callable[[Path, Path], Entry]]:
    """Name -> function of the prepared folder and a work folder."""
    space = f"workspace/preprocessed/{NAME}"
    run = f"workspace/results/{NAME}/default/lift/fold_0"
    readers: dict[str, tuple[str, Callable[[Path, Path], object], bool]] = {
        "dataset.json": (
            f"workspace/raw/{NAME}/dataset.json", lambda _, p: checks.read_dataset(p), True),
        "fingerprint.json": (
            f"{space}/fingerprint.json", lambda _, p: checks.use_fingerprint(p), True),
        "plan.json": (f"{space}/default/plan.json", lambda _, p: checks.use_plan(p), True),
        "recipe": (
            f"{space}/default/recipes/lift.json",
            lambda place, p: checks.use_recipe(p, place / space / "default" / "plan.json"), True),
        "splits.json": (f"{space}/splits.json", lambda _, p: checks.use_splits(p), True),
        "scores.json": ("one/scores.json", lambda _, p: core_read("scores", p), True),
        "comparison.json": ("both/comparison.json", lambda _, p: core_read("comparison", p), True),
        "JSON of a predicted image": (
            "one/c0_0001.json", lambda _, p: checks.use_facts(p), False),
        "JSON of a stored case": (
            f"{space}/default/cases/c0.json", lambda _, p: checks.use_stored(p), True),
    }  # fmt: skip

    def reader(name: str) -> Callable[[Path, Path], Entry]:
        source, read, exact = readers[name]

        def make(place: Path, work: Path) -> Entry:
            if name.startswith("JSON of a predicted"):
                (work / "c0_0001.nii.gz").touch()
            return places.json_entry(place, work, source, partial(read, place), exact=exact)

        return make

    predicted = {f"one/{n}_0001.nii.gz": "image" for n in ("c0", "c1")}
    known = {f"workspace/raw/{NAME}/imagesTr/c0_000{i}.nii.gz": "image" for i in range(2)}
    facts = {"one/c0_0001.json": "json"}
    scores = {"one/scores.json": "json", "two/scores.json": "json"}
    options = ["--workspace", "{}/workspace"]
    commands: dict[str, tuple[dict[str, str], list[str]]] = {
        "liftnet_extract_fingerprint": (
            {**known, f"workspace/raw/{NAME}/dataset.json": "json"},
            ["liftnet_extract_fingerprint", "-np", "1"]),
        "liftnet_plan": (
            {f"workspace/raw/{NAME}/dataset.json": "json", f"{space}/fingerprint.json": "json"},
            ["liftnet_plan", "-p", "again"]),
        "liftnet_predict": (
            {"new/c0_0000.nii.gz": "image", f"{run}/plan.json": "json",
             f"{run}/recipe.json": "json"},
            ["liftnet_predict", "-i", "{}/new", "-o", "{}/made", "-np", "1", "-device", "cpu"]),
        "liftnet_evaluate": (
            {**predicted, **known, **facts},
            ["liftnet_evaluate", "-i", "{}/one", "-r", f"{{}}/workspace/raw/{NAME}/imagesTr",
             "-o", "{}/scored", "-np", "1"]),
        "liftnet_compare": (
            {**scores, **facts}, ["liftnet_compare", "-i", "{}/one", "{}/two", "-o", "{}/cmp"]),
        "liftnet_report": (
            {"one/scores.json": "json", **predicted, **facts},
            ["liftnet_report", "-i", "{}/one", "-o", "{}/page.html", "--no-viewer"]),
    }  # fmt: skip

    def command(name: str) -> Callable[[Path, Path], Entry]:
        damaged, words = commands[name]
        return lambda place, work: places.command_entry(place, work, damaged, [*words, *options])

    return {
        **{name: reader(name) for name in readers},
        "NIfTI header": partial(files.image, kind="nii", packed=False),
        "NIfTI header, gzip": partial(files.image, kind="nii", packed=True),
        "NIfTI bytes": partial(files.image, kind="nii", packed=None),
        "NIfTI claims and bombs": files.bombs,
        "MHA": partial(files.image, kind="mha", packed=False),
        "NRRD": partial(files.image, kind="nrrd", packed=False),
        "stored case (.npy)": files.stored,
        "checkpoint": files.checkpoint,
        "exported model": files.exported,
        "weights (.pth, .safetensors)": files.weights,
        "trajectory (.npz)": lambda place, work: places.bytes_entry(
            [next((place / "one" / "trajectories").glob("*.npz")).read_bytes()], work / "x.npz",
            [mutations.damage_bytes], lambda: checks.use_trajectory(work / "x.npz")),
        **{name: command(name) for name in commands},
        "command-line values": places.values_entry,
    }  # fmt: skip


def core_read(what: str, path: Path) -> object:
    """scores.json or comparison.json."""
    from liftnet.core.comparison import read_comparison
    from liftnet.core.scores import read_scores

    return read_scores(path) if what == "scores" else read_comparison(path)


# --- the runs ---


def child(name: str, place: Path, work: Path, state: Path, options: argparse.Namespace) -> None:
    """Try inputs until the time is over; what is found goes to a file line by line."""
    import torch

    torch.set_num_threads(1)
    entry = entries()[name](place, work)
    first = options.first

    def too_long(*_: object) -> None:
        raise Hang

    signal.signal(signal.SIGALRM, too_long)
    with state.open("r+b") as opened, (state.with_suffix(".jsonl")).open("a") as log:
        current = mmap.mmap(opened.fileno(), 16)
        number = first
        signal.alarm(COMMAND_SECONDS)
        _attempt(entry, Random(f"{options.seed} {number}"))  # the imports are no input's memory
        signal.alarm(0)
        until = time.monotonic() + options.seconds
        while time.monotonic() < until:
            current[:8] = number.to_bytes(8, "little")
            Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
            resident, size = _status("VmRSS", "VmSize")
            resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY_BOUND, resource.RLIM_INFINITY))
            signal.alarm(COMMAND_SECONDS if entry.command else HANG_SECONDS)
            found = _attempt(entry, Random(f"{options.seed} {number}"))
            signal.alarm(0)
            resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY,) * 2)
            (highest,) = _status("VmHWM")
            peak = highest - resident
            log.write(json.dumps([number, *found, peak]) + "\n")
            log.flush()
            number += 1


def _attempt(entry: Entry, rng: Random) -> tuple[str, str]:
    """How one input ended, and where if it is a crash."""
    from liftnet.core.errors import LiftnetError

    entry.write(rng)
    try:
        entry.call()
    except LiftnetError:
        return "refused", ""
    except Hang:
        return "hang", ""
    except (Exception, SystemExit) as error:
        own = [f for f in traceback.extract_tb(error.__traceback__) if "/liftnet/" in f.filename]
        where = f"{Path(own[-1].filename).name}:{own[-1].lineno} {own[-1].name}" if own else ""
        return "crash", f"{type(error).__name__} in {where}: {str(error)[:160]}"
    return "right", ""


def _status(*keys: str) -> list[int]:
    """Bytes that the kernel counts for this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    found = {key: words for key, _, words in (line.partition(":") for line in lines)}
    return [int(found[key].split()[0]) * 1024 for key in keys]


def try_entry(name: str, place: Path, folder: Path, options: argparse.Namespace) -> list[Any]:
    """The row of one entry point; its process is begun again where it dies."""
    state = folder / "state"
    state.write_bytes(bytes(16))
    log = state.with_suffix(".jsonl")
    log.unlink(missing_ok=True)
    ends: Counter[str] = Counter()
    shown: Counter[str] = Counter()
    first: dict[str, int] = {}
    until, number = time.monotonic() + options.seconds, options.first
    environment = {**os.environ, "MALLOC_ARENA_MAX": "1", "OMP_NUM_THREADS": "1",
                   "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": "1"}  # fmt: skip
    while (left := until - time.monotonic()) > 0:
        with tempfile.TemporaryDirectory() as work:
            words = [__file__, "--child", name, str(place), work, str(state)]
            words += ["--seconds", str(left), "--seed", str(options.seed), "--first", str(number)]
            process = subprocess.Popen(
                [sys.executable, *words],
                env=environment,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
            died = _watch(process, state)
        if died is None:
            break
        number = int.from_bytes(state.read_bytes()[:8], "little")
        ends["hang" if died == "hang" else "crash"] += 1
        shown[died] += 1
        first.setdefault(died, number)
        number += 1
    rows = [json.loads(line) for line in log.read_text().splitlines()] if log.is_file() else []
    for number, end, what, _ in rows:
        ends[end] += 1
        if end in ("crash", "hang"):
            shown[what or end] += 1
            first.setdefault(what or end, number)
    peak = max((row[3] for row in rows), default=0)
    for what, count in shown.most_common(SHOWN):
        print(f"  {name}: {count} x {what} (--first {first[what]})", file=sys.stderr, flush=True)
    counts = [ends[end] for end in ("right", "refused", "crash", "hang")]
    return [name, sum(ends.values()), *counts, f"{peak / 2**20:.0f} MiB"]


def _watch(process: "subprocess.Popen[str]", state: Path) -> str | None:
    """Why the process died, or None if it came to its end."""
    seen, since = b"", time.monotonic()
    while True:
        try:
            _, words = process.communicate(timeout=2)
        except subprocess.TimeoutExpired:
            now = state.read_bytes()
            if now != seen:
                seen, since = now, time.monotonic()
            elif time.monotonic() - since > 2 * COMMAND_SECONDS:
                process.kill()
                process.communicate()
                return "hang"
            continue
        if process.returncode == 0:
            return None
        return f"died with {process.returncode}: {words.strip()[-400:]}"


def main() -> None:
    """Print the table."""
    parser = arguments(__doc__ or "", device=False)
    parser.add_argument("--seconds", type=float, default=60, help="for each entry point")
    parser.add_argument("--only", nargs="+", help="names of entry points, or their beginnings")
    parser.add_argument("--seed", type=int, default=0, help="another one makes other inputs")
    parser.add_argument("--first", type=int, default=0, help="number of the first input")
    parser.add_argument("--place", type=Path, help="a prepared folder, kept for the next run")
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        name, *folders = options.child
        child(name, *map(Path, folders), options)
        return
    print(machine("cpu", 1))
    chosen = [n for n in entries() if not options.only or n.startswith(tuple(options.only))]
    with tempfile.TemporaryDirectory() as temporary:
        place = options.place or Path(temporary) / "place"
        if not (place / "both" / "comparison.json").is_file():
            places.prepare(place)
        rows = [try_entry(name, place, Path(temporary), options) for name in chosen]
    total = ["all", *(sum(row[i] for row in rows) for i in range(1, 6)), ""]
    print_table(
        ["entry point", "inputs", "right", "refused", "crashes", "hangs", "peak memory"],
        [*rows, total],
    )


if __name__ == "__main__":
    main()
