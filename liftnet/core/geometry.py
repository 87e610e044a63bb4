"""Where voxels lie: grids in world space, axis orders, and the way to a prepared grid and back."""

import math
from dataclasses import dataclass
from itertools import permutations
from typing import Literal

import numpy as np

__all__ = [
    "SLICE_AXES",
    "AxisOrder",
    "Geometry",
    "Placement",
    "SliceAxis",
    "Volume",
    "array_axes",
    "axis_order",
    "same_spacing",
    "turn",
]

Triple = tuple[float, float, float]
Shape = tuple[int, int, int]

SAME_SPACING = 0.02  # ours: a difference in spacing below 2 % is left as it is
# World axis (x = left, y = posterior, z = superior) of each array axis (D, H, W), per slice axis.
SliceAxis = Literal["axial", "coronal", "sagittal"]
SLICE_AXES: dict[str, tuple[int, int, int]] = {
    "axial": (2, 1, 0),
    "coronal": (1, 2, 0),
    "sagittal": (0, 2, 1),
}


def same_spacing(own: float, wanted: float) -> bool:
    """Whether two spacings along an axis are so near that nothing is resampled.

    >>> same_spacing(1.01, 1.0), same_spacing(1.03, 1.0)
    (True, False)
    """
    return abs(own / wanted - 1) <= SAME_SPACING


@dataclass(frozen=True)
class Geometry:
    """A voxel grid in world space (LPS, mm). All fields are in array order (D, H, W).

    `direction` holds one unit vector (x, y, z) for each array axis; `origin_mm` is the world
    position of the centre of voxel (0, 0, 0).
    """

    shape: Shape
    spacing_mm: Triple
    origin_mm: Triple
    direction: tuple[Triple, Triple, Triple]

    def world(self, index: Triple) -> Triple:
        """The world position (x, y, z) in mm of a voxel index (d, h, w)."""
        x, y, z = (
            self.origin_mm[k]
            + sum(index[a] * self.spacing_mm[a] * self.direction[a][k] for a in range(3))
            for k in range(3)
        )
        return (x, y, z)

    def differs(self, other: "Geometry") -> str | None:
        """What differs between two grids beyond rounding, or None.

        Tolerance: 1 % of the spacing, 0.1 of a voxel at the far corner, 1e-3 in a direction
        cosine; headers store these in float32, and converters round them.
        """
        if self.shape != other.shape:
            return f"shape {self.shape} and {other.shape}"
        if not np.allclose(self.spacing_mm, other.spacing_mm, rtol=1e-2):
            return f"spacing {_short(self.spacing_mm)} and {_short(other.spacing_mm)} mm"
        if not np.allclose(self.direction, other.direction, atol=1e-3):
            return "direction"
        last: Triple = tuple(float(n - 1) for n in self.shape)  # type: ignore[assignment]
        voxel = min(self.spacing_mm)
        for corner in ((0.0, 0.0, 0.0), last):
            distance = math.dist(self.world(corner), other.world(corner))
            if distance > max(0.1 * voxel, 1e-3):
                return f"position ({distance:.2f} mm apart)"
        return None


def _short(values: Triple) -> str:
    return "(" + ", ".join(f"{v:.4g}" for v in values) + ")"


@dataclass(frozen=True)
class Volume:
    """Voxels (C, D, H, W) and where they lie."""

    voxels: np.ndarray
    geometry: Geometry


def array_axes(slice_axis: str) -> tuple[int, int, int]:
    """The axes of canonical arrays (z, y, x) that are the plan's (D, H, W); D is across the slices.

    >>> array_axes("axial"), array_axes("sagittal")
    ((0, 1, 2), (2, 0, 1))
    """
    d, h, w = (2 - world for world in SLICE_AXES[slice_axis])  # x, y, z counted backwards
    return d, h, w


@dataclass(frozen=True)
class AxisOrder:
    """How stored axes become the plan's axes: take them in this order, then flip these."""

    order: tuple[int, int, int]
    flip: tuple[bool, bool, bool]


def axis_order(geometry: Geometry, slice_axis: str) -> AxisOrder:
    """The order and flips after which D, H, W point along the plan's world axes.

    Axes end up pointing to superior, posterior, left (in the order of `SLICE_AXES`); an oblique
    grid goes to the nearest such order and stays oblique.
    """
    world = SLICE_AXES[slice_axis]
    direction = np.asarray(geometry.direction)
    best = max(
        permutations(range(3)),
        key=lambda order: sum(abs(direction[order[a], world[a]]) for a in range(3)),
    )
    flip = tuple(bool(direction[best[a], world[a]] < 0) for a in range(3))
    return AxisOrder(order=(best[0], best[1], best[2]), flip=(flip[0], flip[1], flip[2]))


def turn(volume: Volume, axes: AxisOrder) -> Volume:
    """The volume with its axes reordered and flipped; a view of the same voxels."""
    g = volume.geometry
    voxels = volume.voxels.transpose(0, *(1 + a for a in axes.order))
    voxels = voxels[(slice(None), *(slice(None, None, -1 if f else 1) for f in axes.flip))]
    corner = [0.0, 0.0, 0.0]
    for position, axis in enumerate(axes.order):
        corner[axis] = float(g.shape[axis] - 1) if axes.flip[position] else 0.0
    d, h, w = axes.order
    vectors = [
        tuple(-c if axes.flip[i] else c for c in g.direction[a]) for i, a in enumerate(axes.order)
    ]
    return Volume(
        voxels,
        Geometry(
            shape=(g.shape[d], g.shape[h], g.shape[w]),
            spacing_mm=(g.spacing_mm[d], g.spacing_mm[h], g.spacing_mm[w]),
            origin_mm=g.world((corner[0], corner[1], corner[2])),
            direction=(vectors[0], vectors[1], vectors[2]),  # type: ignore[arg-type]
        ),
    )


@dataclass(frozen=True)
class Placement:
    """How a case came from its own grid to the plan's: turned, cropped to a box, resampled.

    `start` and `stop` bound the box in the turned grid (half-open); they lie outside it where the
    image was padded. `shape` is the size of the prepared grid, which covers exactly that box.
    """

    source: Geometry
    axes: AxisOrder
    start: Shape
    stop: Shape
    shape: Shape

    @property
    def bounds(self) -> list[list[int]]:
        """The box as [start, stop) along each axis of the turned grid."""
        return [[start, stop] for start, stop in zip(self.start, self.stop, strict=True)]

    @property
    def box(self) -> tuple[slice, slice, slice]:
        """What the box and the turned grid share, as slices of the turned grid."""
        d, h, w = (
            slice(max(start, 0), max(min(stop, size), 0))
            for (start, stop), size in zip(self.bounds, self.turned_shape, strict=True)
        )
        return (d, h, w)

    @property
    def turned_shape(self) -> Shape:
        """The size of the whole source grid in the plan's axis order."""
        d, h, w = (self.source.shape[a] for a in self.axes.order)
        return (d, h, w)

    @property
    def spacing_mm(self) -> Triple:
        """The spacing of the prepared grid along D, H, W."""
        d, h, w = (
            self.source.spacing_mm[axis] * (stop - start) / size
            for axis, start, stop, size in zip(
                self.axes.order, self.start, self.stop, self.shape, strict=True
            )
        )
        return (d, h, w)

    def to_source(self, turned: np.ndarray) -> np.ndarray:
        """An array (D, H, W) in the plan's axis order put back into the source's order."""
        flipped = turned[tuple(slice(None, None, -1 if f else 1) for f in self.axes.flip)]
        return np.ascontiguousarray(flipped.transpose(np.argsort(self.axes.order)))
