"""Weights and training state as safetensors: tensors and one JSON text, nothing that can run."""

import errno
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from shutil import disk_usage
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from liftnet.core.errors import CheckpointError
from liftnet.core.storage.checksum import as_text, crc32
from liftnet.core.storage.files import keep_as, written_whole
from liftnet.core.storage.migration import refuse_newer
from liftnet.core.storage.strict_json import parse_json
from liftnet.host.failures import file_problem
from liftnet.host.progress import say

__all__ = [
    "METADATA",
    "UNREADABLE",
    "Checkpoint",
    "finished_steps",
    "has_checkpoint",
    "header_facts",
    "load_checkpoint",
    "load_weights",
    "save_checkpoint",
    "weights_digest",
    "write_tensors",
]

FORMAT_VERSION = 1
METADATA = "liftnet"  # the one key of the header; several would be written in any order
CHECKSUM = "checksum"  # of all tensors; among the facts in the file
UNREADABLE = (SafetensorError, OSError, ValueError, KeyError, TypeError, AttributeError,
              OverflowError, RecursionError)  # fmt: skip


@dataclass(frozen=True)
class Checkpoint:
    """Groups of named tensors ("network", "average", "optimizer") and plain facts."""

    groups: dict[str, dict[str, Tensor]]
    facts: dict[str, Any]

    @property
    def weights(self) -> dict[str, Tensor]:
        """Those that predict: the average, where there is one; none of a training state alone."""
        return self.groups.get("average") or self.groups.get("network") or {}


def save_checkpoint(
    path: Path, groups: dict[str, dict[str, Tensor]], facts: dict[str, Any]
) -> None:
    """Write a checkpoint whole or not at all; the one before it is kept as NAME.previous.

    Raises:
        LiftnetError: If it cannot be written; those that are there stay as they are.
    """
    tensors = {
        f"{group}/{name}": tensor.detach().cpu().contiguous()
        for group, members in groups.items()
        for name, tensor in members.items()
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {"format": FORMAT_VERSION, **facts, CHECKSUM: _checksum(tensors)}
    write_tensors(
        path, tensors, json.dumps(state), previous=path.with_name(f"{path.name}.previous")
    )


def write_tensors(
    path: Path, tensors: dict[str, Tensor], text: str, *, previous: Path | None = None
) -> None:
    """Write tensors of the CPU and a text of JSON into one file, whole or not at all.

    Args:
        path: the file.
        tensors: each contiguous; they are not copied.
        text: goes into the header.
        previous: the name that the file keeps which was there before, if any.

    Raises:
        LiftnetError: If it cannot be written; what is there stays as it is.
    """
    try:
        with written_whole(path) as temporary:
            mode = temporary.stat().st_mode
            save_file(tensors, temporary, metadata={METADATA: text})
            temporary.chmod(mode)  # safetensors would let nobody else read it
            if previous is not None:
                keep_as(path, previous)
    except SafetensorError as error:
        if f"os error {errno.EFBIG})" in str(error):
            raise file_problem(OSError(errno.EFBIG, "", str(path))) from None
        raise CheckpointError(
            f"The weights could not be written ({error}); "
            f"{disk_usage(path.parent).free / 2**30:.3f} GiB are free there",
            where=str(path),
            remedy="Make room, then give the same command again: what is finished is kept.",
        ) from None


def _checksum(tensors: dict[str, Tensor]) -> str:
    """The checksum of all tensors on the CPU, in the order of their names."""
    checksum = 0
    for name, tensor in sorted(tensors.items()):
        checksum = crc32(name.encode(), checksum)
        if tensor.numel():
            content = tensor.contiguous().reshape(-1).view(torch.uint8).numpy()
            checksum = crc32(content.data, checksum)
    return as_text(checksum)


def load_checkpoint(path: Path) -> Checkpoint:
    """A checkpoint on the CPU; in place of a damaged one, which is said, the one before it.

    Raises:
        CheckpointError: If neither can be read.
    """
    previous = path.with_name(path.name + ".previous")
    for candidate in (path, previous):
        if candidate.is_file():
            try:
                found = _read(candidate)
            except UNREADABLE as error:
                say(f"warning: {candidate.name} is damaged ({error}): {candidate.parent}")
                continue
            if candidate == previous:
                step = found.facts.get("step", "unknown")
                say(f"warning: the checkpoint before it is used, of step {step}: {previous.name}")
            return found
    raise CheckpointError(
        "No readable checkpoint" if path.exists() or previous.exists() else "No checkpoint",
        where=str(path),
        remedy="Train first (liftnet_train), or delete the damaged file and train again.",
    )


def has_checkpoint(path: Path) -> bool:
    """Whether there is a checkpoint of this name, or the one before it."""
    return path.exists() or path.with_name(path.name + ".previous").exists()


def finished_steps(path: Path) -> int:
    """How many steps the training state in a file has behind it; 0 if it cannot be read."""
    step = header_facts(path).get("step")
    return step if isinstance(step, int) else 0


def header_facts(path: Path) -> dict[str, Any]:
    """What the header of a file of weights says, without reading them; nothing if it is damaged."""
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            return dict(parse_json(file.metadata()[METADATA]))
    except UNREADABLE:
        return {}


def _read(path: Path) -> Checkpoint:
    groups: dict[str, dict[str, Tensor]] = {}
    with safe_open(path, framework="pt", device="cpu") as file:
        facts = parse_json(file.metadata()[METADATA])
        for key in file.keys():  # noqa: SIM118 - not a dict
            group, name = key.split("/", 1)
            groups.setdefault(group, {})[name] = file.get_tensor(key)
    refuse_newer(
        facts["format"],
        FORMAT_VERSION,
        what="The checkpoint has format",
        where=path,
        error=CheckpointError,
    )
    if facts["format"] != FORMAT_VERSION:
        raise CheckpointError(
            f"The checkpoint has format {facts['format']}, this liftnet reads {FORMAT_VERSION}",
            where=str(path),
            remedy="Use the liftnet version that wrote it, or train again.",
        )
    expected = facts.pop(CHECKSUM, None)  # older ones have none
    if expected is not None:
        tensors = {f"{g}/{name}": t for g, members in groups.items() for name, t in members.items()}
        if _checksum(tensors) != expected:
            raise SafetensorError("its checksum differs")
    return Checkpoint(groups, facts)


def weights_digest(networks: Iterable[Mapping[str, Tensor]]) -> str:
    """A digest of the names and values of the tensors of one or more networks."""
    digest = hashlib.sha256()
    for tensors in networks:
        for key, tensor in sorted(tensors.items()):
            raw = tensor.reshape(-1).view(torch.uint8)  # of any type, bfloat16 too
            digest.update(key.encode())
            digest.update(raw.numpy().data)
    return digest.hexdigest()[:16]


def load_weights(network: torch.nn.Module, tensors: dict[str, Tensor], *, where: Path) -> None:
    """Put tensors into a network, all of them and nothing else.

    Raises:
        CheckpointError: If names or shapes differ: the weights belong to another plan.
    """
    try:
        for name, own in network.state_dict().items():
            if name in tensors and tensors[name].dtype != own.dtype:
                raise RuntimeError(f"{name} is {tensors[name].dtype}, not {own.dtype}")
        network.load_state_dict(tensors, strict=True)
    except RuntimeError as error:
        first = str(error).splitlines()[1].strip() if "\n" in str(error) else str(error)
        raise CheckpointError(
            f"The weights do not fit the plan: {first}",
            where=str(where),
            remedy="Use the plan.json that the weights were trained with.",
        ) from None
