"""Every step of liftnet, killed at a random moment and run again, against an undisturbed run.

The steps run in forks of this process, which has imported everything: a kill costs no imports.
Half of the kills come after a random time, the others at a random change of a file or folder.

    python tests/fault_injection.py FOLDER [--kills 10] [--steps preprocess train]

prints one JSON line per step.
"""

import argparse
import json
import mmap
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fault_steps import (
    STEPS,
    Step,
    broken_files,
    content,
    files_of,
    list_steps,
    marks_of,
    remove,
    write_sources,
)
from tiny_generation import add_fold, installed

import liftnet.visual.figures
from liftnet.cli.shell import _guard
from liftnet.pipeline.predict.generate import generate
from liftnet.pipeline.train import train as training

__all__ = ["FAULTS", "Outcome", "run_all"]

CHANGES = ("os.rename", "os.remove", "os.link", "os.symlink", "os.mkdir", "os.rmdir")
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
MOST_IN_A_ROW = 3
MOST_MEMORY = 150 * 2**20  # with more, most steps of this size end well


@dataclass
class Outcome:
    """What came of one kind of fault in one step."""

    fault: str
    step: str
    injected: int = 0
    trials: int = 0
    survived: int = 0  # trials with clear messages, whose final files are the undisturbed ones
    crashed: int = 0  # ended by a signal that nobody sent, or did not end
    done_again: int = 0  # finished pieces of work (cases, steps) that a later run made again
    pieces: int = 0  # of one run; 0 where nothing is kept but the whole
    seconds: float = 0.0  # of the undisturbed run
    problems: list[str] = field(default_factory=list)


def start(
    step: Step, root: Path, *, die_at: int | None = None, more_memory: int | None = None
) -> int:
    """The process id of a fork that runs a step as a command would.

    Args:
        step: what runs.
        root: the folder of everything.
        die_at: it dies at so manieth change of a file or folder.
        more_memory: how many bytes of addresses it may use beyond those that it has.
    """
    process = os.fork()
    if process:
        return process
    code = 70
    try:
        with printed(root, os.getpid()).open("w") as target:
            os.dup2(target.fileno(), 1)
            os.dup2(target.fileno(), 2)
        changes = 0

        def watch(event: str, values: tuple[Any, ...]) -> None:
            nonlocal changes
            opened = event == "open" and isinstance(values[2], int) and values[2] & WRITING
            if not (opened or event in CHANGES) or not str(values[0]).startswith(str(root)):
                return
            changes += 1
            if changes == die_at:
                os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(watch)
        if more_memory is not None:
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            limit = pages * resource.getpagesize() + more_memory
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        guarded(step.run)(quiet=False, version=False)
        (root.parent / f"{root.name}.changes").write_text(str(changes))
        code = 0
    except SystemExit as end:
        code = int(end.code or 0)
    except BaseException:  # a fork must not go on with its parent's work
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def guarded(run: Callable[[], object]) -> Callable[[], None]:
    """A step that ends as its command does: failed cases and known problems with code 1."""

    def command() -> None:
        failures = run()
        if isinstance(failures, list) and failures and hasattr(failures[0], "error"):
            sys.exit(1)

    return _guard(command)


def printed(root: Path, process: int) -> Path:
    """What a fork has printed."""
    return root.parent / f"{root.name}.{process}.txt"


def finish(process: int, root: Path) -> tuple[int, str]:
    """The exit code of a fork, negative if a signal has ended it, and what it printed."""
    deadline = time.monotonic() + LONGEST
    while (ended := os.waitpid(process, os.WNOHANG))[0] == 0:
        if time.monotonic() > deadline:
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)
            return HUNG, "does not end"
        time.sleep(0.002)
    code = os.waitstatus_to_exitcode(ended[1])
    path = printed(root, process)
    text = path.read_text() if path.exists() else ""
    path.unlink(missing_ok=True)
    return code, text


@dataclass
class Trial:
    """One step that runs under a fault, and again without."""

    step: Step
    root: Path
    rng: np.random.Generator
    seconds: float  # of an undisturbed run
    changes: int
    reference: dict[str, object]
    injected: int = 0
    crashed: int = 0
    done_again: int = 0
    problems: list[str] = field(default_factory=list)
    finished: dict[Path, tuple[int, int]] = field(default_factory=dict)

    def end(self, process: int, *, allowed: tuple[int, ...] = (0, 1)) -> tuple[int, str]:
        """Wait for a run, and look at what it has left."""
        code, text = finish(process, self.root)
        failed = "Traceback" in text and 70 not in allowed
        if code not in allowed or failed or (code == 1 and "do:" not in text):
            self.problems.append(f"ended with {code}: {text[-1500:]}")
        broken = broken_files(self.step, self.reference)
        self.problems += [f"half-written: {name}" for name in broken]
        for path, mark in marks_of(self.step).items():
            self.done_again += self.finished.get(path, mark) != mark
            self.finished[path] = mark
        return code, text

    def complete(self) -> None:
        """Run the same command until its end, and compare with the undisturbed run."""
        self.end(start(self.step, self.root), allowed=(0,))
        after = files_of(self.step)
        self.done_again += len(self.finished.keys() - marks_of(self.step).keys())
        if self.step.name == "train":
            self.done_again = STEPS_TAKEN[0] - STEPS
        if after.keys() != self.reference.keys():
            self.problems.append(f"other files: {sorted(after.keys() ^ self.reference.keys())}")
        self.problems += [
            f"differs: {name}"
            for name, expected in self.reference.items()
            if name in after and content(after[name]) != expected
        ]


