"""Networks compiled by torch.compile, block by block, or left as they are."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from liftnet.networks.blocks import Recomputed
from liftnet.ops.compute.precision import autocast

__all__ = ["compile_blocks"]

SHAPES = 64  # ours: blocks of several widths see several sizes and numbers of slices, with and
# without a gradient; what comes after so many would silently not be compiled


def compile_blocks(
    network: nn.Module, *, backend: str | Callable[..., Any] = "inductor"
) -> str | None:
    """Compile the convolutional blocks of a network, in place; returns why not, or None.

    Blocks, not the whole: they are what is computed over and over, they compile in seconds, and
    what lies between them stays free to depend on the batch. If the first of them cannot be
    compiled and run, all stay as they were.
    """
    blocks = [module for module in network.modules() if isinstance(module, Recomputed)]
    if not blocks:
        return "it has no convolutional blocks"
    torch._dynamo.config.recompile_limit = max(SHAPES, torch._dynamo.config.recompile_limit)
    for block in blocks:
        block.compile(backend=backend)
    try:
        _try(blocks[0])
    except (RuntimeError, OSError, ImportError) as error:
        for block in blocks:
            block._compiled_call_impl = None
        torch._dynamo.reset()
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        return " ".join(lines[:2]) if lines else type(error).__name__
    return None


def _try(block: Recomputed) -> None:
    """One pass through a block, with a gradient if it has one."""
    device = next(block.parameters()).device
    with autocast(device):
        maps = block(*block.trial(device))
    if maps.requires_grad:
        torch.autograd.grad(maps.float().sum(), [p for p in block.parameters() if p.requires_grad])
