"""Several processes that train together; with one process, nothing happens here.

torchrun starts the processes, one per device, and tells each its rank. Each takes its share of the
volumes of a step. What a loss divides by, or compares with, is taken over the volumes of all
processes, so that the gradient is that of one process with the whole step.
"""

import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from liftnet.core.errors import LiftnetError

__all__ = [
    "alone",
    "anywhere",
    "average_",
    "copy_from_first_",
    "from_all",
    "from_first",
    "gather_items",
    "is_first",
    "local_rank",
    "mean_over_ranks",
    "rank",
    "share_of",
    "together",
    "wait_for_all",
    "world_size",
]

BUCKET_NUMBERS = 2**24  # ours: 64 MiB of gradients are averaged at once
MEETING_SECONDS = 300.0  # ours: the processes of a job start within minutes of each other
_alone: ContextVar[bool] = ContextVar("alone", default=False)


@contextmanager
def together() -> Iterator[None]:
    """The processes that torchrun has started, connected: gloo between hosts, nccl on CUDA."""
    if int(os.environ.get("WORLD_SIZE", "1")) < 2 or dist.is_initialized():
        yield
        return
    _connect()
    try:
        yield
    except RuntimeError as error:
        if not _is_lost_process(error):
            raise
        raise LiftnetError(
            "Another process of this run has ended, so that this one cannot go on",
            where=f"process {os.environ.get('RANK')} of {os.environ.get('WORLD_SIZE')}",
            remedy="See what the other says, then give the same command again: it continues from "
            "the last checkpoint.",
        ) from None
    finally:
        dist.destroy_process_group()


def _connect() -> None:
    """Find the other processes.

    Raises:
        LiftnetError: If they cannot be found, in bounded time: one that listens at the port and
            is none of them would keep a process waiting for ever.
    """
    from torch.distributed import rendezvous  # torch is also built without it
    from torch.distributed.constants import default_pg_timeout

    found: list[tuple[dist.Store, int, int]] = []
    problems: list[Exception] = []

    def meet() -> None:
        try:
            found.append(next(rendezvous("env://", timeout=timedelta(seconds=MEETING_SECONDS))))
        except (RuntimeError, ValueError) as error:
            problems.append(error)

    meeting = threading.Thread(target=meet, name="meet", daemon=True)
    meeting.start()
    meeting.join(MEETING_SECONDS)
    if not found:
        raise _not_met(str(problems[0]) if problems else "no answer")
    store, number, size = found[0]
    agent = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"  # torchrun listens itself
    if not agent and store.add(f"liftnet/{number}", 1) > 1:
        raise _not_met(f"there is a process {number} already")
    try:
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        dist.init_process_group(backend, store=store, rank=number, world_size=size)
    except RuntimeError as error:
        raise _not_met(str(error)) from None
    store.set_timeout(default_pg_timeout)


def _not_met(why: str) -> LiftnetError:
    """What a process is told that does not find the others."""
    number, count, host, port = (
        os.environ.get(name, "unknown")
        for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    )
    remedy = (
        "See what the other processes say. If another program uses the port, give this training "
        "one of its own: MASTER_PORT, or torchrun --master-port."
    )
    if "EADDRINUSE" in why or "already in use" in why:
        problem = f"Port {port}, at which the processes would meet, is taken by another program"
        remedy = "Give this training a port of its own: MASTER_PORT, or torchrun --master-port."
    elif "environment variable" in why:
        problem = f"The processes cannot find each other: {why.splitlines()[0]}"
        remedy = "Start them with torchrun, or set RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT."
    else:
        problem = f"The {count} processes of this training do not find each other: " + (
            why.splitlines()[0] if why else "no answer"
        )
    return LiftnetError(problem, where=f"process {number}, at {host}:{port}", remedy=remedy)


def _is_lost_process(error: RuntimeError) -> bool:
    """Whether an error says that another process no longer answers (gloo, nccl, store)."""
    if isinstance(error, dist.DistBackendError | dist.DistNetworkError):
        return True
    text = str(error)
    words = ("closed by peer", "Connection reset", "Broken pipe", "Timed out waiting")
    return any(word in text for word in (*words, "Socket closed", "Connection refused"))


