"""Step 4: one training loop for every stage of every task."""

import math
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from liftnet.core.arguments import checked
from liftnet.core.errors import DatasetError, LiftnetError
from liftnet.core.plan import Plan
from liftnet.core.workspace import Workspace, find_workspace
from liftnet.data.example import Example
from liftnet.data.feed import Feed
from liftnet.data.store import Store
from liftnet.host.lock import hold, refuse_busy
from liftnet.host.progress import keep_quiet, mention, progress, say
from liftnet.methods.base import Stage
from liftnet.networks.blocks import compile_blocks, set_recompute
from liftnet.ops.compute.cost import Meter
from liftnet.ops.compute.host_memory import keep_freed_memory
from liftnet.ops.compute.precision import place
from liftnet.ops.compute.processes import (
    anywhere,
    is_first,
    together,
    wait_for_all,
)
from liftnet.pipeline.fingerprint.patients import known_patients
from liftnet.pipeline.models.plausibility import note_known
from liftnet.pipeline.models.pretrained import Fitting, begin_from
from liftnet.pipeline.models.runs import (
    LATEST,
    Folds,
    find_device,
    fold_folder,
    fold_names,
    prepare_run,
    refuse_imported,
)
from liftnet.pipeline.models.training_facts import note_facts
from liftnet.pipeline.models.volumes import Training
from liftnet.pipeline.plan import DEFAULT_PLAN, load_plan, load_recipe, method_of
from liftnet.pipeline.train.cost import note_cost
from liftnet.pipeline.train.events import EVENTS, open_events
from liftnet.pipeline.train.feed import hold_cases, make_feed
from liftnet.pipeline.train.splits import load_splits, pick_fold
from liftnet.pipeline.train.start import check_shares, is_done, prepare_
from liftnet.pipeline.train.state import (
    Log,
    Run,
    best_of,
    best_words,
    load_run,
    make_optimizer,
    mean_row,
    save_run,
    set_rates,
    status,
)
from liftnet.pipeline.train.step import StepResult, settle, take_step
from liftnet.pipeline.train.stopping import stopped_after_step
from liftnet.pipeline.train.together import refuse_other_checkpoint, refuse_other_training
from liftnet.pipeline.train.validation import Scoring, spread, validate
from liftnet.tasks import load_task
from liftnet.tasks.base import SynthesisTask, Task

__all__ = ["train", "train_stage"]

LOG_STEPS = 10  # ours: rows of log.jsonl are means over this many steps


@checked
def train(
    dataset: int | str | None = None,
    *,
    fold: Folds = 0,
    plan_name: str = DEFAULT_PLAN,
    method: str | None = None,
    device: str | None = None,
    continue_training: bool = False,
    restart: bool = False,
    pretrained: Path | str | None = None,
    compiled: bool | None = None,
    workspace: Path | str | None = None,
) -> list[Path]:
    """Train folds, one after another; the same call again continues where the last one stopped.

    Args:
        dataset: id or name; may be left out where the workspace holds one dataset.
        fold: 0 to 4, several of them, or "all" to train on every case.
        plan_name: which plan.
        method: which; by default the task's own. Its recipe is made if there is none.
        device: "cuda", "cpu" or "mps"; by default the best there is.
        continue_training: insist that there is a run to continue.
        restart: throw away what was trained before.
        pretrained: weights to begin with: a zip of `liftnet_export`, the folder of a trained fold,
            or a checkpoint in it. A run that has begun goes on with its own.
        compiled: whether torch.compile makes the networks faster first; by default on CUDA.
        workspace: the workspace folder.

    Returns:
        The folder of each fold.

    Raises:
        CheckpointError: If there is no run to continue, or it was begun under another plan.
        DatasetError: If there is no case to train on.
        LiftnetError: If the call makes no sense, or the plan or its cases are being made.
    """
    with together(), keep_quiet(not is_first()), ExitStack() as locks:
        return _train_folds(
            locks,
            find_workspace(workspace),
            dataset,
            fold,
            plan_name,
            method=method,
            device=find_device(device),
            continue_training=continue_training,
            restart=restart,
            pretrained=Path(pretrained) if pretrained is not None else None,
            compiled=compiled,
        )


