"""Step 4: one training loop for every stage of every task."""

import hashlib
import json
import math
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from liftnet.core.errors import CheckpointError, DatasetError, LiftnetError, PlanError
from liftnet.core.jsonable import from_json, read_json, to_json, write_json, write_text
from liftnet.core.plan import Plan, Schedule
from liftnet.core.workspace import find_workspace
from liftnet.data.loader import batches
from liftnet.data.store import Store
from liftnet.ops.precision import pick_device
from liftnet.pipeline.checkpoint import load_checkpoint, load_weights, save_checkpoint
from liftnet.pipeline.plan import DEFAULT_PLAN, load_plan, read_plan
from liftnet.pipeline.progress import progress, say
from liftnet.tasks import load_task
from liftnet.tasks.base import Batch, Stage, Validation

__all__ = ["NUM_FOLDS", "fold_folder", "make_splits", "train", "train_stage"]

NUM_FOLDS = 5  # nnU-Net
SPLIT_SEED = 12345  # nnU-Net
LOG_STEPS = 10  # ours: rows of log.jsonl are means over this many steps
LATEST = "checkpoint_latest.safetensors"
BEST = "checkpoint_best.safetensors"


def train(
    dataset: int | str | None = None,
    *,
    fold: Sequence[int | str] = (0,),
    plan_name: str = DEFAULT_PLAN,
    mapper: bool = True,
    device: str | None = None,
    continue_training: bool = False,
    restart: bool = False,
    workspace: Path | str | None = None,
) -> list[Path]:
    """Train folds, one after another; the same call again continues where the last one stopped.

    Args:
        dataset: id or name; may be left out where the workspace holds one dataset.
        fold: numbers 0 to 4, or "all" to train on every case.
        plan_name: which plan.
        mapper: False trains the paper's ablation without through-plane context.
        device: "cuda", "cpu" or "mps"; by default the best there is.
        continue_training: insist that there is a run to continue.
        restart: throw away what was trained before.
        workspace: the workspace folder.

    Returns:
        The folder of each fold.
    """
    space = find_workspace(workspace)
    name = space.dataset_name(dataset)
    say(f"{name}: {space.describe()}")
    plan = load_plan(space, name, plan_name)
    store = Store(space.store(name, plan_name))
    if not store.identifiers():
        raise DatasetError(
            "There is no preprocessed case", where=str(store.folder), remedy="liftnet_preprocess"
        )
    where = find_device(device)
    splits = load_splits(space.splits_file(name), store.identifiers())
    chosen = {str(one): pick_fold(splits, str(one), store.identifiers()) for one in fold}
    folders = []
    for one, (training, validation) in chosen.items():
        folder = fold_folder(space.run_folder(name, plan_name), one, mapper=mapper)
        prepare_run(folder, plan, continue_training=continue_training, restart=restart)
        network = None
        for stage in load_task(plan.task).stages(plan, mapper=mapper):
            network = train_stage(
                stage,
                network,
                store,
                usable(stage, store, training, f"the training cases of fold {one}"),
                usable(stage, store, validation, f"the validation cases of fold {one}"),
                folder / stage.name,
                seed=plan.seed,
                device=where,
            )
        folders.append(folder)
    return folders


def fold_folder(run: Path, fold: str, *, mapper: bool) -> Path:
    """Where a fold of a plan is trained; the ablation has its own place."""
    return run / ("lift_c" if mapper else "no_mapper") / f"fold_{fold}"


def find_device(name: str | None) -> torch.device:
    """The device for a run.

    Raises:
        LiftnetError: If the named device is not there.
    """
    try:
        return pick_device(name)
    except ValueError as error:
        raise LiftnetError(str(error), where=f"-device {name}", remedy="Leave it out.") from None