@contextmanager
def alone() -> Iterator[None]:
    """What only this process does, such as a validation: nothing inside waits for the others."""
    token = _alone.set(True)
    try:
        yield
    finally:
        _alone.reset(token)


def rank() -> int:
    """The number of this process."""
    return dist.get_rank() if dist.is_initialized() else 0


def local_rank() -> int:
    """The number of this process on its machine, which is that of its device."""
    return int(os.environ.get("LOCAL_RANK", "0")) if dist.is_initialized() else 0


def world_size() -> int:
    """How many processes train together; 1 inside `alone`."""
    return dist.get_world_size() if dist.is_initialized() and not _alone.get() else 1


def is_first() -> bool:
    """Whether this process is the one that writes and prints."""
    return rank() == 0


def wait_for_all() -> None:
    """Go on when every process has come here."""
    from_first(None)


def share_of(items: range) -> range:
    """The items of this process: consecutive ones, as many for each.

    Raises:
        ValueError: If they cannot be shared evenly.
    """
    size = world_size()
    if len(items) % size:
        raise ValueError(f"expected a multiple of {size} items, got {len(items)}")
    each = len(items) // size
    return items[rank() * each : (rank() + 1) * each]


def from_first(thing: Any) -> Any:
    """What the first process has; a small thing that can be pickled."""
    if world_size() == 1:
        return thing
    box = [thing]
    dist.broadcast_object_list(box, device=torch.device("cpu"))
    return box[0]


def from_all(thing: Any) -> list[Any]:
    """What every process has, in their order; a small thing that can be pickled."""
    if world_size() == 1:
        return [thing]
    found = []
    for number in range(world_size()):
        box = [thing]
        dist.broadcast_object_list(box, src=number, device=torch.device("cpu"))
        found.append(box[0])
    return found


def anywhere(flag: bool) -> bool:
    """Whether the flag is up in any process."""
    if world_size() == 1:
        return flag
    counted = torch.tensor([int(flag)])
    dist.all_reduce(counted, dist.ReduceOp.MAX)
    return bool(counted)


def mean_over_ranks(value: Tensor) -> Tensor:
    """The mean of a tensor over processes, without a gradient where there are several."""
    if world_size() == 1:
        return value
    total = value.detach().clone()
    dist.all_reduce(total)
    return total / world_size()


def gather_items(items: Tensor) -> Tensor:
    """The items (B, ...) of all processes, (W B, ...), in the order of the processes.

    Only the own ones have a gradient, which is multiplied by W: the mean over processes of a loss
    of all items, computed by each, then has the gradient of that loss.
    """
    if world_size() == 1:
        return items
    gathered: Tensor = _Gather.apply(items)
    return gathered


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, items: Tensor) -> Tensor:
        parts = [torch.empty_like(items) for _ in range(world_size())]
        dist.all_gather(parts, items.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient.chunk(world_size())[rank()] * world_size()


@torch.no_grad()
def copy_from_first_(tensors: Iterable[Tensor]) -> None:
    """Replace tensors by those of the first process."""
    if world_size() > 1:
        for tensor in tensors:
            dist.broadcast(tensor, 0)


@torch.no_grad()
def average_(tensors: Iterable[Tensor]) -> None:
    """Replace tensors by their means over processes, many in one message."""
    if world_size() == 1:
        return
    bucket: list[Tensor] = []
    for tensor in tensors:
        bucket.append(tensor)
        if sum(t.numel() for t in bucket) >= BUCKET_NUMBERS:
            _average_bucket(bucket)
            bucket = []
    if bucket:
        _average_bucket(bucket)


def _average_bucket(bucket: list[Tensor]) -> None:
    flat = torch.cat([tensor.float().flatten() for tensor in bucket])
    dist.all_reduce(flat)
    flat /= world_size()
    parts = flat.split([tensor.numel() for tensor in bucket])
    for tensor, part in zip(bucket, parts, strict=True):
        tensor.copy_(part.view_as(tensor))
