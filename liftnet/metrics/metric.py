"""What a metric is: everything that is said of it, and what it is measured on."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, wraps
from typing import Literal

import numpy as np
import torch

from liftnet.core.comparison import Direction
from liftnet.core.dataset import Modality
from liftnet.ops.depth import delta_z
from liftnet.ops.mask import without_rim
from liftnet.ops.ssim import WINDOW_SIZE, Border, ssim_map

__all__ = ["CohortMetric", "Measure", "Metric", "Pair", "of_voxels"]


@dataclass(frozen=True, eq=False)
class Pair:
    """Two images (D = z, H = y, W = x) as a protocol compares them, and what metrics share.

    Attributes:
        predicted: float32, within the limits.
        reference: likewise.
        limits: the smallest and the largest possible value.
        modality: of both, which decides which metrics there are.
        axis: the slice axis of the arrays.
        regions: name -> bool (D, H, W), made from sources or reference, never from the prediction.
        subject: the name of the region in which sharpness is measured.
        window_size: of the windows of 3D SSIM, in voxels.
        border: of 3D SSIM.
        precision: of the differences between slices; float32 halves the memory of a CT.
    """

    predicted: np.ndarray
    reference: np.ndarray
    limits: tuple[float, float]
    modality: Modality
    axis: int
    regions: Mapping[str, np.ndarray]
    subject: str
    window_size: int = WINDOW_SIZE
    border: Border = "valid"
    precision: type[np.floating] = np.float64

    def inside(self, place: str) -> np.ndarray | None:
        """The voxels of a region; None for the whole, "", and for a plane."""
        return self.regions.get(place)

    def steps_inside(self, place: str) -> np.ndarray | None:
        """The steps of a region: both voxels lie in it; None for the whole."""
        if (region := self.inside(place)) is None:
            return None
        along = np.moveaxis(region, self.axis, 0)
        return np.moveaxis(along[1:] & along[:-1], 0, self.axis)

    @property
    def width(self) -> float:
        """The range of possible values."""
        return self.limits[1] - self.limits[0]

    @cached_property
    def steps(self) -> tuple[np.ndarray, np.ndarray]:
        """The differences between neighbouring slices of both images."""
        first, second = (
            delta_z(image.astype(self.precision, copy=False), dim=self.axis)
            for image in (self.predicted, self.reference)
        )
        return first, second

    @cached_property
    def scaled(self) -> tuple[np.ndarray, np.ndarray]:
        """Both images in [0, 1]: SSIM is not defined for negative intensities."""
        first, second = (
            (image - self.limits[0]) / self.width for image in (self.predicted, self.reference)
        )
        return first, second

    @cached_property
    def similarity(self) -> np.ndarray:
        """The SSIM of every 3D window."""
        one, other = (torch.from_numpy(image)[None, None] for image in self.scaled)
        size, border = self.window_size, self.border
        values = ssim_map(one, other, data_range=1.0, window_size=size, border=border)
        return np.asarray(values[0, 0].numpy())

    @cached_property
    def inner(self) -> np.ndarray:
        """The subject without its outermost voxels, which are partly background."""
        return without_rim(self.regions[self.subject])


Measure = Callable[[Pair, str], float | None]  # at a place: a region, a plane, "" the whole


@dataclass(frozen=True)
class Metric:
    """A metric of a predicted image and its reference, stated once.

    Attributes:
        name: in scores.json, followed by the place unless it is the whole: "mae_bone".
        title: in headings.
        sentence: what is computed, with words of `catalogue.explain` in braces.
        better: which value is better.
        unit: "image" is that of the images: HU, or of the range [0, 1].
        source: paper and section, or "ours".
        of: modality -> places at which it is taken: regions, planes, "" all that is scored.
        measure: its value at a place, None where there is none. A metric without one is measured
            by protocols with a recipe of their own.
        rank: among the metrics that a comparison shows first, from 1; 0: it is none of them.
        digits: after the point; None: 4, but 2 where means are large.
    """

    name: str
    title: str
    sentence: str
    better: Direction
    unit: Literal["image", "dB", ""] = ""
    source: str = "ours"
    of: Mapping[Modality, tuple[str, ...]] = field(default_factory=dict)
    measure: Measure | None = None
    rank: int = 0
    digits: int | None = None


@dataclass(frozen=True)
class CohortMetric:
    """A metric of generated volumes against real ones, stated once.

    Attributes:
        name: in cohort_scores.json.
        title: in headings.
        sentence: what is computed, and which value is good.
        good: which value is good, in a few words for a table.
        of: what it is computed from.
        source: paper, or "ours".
        function: that computes it, alone or with others.
    """

    name: str
    title: str
    sentence: str
    good: str
    of: Literal["features", "voxels", "features, voxels"]
    source: str
    function: Callable[..., object]


def of_voxels(function: Callable[..., float]) -> Measure:
    """A metric of two arrays and a mask as one of a pair at a place."""

    @wraps(function)
    def measure(pair: Pair, place: str) -> float:
        return function(pair.predicted, pair.reference, pair.inside(place))

    return measure