def make_splits(cases: Sequence[str]) -> list[dict[str, list[str]]]:
    """Five folds, or as many as there are cases; one case alone is trained and validated on."""
    shuffled = list(np.random.default_rng(SPLIT_SEED).permutation(sorted(cases)))
    count = min(NUM_FOLDS, len(shuffled))
    folds = []
    for i in range(count):
        validation = sorted(str(c) for c in shuffled[i::count])
        training = sorted(str(c) for c in shuffled if str(c) not in validation)
        folds.append({"train": training or validation, "validation": validation})
    return folds


def load_splits(path: Path, cases: Sequence[str]) -> list[dict[str, list[str]]]:
    """The folds in splits.json, written first if it is not there.

    Raises:
        PlanError: If it names cases that are not preprocessed.
    """
    if not path.is_file():
        write_json(path, make_splits(cases))
    splits = from_json(list[dict[str, list[str]]], read_json(path), where=path.name)
    for i, fold in enumerate(splits):
        if set(fold) != {"train", "validation"} or not fold["train"] or not fold["validation"]:
            raise PlanError(
                f"Fold {i} needs cases under 'train' and under 'validation'",
                where=str(path),
                remedy="Correct it, or delete splits.json to have it made again.",
            )
    left_out = set(cases) - {c for fold in splits for group in fold.values() for c in group}
    if left_out:
        say(
            f"warning: {len(left_out)} cases are in no fold, such as {min(left_out)}; "
            f"delete {path} to split anew"
        )
    unknown = {c for fold in splits for group in fold.values() for c in group} - set(cases)
    if unknown:
        raise PlanError(
            f"splits.json names cases that are not preprocessed: {', '.join(sorted(unknown)[:5])}",
            where=str(path),
            remedy="Run liftnet_preprocess, or delete splits.json to have it made again.",
        )
    return splits


def pick_fold(
    splits: list[dict[str, list[str]]], fold: str, cases: Sequence[str]
) -> tuple[list[str], list[str]]:
    """Training and validation cases of a fold.

    Raises:
        PlanError: If there is no such fold.
    """
    if fold == "all":
        return list(cases), list(cases)
    if not (fold.isascii() and fold.isdigit()) or int(fold) >= len(splits):
        raise PlanError(
            f"There is no fold '{fold}'",
            where="splits.json",
            remedy=f"Choose 0 to {len(splits) - 1}, or all.",
        )
    chosen = splits[int(fold)]
    return chosen["train"], chosen["validation"]


def usable(stage: Stage, store: Store, cases: Sequence[str], what: str) -> list[str]:
    """Those of the cases that the stage can use.

    Raises:
        DatasetError: If it can use none.
    """
    accepted = [case for case in cases if stage.accepts(store.describe(case))]
    if not accepted:
        raise DatasetError(
            f"None of {what} has a target and a source of it",
            where="splits.json",
            remedy="Choose another fold or another target.",
        )
    if len(accepted) < len(cases):
        say(f"warning: {len(cases) - len(accepted)} of {what} have no target or source; left out")
    return accepted


def plan_digest(plan: Plan) -> str:
    """A digest of every decision that training depends on."""
    facts = to_json(
        replace(
            plan,
            reasons={},
            memory=replace(plan.memory, training_gib=0.0, prediction_gib=0.0, budget_gib=0.0),
        )
    )
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def prepare_run(folder: Path, plan: Plan, *, continue_training: bool, restart: bool) -> None:
    """Store the plan beside the weights; refuse to go on with another one.

    Raises:
        CheckpointError: If the run was begun under another plan, or there is nothing to continue.
    """
    path = folder / "plan.json"
    for temporary in [*folder.glob(".*"), *folder.glob("*/.*")]:
        temporary.unlink()  # half-written when an earlier run was killed
    begun = any(folder.glob(f"*/{LATEST}*"))
    if continue_training and not begun:
        raise CheckpointError(
            "There is no training run to continue", where=str(folder), remedy="Leave out --c."
        )
    if restart:
        for old in folder.glob("*/*"):
            old.unlink()
        begun = False
    if begun and plan_digest(read_plan(path)) != plan_digest(plan):
        raise CheckpointError(
            "The plan has changed since this run began",
            where=str(folder),
            remedy="Begin anew with --restart, or train the new plan under a name of its own "
            "(liftnet_plan -p NAME).",
        )
    write_json(path, plan)