def _train_folds(
    locks: ExitStack,
    space: Workspace,
    dataset: int | str | None,
    folds: Folds,
    plan_name: str,
    *,
    method: str | None,
    device: torch.device,
    continue_training: bool,
    restart: bool,
    pretrained: Path | None,
    compiled: bool | None,
) -> list[Path]:
    name = space.dataset_name(dataset)
    mention(f"{name}: {space.describe()}")
    refuse_imported(space.run_folder(name, plan_name))
    plan = load_plan(space, name, plan_name)
    store = Store(space.store(name, plan_name))
    if not store.identifiers():
        raise DatasetError(
            "There is no preprocessed case",
            where=str(store.folder),
            remedy=f"Run {space.command('liftnet_preprocess', name, plan_name)}",
        )
    keep_freed_memory()
    task, used = load_task(plan.task), method_of(plan, method)
    if is_first():
        load_recipe(space, plan, used)  # makes it, where there is none
    wait_for_all()
    recipe = load_recipe(space, plan, used)
    cases, path = store.identifiers(), space.splits_file(name)
    splits = load_splits(path, cases, known_patients(space.fingerprint_file(name)))
    chosen = {one: pick_fold(splits, one, cases, path) for one in fold_names(folds)}
    options = {"--restart": restart, "--pretrained": bool(pretrained)}
    given = [f"--method {used.name}", *(name for name, on in options.items() if on)]
    refuse_other_training(plan, recipe, store, chosen, given)
    folders = []
    for one, (training, validation) in chosen.items():
        folder = fold_folder(space.run_folder(name, plan_name), used.name, one)
        if is_first():
            locks.close()  # of the fold before
            locks.enter_context(hold(folder, "liftnet_train"))
            refuse_busy(store.folder.parent)  # the plan or the cases are being made
        stages = used.stages(plan, recipe)
        begin = begin_from(pretrained, plan, recipe, stages, folder, restart=restart)
        wait_for_all()  # every process has seen what there is
        if is_first():
            prepare_run(folder, plan, recipe, continue_training=continue_training, restart=restart)
            if isinstance(task, SynthesisTask):  # first: a run that is stopped predicts too
                note_known(store, plan, training, folder)
                note_facts(store, plan, training, folder)
        wait_for_all()
        held = hold_cases(store.fixed((*training, *validation)), recipe, training, device)
        learned = usable(task, plan, store, training, f"the training cases of fold {one}")
        checked = usable(task, plan, store, validation, f"the validation cases of fold {one}")
        network = None
        for stage in stages:
            network = train_stage(
                Training(task, used, plan, recipe),
                stage,
                network,
                held,
                learned,
                checked,
                folder / stage.name,
                device=device,
                compiled=device.type == "cuda" if compiled is None else compiled,
                pretrained=begin,
            )
        folders.append(folder)
    return folders


def usable(task: Task, plan: Plan, store: Store, cases: Sequence[str], what: str) -> list[str]:
    """Those of the cases that can be used.

    Raises:
        DatasetError: If it can use none.
    """
    accepted = [case for case in cases if task.accepts(plan, store.describe(case).present)]
    if not accepted:
        raise DatasetError(
            f"None of {what} has a target and a source of it",
            where="splits.json",
            remedy="Choose another fold or another target.",
        )
    if len(accepted) < len(cases):
        say(f"warning: {len(cases) - len(accepted)} of {what} have no target or source; left out")
    return accepted


def train_stage(
    training_of: Training,
    stage: Stage[Any],
    previous: nn.Module | None,
    store: Store,
    training: Sequence[str],
    validation: Sequence[str],
    folder: Path,
    *,
    device: torch.device,
    compiled: bool = False,
    pretrained: Fitting | None = None,
) -> nn.Module:
    """Train one stage, from what the stage before it has trained; returns its best network.

    That is the averaged network of the best validation, which prediction takes too: the next stage
    so builds on what the ablation without it predicts with, and a network whose weights got worse
    is not handed on. Source: LiFT App. F.

    Pretrained weights go into what no stage before has trained. A stage that begins with what was
    trained before is validated before its first step: what it does not improve, it leaves as it
    was, and the log shows what it adds.

    Every random choice derives from (seed, step) or (seed, volume), so a run that was stopped and
    continued ends with the weights of an unbroken one (on the CPU, bit for bit), and several
    processes draw what one would. The validation cases follow from the seed, too.

    Raises:
        LiftnetError: If the loss stops being finite, or a step cannot be shared among processes.
    """
    task, method, plan, recipe = training_of
    schedule, seed = stage.schedule, plan.seed
    check_shares(stage, method.name)
    refuse_other_checkpoint(folder / LATEST)
    torch.manual_seed(seed)
    network = place(stage.build(previous), device)
    memory = prepare_(stage, network, previous, store, training, folder, pretrained)
    run = Run(
        network,
        deepcopy(network).requires_grad_(False),
        make_optimizer(network, schedule),
        recent=[],
    )
    rows = load_run(run, folder, device)
    meter = Meter(device)
    if _is_trained(run, stage, folder):
        note_cost(plan, stage, network, rows, folder, meter)
        return best_of(run, folder)
    set_recompute(network, recipe.recompute)
    if compiled and schedule.num_steps and (problem := compile_blocks(network)) is not None:
        say(f"warning: {stage.name} is not compiled, which is slower: {problem}")

    checked = spread(validation, schedule.validation_cases, seed=seed)
    scoring = Scoring(training_of, stage, memory, store, checked)
    label = f"Train {stage.name}, {folder.parent.name}"
    with (
        stopped_after_step() as signals,
        closing(make_feed(task, plan, stage, store, training, run.step, device=device)) as feed,
        open_events(folder / EVENTS, after=run.step) as events,
        progress(label, schedule.num_steps, done=run.step, unit="step") as advance,
    ):
        log = Log(folder, rows, events)
        if run.step == 0:
            _validate_start(run, scoring, log, pretrained or previous)
        _take_steps(run, scoring, log, feed, signals, advance)
    note_cost(plan, stage, network, rows, folder, meter)
    _report(stage.name, run, log)
    return best_of(run, folder)


