"""Regions of a CT by its Hounsfield units, in which errors are reported apart."""

import numpy as np
from scipy import ndimage

from liftnet.core.errors import DatasetError
from liftnet.ops.intensities import AIR_HU
from liftnet.ops.mask import largest_component

__all__ = ["AIR_HU", "DESCRIPTION", "NAMES", "find_regions"]

SOFT_HU = (-100.0, 200.0)  # LiFT App. B.5
BONE_HU = 300.0  # LiFT App. B.5: above
BOUNDARY_VOXELS = 2  # LiFT App. B.5
NAMES = ("body", "soft", "bone", "air", "boundary")
DESCRIPTION = (
    "body: the largest piece of the reference above -500 HU, holes filled; "
    "in it soft: -100 to 200 HU, bone: above 300, air: below -500, "
    "boundary: within 2 voxels of bone or air"
)


def find_regions(reference: np.ndarray) -> dict[str, np.ndarray]:
    """The masks (D, H, W) of the regions `NAMES` in a reference CT in HU; one may be empty.

    Body is the largest component (neighbours share a face) above -500 HU with enclosed holes
    filled; boundary are the voxels at most two steps over faces from bone or air.

    Source: LiFT App. B.5.
    Differs: every region lies in the body, which the paper does not say. Without it air would be
    mostly the empty space around the patient, where nothing is to be predicted; the paper's errors
    in air, four times those of the whole volume, are not of that region.

    Raises:
        DatasetError: If nothing is above -500 HU.
    """
    body = np.asarray(ndimage.binary_fill_holes(largest_component(reference > AIR_HU)))
    if not body.any():
        raise DatasetError(
            f"The reference CT has no voxel above {AIR_HU:g} HU",
            remedy="Check that it is stored in Hounsfield units.",
        )
    bone = (reference > BONE_HU) & body
    air = (reference < AIR_HU) & body
    boundary = ndimage.binary_dilation(bone | air, iterations=BOUNDARY_VOXELS) & body
    soft = (reference >= SOFT_HU[0]) & (reference <= SOFT_HU[1]) & body
    return dict(zip(NAMES, (body, soft, bone, air, boundary), strict=True))
