"""Where images are refined: slice by slice, or in the Haar sub-bands of volumes."""

from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor

from liftnet.ops.depth import fold_slices, unfold_slices
from liftnet.ops.wavelet import BANDS, haar, inverse_haar

__all__ = ["Bands", "Slices", "Space"]

LLL = 3.0  # cWDM: what the sub-band of low frequencies is divided by


class Space(ABC):
    """A way to see volumes (B, C, D, H, W) in [-1, 1]."""

    @abstractmethod
    def enter(self, volumes: Tensor, there: Tensor | None = None) -> Tensor:
        """The volumes as they are refined; (B, C) is 1 for those that are there, others are 0."""

    @abstractmethod
    def leave(self, seen: Tensor) -> Tensor:
        """The volumes (B, C, D, H, W) again."""

    @abstractmethod
    def bounded(self, seen: Tensor) -> Tensor:
        """The same, with all intensities within their limits."""

    @abstractmethod
    def weights(self, volumes: Tensor) -> Tensor:
        """Weights of voxels (B, 1, D, H, W) for what is refined there."""


class Slices(Space):
    """Slices (B D, C, H, W) as they are."""

    def enter(self, volumes: Tensor, there: Tensor | None = None) -> Tensor:
        """Slices in [-1, 1]."""
        return fold_slices(volumes if there is None else volumes * _wide(there))

    def leave(self, seen: Tensor) -> Tensor:
        """One volume (1, C, D, H, W)."""
        return unfold_slices(seen, 1)

    def bounded(self, seen: Tensor) -> Tensor:
        """Between -1 and 1."""
        return seen.clamp(-1, 1)

    def weights(self, volumes: Tensor) -> Tensor:
        """Slices, too."""
        return fold_slices(volumes)


class Bands(Space):
    """Haar sub-bands (B, 8 C, D / 2, H / 2, W / 2) of intensities in [0, 1], each scaled.

    Source: cWDM, which divides LLL by 3, clamps in image space, and knows no other scale.
    """

    def __init__(self, scales: Tensor):
        """`scales` (8,) divide the sub-bands."""
        self.scales = scales

    @staticmethod
    def published() -> Tensor:
        """The scales (8,) of cWDM."""
        return torch.tensor([LLL] + [1.0] * (BANDS - 1))

    def enter(self, volumes: Tensor, there: Tensor | None = None) -> Tensor:
        """Scaled sub-bands."""
        unit = (volumes + 1) / 2
        bands = haar(unit if there is None else unit * _wide(there))
        return (bands.unflatten(1, (-1, BANDS)) / self._column(bands)).flatten(1, 2)

    def leave(self, seen: Tensor) -> Tensor:
        """Volumes in [-1, 1]."""
        bands = (seen.unflatten(1, (-1, BANDS)) * self._column(seen)).flatten(1, 2)
        return inverse_haar(bands) * 2 - 1

    def bounded(self, seen: Tensor) -> Tensor:
        """Sub-bands of intensities between 0 and 1."""
        return self.enter(self.leave(seen).clamp(-1, 1))

    def weights(self, volumes: Tensor) -> Tensor:
        """The largest of each eight voxels."""
        return F.max_pool3d(volumes, 2)

    def _column(self, like: Tensor) -> Tensor:
        return self.scales.to(like.device).view(1, 1, BANDS, 1, 1, 1)


def _wide(there: Tensor) -> Tensor:
    return there[:, :, None, None, None]
