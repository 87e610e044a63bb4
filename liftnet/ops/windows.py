"""Volumes in overlapping windows: what a network of patches makes of each, joined smoothly."""

from collections.abc import Callable, Iterator
from typing import Literal

import torch
from torch import Tensor

from liftnet.ops.chunks import Chunk
from liftnet.ops.compute.host_memory import is_out_of_memory

__all__ = ["over_windows", "window_starts", "window_weights"]

SIGMA = 0.125  # nnU-Net: of the Gaussian, in sizes of the window
LEAST = 1e-3  # ours: of the largest weight, so that the corners of a volume have one


def window_starts(length: int, size: int, overlap: float) -> list[int]:
    """Where windows of a size begin along an axis: evenly spaced, the last one at the end.

    >>> window_starts(10, 4, 0.5), window_starts(3, 4, 0.5)
    ([0, 2, 4, 6], [0])
    """
    if length <= size:
        return [0]
    step = max(1, round(size * (1 - overlap)))
    count = -(-(length - size) // step) + 1
    return [round(i * (length - size) / (count - 1)) for i in range(count)]


def window_weights(
    size: tuple[int, int, int], kind: Literal["gaussian", "linear"], device: torch.device
) -> Tensor:
    """How much each voxel of a window counts (d, h, w): its middle most."""
    lines = []
    for n in size:
        distance = (torch.arange(n, dtype=torch.float32) - (n - 1) / 2).abs()
        if kind == "gaussian":
            lines.append(torch.exp(-0.5 * (distance / (SIGMA * n)).square()))
        else:
            lines.append(1 - distance / ((n + 1) / 2))
    d, h, w = lines
    weights = d[:, None, None] * h[:, None] * w
    return weights.clamp(min=LEAST * float(weights.max())).to(device)


def over_windows(
    function: Callable[[Tensor], Tensor],
    volume: Tensor,
    size: tuple[int, int, int],
    chunk: Chunk,
    *,
    overlap: float = 0.5,
    kind: Literal["gaussian", "linear"] = "gaussian",
) -> Tensor:
    """What a function of windows makes of a whole volume, (T, D, H, W) float32.

    The sums have one order, whatever number of windows is taken at a time: the result is the same
    to the last bit where the function's is. When memory runs out, fewer are taken from there on.

    Args:
        function: windows (B, C, d, h, w) to what it makes of them (B, T, d, h, w).
        volume: (C, D, H, W), at least as large as a window along each axis.
        size: of a window.
        chunk: how many windows at a time.
        overlap: share of a window that the next one has, too.
        kind: of the weights.

    Raises:
        ValueError: If the volume is smaller than a window.
    """
    shape = volume.shape[1:]
    if any(have < want for have, want in zip(shape, size, strict=True)):
        raise ValueError(f"expected a volume of at least {size}, got {tuple(shape)}")
    starts = [window_starts(n, m, overlap) for n, m in zip(shape, size, strict=True)]
    places = [
        tuple(slice(a, a + n) for a, n in zip((z, y, x), size, strict=True))
        for z in starts[0]
        for y in starts[1]
        for x in starts[2]
    ]
    weights = window_weights(size, kind, volume.device)
    total = torch.zeros(shape, device=volume.device)
    for place in places:
        total[place] += weights
    made = None
    for place, window in zip(places, _made(function, volume, places, chunk), strict=True):
        if made is None:
            made = torch.zeros((len(window), *shape), device=volume.device)
        made[(slice(None), *place)] += window.float() * weights
    assert made is not None
    return made / total


def _made(
    function: Callable[[Tensor], Tensor],
    volume: Tensor,
    places: list[tuple[slice, ...]],
    chunk: Chunk,
) -> Iterator[Tensor]:
    """What becomes of each window, in order."""
    done = 0
    while done < len(places):
        now = places[done : done + chunk.size]
        windows = None
        try:
            windows = function(torch.stack([volume[(slice(None), *place)] for place in now]))
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error) or len(now) == 1:
                raise
        if windows is None:  # outside of the handler, whose traceback holds what was made
            if volume.device.type == "cuda":
                torch.cuda.empty_cache()
            chunk.shrink(max(1, len(now) // 2), chunk.passes)
            continue
        yield from windows
        done += len(now)
        chunk.reached(done / len(places))
