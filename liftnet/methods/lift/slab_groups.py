"""The volumes of a training step in groups whose slabs are equally thick."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from liftnet.data.example import Example

__all__ = ["mean_of_groups", "mean_terms"]

Terms = dict[str, Tensor]


def mean_of_groups(batch: Sequence[Example], terms_of: Callable[[list[Example]], Terms]) -> Terms:
    """The mean over volumes of the terms of each group whose slabs have equally many slices."""
    groups: dict[int, list[Example]] = {}
    for example in batch:
        groups.setdefault(example.count, []).append(example)
    return mean_terms(
        [terms_of(group) for group in groups.values()], list(map(len, groups.values()))
    )


def mean_terms(terms: Sequence[Terms], sizes: Sequence[int]) -> Terms:
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
