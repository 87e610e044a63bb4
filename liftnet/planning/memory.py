"""The peak of live tensors, measured on tensors without values.

Networks are built and run on PyTorch's "meta" device, where tensors have shapes but no values,
and every tensor is counted while it is alive. No formula can drift away from the code.
"""

import weakref
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from liftnet.ops.compute.precision import is_meta_autocast

__all__ = ["GIB", "Flops", "LiveBytes", "OneStepRecurrence", "num_parameters"]

GIB = 2**30
COMPARISONS = ("eq", "ge", "gt", "le", "lt", "ne", "logical_not", "isfinite", "isnan")
NORMS = [f"native_{kind}_norm{end}" for kind in ("group", "batch") for end in ("", "_backward")]
GRADIENTS = tuple(f"{name}_backward" for name in ("leaky_relu", "threshold", "sigmoid", "tanh"))


def num_parameters(network: nn.Module) -> int:
    """How many numbers the weights of a network hold."""
    return sum(p.numel() for p in network.parameters())


class Watch(TorchDispatchMode):
    """Sees every operation on "meta", in which shapes are found quickly."""

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """The result of an operation, which is noted."""
        result = _shaped(func, args, kwargs or {})
        self.note(func, args, kwargs or {}, result)
        return result

    @abstractmethod
    def note(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any) -> None:
        """What is to be known of it."""


class LiveBytes(Watch):
    """Counts the bytes of the tensors that operations make on "meta", while they are alive.

    Attributes:
        now: bytes of the tensors that are alive.
        peak: the most that were alive at one time.
    """

    def __init__(self, bytes_per_number: int = 4):
        """Numbers made in an autocast take `bytes_per_number` bytes."""
        super().__init__()
        self.now = self.peak = 0.0
        self._share = bytes_per_number / 4
        self._sizes: dict[int, float] = {}

    def note(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any) -> None:
        """The tensors of a result."""
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor) and leaf.device.type == "meta":
                self._add(leaf)

    def _add(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._sizes:
            return
        half = tensor.dtype == torch.float32 and is_meta_autocast()
        self._sizes[key] = storage.nbytes() * (self._share if half else 1.0)
        self.now += self._sizes[key]
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._forget, key)

    def _forget(self, key: int) -> None:
        self.now -= self._sizes.pop(key)


class Flops(Watch):
    """Counts the operations of products of matrices and of convolutions.

    The formulas are those of torch.utils.flop_counter, whose own mode hooks into modules and so
    refuses a loss that takes a gradient itself.
    """

    total = 0

    def note(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any) -> None:
        """The operations of one, if it is among them."""
        formula = flop_registry.get(func._overloadpacket)
        if formula is not None:
            self.total += int(formula(*args, **kwargs, out_val=result))


def _shaped(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """The result of an operation on "meta".

    PyTorch finds the shapes of most of what works number by number in Python, in a third of a
    millisecond each; here they follow from broadcasting.
    """
    tensors = [arg for arg in args if isinstance(arg, Tensor)]
    if not tensors or any(tensor.device.type != "meta" for tensor in tensors):
        return func(*args, **kwargs)
    if "out" in kwargs:
        return kwargs["out"]
    in_place = func._schema.is_mutable and func._schema.name.endswith("_")
    if in_place and torch.Tag.inplace_view not in func.tags:
        return args[0]
    name = func._schema.name.removeprefix("aten::")
    if name == "addmm":
        return args[1].new_empty(len(args[1]), args[2].shape[1])
    if name in NORMS:
        return _normalized(name, args)
    by_number = torch.Tag.pointwise in func.tags or name in GRADIENTS
    if not by_number or "dtype" in kwargs:
        return func(*args, **kwargs)
    shape = torch.broadcast_shapes(*(tensor.shape for tensor in tensors))
    numbers = [t.dtype for t in tensors if t.dtype != torch.bool]
    kind = torch.bool if name in COMPARISONS or not numbers else numbers[0]
    return torch.empty(shape, dtype=kind, device=tensors[0].device)


def _normalized(name: str, args: Sequence[Any]) -> tuple[Tensor | None, ...]:
    """The results of a normalization, or of its gradient."""
    if not name.endswith("backward"):
        x = args[0]
        kept = (len(x), args[6]) if name == "native_group_norm" else (x.shape[1],)
        return torch.empty_like(x), x.new_empty(kept), x.new_empty(kept)
    grad, *_, wanted = args
    width = grad.new_empty(grad.shape[1])
    found = (torch.empty_like(grad), width, torch.empty_like(width))
    return tuple(one if asked else None for one, asked in zip(found, wanted, strict=True))


class OneStepRecurrence(TorchFunctionMode):
    """A GRU in one operation: "meta" takes a dozen for each of its steps, which keep little."""

    def __torch_function__(
        self,
        func: Any,
        types: Any,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """The result of a function."""
        if func is not torch.gru:
            return func(*args, **(kwargs or {}))
        numbers, state = args[:2]
        return numbers[..., :1].expand(*numbers.shape[:-1], 2 * state.shape[-1]).clone(), state
