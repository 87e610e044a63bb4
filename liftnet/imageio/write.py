"""Arrays (D, H, W) and their geometry -> image files."""

import os
from pathlib import Path

import numpy as np

from liftnet.core.errors import LiftnetError
from liftnet.core.geometry import Geometry

__all__ = ["write_image"]

COMPRESSION_LEVEL = 1  # ours, for .mha and .nrrd: 3 times faster; ITK has its own for .nii.gz


def write_image(path: Path, voxels: np.ndarray, geometry: Geometry, *, dtype: str) -> None:
    """Write voxels (D, H, W) on their grid, whole or not at all.

    Integer types are rounded and limited to their range.

    Raises:
        ValueError: If the shape does not fit or the type cannot be written.
        LiftnetError: If the file cannot be written (no space, no permission).
    """
    import SimpleITK as sitk

    if tuple(voxels.shape) != geometry.shape:
        raise ValueError(f"expected voxels of shape {geometry.shape}, got {voxels.shape}")
    image = sitk.GetImageFromArray(_as_type(voxels, np.dtype(dtype)))
    image.SetSpacing([float(s) for s in reversed(geometry.spacing_mm)])
    image.SetOrigin([float(x) for x in geometry.origin_mm])
    columns = np.array(geometry.direction)[::-1].T
    image.SetDirection([float(x) for x in columns.reshape(-1)])
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        sitk.WriteImage(
            image, str(temporary), useCompression=True, compressionLevel=COMPRESSION_LEVEL
        )
        temporary.replace(path)
    except (OSError, RuntimeError):
        temporary.unlink(missing_ok=True)
        raise LiftnetError(
            "The image could not be written",
            where=str(path),
            remedy="Check the free space, the permissions and the file ending.",
        ) from None


def _as_type(voxels: np.ndarray, kind: np.dtype) -> np.ndarray:
    """The voxels in the type of the file; integers rounded and limited to their range."""
    if kind.name not in ("float32", "float64") and kind.kind not in "iu":
        raise ValueError(f"expected an integer type, float32 or float64, got {kind.name}")
    if kind.kind in "iu":
        limits = np.iinfo(kind)
        exact = voxels.astype(np.float64)  # float32 cannot hold the limits of int32
        if not np.isfinite(exact).all():
            raise ValueError(f"expected finite voxels for {kind.name}, got NaN or inf")
        top = float(limits.max)
        top = top if int(top) <= limits.max else float(np.nextafter(top, 0))
        voxels = np.clip(np.rint(exact), float(limits.min), top)
    return np.ascontiguousarray(voxels, dtype=kind)
