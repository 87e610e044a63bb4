"""Weights and training state as safetensors: tensors and one JSON text, nothing that can run."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from liftnet.core.errors import CheckpointError

__all__ = ["Checkpoint", "finished_steps", "load_checkpoint", "load_weights", "save_checkpoint"]

FORMAT_VERSION = 1


@dataclass(frozen=True)
class Checkpoint:
    """Groups of named tensors ("network", "average", "optimizer") and plain facts."""

    groups: dict[str, dict[str, Tensor]]
    facts: dict[str, Any]


def save_checkpoint(
    path: Path, groups: dict[str, dict[str, Tensor]], facts: dict[str, Any]
) -> None:
    """Write a checkpoint whole or not at all; the one before it is kept as NAME.previous."""
    tensors = {
        f"{group}/{name}": tensor.detach().cpu().contiguous()
        for group, members in groups.items()
        for name, tensor in members.items()
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    metadata = {"liftnet": json.dumps({"format": FORMAT_VERSION, **facts})}
    temporary.touch()
    mode = temporary.stat().st_mode
    save_file(tensors, temporary, metadata=metadata)
    temporary.chmod(mode)  # safetensors would let nobody else read it
    if path.exists():
        path.replace(path.with_name(path.name + ".previous"))
    temporary.replace(path)


def load_checkpoint(path: Path) -> Checkpoint:
    """A checkpoint on the CPU; a damaged one is replaced by the one before it.

    Raises:
        CheckpointError: If neither can be read.
    """
    previous = path.with_name(path.name + ".previous")
    for candidate in (path, previous):
        if candidate.is_file():
            try:
                return _read(candidate)
            except (SafetensorError, OSError, json.JSONDecodeError, KeyError, TypeError):
                continue
    raise CheckpointError(
        "No readable checkpoint" if path.exists() or previous.exists() else "No checkpoint",
        where=str(path),
        remedy="Train first (liftnet_train), or delete the damaged file and train again.",
    )


def finished_steps(path: Path) -> int:
    """How many steps the training state in a file has behind it; 0 if it cannot be read."""
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            return int(json.loads(file.metadata()["liftnet"])["step"])
    except (SafetensorError, OSError, json.JSONDecodeError, KeyError, TypeError):
        return 0


def _read(path: Path) -> Checkpoint:
    groups: dict[str, dict[str, Tensor]] = {}
    with safe_open(path, framework="pt", device="cpu") as file:
        facts = json.loads(file.metadata()["liftnet"])
        for key in file.keys():  # noqa: SIM118 - not a dict
            group, name = key.split("/", 1)
            groups.setdefault(group, {})[name] = file.get_tensor(key)
    if facts["format"] != FORMAT_VERSION:
        raise CheckpointError(
            f"The checkpoint has format {facts['format']}, this liftnet reads {FORMAT_VERSION}",
            where=str(path),
            remedy="Use the liftnet version that wrote it, or train again.",
        )
    return Checkpoint(groups, facts)


def load_weights(network: torch.nn.Module, tensors: dict[str, Tensor], *, where: Path) -> None:
    """Put tensors into a network, all of them and nothing else.

    Raises:
        CheckpointError: If names or shapes differ: the weights belong to another plan.
    """
    try:
        network.load_state_dict(tensors, strict=True)
    except RuntimeError as error:
        first = str(error).splitlines()[1].strip() if "\n" in str(error) else str(error)
        raise CheckpointError(
            f"The weights do not fit the plan: {first}",
            where=str(where),
            remedy="Use the plan.json that the weights were trained with.",
        ) from None
