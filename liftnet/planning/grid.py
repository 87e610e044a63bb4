"""The grid that networks see, from the shapes and spacings of all cases."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import log2
from statistics import median
from typing import Literal

from liftnet.core.errors import PlanError
from liftnet.core.fingerprint import CaseFingerprint, Fingerprint
from liftnet.core.geometry import SLICE_AXES, Shape, SliceAxis, Triple, array_axes, same_spacing
from liftnet.core.plan import Grid, Plan

__all__ = ["GridChoice", "plan_grid", "refuse_other_foreground", "slice_plane", "stride_of"]

ISOTROPIC_RATIO = 1.2  # ours: below this no axis counts as the coarse one
MIN_FEATURE_EDGE = 4  # nnU-Net default_experiment_planner.py
MAX_STAGES = 7  # ours: nnU-Net's largest 2D networks
MARGIN = 2  # ours: voxels around the largest foreground box, for augmentation


@dataclass(frozen=True)
class GridChoice:
    """What of the grid was set by hand; the rest follows from it and the fingerprint."""

    slice_axis: SliceAxis | None = None
    spacing_mm: Triple | None = None  # along D, H, W
    crop_in_plane: bool | None = None
    resample_in_plane: bool = True
    resample_through_plane: bool = False
    in_plane: tuple[int, int] | None = None
    num_slices: int | None = None
    box: Shape | None = None

    @property
    def sized(self) -> bool:
        """Whether a number of voxels was set by hand."""
        return any(size is not None for size in (self.in_plane, self.num_slices, self.box))


def plan_grid(
    fingerprint: Fingerprint,
    reasons: dict[str, str],
    *,
    crop: bool,
    mask: Literal["none", "body"] = "none",
    choice: GridChoice | None = None,
) -> Grid:
    """Slice axis, spacing and in-plane size from the shapes and spacings of all cases.

    `crop`: whether slices are cropped to the foreground.

    Raises:
        PlanError: If another spacing was chosen without resampling to it.
    """
    choice = choice or GridChoice()
    boxed = choice.box is not None  # where its mask lies is known without the foreground
    by_hand = choice.crop_in_plane
    cases = list(fingerprint.cases.values())
    axis, own = _plan_axes(cases, choice.slice_axis, reasons)
    grid = Grid(
        slice_axis=axis,  # type: ignore[arg-type]
        spacing_mm=choice.spacing_mm or own,
        in_plane=(1, 1),  # the sizes are planned below
        num_slices=1,
        foreground="nonzero" if fingerprint.foreground == "nonzero" else "otsu",
        crop_in_plane=not boxed and (crop if by_hand is None else by_hand),
        resample_in_plane=choice.resample_in_plane or boxed,
        resample_through_plane=choice.resample_through_plane or boxed,
        mask=mask,
        box=choice.box,
    )
    if choice.spacing_mm is not None:
        _refuse_other_spacing(own, grid)
    depth, in_plane = _plan_size(cases, grid, reasons)
    reasons |= {
        "grid.foreground": "background is exactly zero"
        if grid.foreground == "nonzero"
        else "background is not zero: Otsu threshold",
        "grid.crop_in_plane": "only background is cut off, and put back at prediction (nnU-Net)"
        if grid.crop_in_plane
        else "nothing is cut off: the background is not known in the target (ours)",
        "grid.resample_through_plane": "slices are never resampled in 2D (nnU-Net); the mixer "
        "takes any number of them",
    }
    depth, in_plane = choice.num_slices or depth, choice.in_plane or in_plane
    if choice.box is not None:
        depth, in_plane = choice.box[0], choice.box[1:]
    return replace(grid, num_slices=depth, in_plane=in_plane)


def _plan_axes(
    cases: Sequence[CaseFingerprint], wanted: str | None, reasons: dict[str, str]
) -> tuple[str, Triple]:
    """The slice axis, the wanted one if there is one, and the spacing (D, H, W) of the cases."""
    alike = one_plane(cases, wanted)
    zyx = (
        median(c.spacing_mm[0] for c in alike),
        median(c.spacing_mm[1] for c in alike),
        median(c.spacing_mm[2] for c in alike),
    )
    coarsest = slice_plane(zyx)
    axis = wanted or coarsest or "axial"
    reasons |= {
        "grid.slice_axis": f"median spacing (z, y, x) is {_mm(zyx)} mm: "
        + ("the coarsest axis (nnU-Net)" if coarsest else "isotropic, so axial (LiFT)"),
        "grid.spacing_mm": "median over cases (nnU-Net)"
        if len(alike) == len(cases)
        else f"median over the {len(alike)} cases whose slices are not in another plane; those of "
        f"the other {len(cases) - len(alike)} are interpolated (ours)",
    }
    d, h, w = array_axes(axis)
    return axis, (zyx[d], zyx[h], zyx[w])


def _plan_size(
    cases: Sequence[CaseFingerprint], grid: Grid, reasons: dict[str, str]
) -> tuple[int, tuple[int, int]]:
    """The median number of slices, and slices (H, W) that hold what is kept of every case."""
    depths, *sides = zip(*(_size_on(grid, case) for case in cases), strict=True)
    margin = 2 * MARGIN if grid.crop_in_plane else 0
    height, width = (round(max(sizes)) + margin for sizes in sides)
    halvings = min(int(log2(max(min(height, width) / MIN_FEATURE_EDGE, 1))), MAX_STAGES - 1)
    stride = 2**halvings
    kept = "foreground box" if grid.crop_in_plane else "image"
    reasons |= {
        "grid.in_plane": f"largest {kept} {height}x{width}, up to a multiple of the U-Net's "
        f"stride {stride} (nnU-Net)",
        "grid.num_slices": "median over cases; all slices are kept (LiFT: all 155)",
    }
    in_plane = (-(-height // stride) * stride, -(-width // stride) * stride)
    return max(1, round(median(depths))), in_plane


def _size_on(grid: Grid, case: CaseFingerprint) -> Triple:
    """The voxels (D, H, W) that a case takes on a grid: all its slices, of a slice what is kept."""
    d, h, w = array_axes(grid.slice_axis)
    box = [stop - start for start, stop in zip(case.box_start, case.box_stop, strict=True)]
    kept = box if grid.crop_in_plane else case.shape
    steps = [
        case.spacing_mm[axis] / mm for axis, mm in zip((d, h, w), grid.spacing_mm, strict=True)
    ]
    through = steps[0] if grid.resample_through_plane else 1
    down, across = steps[1:] if grid.resample_in_plane else (1, 1)
    return case.shape[d] * through, kept[h] * down, kept[w] * across


def _refuse_other_spacing(own: Triple, grid: Grid) -> None:
    """Refuse a spacing that no image would be brought to.

    Raises:
        PlanError: Naming the setting that would.
    """
    wanted = grid.spacing_mm
    if min(wanted) <= 0:
        raise PlanError(
            f"grid.spacing_mm {wanted} is not positive", remedy="Give mm along D, H and W."
        )
    if not grid.resample_through_plane and not same_spacing(own[0], wanted[0]):
        raise PlanError(
            f"grid.spacing_mm asks for slices every {wanted[0]:g} mm, but slices are not "
            f"resampled and lie {own[0]:.4g} mm apart",
            remedy="Set grid.resample_through_plane=true too, or give that distance.",
        )
    if not grid.resample_in_plane and not all(map(same_spacing, own[1:], wanted[1:])):
        raise PlanError(
            f"grid.spacing_mm asks for voxels of {wanted[1]:g} x {wanted[2]:g} mm in a slice, but "
            f"slices are not resampled and have {own[1]:.4g} x {own[2]:.4g} mm",
            remedy="Leave out grid.resample_in_plane=false, or give that spacing.",
        )


def refuse_other_foreground(plan: Plan, fingerprint: Fingerprint) -> None:
    """Refuse a rule for the foreground by which the plan's sizes and intensities were not measured.

    Raises:
        PlanError: If any of them rests on the fingerprint's rule.
    """
    regions = [getattr(channel.normalization, "region", "") for channel in plan.channels]
    used = plan.grid.crop_in_plane or plan.grid.pad_to_box or "foreground" in regions
    if used and plan.grid.foreground != fingerprint.foreground:
        raise PlanError(
            f"grid.foreground is {plan.grid.foreground}, but sizes and intensities of this plan "
            f"were measured with {fingerprint.foreground}",
            remedy="Leave it out; or set grid.crop_in_plane=false and the region of every "
            "channel's normalization to grid too.",
        )


def slice_plane(spacing_mm: Triple) -> str | None:
    """The plane of the slices of an image, by its coarsest axis; None if no axis stands out.

    Args:
        spacing_mm: along the canonical axes (superior, posterior, left).

    >>> slice_plane((5.0, 1.0, 1.0)), slice_plane((1.0, 1.0, 5.0)), slice_plane((1.1, 1.0, 1.0))
    ('axial', 'sagittal', None)
    """
    coarsest = max(range(3), key=lambda axis: spacing_mm[axis])
    others = max(spacing_mm[axis] for axis in range(3) if axis != coarsest)
    stands_out = spacing_mm[coarsest] > ISOTROPIC_RATIO * others
    return list(SLICE_AXES)[coarsest] if stands_out else None


def one_plane(cases: Sequence[CaseFingerprint], wanted: str | None) -> Sequence[CaseFingerprint]:
    """The cases whose slices lie in the wanted plane, by default that of most, or in none.

    All cases, where there is only one plane: of axial and sagittal slices every 5 mm the medians
    along the axes would be a spacing that no case has.
    """
    planes = [slice_plane(case.spacing_mm) for case in cases]
    known = [plane for plane in SLICE_AXES if plane in planes]
    if len(known) < 2:
        return cases
    chosen = wanted if wanted in known else max(known, key=planes.count)
    return [case for case, plane in zip(cases, planes, strict=True) if plane in (chosen, None)]


def stride_of(grid: Grid) -> int:
    """The U-Net's stride: the largest power of two in the size that leaves an edge of 4."""
    stride = 1
    edge = min(grid.in_plane)
    while (
        all(n % (2 * stride) == 0 for n in grid.in_plane)
        and edge // (2 * stride) >= MIN_FEATURE_EDGE
        and log2(stride) < MAX_STAGES - 1
    ):
        stride *= 2
    return stride


def _mm(values: tuple[float, ...]) -> str:
    return ", ".join(f"{v:.3g}" for v in values)
