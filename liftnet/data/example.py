"""A case, or a crop of it, as a network sees it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

__all__ = ["Example", "draw_seeds", "joined"]

ON_HOST = ("made", "seeds")  # what a loss decides by, without asking a device


@dataclass(frozen=True)
class Example:
    """Items of one case in network units; B = 1 but for single slices. Items may be joined.

    All that is random about an item in a step follows from its own number in `seeds`. These and
    `made` stay on the processor, which so knows what happens to an item without asking a device.

    Attributes:
        case: for messages.
        source: (B, S, D, H, W); S = 0 for volumes from nothing.
        target: (B, T, D, H, W).
        mask: (B, 1, D, H, W), 1 inside the subject; (B, 0, D, H, W) where the plan has no masks.
        air: (B, S + T), network values of air.
        given: (B, S), 1 where a source is given.
        made: (B, T), True where a target is asked for.
        seeds: (B,), int64.
        windows: first slices of what the loss compares; of single slices, where each one lies.
        count: slices of a window.
        plane: of single slices, else empty.
    """

    case: str
    source: Tensor
    target: Tensor
    mask: Tensor
    air: Tensor
    given: Tensor
    made: Tensor
    seeds: Tensor
    windows: tuple[int, ...]
    count: int
    plane: str = ""

    def to(self, device: torch.device) -> Self:
        """The same on a device, numbers as float32; from pinned memory without waiting."""
        return self._changed(lambda t: _float32(t.to(device, non_blocking=True)))

    def pinned(self) -> Self:
        """The same in memory from which a CUDA device copies by itself."""
        return self._changed(lambda t: t if t.is_cuda else t.pin_memory())

    def tensors(self) -> Iterator[Tensor]:
        """All tensors that go to a device."""
        for name in _moving():
            yield getattr(self, name)

    def _changed(self, change: Callable[[Tensor], Tensor]) -> Self:
        changed: dict[str, Any] = {name: change(getattr(self, name)) for name in _moving()}
        return replace(self, **changed)


def _moving() -> list[str]:
    """The fields that go to a device."""
    return [f.name for f in fields(Example) if f.type is Tensor and f.name not in ON_HOST]


def _float32(tensor: Tensor) -> Tensor:
    """Stored voxels (float16) and masks (bool) as float32."""
    return tensor.float()


def joined(examples: Sequence[Example]) -> Example:
    """Examples of one shape as one (B, ...)."""
    names = [f.name for f in fields(Example) if f.type is Tensor]
    tensors: dict[str, Any] = {n: torch.cat([getattr(e, n) for e in examples]) for n in names}
    return replace(
        examples[0],
        case=", ".join(dict.fromkeys(example.case for example in examples)),
        windows=tuple(start for example in examples for start in example.windows),
        **tensors,
    )


def draw_seeds(items: int, rng: np.random.Generator) -> Tensor:
    """Seeds (items,), int64, of what is random about items in a step."""
    return torch.from_numpy(rng.integers(2**63 - 1, size=items, dtype=np.int64))