def kill(trial: Trial) -> None:
    """Up to three runs, one after another, that are killed: at a time, or at a change of a file."""
    for _ in range(int(trial.rng.integers(1, MOST_IN_A_ROW + 1))):
        if trial.rng.random() < 0.5:
            process = start(
                trial.step, trial.root, die_at=int(trial.rng.integers(1, trial.changes + 1))
            )
        else:
            process = start(trial.step, trial.root)
            time.sleep(trial.rng.uniform(0, trial.seconds))
            os.kill(process, signal.SIGKILL)
        code, _ = trial.end(process, allowed=(0, -signal.SIGKILL))
        trial.injected += code == -signal.SIGKILL


def too_little_memory(trial: Trial) -> None:
    """A limit on addresses: what cannot be allocated fails."""
    more = int(MOST_MEMORY * 10 ** trial.rng.uniform(-2, 0))
    process = start(trial.step, trial.root, more_memory=more)
    # A library that does not ask whether it got its memory ends the process in its own way; Python
    # waits for ever for a thread that had none to begin with.
    code, _ = trial.end(process, allowed=(0, 1, *CRASHED))
    trial.injected += code != 0
    trial.crashed += code not in (0, 1)


def two_at_once(trial: Trial) -> None:
    """A second run on the same folder, some time after the first."""
    first = start(trial.step, trial.root)
    time.sleep(trial.rng.uniform(0, 0.8 * trial.seconds))
    second = start(trial.step, trial.root)
    ends = [trial.end(process) for process in (second, first)]
    refused = sum(code == 1 and "Another run works here: liftnet_" in text for code, text in ends)
    if sum(code == 0 for code, _ in ends) + refused != 2:
        trial.problems.append(f"two at once: {ends}")
    trial.injected += refused


def vanished(trial: Trial) -> None:
    """A source file that is moved away during the run, and put back after it."""
    paths = sorted(path for folder in trial.step.sources for path in folder.rglob("*.nii.gz"))
    path = paths[int(trial.rng.integers(len(paths)))]
    away = trial.root / "away.nii.gz"
    process = start(trial.step, trial.root)
    time.sleep(trial.rng.uniform(0, 0.8 * trial.seconds))
    path.rename(away)
    code, _ = trial.end(process)
    away.rename(path)
    trial.injected += code != 0


def full_disk(trial: Trial) -> None:
    """A disk that is too small for what the step makes; it grows before the same command."""
    folder = trial.step.made[0]
    needed = sum(len(data) for data in trial.reference.values() if isinstance(data, bytes))
    size = int(trial.rng.uniform(4096, max(8192, needed)))
    mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder))
    code, _ = trial.end(start(trial.step, trial.root))
    mount("-o", "remount,size=1g", str(folder))
    trial.injected += code != 0


def read_only(trial: Trial) -> None:
    """A folder that cannot be written to, until the same command runs again."""
    folder = trial.step.made[0]
    mount("-t", "tmpfs", "-o", "ro", "tmpfs", str(folder))
    code, text = trial.end(start(trial.step, trial.root))
    mount("-o", "remount,rw", str(folder))
    trial.injected += code != 0 and "Read-only file system" in text


def damaged(trial: Trial) -> None:
    """A finished file in which one byte is changed, or whose end is missing."""
    trial.end(start(trial.step, trial.root), allowed=(0,))
    endings = (".npy", "latest.safetensors")
    paths = [
        path for _, path in sorted(files_of(trial.step).items()) if path.name.endswith(endings)
    ]
    paths = [path for path in paths if path.suffix == ".npy" or _has_previous(path)]
    path = paths[int(trial.rng.integers(len(paths)))]
    data = bytearray(path.read_bytes())
    place = int(trial.rng.integers(len(data)))
    path.unlink()  # `.previous` may be the same file
    if trial.rng.random() < 0.5:
        data[place] ^= 1 << int(trial.rng.integers(8))
        path.write_bytes(data)
    else:
        path.write_bytes(data[:place])
    trial.finished = {}
    trial.injected += 1


def _has_previous(path: Path) -> bool:
    return path.with_name(path.name + ".previous").exists()


