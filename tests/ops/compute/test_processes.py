"""Several processes that work together, and one that is alone."""

import socket

import pytest
import torch
from two_processes import run_together, start_together

from liftnet.core.errors import LiftnetError
from liftnet.ops.compute import processes

CODE = """
import torch
from liftnet.ops.compute import processes as p

with p.together():
    rank = p.rank()
    assert p.world_size() == 2 and p.is_first() == (rank == 0) and p.local_rank() == rank
    assert list(p.share_of(range(4, 10))) == [[4, 5, 6], [7, 8, 9]][rank]
    try:
        p.share_of(range(3))
        raise SystemExit("shared unevenly")
    except ValueError as error:
        assert "multiple of 2" in str(error)
    assert p.from_first({"a": rank}) == {"a": 0}
    assert p.anywhere(rank == 1) and not p.anywhere(False)
    p.wait_for_all()

    # A weighted mean, and a loss of pairs of items, have the gradient of one process.
    items = torch.arange(12, dtype=torch.float64).reshape(6, 2).sin()
    weights = torch.tensor([1.0, 3.0, 0.5, 2.0, 1.5, 4.0])
    slope = torch.tensor([0.7, -1.3], dtype=torch.float64, requires_grad=True)
    own = slice(3 * rank, 3 * rank + 3)

    def loss(items, weights, total):
        return ((items @ slope).square() * weights).sum() / total

    def pairs(values):
        return (values[:, None] - values[None]).abs().mean() + values.std()

    one, = torch.autograd.grad(loss(items, weights, weights.sum()), slope)
    two, = torch.autograd.grad(pairs((items @ slope).exp()), slope)
    total = p.mean_over_ranks(weights[own].sum())
    part = loss(items[own], weights[own], total)
    both = pairs(p.gather_items((items[own] @ slope).exp()[:, None]).squeeze(1))
    found = [torch.autograd.grad(value, slope)[0] for value in (part, both)]
    means = [part.detach().clone(), both.detach().clone(), *found]
    p.average_(means)
    torch.testing.assert_close(means[0], loss(items, weights, weights.sum()).detach())
    torch.testing.assert_close(means[1], pairs((items @ slope).exp()).detach())
    torch.testing.assert_close(means[2], one, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(means[3], two, rtol=1e-5, atol=1e-6)

    # Many tensors of several shapes, in buckets smaller than the largest.
    p.BUCKET_NUMBERS = 7
    tensors = [torch.full((k, 2), float(rank + k)) for k in range(1, 6)]
    p.average_(tensors)
    assert all(bool((t == k + 0.5).all()) for k, t in enumerate(tensors, 1))
    tensor = torch.tensor([float(rank)])
    p.copy_from_first_([tensor])
    assert tensor.item() == 0.0
    with p.alone():
        assert p.world_size() == 1 and not p.anywhere(False)
        value = torch.tensor(float(rank))
        assert p.mean_over_ranks(value) is value
        assert p.is_first() == (rank == 0)
print("fine", rank)
"""


def test_two_processes():
    """Shares, flags, means and gradients are those of one process with all items."""
    printed = run_together(CODE)
    assert [text.split()[-2:] for text in printed] == [["fine", "0"], ["fine", "1"]]


MEETING = """
from liftnet.core.errors import LiftnetError
from liftnet.ops.compute import processes
processes.MEETING_SECONDS = 2.0
try:
    with processes.together():
        pass
except LiftnetError as error:
    print(error)
"""


def test_a_port_that_is_taken():
    """Every process ends, and says why: one cannot listen, the other hears nothing."""
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        port = taken.getsockname()[1]
        started = start_together(MEETING, port=port)
        first, second = (process.communicate(timeout=60)[0] for process in started)
    assert f"Port {port}, at which the processes would meet, is taken" in first
    assert "do:    Give this training a port of its own: MASTER_PORT" in first
    assert "The 2 processes of this training do not find each other: no answer" in second
    assert f"where: process 1, at 127.0.0.1:{port}" in second
    assert "Traceback" not in first + second


def test_a_process_of_another_training():
    """It has met others at this port, of which one has its number."""
    store = torch.distributed.TCPStore("127.0.0.1", 0, 1, is_master=True)
    store.add("liftnet/1", 1)
    started = start_together(MEETING, port=store.port)
    _, second = (process.communicate(timeout=60)[0] for process in started)
    assert "there is a process 1 already" in second


def test_no_address(monkeypatch):
    """What was started by hand is told what is missing."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("RANK", raising=False)
    ends = pytest.raises(LiftnetError, match=r"cannot find each other: .* RANK")
    with ends as caught, processes.together():
        pass
    assert "torchrun" in str(caught.value)


def test_one_process():
    """Alone, everything is its own."""
    with processes.together():
        assert processes.world_size() == 1 and processes.is_first()
        assert list(processes.share_of(range(3))) == [0, 1, 2]
        tensor = torch.rand(3, requires_grad=True)
        assert processes.gather_items(tensor) is tensor
        assert processes.mean_over_ranks(tensor) is tensor
        assert processes.anywhere(True) and not processes.anywhere(False)
        assert processes.from_first("x") == "x"


def test_a_leftover_of_torchrun_does_not_connect(monkeypatch):
    """One process of a world of one needs no address."""
    monkeypatch.setenv("WORLD_SIZE", "1")
    with processes.together():
        assert not torch.distributed.is_initialized()
    with pytest.raises(ValueError, match="expected a multiple"):
        monkeypatch.setattr(processes, "world_size", lambda: 2)
        processes.share_of(range(3))
