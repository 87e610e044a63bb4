"""Geometry of a batch of slabs: rotation, scale, shear and elastic field in one resampling.

All of it happens in-plane and is the same for all slices of a slab, so one (B, H, W) field of
coordinates serves the whole slab with D folded into the channels. Flips are no part of it: they
permute voxels, exactly.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from liftnet.augment.ranges import SpatialParameters

FAINT = 1e-4  # ours: of tissue at about 1; coordinates of 512 voxels are rounded by 4e-5 of one


def is_deformed(control_points: Tensor) -> Tensor:
    """Returns (B,) booleans: True where an elastic field moves voxels."""
    return (control_points != 0).flatten(1).any(dim=1)


def is_turned(parameters: SpatialParameters) -> Tensor:
    """Returns (B,) booleans: True where voxels come to lie between voxels, which no flip does."""
    turned = (parameters.angle != 0) | (parameters.scale != 1) | (parameters.shear != 0)
    if parameters.control_points is not None:
        turned = turned | is_deformed(parameters.control_points)
    return turned


def displacement(control_points: Tensor, height: int, width: int) -> Tensor:
    """Returns the displacement along H and W as a fraction of them, (B, 2, H, W).

    The outer of the (B, 2, N, N) points lie on the outer voxels, and cubic interpolation joins
    them. The field does not fold as long as the points stay clearly below 1 / (2 (N - 1)).
    """
    for axis, size in ((2, height), (3, width)):
        control_points = blend(control_points, _cubic(control_points, size), axis)
    return control_points


def blend(points: Tensor, weight: Tensor, axis: int) -> Tensor:
    """Returns `points` (B, C, ...), of n entries along `axis`, blended to N by `weight` (N, n).

    A sum of the few terms, one after the other: the rounding of a matrix product depends on the
    size of the batch.
    """
    trailing = (1,) * (points.ndim - 1 - axis)
    shares = weight.T.contiguous().view(weight.shape[1], -1, *trailing)
    terms = [points.narrow(axis, number, 1) for number in range(len(shares))]
    blended = terms[0] * shares[0]
    for term, share in zip(terms[1:], shares[1:], strict=True):
        blended.add_(term * share)  # two steps: a broadcast in each, which addcmul does slowly
    return blended


def _cubic(points: Tensor, num_voxels: int) -> Tensor:
    """Returns the weights (num_voxels, N) of the N points of an axis for each of its voxels."""
    number = points.shape[-1]
    each = torch.eye(number, device=points.device)[None, None]
    # along one axis alone: ten times faster than torch's interpolation of the whole field
    weight = F.interpolate(each, (num_voxels, number), mode="bicubic", align_corners=True)
    return weight[0, 0]


def lines(parameters: SpatialParameters, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Returns what H and what W add to the coordinates, on the processor: (B, 2, H), (B, 2, W).

    What is shown is scaled, sheared and rotated, in this order, about the centre of the slice; an
    output voxel looks through the inverse of that. The matrix is reckoned in voxels, so that a
    rotation stays rigid where H differs from W.
    """
    cosine, sine = parameters.angle.cos(), parameters.angle.sin()
    shear = parameters.shear
    # along W and along H; from H and from W
    from_h = torch.stack((-sine - shear * cosine, cosine), dim=1)
    from_w = torch.stack((cosine - shear * sine, sine), dim=1)
    unit = 1 / parameters.scale[:, None]
    h = torch.arange(1.0 - height, height, 2)  # half voxels from the centre
    w = torch.arange(1.0 - width, width, 2)
    column = (unit * from_h)[:, :, None] * torch.stack((h / width, h / height))
    row = (unit * from_w)[:, :, None] * torch.stack((w / width, w / height))
    return column, row


def coordinates(column: Tensor, row: Tensor, control_points: Tensor | None) -> Tensor:
    """Returns where each output voxel looks in the input: (B, 2, H, W), along W and along H.

    The unit is torch's, in which the slice runs from -1 to 1, voxel edge to voxel edge.

    Args:
        column: (B, 2, H), see `lines`.
        row: (B, 2, W), see `lines`; a matrix times a position is the sum of both.
        control_points: (B, 2, N, N), see `displacement`; None: no elastic field.
    """
    where = column[..., :, None] + row[..., None, :]
    if control_points is None:
        return where
    moved = displacement(control_points, *where.shape[-2:])
    return where.add_(moved.flip(1), alpha=2)


def resample(image: Tensor, where: Tensor, *, mode: str = "bilinear") -> Tensor:
    """Returns `image` (B, C, D, H, W) read at `where` (B, 2, H, W); outside is zero.

    Bilinear values of at most `FAINT` are zero too: where coordinates meet a voxel, their rounding
    decides whether its neighbour counts, and background beside tissue would be 1e-7 and not zero.

    Args:
        image: Slabs to read from.
        where: `coordinates`, the same for every channel and slice of an item.
        mode: "bilinear" or "nearest".
    """
    moved = F.grid_sample(
        image.flatten(1, 2),
        where.permute(0, 2, 3, 1),
        mode=mode,
        padding_mode="zeros",
        align_corners=False,
    )
    if mode == "bilinear":
        torch.hardshrink(moved, FAINT, out=moved)
    return moved.view(image.shape)
