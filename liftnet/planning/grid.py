"""The grid that networks see, from the shapes and spacings of all cases."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import log2
from statistics import median
from typing import Literal

from liftnet.core.errors import PlanError
from liftnet.core.fingerprint import CaseFingerprint, Fingerprint
from liftnet.core.geometry import SLICE_AXES, Shape, Triple, same_spacing
from liftnet.core.plan import Grid, Plan

__all__ = ["GridChoice", "plan_grid", "refuse_other_foreground", "slice_plane", "stride_of"]

ISOTROPIC_RATIO = 1.2  # ours: below this no axis counts as the coarse one
MIN_FEATURE_EDGE = 4  # nnU-Net default_experiment_planner.py
MAX_STAGES = 7  # ours: nnU-Net's largest 2D networks
MARGIN = 2  # ours: voxels around the largest foreground box, for augmentation


@dataclass(frozen=True)
class GridChoice:
    """What of the grid was set by hand; the rest follows from it and the fingerprint."""

    slice_axis: Literal["axial", "coronal", "sagittal"] | None = None
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
    if choice.box is not None:  # where its mask lies is known without the foreground
        crop = False
    elif choice.crop_in_plane is not None:
        crop = choice.crop_in_plane
    cases = list(fingerprint.cases.values())
    alike = one_plane(cases, choice.slice_axis)
    zyx = (
        median(c.spacing_mm[0] for c in alike),
        median(c.spacing_mm[1] for c in alike),
        median(c.spacing_mm[2] for c in alike),
    )
    coarsest = slice_plane(zyx)
    axis = choice.slice_axis or coarsest or "axial"
    # Canonical axes are (z, y, x); SLICE_AXES counts world axes x = 0, y = 1, z = 2.
    order = tuple(2 - world for world in SLICE_AXES[axis])
    own: Triple = (zyx[order[0]], zyx[order[1]], zyx[order[2]])
    spacing = choice.spacing_mm or own
    through = choice.resample_through_plane or choice.box is not None
    within = choice.resample_in_plane or choice.box is not None
    if choice.spacing_mm is not None:
        _refuse_other_spacing(own, choice.spacing_mm, through=through, within=within)
    slices = [
        c.shape[order[0]] * (c.spacing_mm[order[0]] / spacing[0] if through else 1) for c in cases
    ]
    extents = []
    for a, step in zip(order[1:], spacing[1:], strict=True):
        sizes = [
            ((c.box_stop[a] - c.box_start[a]) if crop else c.shape[a])
            * (c.spacing_mm[a] / step if within else 1)
            for c in cases
        ]
        extents.append(round(max(sizes)) + (2 * MARGIN if crop else 0))
    halvings = min(int(log2(max(min(extents) / MIN_FEATURE_EDGE, 1))), MAX_STAGES - 1)
    stride = 2**halvings
    in_plane = (-(-extents[0] // stride) * stride, -(-extents[1] // stride) * stride)
    in_plane = choice.in_plane or in_plane
    depth = choice.num_slices or max(1, round(median(slices)))
    if choice.box is not None:
        depth, in_plane = choice.box[0], choice.box[1:]
    reasons |= {
        "grid.slice_axis": f"median spacing (z, y, x) is {_mm(zyx)} mm: "
        + ("the coarsest axis (nnU-Net)" if coarsest else "isotropic, so axial (LiFT)"),
        "grid.spacing_mm": "median over cases (nnU-Net)"
        if len(alike) == len(cases)
        else f"median over the {len(alike)} cases whose slices are not in another plane; those of "
        f"the other {len(cases) - len(alike)} are interpolated (ours)",
        "grid.in_plane": f"largest {'foreground box' if crop else 'image'} "
        f"{extents[0]}x{extents[1]}, up to a multiple of the U-Net's stride {stride} (nnU-Net)",
        "grid.num_slices": "median over cases; all slices are kept (LiFT: all 155)",
        "grid.foreground": "background is exactly zero"
        if fingerprint.foreground == "nonzero"
        else "background is not zero: Otsu threshold",
        "grid.crop_in_plane": "only background is cut off, and put back at prediction (nnU-Net)"
        if crop
        else "nothing is cut off: the background is not known in the target (ours)",
        "grid.resample_through_plane": "slices are never resampled in 2D (nnU-Net); the mixer "
        "takes any number of them",
    }
    return Grid(
        slice_axis=axis,  # type: ignore[arg-type]
        spacing_mm=spacing,
        in_plane=in_plane,
        num_slices=depth,
        foreground="nonzero" if fingerprint.foreground == "nonzero" else "otsu",
        crop_in_plane=crop,
        resample_in_plane=within,
        resample_through_plane=through,
        mask=mask,
        box=choice.box,
    )


def _refuse_other_spacing(own: Triple, wanted: Triple, *, through: bool, within: bool) -> None:
    """Refuse a spacing that no image would be brought to.

    Raises:
        PlanError: Naming the setting that would.
    """
    if min(wanted) <= 0:
        raise PlanError(
            f"grid.spacing_mm {wanted} is not positive", remedy="Give mm along D, H and W."
        )
    if not through and not same_spacing(own[0], wanted[0]):
        raise PlanError(
            f"grid.spacing_mm asks for slices every {wanted[0]:g} mm, but slices are not "
            f"resampled and lie {own[0]:.4g} mm apart",
            remedy="Set grid.resample_through_plane=true too, or give that distance.",
        )
    if not within and not all(map(same_spacing, own[1:], wanted[1:])):
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
