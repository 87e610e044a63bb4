"""Whole volumes scored while a network is trained; the best network is kept."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from liftnet.core.plan import Plan
from liftnet.core.recipe import Recipe
from liftnet.data.crops import whole
from liftnet.data.store import Store
from liftnet.host.progress import say
from liftnet.methods.base import Checks, Stage, Validation
from liftnet.metrics.sharpness import known_means, sharpness_in_plane
from liftnet.ops import normalize
from liftnet.ops.compute.processes import alone, from_first, is_first
from liftnet.pipeline.models.checkpoint import save_checkpoint
from liftnet.pipeline.models.runs import BEST
from liftnet.pipeline.models.volumes import Training, make_volumes
from liftnet.pipeline.train.events import write_images
from liftnet.pipeline.train.state import Log, Run
from liftnet.tasks.base import SynthesisTask

__all__ = ["Scoring", "score_volumes", "spread", "validate", "with_errors"]

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


@dataclass(frozen=True)
class Scoring:
    """How a stage is validated: on which cases, by itself or on whole volumes of its task."""

    of: Training
    stage: Stage[Any]
    memory: Any
    store: Store
    cases: Sequence[str]

    def score(self, network: nn.Module, history: Sequence[Mapping[str, float]]) -> Validation:
        """The score of a network, lower is better."""
        if isinstance(self.stage, Checks):
            return self.stage.check(network, self.memory, self.store, self.cases, history)
        return score_volumes(self.of, network, self.store, self.cases)


def score_volumes(
    of: Training, network: nn.Module, store: Store, cases: Sequence[str]
) -> Validation:
    """The task's own measure over whole volumes, the mean over targets.

    Source: LiFT App. F (checkpoints by validation error).
    """
    of = of._replace(recipe=_briefly(of.recipe))
    task, plan = of.task, of.plan
    assert isinstance(task, SynthesisTask)
    device = next(iter(network.state_dict().values())).device
    errors: dict[str, list[float]] = {}
    sharpness: dict[str, list[float]] = {}
    images: dict[str, np.ndarray] = {}
    for case in cases:
        described = store.describe(case)
        voxels = torch.from_numpy(np.asarray(store.voxels(case), np.float32))
        mask = np.asarray(store.mask(case)) if plan.grid.mask != "none" else None
        inside = mask if mask is not None else _subject(plan, voxels.numpy(), described.ranges)
        for request in task.checked_requests(plan, described.present):
            example = whole(
                plan, request, voxels, described.ranges, case, seed=plan.seed, mask=mask
            )
            made = make_volumes(of, [network], example.to(device)).cpu()
            for name, volume in zip(plan.targets, made, strict=True):
                if name not in request.made:
                    continue
                reference = voxels[plan.channel_names.index(name)]
                errors.setdefault(name, []).append(task.judge(plan, name, volume, reference))
                sharpness.setdefault(name, []).append(
                    sharpness_in_plane(volume.numpy(), reference.numpy(), inside, axis=0)
                )
                if not images:
                    rows = {s: plan.channel_names.index(s) for s in request.given}
                    images = {source: voxels[row].numpy() for source, row in rows.items()}
                    images[f"{name} predicted"] = volume.numpy()
                    images[f"{name} reference"] = reference.numpy()
    means = {name: float(np.mean(values)) for name, values in errors.items()}
    metric, sign = task.judged_by(plan)
    score = sign * float(np.mean(list(means.values())))
    return Validation(score, metric, means, images, sharpness=known_means(sharpness))


def _briefly(recipe: Recipe) -> Recipe:
    """A recipe that samples in as few steps as validation should take."""
    if recipe.sampling is None:
        return recipe
    steps = min(recipe.sampling.num_steps, recipe.sampling.validation_steps)
    return replace(recipe, sampling=replace(recipe.sampling, num_steps=steps, samples=1))


def _subject(
    plan: Plan, voxels: np.ndarray, ranges: Mapping[str, tuple[float, float]]
) -> np.ndarray:
    """Where a channel of the voxels (C, D, H, W) is above its air."""
    # Stored air is this number to within one step of its type.
    air = np.array(normalize.background_values(plan, ranges), np.float16)
    limits = np.nextafter(air, np.float16(np.inf))
    return np.asarray((voxels > limits[:, None, None, None]).any(axis=0))


def validate(run: Run, scoring: Scoring, log: Log) -> Validation:
    """Score the averaged network on these volumes, keep it if it is to predict, draw the picture.

    Done by the first process; the others wait for its result, which they get without images.
    """
    from liftnet.visual.figures import Thumbnail, plot_progress

    if not is_first():
        received: Validation = from_first(None)
        return received
    first = not any("validation" in row for row in log.rows)
    earlier = [  # but for what was there before the first step
        details
        for row in log.rows
        for key, details in row.items()
        if key.startswith("validation_") and 0 < row["step"] < run.step
    ]
    with alone():
        result = scoring.score(run.average, earlier)
    if result.score < run.best or scoring.stage.schedule.keep == "last":
        run.best, run.best_step = result.score, run.step
        save_checkpoint(
            log.folder / BEST,
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
    log.add(row)
    if result.remark and first:
        say(f"warning: {result.remark}")
    thumbnails = []
    if result.images:
        store, cases = scoring.store, scoring.cases
        spacing = store.describe(cases[0]).placement.spacing_mm
        images = with_errors(result.images)
        write_images(log.events, run.step, cases[0], images, spacing)
        title = f"{cases[0]} at step {run.step}, middle slices"
        thumbnails = [Thumbnail(title, tuple(images.items()), spacing)]
    total = scoring.stage.schedule.num_steps
    folder = log.folder
    title = f"{folder.name}, {folder.parent.name}: step {run.step} of {total}"
    plot_progress(log.rows, thumbnails, folder / "progress.png", title)
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
