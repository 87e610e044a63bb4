"""What autograd keeps, measured on tensors without storage.

Networks are built and run on PyTorch's "meta" device, where tensors have shapes but no values,
and every tensor that autograd would keep is counted. No formula can drift away from the code.
"""

import torch
from torch import Tensor, nn

from liftnet.networks.blocks import ConvBlock, set_recompute

__all__ = [
    "GIB",
    "KeptBytes",
    "meta_slices",
    "num_parameters",
    "recomputed_bytes",
    "weight_bytes",
]

GIB = 2**30


def meta_slices(channels: int, size: tuple[int, int], count: int) -> tuple[Tensor, Tensor]:
    """Slices (count, channels, H, W) without values, and their condition (1, channels)."""
    return (
        torch.empty((count, channels, *size), device="meta"),
        torch.empty((1, channels), device="meta"),
    )


def num_parameters(network: nn.Module) -> int:
    """How many numbers the weights of a network hold."""
    return sum(p.numel() for p in network.parameters())


def weight_bytes(network: nn.Module) -> int:
    """Float32 weights and moving average; for what trains also gradients and two Adam moments."""
    trained = sum(p.numel() for p in network.parameters() if p.requires_grad)
    return 4 * (2 * num_parameters(network) + 3 * trained)


def recomputed_bytes(decoder: nn.ModuleList, slices: int, size: tuple[int, int]) -> int:
    """What the finest block of a decoder keeps while its maps are made again for the gradient."""
    block = decoder[-1]
    assert isinstance(block, ConvBlock)
    first = block.convolutions[0]
    assert isinstance(first, nn.Conv2d)
    kept = KeptBytes(block)
    set_recompute(block, False)
    with torch.autograd.graph.saved_tensors_hooks(kept.count, lambda tensor: tensor):
        maps, _ = meta_slices(first.in_channels, size, slices)
        block(maps, torch.empty((1, block.modulation.in_features), device="meta"))
    set_recompute(block, True)
    return kept.total


class KeptBytes:
    """Counts the bytes of tensors that autograd keeps, each storage once, weights not at all."""

    def __init__(self, network: torch.nn.Module):
        self.total = 0
        self._known = {p.untyped_storage()._cdata for p in network.parameters()}
        self._alive: list[torch.UntypedStorage] = []

    def count(self, tensor: Tensor) -> Tensor:
        """The tensor's values; a hook for `torch.autograd.graph.saved_tensors_hooks`.

        Without its graph: a graph that keeps what leads back to itself is never freed.
        """
        storage = tensor.untyped_storage()
        if storage._cdata not in self._known:
            self._known.add(storage._cdata)
            self._alive.append(storage)  # so that no later storage gets the same address
            self.total += storage.nbytes()
        return tensor.detach()
