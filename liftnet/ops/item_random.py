"""Random numbers that depend on an item's own seed only, not on the batch that it is drawn in.

A number is a hash of (seed, stream, position), so nothing is counted on from one call to the next:
a batch may be cut, joined, reordered or spread over processes and devices, and each item keeps its
numbers. The integers are the same bit for bit on every device; nothing waits for the device.

Source: Steele, Lea and Flood, Fast splittable pseudorandom number generators, OOPSLA 2014
    (SplitMix64); Salmon et al., Parallel random numbers: as easy as 1, 2, 3, SC 2011 (numbers by
    position instead of by state).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["item_bits", "item_normal", "item_uniform"]

STEP = 0x9E3779B97F4A7C15  # SplitMix64: 2^64 over the golden ratio, odd
FACTORS = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)  # SplitMix64, Stafford's mix 13
SHIFTS = (30, 27, 31)  # SplitMix64, Stafford's mix 13
UNIFORM_BITS = 24  # float32 holds so many exactly


def _signed(number: int) -> int:
    """Returns the int64 with the bits of `number` modulo 2^64."""
    return (number + 2**63) % 2**64 - 2**63


def _xor_shifted(bits: Tensor, shift: int) -> Tensor:
    """Returns `bits` xor themselves shifted right by `shift`, in place; zeros move in."""
    return bits.bitwise_xor_((bits >> shift).bitwise_and_(2 ** (64 - shift) - 1))


def _mix(bits: Tensor) -> Tensor:
    """Returns the int64 `bits` well mixed, in place; a bijection of the 64-bit integers."""
    for shift, factor in zip(SHIFTS[:2], FACTORS, strict=True):
        bits = _xor_shifted(bits, shift).mul_(_signed(factor))
    return _xor_shifted(bits, SHIFTS[2])


def item_bits(seeds: Tensor, stream: int, count: int) -> Tensor:
    """Returns (B, count) random int64 numbers, all 64 bits of them, from `seeds` (B,) int64.

    Args:
        seeds: One seed per item; neighbouring seeds give unrelated numbers.
        stream: The purpose; numbers of different streams are unrelated.
        count: Numbers per item. The first of them stay the same if more are asked for.

    Raises:
        ValueError: If `seeds` is not (B,) int64 or `stream` is negative.
    """
    if seeds.ndim != 1 or seeds.dtype != torch.int64:
        raise ValueError(f"expected (B,) int64 seeds, got {tuple(seeds.shape)} {seeds.dtype}")
    if stream < 0:
        raise ValueError(f"expected a stream that is not negative, got {stream}")
    # the stream moves between two mixes: a sum of seed and stream would let (1, 2) meet (2, 1)
    key = _mix(_mix(seeds + _signed(STEP)).add_(_signed(STEP * (stream + 1))))
    position = torch.arange(1, count + 1, device=seeds.device)
    return _mix(torch.add(key[:, None], position, alpha=_signed(STEP)))


def item_uniform(seeds: Tensor, stream: int, shape: tuple[int, ...] = ()) -> Tensor:
    """Returns (B, *shape) float32 numbers spread evenly over [0, 1), from `seeds` (B,) int64.

    Args:
        seeds: One seed per item.
        stream: The purpose; see `item_bits`.
        shape: Of the numbers of one item.
    """
    bits = item_bits(seeds, stream, math.prod(shape))
    top = (bits >> (64 - UNIFORM_BITS)).bitwise_and_(2**UNIFORM_BITS - 1)
    return top.to(torch.float32).mul_(2.0**-UNIFORM_BITS).view(len(seeds), *shape)


def item_normal(seeds: Tensor, stream: int, shape: tuple[int, ...] = ()) -> Tensor:
    """Returns (B, *shape) float32 standard normal numbers, from `seeds` (B,) int64.

    One 64-bit number gives two normal ones, whose magnitude is at most 6.7.

    Args:
        seeds: One seed per item.
        stream: The purpose; see `item_bits`.
        shape: Of the numbers of one item.

    Source: Box and Muller, A note on the generation of random normal deviates, 1958.
    """
    count = math.prod(shape)
    half = (count + 1) // 2
    parts = item_bits(seeds, stream, half).view(torch.int32).to(torch.float32)
    first, second = parts[:, :half], parts[:, half:]
    # first / 2^31 runs from -1 to 1: its magnitude is uniform, half a step keeps it off zero
    radius = first.abs_().add_(0.5).mul_(2.0**-31).log_().mul_(-2).sqrt_()
    angle = second.mul_(math.pi * 2.0**-31)
    normal = torch.empty((len(seeds), 2 * half), dtype=torch.float32, device=seeds.device)
    torch.mul(angle.cos(), radius, out=normal[:, :half])
    torch.mul(angle.sin_(), radius, out=normal[:, half:])
    return normal[:, :count].reshape(len(seeds), *shape)
