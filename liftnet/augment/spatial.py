"""Geometry of a batch of slabs: flips, rotation, scale, shear and elastic field in one resampling.

Everything but the flip along D happens in-plane and is the same for all slices of a slab, so one
(B, H, W) field of coordinates serves the whole slab with D folded into the channels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from liftnet.augment.ranges import SpatialParameters


def flip_depth(image: Tensor, flip: Tensor) -> Tensor:
    """Returns `image` (B, C, D, H, W) with the slice order of the items in `flip` (B,) reversed."""
    return torch.where(flip[:, None, None, None, None], image.flip(2), image)


def is_neutral(parameters: SpatialParameters) -> Tensor:
    """Returns (B,) booleans: True where nothing moves in-plane."""
    still = ~parameters.flip[:, 1:].any(dim=1)
    still = still & (parameters.angle == 0) & (parameters.scale == 1) & (parameters.shear == 0)
    return still & (parameters.control_points == 0).flatten(1).all(dim=1)


def displacement(control_points: Tensor, height: int, width: int) -> Tensor:
    """Returns the displacement along H and W in voxels, (B, 2, H, W), of (B, 2, N, N) points.

    The outer points lie on the outer voxels, and cubic interpolation joins them. The field does
    not fold as long as the points stay clearly below 1 / (2 (N - 1)).
    """
    along_h, along_w = F.interpolate(
        control_points, (height, width), mode="bicubic", align_corners=True
    ).unbind(1)
    return torch.stack((along_h * height, along_w * width), dim=1)


def coordinates(parameters: SpatialParameters, height: int, width: int) -> Tensor:
    """Returns where each output voxel looks in the input: (B, 2, H, W) voxels along H and W.

    What is shown is flipped, scaled, sheared and rotated, in this order, about the centre of the
    slice; an output voxel looks through the inverse of that, moved by the elastic displacement.
    All of it is reckoned in voxels, so that a rotation stays rigid where H differs from W.
    """
    device = parameters.angle.device
    h = (torch.arange(height, device=device) - (height - 1) / 2)[:, None]
    w = (torch.arange(width, device=device) - (width - 1) / 2)[None, :]
    per_item = (-1, 1, 1)
    cosine = parameters.angle.cos().view(per_item)
    sine = parameters.angle.sin().view(per_item)
    scale = parameters.scale.view(per_item)
    sign = torch.where(parameters.flip[:, 1:], -1.0, 1.0)

    turned_h = cosine * h + sine * w
    turned_w = cosine * w - sine * h
    straight_w = turned_w - parameters.shear.view(per_item) * turned_h
    input_h = turned_h / scale * sign[:, 0].view(per_item) + (height - 1) / 2
    input_w = straight_w / scale * sign[:, 1].view(per_item) + (width - 1) / 2
    moved = displacement(parameters.control_points, height, width)
    return torch.stack((input_h, input_w), dim=1) + moved


def resample(image: Tensor, where: Tensor, *, mode: str = "bilinear") -> Tensor:
    """Returns `image` (B, C, D, H, W) read at `where` (B, 2, H, W) in voxels; outside is zero.

    Args:
        image: Slabs to read from.
        where: Coordinates along H and W, the same for every channel and slice of an item.
        mode: "bilinear" or "nearest".
    """
    height, width = image.shape[-2:]
    # torch reads (W, H) pairs in units in which the slice runs from -1 to 1, voxel edge to edge
    grid = torch.stack(
        ((2 * where[:, 1] + 1) / width - 1, (2 * where[:, 0] + 1) / height - 1), dim=-1
    )
    moved = F.grid_sample(
        image.flatten(1, 2), grid, mode=mode, padding_mode="zeros", align_corners=False
    )
    return moved.view_as(image)


def transform(
    image: Tensor,
    parameters: SpatialParameters,
    *,
    where: Tensor | None = None,
    mode: str = "bilinear",
) -> Tensor:
    """Returns `image` (B, C, D, H, W) moved as `parameters` say; still items are left as they are.

    Args:
        image: Slabs, float32.
        parameters: One geometry per item.
        where: `coordinates` of the same parameters, to compute them once for several images.
        mode: "bilinear" or, for weights and masks, "nearest".
    """
    if where is None:
        where = coordinates(parameters, image.shape[-2], image.shape[-1])
    image = flip_depth(image, parameters.flip[:, 0])
    still = is_neutral(parameters)[:, None, None, None, None]
    # the detour over torch's normalized coordinates costs about 1e-6: spare the still items
    return torch.where(still, image, resample(image, where, mode=mode))
