"""Whole volumes scored while a network is trained; the best network is kept."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from liftnet.data.store import Store
from liftnet.ops.processes import alone, from_first, is_first
from liftnet.pipeline.checkpoint import save_checkpoint
from liftnet.pipeline.runs import BEST
from liftnet.pipeline.training_state import Run, append_log
from liftnet.tasks.base import Stage, Validation

__all__ = ["validate"]


def validate(
    run: Run,
    stage: Stage[Any],
    store: Store,
    cases: Sequence[str],
    folder: Path,
    log: list[dict[str, Any]],
) -> Validation:
    """Score the averaged network on whole volumes, keep it if it is the best, draw the picture.

    Done by the first process; the others wait for its result, which they get without images.
    """
    if not is_first():
        received: Validation = from_first(None)
        return received
    with alone():
        result = _validate(run, stage, store, cases, folder, log)
    from_first(replace(result, images={}))
    return result


def _validate(
    run: Run,
    stage: Stage[Any],
    store: Store,
    cases: Sequence[str],
    folder: Path,
    log: list[dict[str, Any]],
) -> Validation:
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
