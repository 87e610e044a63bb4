"""What happens to each item, and a transform for those items alone to which it happens.

Both are known on the processor: an item's numbers follow from its seed, which stays there. So no
device is asked, and no item goes through a transform that would leave it as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from liftnet.augment import spatial
from liftnet.augment.ranges import IntensityParameters, SpatialParameters
from liftnet.ops.compute.transfer import to_device

__all__ = ["FLIPS", "Group", "Rows", "applied", "grouped"]

FLIPS = {"flip along D": 2, "flip along H": 3, "flip along W": 4}  # and their axes


@dataclass(frozen=True)
class Rows:
    """The rows of a group to which a transform happens: items, or single channels of items.

    Attributes:
        numbers: which of the rows of the group.
        first: the first row of the group in the batch.
        total: rows of the group.
    """

    numbers: Sequence[int]
    first: int
    total: int

    def of(self, values: Tensor, device: torch.device) -> Tensor:
        """Returns on `device` these rows of `values`, which are of the batch and here."""
        values = values[self.first : self.first + self.total]
        if len(self.numbers) < self.total:
            values = values[self.numbers]
        return to_device(values, device)

    def change(self, image: Tensor, transform: Callable[..., Tensor], *values: Tensor) -> Tensor:
        """Returns the `image` (total, ...) of the group with these rows through a transform.

        The transform takes them and their rows of each of the `values`; the others stay bit for
        bit.
        """
        if not self.numbers:
            return image
        chosen = [self.of(value, image.device) for value in values]
        if len(self.numbers) == self.total:
            return transform(image, *chosen)
        rows = list(image.split(1))  # and not by an index, which a device would have to be sent
        changed = transform(torch.cat([rows[number] for number in self.numbers]), *chosen)
        for number, row in zip(self.numbers, changed.split(1), strict=True):
            rows[number] = row
        return torch.cat(rows)


NONE = Rows((), 0, 0)


@dataclass(frozen=True)
class Group:
    """Neighbouring items of a batch that are augmented at once.

    Attributes:
        first: the number of the first one in the batch.
        happens: to each of them.
        rows: name of a transform -> the items to which it happens, if there are any.
        flips: axes of a flip -> the items that are flipped along all of them.
    """

    first: int
    happens: Sequence[frozenset[str]]
    rows: dict[str, Rows]
    flips: dict[tuple[int, ...], Rows]

    def items(self, name: str) -> Rows:
        """Returns the items to which the transform of this name happens."""
        return self.rows.get(name, NONE)

    def channels(self, chosen: Tensor) -> Rows:
        """Returns the channels that are `chosen`, (B, C) of the whole batch, as rows of B * C."""
        total, channels = len(self.happens), chosen.shape[1]
        some = chosen[self.first : self.first + total].flatten()
        return Rows(some.nonzero()[:, 0].tolist(), self.first * channels, total * channels)


def applied(geometry: SpatialParameters, changes: IntensityParameters) -> list[frozenset[str]]:
    """Returns the names of what happens to each item.

    "turn" is what needs new values between the voxels; "elastic" is a part of it.
    """
    happens = dict(zip(FLIPS, geometry.flip.unbind(1), strict=True))
    happens["turn"] = spatial.is_turned(geometry)
    if geometry.control_points is not None:
        happens["elastic"] = spatial.is_deformed(geometry.control_points)
    happens["gamma"] = (changes.gamma != 1).any(dim=1)
    happens["contrast"] = (changes.contrast != 1).any(dim=1)
    happens["brightness"] = (changes.brightness != 1).any(dim=1)
    happens["bias_field"] = (changes.bias_strength != 0).any(dim=1)
    happens["blur"] = (changes.blur_sigma > 0).any(dim=1)
    happens["low_resolution"] = (changes.zoom != 1).any(dim=1)
    happens["noise"] = changes.noise_std != 0
    table = torch.stack(list(happens.values()), dim=1).tolist()
    return [
        frozenset(name for name, true in zip(happens, row, strict=True) if true) for row in table
    ]


def grouped(happens: Sequence[frozenset[str]], count: int) -> Iterator[Group]:
    """Yields groups of `count` items, the last one of as many as are left.

    Args:
        happens: to each item of the batch, see `applied`.
        count: items of a group.
    """
    for first in range(0, len(happens), count):
        some = happens[first : first + count]
        rows: dict[str, list[int]] = {}
        flips: dict[tuple[int, ...], list[int]] = {}
        for item, names in enumerate(some):
            for name in names:
                rows.setdefault(name, []).append(item)
            if axes := tuple(axis for name, axis in FLIPS.items() if name in names):
                flips.setdefault(axes, []).append(item)
        total = len(some)
        yield Group(
            first,
            some,
            {name: Rows(numbers, first, total) for name, numbers in rows.items()},
            {axes: Rows(numbers, first, total) for axes, numbers in flips.items()},
        )