@dataclass
class _Run:
    """The state of a training run that a checkpoint holds."""

    network: nn.Module
    average: nn.Module  # exponential moving average of the weights
    optimizer: torch.optim.Optimizer
    step: int = 0
    best: float = math.inf
    best_step: int = 0
    recent: list[dict[str, float]] | None = None  # terms since the last row of the log


def train_stage(
    stage: Stage,
    previous: nn.Module | None,
    store: Store,
    training: Sequence[str],
    validation: Sequence[str],
    folder: Path,
    *,
    seed: int,
    device: torch.device,
) -> nn.Module:
    """Train one stage, from what the stage before it has trained; returns the averaged network.

    Every random choice derives from (seed, step), so a run that was stopped and continued ends
    with the weights of an unbroken one; on the CPU, bit for bit.

    Raises:
        LiftnetError: If the loss stops being finite.
    """
    schedule = stage.schedule
    torch.manual_seed(seed)
    network = stage.build(previous).to(device)
    if device.type == "cuda":
        network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    run = _Run(
        network,
        deepcopy(network).requires_grad_(False),
        make_optimizer(network, schedule),
        recent=[],
    )
    log = load_run(run, folder, device)
    if run.step >= schedule.num_steps:
        say(f"Already trained: {folder}")
        return run.average

    def draw(step: int) -> list[Batch]:
        first = step * schedule.volumes_per_step
        return [
            stage.draw(store, case_of_draw(training, seed, i), np.random.default_rng([seed, i]))
            for i in range(first, first + schedule.volumes_per_step)
        ]

    generator = torch.Generator(device)
    workers = schedule.loader_workers if device.type == "cuda" else 0
    feed = batches(draw, run.step, schedule.num_steps, workers=workers)
    saved = time.monotonic()
    label = f"Train {stage.name}, {folder.parent.name}"
    with (
        closing(feed),
        _stop_signals() as stopped,
        progress(label, schedule.num_steps, done=run.step, unit="step") as advance,
    ):
        while run.step < schedule.num_steps:
            started = time.monotonic()
            drawn = [batch.to(device) for batch in next(feed)]
            generator.manual_seed(_mix(seed, run.step))
            set_rates(run.optimizer, schedule, run.step)

            # Minimize the sum of the stage's terms.
            terms = stage.loss(run.network, drawn, generator)
            run.optimizer.zero_grad(set_to_none=True)
            torch.stack(list(terms.values())).sum().backward()
            norm = nn.utils.clip_grad_norm_(run.network.parameters(), schedule.gradient_clip)
            refuse_nan({**terms, "its gradient": norm}, run.step, ", ".join(b.case for b in drawn))
            run.optimizer.step()
            update_average(run, schedule)
            run.step += 1

            # Report.
            note_terms(run, terms)
            if run.step % LOG_STEPS == 0 or run.step == schedule.num_steps:
                row = mean_row(run, schedule, time.monotonic() - started)
                append_log(folder, log, row)
            advance(note=status(log, run))

            # Validate, save.
            if run.step % schedule.validate_every == 0 or run.step == schedule.num_steps:
                validate(run, stage, store, validation, folder, log)
            due = time.monotonic() - saved > 60 * schedule.checkpoint_minutes
            if due or stopped or run.step == schedule.num_steps:
                save_run(run, folder)
                saved = time.monotonic()
            if stopped:
                raise KeyboardInterrupt(
                    f"Stopped at step {run.step}; the same command continues. {folder}"
                )
    best = f"best validation {run.best:.4g} at step {run.best_step}"
    say(f"Trained {run.step} steps, {best}: {folder}")
    return run.average


