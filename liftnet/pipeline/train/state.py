"""The state of a training run: weights, their average, the optimizer, and the log."""

import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from liftnet.core.errors import PlanError
from liftnet.core.recipe import Schedule
from liftnet.core.storage.files import open_own, write_text
from liftnet.ops.compute.processes import is_first, wait_for_all
from liftnet.pipeline.models.checkpoint import (
    has_checkpoint,
    load_checkpoint,
    load_weights,
    save_checkpoint,
)
from liftnet.pipeline.models.runs import BEST, LATEST, LOG, read_log
from liftnet.pipeline.train.events import Events, write_row
from liftnet.visual.validation_words import score_words

__all__ = [
    "Log",
    "Run",
    "best_of",
    "best_words",
    "load_run",
    "make_optimizer",
    "mean_row",
    "note_terms",
    "save_run",
    "set_rates",
    "status",
    "update_average",
]

NOTED_DETAILS = 3  # ours: more would not fit beside the bar


@dataclass
class Run:
    """The state of a training run that a checkpoint holds."""

    network: nn.Module
    average: nn.Module  # exponential moving average of the weights
    optimizer: torch.optim.Optimizer
    step: int = 0
    best: float = math.inf
    best_step: int = 0
    recent: list[dict[str, float]] | None = None  # terms since the last row of the log


def make_optimizer(network: nn.Module, schedule: Schedule) -> torch.optim.Optimizer:
    """AdamW with a rate per submodule; a submodule without a rate is frozen."""
    if schedule.num_steps == 0:  # nothing is trained
        return torch.optim.SGD([torch.zeros(1)], lr=0.0)
    groups = []
    for name, child in network.named_children():
        parameters = list(child.parameters())
        if name in schedule.learning_rates:
            groups.append({"params": parameters, "lr": schedule.learning_rates[name], "name": name})
        else:
            child.requires_grad_(False)
    if not groups:
        raise PlanError(
            "Nothing would be trained: no part of the network has a learning rate",
            where="plan.json: stages.*.learning_rates",
            remedy="Give one to " + " or ".join(name for name, _ in network.named_children()) + ".",
        )
    on_gpu = next(network.parameters()).device.type == "cuda"
    return torch.optim.AdamW(
        groups, betas=schedule.betas, weight_decay=schedule.weight_decay, fused=on_gpu
    )


def set_rates(optimizer: torch.optim.Optimizer, schedule: Schedule, step: int) -> None:
    """Warm up linearly, then decay along half a cosine or a line to `final_rate`, or not at all."""
    warm = min(1.0, (step + 1) / max(schedule.warmup_steps, 1))
    first = max(schedule.warmup_steps, round(schedule.decay_from * schedule.num_steps))
    progressed = min(max(0, step - first) / max(schedule.num_steps - first, 1), 1.0)
    left = {
        "cosine": 0.5 * (1 + math.cos(math.pi * progressed)),
        "linear": 1 - progressed,
        "none": 1.0,
    }[schedule.decay]
    factor = warm * (schedule.final_rate + (1 - schedule.final_rate) * left)
    for group in optimizer.param_groups:
        group["lr"] = schedule.learning_rates[group["name"]] * factor


@torch.no_grad()
def update_average(run: Run, schedule: Schedule) -> None:
    """Move the averaged weights; early on the average is short, so that it forgets the start.

    What a network keeps beside its weights, such as the statistics of a normalization, is taken as
    it is.
    """
    half_life = min(schedule.ema_half_life, max(1.0, run.step / 5))
    weight = 1 - 0.5 ** (1 / half_life) if half_life else 1.0
    torch._foreach_lerp_(list(run.average.parameters()), list(run.network.parameters()), weight)
    for kept, buffer in zip(run.average.buffers(), run.network.buffers(), strict=True):
        kept.copy_(buffer)


def save_run(run: Run, folder: Path) -> None:
    """Write everything that continuing needs; the first process does."""
    if not is_first():
        return
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


def load_run(run: Run, folder: Path, device: torch.device) -> list[dict[str, Any]]:
    """Continue from the checkpoint in `folder`, if there is one; returns the log up to there."""
    path = folder / LATEST
    log_path = folder / LOG
    if not has_checkpoint(path):
        if is_first():
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
    rows = [row for row in read_log(log_path) if row["step"] <= run.step]
    wait_for_all()  # everybody has read it
    if is_first():
        write_text(log_path, "".join(json.dumps(row) + "\n" for row in rows))
    return rows


def best_of(run: Run, folder: Path) -> nn.Module:
    """The averaged network with the weights of its best validation, the run's from now on.

    The last ones, if no validation was finite.
    """
    path = folder / BEST
    if has_checkpoint(path):
        load_weights(run.average, load_checkpoint(path).groups["network"], where=path)
    return run.average


def note_terms(run: Run, terms: dict[str, float]) -> None:
    """Remember the terms of a step for the log."""
    assert run.recent is not None
    run.recent.append(terms)


def mean_row(run: Run, seconds: float, *, waited: float) -> dict[str, Any]:
    """One row of the log: the mean of each term since the last row.

    `seconds` of the steps since then, and how many of them were spent waiting for data.
    """
    assert run.recent is not None
    count = max(len(run.recent), 1)
    names = sorted({name for values in run.recent for name in values})
    means = {name: float(np.mean([v[name] for v in run.recent if name in v])) for name in names}
    run.recent = []
    rates = {group["name"]: group["lr"] for group in run.optimizer.param_groups}
    return {
        "step": run.step,
        "loss": sum(means.values()),
        **means,
        "learning_rate": rates,
        "seconds_per_step": round(seconds / count, 4),
        "waited_per_step": round(waited / count, 4),
    }


@dataclass
class Log:
    """What a stage has logged: in memory, in `log.jsonl` of its folder, and as events."""

    folder: Path
    rows: list[dict[str, Any]]
    events: Events

    def add(self, row: dict[str, Any]) -> None:
        """Log a row; the first process writes it."""
        self.rows.append(row)
        if not is_first():
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / LOG
        try:
            descriptor = open_own(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
            with os.fdopen(descriptor, "a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
        except OSError as error:
            error.filename = error.filename or str(path)
            raise
        write_row(self.events, row)


def best_words(log: list[dict[str, Any]], run: Run) -> str:
    """The best validation, in the words and the unit of its metric."""
    if not math.isfinite(run.best):
        return "no validation was finite"
    keys = (key for row in reversed(log) for key in row if key.startswith("validation_"))
    words = score_words(next(keys, "").removeprefix("validation_"))
    return f"best {words.text(run.best)}"


def status(log: list[dict[str, Any]], run: Run) -> str:
    """A few words for the progress bar: loss, best score, some details of the last validation."""
    losses = [row["loss"] for row in log[-5:] if "loss" in row]
    words = [f"loss {losses[-1]:.4f}"] if losses else []
    if run.best < math.inf:
        words.append(best_words(log, run))
    validated = (row[key] for row in reversed(log) for key in row if key.startswith("validation_"))
    details = list(next(validated, {}).items())
    return ", ".join(words + [f"{name} {value:.3g}" for name, value in details[:NOTED_DETAILS]])
