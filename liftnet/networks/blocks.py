"""Blocks that networks are made of: they can be computed again for the gradient, and compiled."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from liftnet.ops.compute.precision import autocast, without_autocast

__all__ = [
    "GROUP_WIDTH",
    "ConvBlock",
    "GroupNorm",
    "Recomputed",
    "compile_blocks",
    "normalization_layer",
    "set_recompute",
]

GROUP_WIDTH = 8  # ours: channels per group; widths in plans are multiples of 8
SHAPES = 64  # ours: blocks of several widths see several sizes and numbers of slices, with and
# without a gradient; what comes after so many would silently not be compiled
NEGATIVE_SLOPE = 1e-2  # nnU-Net
TRIAL_SIDE = 32  # ours: of the slices on which a block is tried


def normalization_layer(kind: str, width: int) -> nn.Module:
    """The normalization of a feature map; "none" keeps its scale."""
    if kind == "group":
        return GroupNorm(max(1, width // GROUP_WIDTH), width)
    if kind == "instance":
        return nn.InstanceNorm2d(width, affine=True)
    if kind == "none":
        return nn.Identity()
    raise ValueError(f"expected the normalization 'group', 'instance' or 'none', got {kind!r}")


class GroupNorm(nn.GroupNorm):
    """Group normalization that stays in the type of its input.

    Autocast would compute it in float32 on CUDA and keep activations of twice the size; the
    kernels sum in float32 in either case. On a CPU it is computed channel by channel: with channels
    last its gradient takes twenty times as long.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Normalized features (N, width, ...)."""
        last = x.device.type == "cpu" and x.ndim == 4 and not x.is_contiguous()
        with without_autocast(x.device):
            weight, bias = self.weight.to(x.dtype), self.bias.to(x.dtype)
            own = x.contiguous() if last else x
            made = F.group_norm(own, self.num_groups, weight, bias, self.eps)
            return made.contiguous(memory_format=torch.channels_last) if last else made


class Recomputed(nn.Module, ABC):
    """A block that, with `recompute`, makes its maps again for the gradient, not to keep them."""

    recompute = False

    def forward(self, *tensors: Tensor) -> Tensor:
        """What `_compute` makes of them."""
        if self.recompute and torch.is_grad_enabled():
            again: Tensor = checkpoint(self._compute, *tensors, use_reentrant=False)
            return again
        return self._compute(*tensors)

    @abstractmethod
    def _compute(self, *args: Any, **kwargs: Any) -> Tensor:
        """Features from those before, and what else the block is given: tensors all."""

    @abstractmethod
    def trial(self, device: torch.device) -> tuple[Tensor, ...]:
        """Small tensors on a device for one pass, with which it is tried when compiled."""


class ConvBlock(Recomputed):
    """Some 3x3 convolutions, each normalized and activated; a condition modulates the first.

    The condition scales and shifts its maps; both start at zero, so that a block begins as if it
    had no condition.
    """

    def __init__(
        self,
        in_width: int,
        width: int,
        *,
        convolutions: int,
        condition_size: int,
        normalization: str,
        stride: int = 1,
    ):
        super().__init__()
        widths = [in_width] + [width] * convolutions
        layers = [
            nn.Conv2d(widths[i], widths[i + 1], 3, stride=stride if i == 0 else 1, padding=1)
            for i in range(convolutions)
        ]
        self.convolutions = nn.ModuleList(layers)
        self.normalizations = nn.ModuleList(
            normalization_layer(normalization, width) for _ in range(convolutions)
        )
        self.modulation = nn.Linear(condition_size, 2 * width)
        for convolution in layers:
            nn.init.kaiming_normal_(convolution.weight, a=NEGATIVE_SLOPE)
            nn.init.zeros_(cast(Tensor, convolution.bias))
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def trial(self, device: torch.device) -> tuple[Tensor, ...]:
        """Two slices and their conditions."""
        entered = cast(nn.Conv2d, self.convolutions[0]).in_channels
        slices = torch.zeros(2, entered, TRIAL_SIDE, TRIAL_SIDE, device=device)
        return slices, torch.zeros(2, self.modulation.in_features, device=device)

    def _compute(self, x: Tensor, condition: Tensor) -> Tensor:
        """Features (N, width, H, W) from x (N, in_width, H, W) and condition (N, K) or (1, K)."""
        for i, (convolution, normalize) in enumerate(
            zip(self.convolutions, self.normalizations, strict=True)
        ):
            x = normalize(convolution(x))
            own = None if torch.is_grad_enabled() else x  # without a graph, in place
            if i == 0:
                scale, shift = self.modulation(condition).to(x.dtype)[:, :, None, None].chunk(2, 1)
                x = torch.addcmul(shift, x, 1 + scale, out=own)
            x = F.leaky_relu(x, NEGATIVE_SLOPE, inplace=own is not None)
        return x


def set_recompute(network: nn.Module, recompute: bool) -> None:
    """Whether the blocks of a network make their maps again for the gradient, to save memory."""
    for module in network.modules():
        if isinstance(module, Recomputed):
            module.recompute = recompute


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