def case_of_draw(cases: Sequence[str], seed: int, number: int) -> str:
    """The case of a draw: every case once per pass, in an order that differs each time."""
    passes, position = divmod(number, len(cases))
    order = np.random.default_rng([seed, passes, 1]).permutation(len(cases))
    return cases[int(order[position])]


def _mix(seed: int, step: int) -> int:
    return int(np.random.SeedSequence([seed, step, 2]).generate_state(1, np.uint64)[0] >> 1)


def make_optimizer(network: nn.Module, schedule: Schedule) -> torch.optim.Optimizer:
    """AdamW with a rate per submodule; a submodule without a rate is frozen."""
    groups = []
    for name, child in network.named_children():
        parameters = list(child.parameters())
        if name in schedule.learning_rates:
            groups.append({"params": parameters, "lr": schedule.learning_rates[name], "name": name})
        else:
            child.requires_grad_(False)
    if not groups:
        raise PlanError(
            "Nothing is left to train: no submodule has a learning rate",
            where="learning_rates",
            remedy="Give one to " + " or ".join(name for name, _ in network.named_children()) + ".",
        )
    on_gpu = next(network.parameters()).device.type == "cuda"
    return torch.optim.AdamW(
        groups, betas=schedule.betas, weight_decay=schedule.weight_decay, fused=on_gpu
    )


def set_rates(optimizer: torch.optim.Optimizer, schedule: Schedule, step: int) -> None:
    """Warm up linearly, then decay along half a cosine to `final_rate`."""
    warm = min(1.0, (step + 1) / max(schedule.warmup_steps, 1))
    progressed = max(0, step - schedule.warmup_steps) / max(
        schedule.num_steps - schedule.warmup_steps, 1
    )
    cosine = 0.5 * (1 + math.cos(math.pi * min(progressed, 1.0)))
    factor = warm * (schedule.final_rate + (1 - schedule.final_rate) * cosine)
    for group in optimizer.param_groups:
        group["lr"] = schedule.learning_rates[group["name"]] * factor


@torch.no_grad()
def update_average(run: _Run, schedule: Schedule) -> None:
    """Move the averaged weights; early on the average is short, so that it forgets the start."""
    half_life = min(schedule.ema_half_life, max(1.0, run.step / 5))
    weight = 1 - 0.5 ** (1 / half_life)
    torch._foreach_lerp_(list(run.average.parameters()), list(run.network.parameters()), weight)


def refuse_nan(terms: dict[str, Tensor], step: int, case: str) -> None:
    """Stop before weights are spoiled.

    Raises:
        LiftnetError: If a term is not finite.
    """
    for name, term in terms.items():
        if not math.isfinite(float(term.detach())):
            raise LiftnetError(
                f"The loss is not finite: {name} is {float(term.detach())}",
                where=f"step {step}, case {case}",
                remedy="Lower the learning rates in the plan; the last checkpoint is kept.",
            )


def note_terms(run: _Run, terms: dict[str, Tensor]) -> None:
    """Remember the terms of a step for the log."""
    assert run.recent is not None
    run.recent.append({name: float(term.detach()) for name, term in terms.items()})


def mean_row(run: _Run, schedule: Schedule, seconds: float) -> dict[str, Any]:
    """One row of the log: the mean of each term since the last row."""
    assert run.recent is not None
    names = sorted({name for values in run.recent for name in values})
    means = {name: float(np.mean([v[name] for v in run.recent if name in v])) for name in names}
    run.recent = []
    rates = {group["name"]: group["lr"] for group in run.optimizer.param_groups}
    return {
        "step": run.step,
        "loss": sum(means.values()),
        **means,
        "learning_rate": rates,
        "seconds_per_step": round(seconds, 4),
    }


def append_log(folder: Path, log: list[dict[str, Any]], row: dict[str, Any]) -> None:
    """Add a row to the log in memory and on disk."""
    log.append(row)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "log.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


