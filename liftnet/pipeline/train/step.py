"""One training step, and what it leaves behind for the log."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from liftnet.core.errors import LiftnetError
from liftnet.core.plan import Plan
from liftnet.core.recipe import Recipe, Schedule
from liftnet.data.example import Example
from liftnet.methods.base import Stage
from liftnet.ops.compute.processes import average_
from liftnet.pipeline.train.augmented import augmented
from liftnet.pipeline.train.state import Run, note_terms, update_average

__all__ = ["StepResult", "refuse_nan", "settle", "take_step"]

NORM = "its gradient"


@dataclass(frozen=True)
class StepResult:
    """What a step has computed, still on the device: reading it waits for the device."""

    step: int
    cases: str
    names: tuple[str, ...]
    values: Tensor  # of the terms, then the norm of the gradient


def take_step(
    run: Run,
    plan: Plan,
    recipe: Recipe,
    stage: Stage[Any],
    memory: Any,
    batch: Sequence[Example],
    generator: torch.Generator,
) -> StepResult:
    """Minimize the sum of the stage's terms; nothing here waits for the device."""
    schedule = stage.schedule
    if stage.augmented and recipe.augmentation is not None:
        batch = augmented(batch, plan, recipe.augmentation)
    terms = stage.loss(run.network, memory, batch, generator)
    run.optimizer.zero_grad(set_to_none=True)
    torch.stack(list(terms.values())).sum().backward()
    values = torch.stack([term.detach().float() for term in terms.values()])
    trained = [p for p in run.network.parameters() if p.grad is not None]
    average_([values, *(p.grad for p in trained if p.grad is not None)])
    norm = _clip(run.network, trained, schedule)
    run.optimizer.step()
    update_average(run, schedule)
    cases = ", ".join(dict.fromkeys(example.case for example in batch))
    result = StepResult(run.step, cases, tuple(terms), torch.cat([values, norm.float()[None]]))
    run.step += 1
    return result


def _clip(network: nn.Module, trained: Sequence[nn.Parameter], schedule: Schedule) -> Tensor:
    """The norm of the whole gradient, which is clipped, or that of each part of the network."""
    if not schedule.clip_each:
        return nn.utils.clip_grad_norm_(trained, schedule.gradient_clip)
    parts = [
        [parameter for parameter in child.parameters() if parameter.grad is not None]
        for child in network.children()
    ]
    norms = [nn.utils.clip_grad_norm_(part, schedule.gradient_clip) for part in parts if part]
    return torch.stack(norms).square().sum().sqrt()


def settle(run: Run, results: Iterable[StepResult]) -> None:
    """Read what steps have computed, and note it for the log.

    Raises:
        LiftnetError: If a number is not finite.
    """
    for result in results:
        values = result.values.tolist()
        refuse_nan(dict(zip((*result.names, NORM), values, strict=True)), result.step, result.cases)
        note_terms(run, dict(zip(result.names, values, strict=False)))


def refuse_nan(values: dict[str, float], step: int, cases: str) -> None:
    """Stop a run whose numbers have left the finite ones, before its weights are saved.

    Raises:
        LiftnetError: If a value is not finite.
    """
    for name, value in values.items():
        if not math.isfinite(value):
            raise LiftnetError(
                f"The loss is not finite: {name} is {value}",
                where=f"step {step}, case {cases}",
                remedy="Lower the learning rates in the recipe; the last checkpoint is kept.",
            )
