"""What the training of a stage has cost: `cost.json` beside its checkpoints."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from liftnet.core.plan import Plan
from liftnet.core.storage.jsonable import write_json
from liftnet.methods.base import Stage
from liftnet.ops.compute.cost import Meter
from liftnet.ops.compute.machine import describe_machine
from liftnet.ops.compute.processes import is_first
from liftnet.planning.cost import training_flops

__all__ = ["COST", "StageCost", "note_cost"]

COST = "cost.json"


@dataclass(frozen=True)
class StageCost:
    """Parameters and operations as they are counted, time and memory as they were measured."""

    parameters: int
    trained_parameters: int
    flops_per_step: int | None  # null: it cannot be counted without values, or there is no step
    steps: int
    seconds: float  # of all steps, validations left out
    peak_memory_gib: float | None
    peak_memory_of: str
    device: str
    hardware: str


def note_cost(
    plan: Plan,
    stage: Stage[Any],
    network: nn.Module,
    log: Sequence[Mapping[str, Any]],
    folder: Path,
    meter: Meter,
) -> None:
    """Write what a stage that has all its steps has cost, unless that stands there."""
    path = folder / COST
    if not is_first() or path.is_file():
        return
    measured = meter.read()
    cost = StageCost(
        parameters=sum(p.numel() for p in network.parameters()),
        trained_parameters=sum(
            p.numel()
            for name, child in network.named_children()
            if name in stage.schedule.learning_rates
            for p in child.parameters()
        ),
        flops_per_step=_flops(plan, stage),
        steps=stage.schedule.num_steps,
        seconds=round(_seconds(log), 3),
        peak_memory_gib=measured.peak_memory_gib,
        peak_memory_of=measured.peak_memory_of,
        device=meter.device.type,
        hardware=describe_machine(str(meter.device)),
    )
    write_json(path, cost)


def _flops(plan: Plan, stage: Stage[Any]) -> int | None:
    """The operations of a step, where it can be counted on tensors without values."""
    if stage.schedule.num_steps == 0:
        return None
    try:
        with torch.random.fork_rng(devices=[]):
            return training_flops(plan, stage)
    except Exception:  # it asks for values, which "meta" has not: no count, but trained weights
        return None


def _seconds(log: Sequence[Mapping[str, Any]]) -> float:
    """The time of all steps, from rows that hold means over the steps since the row before."""
    total, before = 0.0, 0
    for row in log:
        if "seconds_per_step" in row:
            total += row["seconds_per_step"] * (row["step"] - before)
            before = row["step"]
    return total
