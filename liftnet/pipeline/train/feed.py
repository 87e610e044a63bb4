"""Which volumes a training step sees, in which order, and how they get to the device."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from liftnet.core.plan import Plan
from liftnet.core.recipe import Recipe
from liftnet.data import crops
from liftnet.data.crops import Slab, Windows
from liftnet.data.example import Example
from liftnet.data.feed import Feed, loaders
from liftnet.data.store import Store
from liftnet.host.progress import say
from liftnet.methods.base import Stage
from liftnet.ops.compute.processes import share_of
from liftnet.planning.memory import GIB
from liftnet.tasks.base import Task

__all__ = ["case_of_draw", "draw_step", "hold_cases", "make_feed", "slab_limits"]

THIN = 0.5  # ours: what is thinner than this share of the longest slab of a step has its own
MORE = 1.1  # ours: a dataset may grow so much before its plan no longer speaks of it


def hold_cases(store: Store, recipe: Recipe, cases: Sequence[str], device: torch.device) -> Store:
    """The store with these cases in the device's memory, where the plan has room for them."""
    if recipe.feeding != "resident":
        return store
    gib = store.size(cases) / GIB
    if gib > MORE * recipe.memory.dataset_gib:
        say(
            f"warning: the training cases take {gib:.2g} GiB, the recipe counted on "
            f"{recipe.memory.dataset_gib:.2g}; they are read as they are needed: that may be slower"
        )
        return store
    return store.hold(cases, device)


def case_of_draw(cases: Sequence[str], seed: int, number: int) -> str:
    """The case of a draw: every case once per pass, in an order that differs each time."""
    passes, position = divmod(number, len(cases))
    order = np.random.default_rng([seed, passes, 1]).permutation(len(cases))
    return cases[int(order[position])]


def draw_step(
    task: Task, plan: Plan, stage: Stage[Any], store: Store, cases: Sequence[str], step: int
) -> list[Example]:
    """The volumes of a step, or this process's share of them, where the store has them."""
    seed = plan.seed
    volumes = stage.schedule.volumes_per_step
    numbers = range(step * volumes, (step + 1) * volumes)
    chosen = {i: case_of_draw(cases, seed, i) for i in numbers}
    limits: dict[int, int] = {}
    if isinstance(stage.crop, Slab | Windows):
        depths = {i: store.describe(case).shape[0] for i, case in chosen.items()}
        limits = slab_limits(depths, stage.crop.count)
    drawn: list[Example] = []
    for i in share_of(numbers):
        rng = np.random.default_rng([seed, i])
        request = task.draw_request(plan, store.describe(chosen[i]).present, rng)
        drawn += crops.draw(
            store, plan, request, stage.crop, chosen[i], rng, thinnest=limits.get(i)
        )
    return drawn


def slab_limits(depths: Mapping[int, int], decoded: int) -> dict[int, int]:
    """Draw -> the most slices of its slab, so that slabs can be joined.

    Volumes of about one depth share the least of them. A much thinner volume has a slab of its
    own and does not shrink those of the others, down to one slice without through-plane terms.

    >>> slab_limits({0: 40, 1: 36, 2: 1}, 48)
    {0: 36, 1: 36, 2: 1}
    """
    longest = max(min(depth, decoded) for depth in depths.values())
    alike = [depth for depth in depths.values() if depth >= THIN * longest]
    return {i: min(alike) if depth >= THIN * longest else depth for i, depth in depths.items()}


def make_feed(
    task: Task,
    plan: Plan,
    stage: Stage[Any],
    store: Store,
    cases: Sequence[str],
    first: int,
    *,
    device: torch.device,
) -> Feed[list[Example]]:
    """The batches of all steps from `first` on, on the device, ahead of time.

    On a CPU, or where the store holds the cases, one thread is enough.
    """
    schedule = stage.schedule
    reads = device.type == "cuda" and not store.held

    def draw(step: int) -> list[Example]:
        return draw_step(task, plan, stage, store, cases, step)

    def pinned(item: list[Example]) -> dict[str, list[Example]]:
        return {"item": [example.pinned() for example in item]}

    def tensors(step: list[Example]) -> Iterator[Tensor]:
        for example in step:
            yield from example.tensors()

    return Feed(
        loaders(
            draw,
            range(first, schedule.num_steps),
            max(1, schedule.loader_workers) if reads else 1,
            pinned if reads else None,
        ),
        move=lambda step: [example.to(device) for example in step],
        tensors=tensors,
        copies=reads,
    )