def status(log: list[dict[str, Any]], run: _Run) -> str:
    """A few words for the progress bar."""
    losses = [row["loss"] for row in log[-5:] if "loss" in row]
    text = f"loss {losses[-1]:.4f}" if losses else ""
    return text + (f", best {run.best:.4g}" if run.best < math.inf else "")


def validate(
    run: _Run,
    stage: Stage,
    store: Store,
    cases: Sequence[str],
    folder: Path,
    log: list[dict[str, Any]],
) -> None:
    """Score the averaged network on whole volumes, keep it if it is the best, draw the picture."""
    from liftnet.report.figures import Thumbnail, plot_progress

    some = cases[: stage.schedule.validation_cases]
    result: Validation = stage.validate(run.average, store, some)
    if result.score < run.best:
        run.best, run.best_step = result.score, run.step
        save_checkpoint(
            folder / BEST,
            {"network": run.average.state_dict()},
            {"step": run.step, "score": result.score, "details": result.details},
        )
    append_log(
        folder, log,
        {"step": run.step, "validation": result.score, "validation_psnr": result.details},
    )  # fmt: skip
    thumbnails = []
    if result.images:
        spacing = store.describe(some[0]).placement.source.spacing_mm
        thumbnails = [Thumbnail(some[0], tuple(result.images.items()), spacing)]
    plot_progress(log, thumbnails, folder / "progress.png")


def save_run(run: _Run, folder: Path) -> None:
    """Write everything that continuing needs."""
    state: dict[str, Tensor] = {}
    names = {id(p): name for name, p in run.network.named_parameters()}
    for parameter, values in run.optimizer.state.items():
        state |= {f"{names[id(parameter)]}/{k}": v for k, v in values.items()}
    save_checkpoint(
        folder / LATEST,
        {
            "network": run.network.state_dict(),
            "average": run.average.state_dict(),
            "optimizer": state,
        },
        {
            "step": run.step,
            "best": run.best if math.isfinite(run.best) else None,
            "best_step": run.best_step,
            "recent": run.recent,
        },
    )


def load_run(run: _Run, folder: Path, device: torch.device) -> list[dict[str, Any]]:
    """Continue from the checkpoint in `folder`, if there is one; returns the log up to there."""
    path = folder / LATEST
    log_path = folder / "log.jsonl"
    if not path.exists() and not path.with_name(path.name + ".previous").exists():
        log_path.unlink(missing_ok=True)
        return []
    checkpoint = load_checkpoint(path)
    facts = checkpoint.facts
    load_weights(run.network, checkpoint.groups["network"], where=path)
    load_weights(run.average, checkpoint.groups["average"], where=path)
    parameters = dict(run.network.named_parameters())
    for key, tensor in checkpoint.groups.get("optimizer", {}).items():
        name, entry = key.rsplit("/", 1)
        on_host = entry == "step" and device.type != "cuda"
        run.optimizer.state[parameters[name]][entry] = tensor if on_host else tensor.to(device)
    run.step, run.best_step, run.recent = facts["step"], facts["best_step"], facts["recent"]
    run.best = math.inf if facts["best"] is None else facts["best"]
    rows = []
    if log_path.is_file():
        for line in log_path.read_text(encoding="utf-8").splitlines():
            try:
                row = json.loads(line)
            except json.JSONDecodeError:  # the line that a kill cut off
                break
            if row["step"] <= run.step:
                rows.append(row)
    write_text(log_path, "".join(json.dumps(row) + "\n" for row in rows))
    return rows


@contextmanager
def _stop_signals() -> Iterator[list[int]]:
    """A list that is filled when SIGTERM or SIGINT asks the run to stop after this step."""
    caught: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        caught.append(number)

    try:
        previous = {s: signal.signal(s, note) for s in (signal.SIGTERM, signal.SIGINT)}
    except ValueError:  # not the main thread: signals go elsewhere
        yield caught
        return
    try:
        yield caught
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
