"""Step 4: one training loop for every stage of every task."""

import math
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from copy import deepcopy
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from liftnet.core.errors import DatasetError, LiftnetError
from liftnet.core.workspace import find_workspace
from liftnet.data.loader import batches
from liftnet.data.store import Store
from liftnet.ops.precision import place
from liftnet.pipeline.checkpoint import finished_steps, save_checkpoint
from liftnet.pipeline.plan import DEFAULT_PLAN, load_plan
from liftnet.pipeline.plausibility import note_known
from liftnet.pipeline.progress import progress, say
from liftnet.pipeline.runs import BEST, LATEST, find_device, fold_folder, prepare_run
from liftnet.pipeline.splits import load_splits, pick_fold
from liftnet.pipeline.training_state import (
    Run,
    append_log,
    load_run,
    make_optimizer,
    mean_row,
    note_terms,
    save_run,
    set_rates,
    status,
    update_average,
)
from liftnet.tasks import load_task
from liftnet.tasks.base import Batch, Stage, SynthesisTask, Validation

__all__ = ["train", "train_stage"]

LOG_STEPS = 10  # ours: rows of log.jsonl are means over this many steps


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
    task = load_task(plan.task)
    splits = load_splits(space.splits_file(name), store.identifiers())
    chosen = {str(one): pick_fold(splits, str(one), store.identifiers()) for one in fold}
    folders = []
    for one, (training, validation) in chosen.items():
        folder = fold_folder(space.run_folder(name, plan_name), plan.task, one, mapper=mapper)
        prepare_run(folder, plan, continue_training=continue_training, restart=restart)
        if isinstance(task, SynthesisTask):  # first: a run that is stopped predicts too
            note_known(store, plan, training, folder)
        network = None
        for stage in task.stages(plan, mapper=mapper):
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


def usable(stage: Stage[Any], store: Store, cases: Sequence[str], what: str) -> list[str]:
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


def train_stage(
    stage: Stage[Any],
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
    network = place(stage.build(previous), device)
    if finished_steps(folder / LATEST) < schedule.num_steps:
        stage.survey(network, store, training, folder)
    run = Run(
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
            result = None
            if run.step % schedule.validate_every == 0 or run.step == schedule.num_steps:
                result = validate(run, stage, store, validation, folder, log)
            due = time.monotonic() - saved > 60 * schedule.checkpoint_minutes
            alarmed = result is not None and result.alarm is not None
            if due or stopped or alarmed or run.step == schedule.num_steps:
                save_run(run, folder)
                saved = time.monotonic()
            if result is not None and result.alarm is not None:
                raise LiftnetError(
                    f"Training was stopped at step {run.step}: {result.alarm}",
                    where=str(folder),
                    remedy=result.remedy,
                )
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


def validate(
    run: Run,
    stage: Stage[Any],
    store: Store,
    cases: Sequence[str],
    folder: Path,
    log: list[dict[str, Any]],
) -> Validation:
    """Score the averaged network on whole volumes, keep it if it is the best, draw the picture."""
    from liftnet.report.figures import Thumbnail, plot_progress

    some = cases[: stage.schedule.validation_cases]
    earlier = [
        details
        for row in log
        for key, details in row.items()
        if key.startswith("validation_") and row["step"] < run.step
    ]
    result: Validation = stage.validate(run.average, store, some, earlier)
    if result.score < run.best:
        run.best, run.best_step = result.score, run.step
        save_checkpoint(
            folder / BEST,
            {"network": run.average.state_dict()},
            {"step": run.step, "score": result.score, "details": result.details},
        )
    append_log(
        folder, log,
        {
            "step": run.step,
            "validation": result.score,
            f"validation_{result.metric}": result.details,
        },
    )  # fmt: skip
    thumbnails = []
    if result.images:
        spacing = store.describe(some[0]).placement.source.spacing_mm
        thumbnails = [Thumbnail(some[0], tuple(result.images.items()), spacing)]
    plot_progress(log, thumbnails, folder / "progress.png")
    return result


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
