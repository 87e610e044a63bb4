"""Smooth fields from few points."""

from __future__ import annotations

from torch import Tensor


def blend(points: Tensor, weight: Tensor, axis: int) -> Tensor:
    """Returns `points` (B, C, ...), of n entries along `axis`, blended to N by `weight` (N, n).

    A sum of the few terms, one after the other: the rounding of a matrix product depends on the
    size of the batch.
    """
    trailing = (1,) * (points.ndim - 1 - axis)
    shares = weight.T.contiguous().view(weight.shape[1], -1, *trailing)
    terms = [points.narrow(axis, number, 1) for number in range(len(shares))]
    blended = terms[0] * shares[0]
    for term, share in zip(terms[1:], shares[1:], strict=True):
        blended.add_(term * share)  # two steps: a broadcast in each, which addcmul does slowly
    return blended
