"""Faults of every step: kill -9 at random moments, two runs at once, full disks and others.

After each, the same command runs until its end; the files must be those of an undisturbed run,
byte for byte but for times. A series is up to three kills, or one other fault, and the run after
it. Full disks and read-only folders need the right to mount.

    python benchmarks/faults.py [--kills 30] [--others 5] [--steps train predict] [--pictures]
"""

import os
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from measure import arguments, machine, print_table

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from fault_injection import FAULTS, MOUNTED, Outcome, run_all
from fault_steps import content
from two_processes import start_together

TOGETHER = """
import sys, torch
torch.set_num_threads(1)
import liftnet.visual.figures
liftnet.visual.figures.plot_progress = lambda *_: None
from liftnet.cli.train import main
main()
"""


def main() -> None:
    """Print the table, and below it every problem."""
    parser = arguments(__doc__, device=False)
    parser.add_argument("--kills", type=int, default=30, help="of each step")
    parser.add_argument("--others", type=int, default=5, help="of each other fault and step")
    parser.add_argument("--together", type=int, default=3, help="kills of one of two processes")
    parser.add_argument("--steps", nargs="*", help="only these")
    parser.add_argument("--faults", nargs="*", default=list(FAULTS), choices=list(FAULTS))
    parser.add_argument("--pictures", action="store_true", help="draw them: slower")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    print(machine("cpu", 1), flush=True)
    faults = [name for name in options.faults if name not in MOUNTED or os.geteuid() == 0]
    outcomes: list[Outcome] = []
    with tempfile.TemporaryDirectory(prefix="liftnet_faults_") as name:
        folder = Path(name)
        for outcome in run_all(
            folder,
            kills=options.kills,
            others=options.others,
            faults=faults,
            steps=options.steps,
            pictures=options.pictures,
            seed=options.seed,
        ):
            outcomes.append(outcome)
            print(*as_row(outcome), *outcome.problems, sep=" | ", file=sys.stderr, flush=True)
        if options.together and not options.steps:
            rng = np.random.default_rng(options.seed)
            outcomes.append(kill_one_of_two(folder / "faults", options.together, rng))
    outcomes.sort(key=lambda outcome: [*FAULTS, outcome.fault].index(outcome.fault))
    columns = ("fault", "step", "times", "series", "as undisturbed", "finished work redone")
    print_table(columns, [as_row(outcome) for outcome in outcomes if outcome.injected])
    kills = sum(outcome.injected for outcome in outcomes if outcome.fault.startswith("kill"))
    crashed = sum(outcome.crashed for outcome in outcomes)
    print(f"{kills} kills; {crashed} runs without memory crashed in a library or hung")
    never = [f"{o.fault} in {o.step}" for o in outcomes if not o.injected]
    print("did not occur: " + ("; ".join(never) or "none"))
    for outcome in outcomes:
        for problem in outcome.problems:
            print(f"PROBLEM {outcome.fault}, {outcome.step}: {problem}")


def as_row(outcome: Outcome) -> list[object]:
    """A row of the table."""
    redone = f"all of it ({outcome.seconds:.2f} s)"
    if outcome.pieces:
        kind = "steps" if outcome.step.startswith("train") else "cases"
        redone = f"{outcome.done_again} {kind}; a run has {outcome.pieces}"
    if outcome.step == "train, two processes":
        redone = "since the last checkpoint"
    survived = f"{outcome.survived} of {outcome.trials}"
    return [outcome.fault, outcome.step, outcome.injected, outcome.trials, survived, redone]


def kill_one_of_two(root: Path, kills: int, rng: np.random.Generator) -> Outcome:
    """Two processes that train together: one is killed, the other must end, both go on."""
    outcome = Outcome("kill -9 of one of two", "train, two processes")
    command = ["-d", "7", "-f", "1", "-device", "cpu", "--workspace", str(root / "space")]
    folder = root / "space" / "results" / "Dataset007_Faults"

    def train(wait: float | None) -> tuple[list[int], list[str]]:
        started = start_together(TOGETHER, *command)
        if wait is not None:
            while not list(folder.rglob("fold_1/plan.json")):  # connected, and begun
                time.sleep(0.01)
            time.sleep(wait)
            started[int(rng.integers(2))].send_signal(signal.SIGKILL)
        texts = [process.communicate(timeout=300)[0] for process in started]
        return [process.returncode for process in started], texts

    def made() -> dict[str, object]:
        shown = ("log.jsonl", "checkpoint_latest.safetensors", "checkpoint_best.safetensors")
        fold = sorted(path for path in folder.rglob("fold_1/*/*") if path.name in shown)
        return {path.name: content(path) for path in fold}

    begun = time.perf_counter()
    codes, texts = train(None)
    outcome.seconds = time.perf_counter() - begun
    assert codes == [0, 0], texts
    reference = made()
    while outcome.injected < kills:
        shutil.rmtree(folder)
        outcome.trials += 1
        problems = []
        codes, texts = train(float(rng.uniform(0, 0.5)) * outcome.seconds)
        outcome.injected += codes.count(-signal.SIGKILL)
        for code, text in zip(codes, texts, strict=True):
            if code not in (0, 1, -signal.SIGKILL) or "Traceback" in text:
                problems.append(f"ended with {code}: {text[-1500:]}")
        codes, texts = train(None)
        if codes != [0, 0] or made() != reference:
            problems.append(f"afterwards {codes}: {texts}")
        outcome.survived += not problems
        outcome.problems += problems
    return outcome


if __name__ == "__main__":
    main()
