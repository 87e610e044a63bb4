"""The grid of generated volumes: isotropic, one size for all cases, in order of preference."""

from dataclasses import replace
from math import ceil
from statistics import geometric_mean, median
from typing import NamedTuple

from liftnet.core.fingerprint import CaseFingerprint, Fingerprint
from liftnet.core.geometry import SLICE_AXES, Shape, Triple
from liftnet.core.plan import Grid
from liftnet.planning.grid import GridChoice, plan_grid

__all__ = ["VolumeGrid", "plan_volume_grids"]

CUBE = 128  # LiFT Sec. 5.1, WDM: 128 x 128 x 128
SIDES = (112, 96, 80, 72, 64, 56, 48, 40, 32)  # ours: multiples of `STEP`, for smaller memories
STEP = 8  # ours: the stride of a slice generator of four stages
MARGIN = 2  # ours: voxels around the largest foreground box, so that nothing lies at a border
FINER = 0.02  # ours: a grid this much finer than the data still shows nothing that is not there
ROUNDING = 1e-6  # of a voxel; a side must not grow by 8 because of the last digit


class VolumeGrid(NamedTuple):
    """A candidate.

    Attributes:
        grid: the grid.
        reasons: setting -> why.
    """

    grid: Grid
    reasons: dict[str, str]


def plan_volume_grids(
    fingerprint: Fingerprint, *, any_ct: bool, choice: GridChoice | None = None
) -> list[VolumeGrid]:
    """Candidates, best first: the paper's cube, the data's own spacing, then coarser and coarser.

    Every grid is isotropic, holds the largest foreground of all cases (where the background is
    not zero: the largest image) and has sides in multiples of 8.

    Args:
        fingerprint: of the dataset.
        any_ct: whether a channel is CT, which has no zero background.
        choice: what was set by hand; with a box or a spacing there is one candidate.
    """
    reasons: dict[str, str] = {}
    whole = any_ct or fingerprint.foreground != "nonzero"
    choice = choice or GridChoice()
    own_axes = GridChoice(choice.slice_axis)  # the rest of a candidate is its own
    flat = plan_grid(fingerprint, reasons, crop=False, choice=own_axes)
    cases = list(fingerprint.cases.values())
    # Canonical axes are (z, y, x); SLICE_AXES counts world axes x = 0, y = 1, z = 2.
    d, h, w = (2 - world for world in SLICE_AXES[flat.slice_axis])
    extents: Triple = (
        max(_extent(c, d, whole) for c in cases),
        max(_extent(c, h, whole) for c in cases),
        max(_extent(c, w, whole) for c in cases),
    )
    longest = max(extents)
    finest = min(median(c.spacing_mm[a] for c in cases) for a in range(3))
    cube_mm = longest / (CUBE - 2 * MARGIN)
    own_mm = median(geometric_mean(c.spacing_mm) for c in cases)
    tight_mm = max(own_mm, cube_mm)

    what = "image" if whole else "foreground box"
    size = " x ".join(f"{extent:.0f}" for extent in extents)
    held = f"the largest {what} of all cases, {size} mm, and {MARGIN} voxels on each side (ours)"
    shared = {
        "grid.slice_axis": reasons["grid.slice_axis"],
        "grid.foreground": "CT has no zero background: Otsu threshold"
        if any_ct
        else reasons["grid.foreground"],
        "grid.pad_to_box": "all volumes have one size, as a generator's have; where an image ends "
        "the background goes on (WDM)",
    }

    def candidate(box: Shape, spacing: float, why: str, how: str) -> VolumeGrid:
        grid = replace(
            flat,
            spacing_mm=(spacing,) * 3,
            in_plane=box[1:],
            num_slices=box[0],
            foreground="otsu" if whole else "nonzero",
            resample_through_plane=True,
            box=box,
            pad_to_box=True,
        )
        return VolumeGrid(grid, {**shared, "grid.box": why, "grid.spacing_mm": how})

    found = []
    if cube_mm >= (1 - FINER) * finest:
        found.append(
            candidate(
                (CUBE, CUBE, CUBE),
                cube_mm,
                f"the paper's size (LiFT Sec. 5.1, WDM); it holds {held}",
                "isotropic, so that the longest side fits (WDM resamples to 128 likewise)",
            )
        )
    found.append(
        candidate(
            _box(extents, tight_mm),
            tight_mm,
            f"{held}, up to a multiple of {STEP}",
            f"isotropic: the geometric mean of the spacing, {own_mm:.3g} mm, median over cases"
            if tight_mm == own_mm
            else f"isotropic: as coarse as the paper's {CUBE} voxels along the longest side",
        )
    )
    for side in SIDES:
        spacing = longest / (side - 2 * MARGIN)
        if spacing > tight_mm:
            found.append(
                candidate(
                    _box(extents, spacing),
                    spacing,
                    f"{held}, up to a multiple of {STEP}",
                    f"isotropic: {side} voxels along the longest side, for the memory (ours); the "
                    f"data have {own_mm:.3g} mm",
                )
            )
    spacing, how = found[0].grid.spacing_mm[0], found[0].reasons["grid.spacing_mm"]
    if choice.spacing_mm is not None and min(choice.spacing_mm) > 0:
        spacing, how = choice.spacing_mm[0], "set by hand"
    elif choice.box is None:
        return found
    box = choice.box or _box(extents, spacing)
    return [candidate(box, spacing, f"{held}, up to a multiple of {STEP}", how)]


def _extent(case: CaseFingerprint, axis: int, whole: bool) -> float:
    """How long a case is along a canonical axis, in mm."""
    size = case.shape[axis] if whole else case.box_stop[axis] - case.box_start[axis]
    return size * case.spacing_mm[axis]


def _box(extents: Triple, spacing: float) -> Shape:
    """The size of a grid that holds the extents and the margin, in multiples of 8."""
    d, h, w = (STEP * ceil((extent / spacing + 2 * MARGIN - ROUNDING) / STEP) for extent in extents)
    return (d, h, w)
