"""What the doctor finds in the workspace: datasets, and what of each is done."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from liftnet.core.errors import LiftnetError
from liftnet.core.workspace import Workspace, find_workspace
from liftnet.imageio.formats import split_ending
from liftnet.pipeline.doctor.machine import ELSEWHERE, try_folder
from liftnet.pipeline.doctor.programs import Finding

__all__ = ["check_workspace"]

IMAGE_NAME = re.compile(r"(.+)_\d{4}")


def check_workspace(workspace: Path | str | None) -> Iterator[Finding]:
    """Which workspace it is and why, and every dataset in it."""
    space = find_workspace(workspace)
    which = space.describe().removeprefix("workspace ")
    text = f"{which}, {_reason(workspace)}"
    tried = [try_folder(part)[0] for part in (space.raw, space.preprocessed, space.results)]
    wrong = "; ".join(dict.fromkeys(why for why in tried if why))
    if wrong:
        yield Finding("workspace", "problem", f"{text}; {wrong}", ELSEWHERE)
    else:
        yield Finding("workspace", "ok", text)
    names = _dataset_names(space)
    if not names and not wrong:
        yield Finding("workspace", "ok", "it holds no dataset yet: liftnet_demo or liftnet_convert "
                      "makes one")  # fmt: skip
    for name in names:
        yield from _check_dataset(space, name)


def _reason(workspace: Path | str | None) -> str:
    if workspace:
        return "as --workspace says"
    parts = [f"liftnet_{part}" for part in ("raw", "preprocessed", "results")]
    known = [name for name in ("LIFTNET_WORKSPACE", *parts) if os.environ.get(name)]
    return f"as {', '.join(known)} says" if known else "the default; no variable is set"


def _dataset_names(space: Workspace) -> list[str]:
    roots = (space.raw, space.preprocessed, space.results)
    folders = [path for root in roots if root.is_dir() for path in root.iterdir()]
    return sorted({p.name for p in folders if p.is_dir() and p.name.startswith("Dataset")})


def _check_dataset(space: Workspace, name: str) -> Iterator[Finding]:
    """One line of what there is, and one for each fold that is begun and not done."""
    raw = space.raw / name
    done = [f"{_count_raw(raw)} raw cases" if (raw / "dataset.json").is_file() else "no raw data"]
    done.append("fingerprint" if space.fingerprint_file(name).is_file() else "no fingerprint")
    plans = sorted(path.parent.name for path in (space.preprocessed / name).glob("*/plan.json"))
    problems: list[Finding] = []
    unfinished: list[Finding] = []
    if not plans:
        done.append("no plan")
    for plan_name in plans:
        stored = sum(1 for _ in space.store(name, plan_name).glob("*.json"))
        words = f"plan {plan_name}: {stored} cases stored"
        trained = []
        for folder in sorted(space.run_folder(name, plan_name).glob("*/fold_*")):
            try:
                missing = _unfinished(folder)
            except LiftnetError as error:
                problems.append(Finding(name, "warning", error.problem, error.remedy or ""))
                continue
            except ImportError:  # torch or safetensors; said above
                missing = ""
            label = f"{folder.parent.name}/{folder.name}"
            if missing:
                number = folder.name.removeprefix("fold_")
                again = f"liftnet_train -d {name} -p {plan_name} -f {number}"
                method = f" --method {folder.parent.name}"
                text = f"{plan_name}/{label} is begun and not done: {missing}"
                unfinished.append(Finding(name, "warning", text, f"{again}{method} goes on."))
            else:
                trained.append(label)
        done.append(words + (f", trained {', '.join(trained)}" if trained else ", nothing trained"))
    yield Finding(name, "ok", "; ".join(done))
    yield from problems + unfinished


def _count_raw(folder: Path) -> int:
    names = (stem for stem, ending in map(split_ending, folder.glob("images*/*")) if ending)
    return len({match[1] for match in map(IMAGE_NAME.fullmatch, names) if match})


def _unfinished(folder: Path) -> str:
    """What the folder of a fold lacks, in words; "" if it is trained.

    It is trained when the last stage has all its steps, or when it was imported: then it has
    weights and no state of training.

    Raises:
        LiftnetError: If its plan cannot be read.
        ImportError: Without torch.
    """
    from liftnet.pipeline.models.checkpoint import finished_steps, has_checkpoint
    from liftnet.pipeline.models.runs import BEST, IMPORTED, LATEST, read_run

    plan, method, recipe = read_run(folder)
    stages = method.stages(plan, recipe)
    last = folder / stages[-1].name
    imported = (folder.parents[1] / IMPORTED).is_dir() and not has_checkpoint(last / LATEST)
    if imported and has_checkpoint(last / BEST):
        return ""
    lacking = []
    for stage in stages:
        latest = folder / stage.name / LATEST
        previous = latest.with_name(f"{latest.name}.previous")
        steps = finished_steps(latest) or finished_steps(previous)
        if steps < stage.schedule.num_steps or not has_checkpoint(latest):
            lacking.append(f"{stage.name}, {steps} of {stage.schedule.num_steps} steps")
        elif stage is stages[-1]:
            return ""
    return lacking[0]