def _validate_start(run: Run, scoring: Scoring, log: Log, begun_with: object) -> None:
    """Score a network that may predict before its first step: it began with what was trained.

    Without a step there is no more to come: what the network is was found in the cases.
    """
    closed = scoring.stage.schedule.num_steps == 0
    if closed or begun_with is not None:
        validate(run, scoring, log)
    if closed:
        save_run(run, log.folder)


def _take_steps(
    run: Run,
    scoring: Scoring,
    log: Log,
    feed: Feed[list[Example]],
    signals: Sequence[int],
    advance: Callable[..., None],
) -> None:
    """Take the steps that are left, one for each batch of the feed; log, validate and save.

    Raises:
        KeyboardInterrupt: After the step in which a signal has asked to stop.
        LiftnetError: If the loss stops being finite, or a validation says that going on is useless.
    """
    plan, recipe, stage = scoring.of.plan, scoring.of.recipe, scoring.stage
    schedule = stage.schedule
    unread: list[StepResult] = []
    seconds = 0.0  # in steps since the last row of the log
    saved = time.monotonic()
    while run.step < schedule.num_steps:
        started = time.monotonic()
        batch = next(feed)
        device, seed = batch[0].source.device, _mix(plan.seed, run.step)
        generator = torch.Generator(device).manual_seed(seed)
        torch.manual_seed(seed)  # of dropout
        set_rates(run.optimizer, schedule, run.step)
        unread.append(take_step(run, plan, recipe, stage, scoring.memory, batch, generator))

        # Read the results: every step where that costs nothing, else every few.
        last = run.step == schedule.num_steps
        logged = last or run.step % LOG_STEPS == 0
        validated = last or run.step % schedule.validate_every == 0
        stopped = anywhere(bool(signals))
        due = time.monotonic() - saved > 60 * schedule.checkpoint_minutes
        if device.type != "cuda" or logged or validated or stopped or due:
            settle(run, unread)
            unread = []
        seconds += time.monotonic() - started
        if logged:
            log.add(mean_row(run, seconds, waited=feed.waited))
            seconds = feed.waited = 0.0
        advance(note=status(log.rows, run))

        # Validate, save.
        result = validate(run, scoring, log) if validated else None
        stopped = anywhere(stopped or bool(signals)) if validated else stopped
        alarmed = result is not None and result.alarm is not None
        if due or stopped or alarmed or last:
            save_run(run, log.folder)
            saved = time.monotonic()
        if result is not None and result.alarm is not None:
            raise LiftnetError(
                f"Training was stopped at step {run.step}: {result.alarm}",
                where=str(log.folder),
                remedy=result.remedy,
            )
        if stopped:
            raise KeyboardInterrupt(
                f"Stopped at step {run.step}; the same command continues. {log.folder}"
            )


def _is_trained(run: Run, stage: Stage[Any], folder: Path) -> bool:
    """Whether a run has all its steps; says so, or where it goes on."""
    if is_done(stage, folder):
        say(f"Already trained: {folder}")
        return True
    if run.step:
        mention(f"Continues at step {run.step} of {stage.schedule.num_steps}: {folder}")
    return False


def _report(name: str, run: Run, log: Log) -> None:
    """Say how a stage has ended."""
    words = best_words(log.rows, run)
    if run.step == 0:
        say(f"Fitted, {words}: {log.folder}")
        return
    say(f"Trained {run.step} steps, {words} at step {run.best_step}: {log.folder}")
    if run.best_step == 0 and math.isfinite(run.best):
        say(
            f"warning: {name} did not improve on what it began with, which prediction uses in its "
            "place; after a short training that is usual"
        )


def _mix(seed: int, step: int) -> int:
    return int(np.random.SeedSequence([seed, step, 2]).generate_state(1, np.uint64)[0] >> 1)
