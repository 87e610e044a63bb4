"""The grid of generated volumes: isotropic, one size for all cases, in order of preference."""

from dataclasses import replace
from math import ceil
from statistics import geometric_mean, median
from typing import NamedTuple

from liftnet.core.fingerprint import CaseFingerprint, Fingerprint
from liftnet.core.geometry import Shape, Triple, array_axes
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

    def sized(self, box: Shape, spacing: float, why: str, how: str) -> "VolumeGrid":
        """The same with a box (D, H, W), and why, and a spacing in mm, and how it came about."""
        grid = replace(
            self.grid, spacing_mm=(spacing,) * 3, in_plane=box[1:], num_slices=box[0], box=box
        )
        return VolumeGrid(grid, {**self.reasons, "grid.box": why, "grid.spacing_mm": how})


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
    choice = choice or GridChoice()
    whole = any_ct or fingerprint.foreground != "nonzero"
    common = _in_common(fingerprint, GridChoice(choice.slice_axis), any_ct=any_ct)
    cases = list(fingerprint.cases.values())
    d, h, w = array_axes(common.grid.slice_axis)
    extents: Triple = (
        max(_extent(c, d, whole) for c in cases),
        max(_extent(c, h, whole) for c in cases),
        max(_extent(c, w, whole) for c in cases),
    )
    what = "image" if whole else "foreground box"
    size = " x ".join(f"{extent:.0f}" for extent in extents)
    held = f"the largest {what} of all cases, {size} mm, and {MARGIN} voxels on each side (ours)"
    why = f"{held}, up to a multiple of {STEP}"

    longest = max(extents)
    finest = min(median(c.spacing_mm[a] for c in cases) for a in range(3))
    cube_mm = longest / (CUBE - 2 * MARGIN)
    own_mm = median(geometric_mean(c.spacing_mm) for c in cases)
    tight_mm = max(own_mm, cube_mm)
    tight = (
        f"isotropic: the geometric mean of the spacing, {own_mm:.3g} mm, median over cases"
        if tight_mm == own_mm
        else f"isotropic: as coarse as the paper's {CUBE} voxels along the longest side"
    )
    found = [common.sized(_box(extents, tight_mm), tight_mm, why, tight)]
    for side in SIDES:
        spacing = longest / (side - 2 * MARGIN)
        if spacing > tight_mm:
            how = f"isotropic: {side} voxels along the longest side, for the memory (ours); the "
            how += f"data have {own_mm:.3g} mm"
            found.append(common.sized(_box(extents, spacing), spacing, why, how))
    if cube_mm >= (1 - FINER) * finest:
        papers = f"the paper's size (LiFT Sec. 5.1, WDM); it holds {held}"
        how = "isotropic, so that the longest side fits (WDM resamples to 128 likewise)"
        found.insert(0, common.sized((CUBE, CUBE, CUBE), cube_mm, papers, how))

    spacing, how = found[0].grid.spacing_mm[0], found[0].reasons["grid.spacing_mm"]
    if choice.spacing_mm is not None and min(choice.spacing_mm) > 0:
        spacing, how = choice.spacing_mm[0], "set by hand"
    elif choice.box is None:
        return found
    return [common.sized(choice.box or _box(extents, spacing), spacing, why, how)]


def _in_common(fingerprint: Fingerprint, choice: GridChoice, *, any_ct: bool) -> VolumeGrid:
    """What all candidates have in common; each has its own size and spacing."""
    reasons: dict[str, str] = {}
    flat = plan_grid(fingerprint, reasons, crop=False, choice=choice)
    grid = replace(
        flat,
        foreground="otsu" if any_ct else flat.foreground,
        resample_through_plane=True,
        pad_to_box=True,
    )
    return VolumeGrid(
        grid,
        {
            "grid.slice_axis": reasons["grid.slice_axis"],
            "grid.foreground": "CT has no zero background: Otsu threshold"
            if any_ct
            else reasons["grid.foreground"],
            "grid.pad_to_box": "all volumes have one size, as a generator's have; where an image "
            "ends the background goes on (WDM)",
        },
    )


def _extent(case: CaseFingerprint, axis: int, whole: bool) -> float:
    """How long a case is along a canonical axis, in mm."""
    size = case.shape[axis] if whole else case.box_stop[axis] - case.box_start[axis]
    return size * case.spacing_mm[axis]


def _box(extents: Triple, spacing: float) -> Shape:
    """The size of a grid that holds the extents and the margin, in multiples of 8."""
    d, h, w = (STEP * ceil((extent / spacing + 2 * MARGIN - ROUNDING) / STEP) for extent in extents)
    return (d, h, w)
