"""The volumes of a training step in groups whose slabs are equally thick, for every paired task."""

from collections.abc import Sequence
from typing import Protocol, TypeVar

import torch
from torch import Tensor

__all__ = ["by_count", "mean_terms"]


class Slab(Protocol):
    """One volume of a step, of which a slab is decoded."""

    @property
    def count(self) -> int:
        """How many slices the slab has."""


AnySlab = TypeVar("AnySlab", bound=Slab)


def by_count(batches: Sequence[AnySlab]) -> list[list[AnySlab]]:
    """The batches in groups of equally many slices, in order of their first."""
    groups: dict[int, list[AnySlab]] = {}
    for batch in batches:
        groups.setdefault(batch.count, []).append(batch)
    return list(groups.values())


def mean_terms(terms: Sequence[dict[str, Tensor]], sizes: Sequence[int]) -> dict[str, Tensor]:
    """The mean over volumes of named terms, from those of groups.

    Args:
        terms: of each group, means over its volumes; all groups have the same names.
        sizes: the number of volumes in each group.
    """
    if len(terms) == 1:
        return terms[0]
    shares = [size / sum(sizes) for size in sizes]
    return {
        name: torch.stack([one[name] * w for one, w in zip(terms, shares, strict=True)]).sum()
        for name in terms[0]
    }
