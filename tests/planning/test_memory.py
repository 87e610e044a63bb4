"""Counting what autograd keeps."""

import gc
import weakref

import torch
from torch import Tensor

from liftnet.planning.memory import KeptBytes


def _count() -> tuple[int, "weakref.ref[Tensor]"]:
    """Bytes that two squares keep, and the tensor between them, of which nothing is left."""
    network = torch.nn.Linear(8, 8, device="meta")
    kept = KeptBytes(network)
    with torch.autograd.graph.saved_tensors_hooks(kept.count, lambda tensor: tensor):
        between = network(torch.empty(4, 8, device="meta")).square()
        between.square()
    return kept.total, weakref.ref(between)


def test_bytes_are_counted_once_and_nothing_stays():
    """The input, the layer's output and its square, not the weights; then all of it is freed."""
    total, between = _count()
    assert total == 3 * 4 * 8 * 4
    gc.collect()
    assert between() is None
