"""Whole volumes scored while a network is trained; the best network is kept."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from liftnet.data.store import Store
from liftnet.host.progress import say
from liftnet.ops.processes import alone, from_first, is_first
from liftnet.pipeline.models.checkpoint import save_checkpoint
from liftnet.pipeline.models.runs import BEST
from liftnet.pipeline.train.events import Events, write_images, write_row
from liftnet.pipeline.train.state import Run, append_log
from liftnet.tasks.base import Stage, Validation

__all__ = ["spread", "validate", "with_errors"]

CHECKED = 3  # the stream of random numbers; 1 and 2 are those of the draws and the steps


def spread(cases: Sequence[str], count: int, *, seed: int) -> list[str]:
    """At most `count` of the cases, evenly spaced by name from a random one on.

    Names tell where cases come from: neighbours by name are of one centre. A centre is represented
    if it has at least the share 1 / `count` of the cases.

    Source: Madow and Madow, On the theory of systematic sampling, 1944.
    """
    ordered = sorted(cases)
    count = min(count, len(ordered))
    first = int(np.random.default_rng([seed, 0, CHECKED]).integers(len(ordered)))
    return [ordered[(first + number * len(ordered)) // count] for number in range(count)]


def validate(
    run: Run,
    stage: Stage,
    store: Store,
    cases: Sequence[str],
    folder: Path,
    log: list[dict[str, Any]],
    events: Events,
) -> Validation:
    """Score the averaged network on these volumes, keep it if it is the best, draw the picture.

    Done by the first process; the others wait for its result, which they get without images.
    """
    from liftnet.visual.figures import Thumbnail, plot_progress

    if not is_first():
        received: Validation = from_first(None)
        return received
    first = not any("validation" in row for row in log)
    earlier = [  # but for what was there before the first step
        details
        for row in log
        for key, details in row.items()
        if key.startswith("validation_") and 0 < row["step"] < run.step
    ]
    with alone():
        result: Validation = stage.validate(run.average, store, cases, earlier)
    if result.score < run.best:
        run.best, run.best_step = result.score, run.step
        save_checkpoint(
            folder / BEST,
            {"network": run.average.state_dict()},
            {"step": run.step, "score": result.score, "details": result.details},
        )
    row = {
        "step": run.step,
        "validation": result.score,
        f"validation_{result.metric}": result.details,
    }
    if result.sharpness:  # after the details: the first of them names the score
        row["validation_sharpness"] = result.sharpness
    append_log(folder, log, row)
    write_row(events, row)
    if result.remark and first:
        say(f"warning: {result.remark}")
    thumbnails = []
    if result.images:
        spacing = store.describe(cases[0]).placement.spacing_mm
        images = with_errors(result.images)
        write_images(events, run.step, cases[0], images, spacing)
        title = f"{cases[0]} at step {run.step}, middle slices"
        thumbnails = [Thumbnail(title, tuple(images.items()), spacing)]
    title = f"{folder.name}, {folder.parent.name}: step {run.step} of {stage.schedule.num_steps}"
    plot_progress(log, thumbnails, folder / "progress.png", title)
    from_first(replace(result, images={}))
    return result


def with_errors(images: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The same images, and after them the absolute error of each that has a reference."""
    errors = {}
    for label, predicted in images.items():
        truth = images.get(label.replace("predicted", "reference"))
        if truth is not None and "predicted" in label:
            error = np.abs(predicted.astype(np.float32) - truth.astype(np.float32))
            errors[label.replace("predicted", "|error|")] = error
    return {**images, **errors}
