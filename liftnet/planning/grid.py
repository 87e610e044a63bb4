"""The grid that networks see, from the shapes and spacings of all cases."""

from math import log2
from statistics import median
from typing import Literal

from liftnet.core.fingerprint import Fingerprint
from liftnet.core.geometry import SLICE_AXES, Triple
from liftnet.core.plan import Grid

__all__ = ["plan_grid", "stride_of"]

ISOTROPIC_RATIO = 1.2  # ours: below this no axis counts as the coarse one
MIN_FEATURE_EDGE = 4  # nnU-Net default_experiment_planner.py
MAX_STAGES = 7  # ours: nnU-Net's largest 2D networks
MARGIN = 2  # ours: voxels around the largest foreground box, for augmentation


def plan_grid(
    fingerprint: Fingerprint,
    reasons: dict[str, str],
    *,
    crop: bool,
    mask: Literal["none", "body"] = "none",
) -> Grid:
    """Slice axis, spacing and in-plane size from the shapes and spacings of all cases.

    `crop`: whether slices are cropped to the foreground.
    """
    cases = fingerprint.cases.values()
    zyx = tuple(median(c.spacing_mm[a] for c in cases) for a in range(3))
    coarsest = max(range(3), key=lambda a: zyx[a])
    others = max(zyx[a] for a in range(3) if a != coarsest)
    isotropic = zyx[coarsest] <= ISOTROPIC_RATIO * others
    axis = "axial" if isotropic else list(SLICE_AXES)[coarsest]
    # Canonical axes are (z, y, x); SLICE_AXES counts world axes x = 0, y = 1, z = 2.
    order = tuple(2 - world for world in SLICE_AXES[axis])
    spacing: Triple = (zyx[order[0]], zyx[order[1]], zyx[order[2]])
    extents = []
    for a in order[1:]:
        sizes = [
            ((c.box_stop[a] - c.box_start[a]) if crop else c.shape[a]) * c.spacing_mm[a] / zyx[a]
            for c in cases
        ]
        extents.append(round(max(sizes)) + (2 * MARGIN if crop else 0))
    halvings = min(int(log2(max(min(extents) / MIN_FEATURE_EDGE, 1))), MAX_STAGES - 1)
    stride = 2**halvings
    in_plane = (-(-extents[0] // stride) * stride, -(-extents[1] // stride) * stride)
    reasons |= {
        "grid.slice_axis": f"median spacing (z, y, x) is {_mm(zyx)} mm: "
        + ("isotropic, so axial (LiFT)" if isotropic else "the coarsest axis (nnU-Net)"),
        "grid.spacing_mm": "median over cases (nnU-Net)",
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
        num_slices=round(median(c.shape[order[0]] for c in cases)),
        foreground="nonzero" if fingerprint.foreground == "nonzero" else "otsu",
        crop_in_plane=crop,
        resample_in_plane=True,
        resample_through_plane=False,
        mask=mask,
        box=None,
    )


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
