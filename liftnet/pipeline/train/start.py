"""What a training stage begins with: weights, and a look at the training cases."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from liftnet.core.errors import LiftnetError
from liftnet.data.store import Store
from liftnet.host.progress import say
from liftnet.methods.base import Stage, Surveys
from liftnet.ops.compute.processes import (
    alone,
    copy_from_first_,
    is_first,
    wait_for_all,
    world_size,
)
from liftnet.pipeline.models.checkpoint import finished_steps, has_checkpoint, load_checkpoint
from liftnet.pipeline.models.pretrained import PRETRAINED, Fitting, submodule
from liftnet.pipeline.models.runs import LATEST
from liftnet.pipeline.train.together import refuse_other_weights

__all__ = ["check_shares", "is_done", "prepare_"]

Result = TypeVar("Result")


def prepare_(
    stage: Stage[Any],
    network: nn.Module,
    previous: nn.Module | None,
    store: Store,
    training: Sequence[str],
    folder: Path,
    pretrained: Fitting | None,
) -> Any:
    """What an unfinished stage finds in its cases, with the weights it begins or goes on with."""
    if is_done(stage, folder):
        return None
    start = starting_weights(network, previous, pretrained, folder)
    refuse_other_weights(start)
    put(start, network)  # before the survey, which looks at the cases through the network
    memory = None
    if isinstance(stage, Surveys):
        surveys = stage
        if stage.preparation:
            say(f"{stage.name} gets ready: {stage.preparation} ({len(training)} cases)")
        memory = in_turn(lambda: surveys.survey(network, store, training, folder))
    put(start, network)  # and after it, whatever it has set
    copy_from_first_(network.state_dict().values())
    return memory


def is_done(stage: Stage[Any], folder: Path) -> bool:
    """Whether a stage has a checkpoint of its last step."""
    path = folder / LATEST
    return has_checkpoint(path) and finished_steps(path) >= stage.schedule.num_steps


def check_shares(stage: Stage[Any], method: str) -> None:
    """Refuse a number of processes that cannot share the volumes of a step.

    Raises:
        LiftnetError: If they cannot.
    """
    volumes, processes = stage.schedule.volumes_per_step, world_size()
    if volumes % processes:
        raise LiftnetError(
            f"{volumes} volumes per step cannot be shared by {processes} processes",
            where=f"{stage.name}.volumes_per_step",
            remedy="Make a plan with a multiple of the number of processes: liftnet_plan --set "
            f"{method}.{stage.name}.volumes_per_step={-(-volumes // processes) * processes}",
        )


def in_turn(work: Callable[[], Result]) -> Result:
    """Work that leaves files for later: the first process does it, then the others."""
    results = []
    for first in (True, False):
        if is_first() == first:
            with alone():
                results.append(work())
        wait_for_all()
    return results[0]


def starting_weights(
    network: nn.Module,
    previous: nn.Module | None,
    pretrained: Fitting | None,
    folder: Path,
) -> dict[str, Tensor]:
    """What a stage begins or goes on with, before it surveys the training cases.

    Pretrained weights go into what the stage before has not trained already. In a run that began
    with some, a stage that has a checkpoint surveys with what is in there, as it did before.
    """
    if has_checkpoint(folder / LATEST):
        if not (folder.parent / PRETRAINED).is_file():
            return {}
        return load_checkpoint(folder / LATEST).groups["network"]
    if pretrained is None:
        return {}
    trained = {name for name, _ in previous.named_children()} if previous is not None else set()
    own = {k: v for k, v in network.state_dict().items() if submodule(k) not in trained}
    return pretrained(own)


@torch.no_grad()
def put(weights: dict[str, Tensor], network: nn.Module) -> None:
    """Copy tensors into a network, those that are there and have the same shape."""
    own = network.state_dict()
    for name, tensor in weights.items():
        if name in own and own[name].shape == tensor.shape:
            own[name].copy_(tensor)