def mount(*arguments: str) -> None:
    """Call mount; the administrator's right."""
    subprocess.run(["mount", *arguments], check=True, capture_output=True)


FAULTS: dict[str, Callable[[Trial], None]] = {
    "kill -9": kill,
    "two at once": two_at_once,
    "a source vanishes": vanished,
    "too little memory": too_little_memory,
    "damaged file": damaged,
    "full disk": full_disk,
    "read-only folder": read_only,
}
CONCERNED = {  # only these steps
    "damaged file": ("preprocess", "train"),
    "two at once": ("generate", "convert", "extract_fingerprint", "preprocess", "train", "predict",
                    "evaluate", "evaluate, two parts", "import"),
}  # fmt: skip
MOUNTED = ("full disk", "read-only folder")
STEPS_TAKEN = memoryview(mmap.mmap(-1, 8)).cast("q")  # of training, by all forks
LONGEST = 60.0  # seconds of a run, after which it hangs
HUNG = 99
# Without memory: glibc ends with 127 for a thread, Python with a SystemError (here 70).
CRASHED = (-signal.SIGSEGV, -signal.SIGABRT, 127, 70, HUNG)
RARE = 8  # trials without any fault after which it counts as impossible


def run_step(
    step: Step, root: Path, faults: dict[str, int], rng: np.random.Generator
) -> Iterator[Outcome]:
    """What comes of so many faults of each kind; the step's files are then the undisturbed ones."""
    remove(step)
    started = time.perf_counter()
    code, text = finish(start(step, root), root)
    if code:
        raise AssertionError(f"{step.name} fails undisturbed: {text}")
    seconds = time.perf_counter() - started
    changes = int((root.parent / f"{root.name}.changes").read_text())
    reference = {name: content(path) for name, path in files_of(step).items()}
    pieces = STEPS if step.name == "train" else len(marks_of(step))
    for name, wanted in faults.items():
        if (name == "a source vanishes" and not step.sources) or (
            step.name not in CONCERNED.get(name, (step.name,))
        ):
            continue
        outcome = Outcome(name, step.name, pieces=pieces, seconds=seconds)
        vain = 0
        while outcome.injected < wanted and vain < RARE:
            remove(step)
            STEPS_TAKEN[0] = 0
            trial = Trial(step, root, rng, seconds, changes, reference)
            folder = step.made[0]
            if name in MOUNTED:
                folder.mkdir(parents=True, exist_ok=True)
            FAULTS[name](trial)
            trial.complete()
            vain = 0 if trial.injected else vain + 1
            if trial.injected:
                outcome.trials += 1
                outcome.injected += trial.injected
                outcome.survived += not trial.problems
                outcome.crashed += trial.crashed
                outcome.done_again += trial.done_again
                outcome.problems += trial.problems
            if name in MOUNTED:
                subprocess.run(["umount", str(folder)], check=True)
        yield outcome
    if faults:
        remove(step)
        finish(start(step, root), root)


def main() -> None:
    """Print one JSON line per step."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kills", type=int, default=10, help="of each step")
    parser.add_argument("--others", type=int, default=0, help="of each other fault")
    parser.add_argument("--faults", nargs="*", default=list(FAULTS), choices=list(FAULTS))
    parser.add_argument("--steps", nargs="*", help="others run undisturbed")
    parser.add_argument("--pictures", action="store_true", help="draw them: slower")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    for outcome in run_all(**vars(options)):
        print(json.dumps(asdict(outcome)), flush=True)


def run_all(
    folder: Path,
    *,
    kills: int,
    others: int,
    faults: Sequence[str],
    steps: Sequence[str] | None,
    pictures: bool,
    seed: int,
) -> Iterator[Outcome]:
    """What comes of so many faults in each step, in a dataset made for it."""
    torch.set_num_threads(1)
    root = folder.absolute() / "faults"
    shutil.rmtree(root, ignore_errors=True)
    (root / "space").mkdir(parents=True)
    write_sources(root / "sources")
    with ExitStack() as stack:
        stack.enter_context(installed())
        add_fold(root / "space", "0", 0)
        take_step = training.take_step

        def counted(*arguments: Any) -> Any:
            result = take_step(*arguments)
            STEPS_TAKEN[0] += 1
            return result

        training.take_step = counted
        if not pictures:
            liftnet.visual.figures.plot_progress = lambda *_: None
            generate.__globals__["sample_sheet"] = lambda *_, **__: None
        all_steps = list_steps(root)
        for number, step in enumerate(all_steps):
            if steps and not {later.name for later in all_steps[number:]} & set(steps):
                break
            wanted = not steps or step.name in steps
            rng = np.random.default_rng([seed, number])
            counts = {name: kills if name == "kill -9" else others for name in faults}
            some = {name: count for name, count in counts.items() if count and wanted}
            yield from run_step(step, root, some, rng)


if __name__ == "__main__":
    main()
