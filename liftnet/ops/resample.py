"""Resampling of volumes (C, D, H, W) between grids that cover the same box."""

import numpy as np
import torch
import torch.nn.functional as F

__all__ = ["resample"]


def resample(voxels: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """The volume (C, D, H, W) on a grid of another size that covers the same box; float32.

    In-plane and through-plane are separate, since their spacings differ: linear interpolation
    between voxel centres, and over the footprint of a target voxel where the grid gets coarser,
    so that nothing aliases.
    """
    image = torch.from_numpy(np.ascontiguousarray(voxels, dtype=np.float32))
    if tuple(image.shape[2:]) != tuple(shape[1:]):
        image = F.interpolate(
            image.transpose(0, 1), size=shape[1:], mode="bilinear", antialias=True
        ).transpose(0, 1)
    if image.shape[1] != shape[0]:
        channels, depth, height, width = image.shape
        lines = image.reshape(channels, 1, depth, height * width)
        lines = F.interpolate(
            lines, size=(shape[0], height * width), mode="bilinear", antialias=True
        )
        image = lines.reshape(channels, shape[0], height, width)
    return np.ascontiguousarray(image.numpy())
