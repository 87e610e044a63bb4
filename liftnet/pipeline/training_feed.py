"""Which volumes a training step sees, in which order, and how they get to the device."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from liftnet.core.plan import Plan
from liftnet.data.feed import Feed
from liftnet.data.store import Store
from liftnet.ops.processes import share_of
from liftnet.pipeline.progress import say
from liftnet.planning.memory import GIB
from liftnet.tasks.base import Batch, Stage

__all__ = ["case_of_draw", "draw_step", "hold_cases", "make_feed"]

MORE = 1.1  # ours: a dataset may grow so much before its plan no longer speaks of it


def hold_cases(store: Store, plan: Plan, cases: Sequence[str], device: torch.device) -> Store:
    """The store with these cases in the device's memory, where the plan has room for them."""
    if plan.feeding != "resident":
        return store
    gib = store.size(cases) / GIB
    if gib > MORE * plan.memory.dataset_gib:
        say(
            f"warning: the training cases take {gib:.2g} GiB, the plan counted on "
            f"{plan.memory.dataset_gib:.2g}; they are read as they are needed, which may be slower"
        )
        return store
    return store.hold(cases, device)


def case_of_draw(cases: Sequence[str], seed: int, number: int) -> str:
    """The case of a draw: every case once per pass, in an order that differs each time."""
    passes, position = divmod(number, len(cases))
    order = np.random.default_rng([seed, passes, 1]).permutation(len(cases))
    return cases[int(order[position])]


def draw_step(
    stage: Stage[Any], store: Store, cases: Sequence[str], step: int, *, seed: int
) -> list[Batch]:
    """The volumes of a step, or this process's share of them, where the store has them."""
    volumes = stage.schedule.volumes_per_step
    numbers = range(step * volumes, (step + 1) * volumes)
    chosen = {i: case_of_draw(cases, seed, i) for i in numbers}
    thinnest = min(store.describe(case).shape[0] for case in chosen.values())
    return [
        stage.draw(store, chosen[i], np.random.default_rng([seed, i]), thinnest=thinnest)
        for i in share_of(numbers)
    ]


def make_feed(
    stage: Stage[Any],
    store: Store,
    cases: Sequence[str],
    first: int,
    *,
    seed: int,
    device: torch.device,
) -> Feed[list[Batch]]:
    """The batches of all steps from `first` on, on the device, ahead of time.

    On a CPU, or where the store holds the cases, one thread is enough.
    """
    schedule = stage.schedule
    reads = device.type == "cuda" and not store.held

    def draw(step: int) -> list[Batch]:
        drawn = draw_step(stage, store, cases, step, seed=seed)
        return [batch.pinned() for batch in drawn] if reads else drawn

    def tensors(step: list[Batch]) -> Iterator[Tensor]:
        for batch in step:
            yield from batch.tensors()

    return Feed(
        draw,
        first,
        schedule.num_steps,
        threads=max(1, schedule.loader_workers) if reads else 1,
        move=lambda step: [batch.to(device) for batch in step],
        tensors=tensors,
        copies=reads,
    )
