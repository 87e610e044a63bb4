"""Arrays (D, H, W) and their geometry -> image files."""

import errno
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from liftnet.core.errors import LiftnetError
from liftnet.core.geometry import Geometry
from liftnet.core.names import check_name
from liftnet.core.storage.files import flush_file, flush_folder, reserve, size_limit

__all__ = ["write_image"]

COMPRESSION_LEVEL = 1  # ours, for .mha and .nrrd: 3 times faster; ITK has its own for .nii.gz

HEADERS = (352, 544)  # bytes before the voxels in NIfTI-1 and NIfTI-2


def write_image(path: Path, voxels: np.ndarray, geometry: Geometry, *, dtype: str) -> None:
    """Write voxels (D, H, W) on their grid, whole or not at all.

    Integer types are rounded and limited to their range.

    Raises:
        ValueError: If the shape does not fit or the type cannot be written.
        LiftnetError: If voxels are NaN or inf, or the file cannot be written (no space, no
            permission, a name in no UTF-8).
        OSError: If files may not be as large (ulimit -f).
    """
    import SimpleITK as sitk

    if tuple(voxels.shape) != geometry.shape:
        raise ValueError(f"expected voxels of shape {geometry.shape}, got {voxels.shape}")
    check_name(path)
    finite = np.isfinite(voxels)
    if not finite.all():
        raise LiftnetError(
            f"{finite.size - np.count_nonzero(finite)} voxels of the image to be written are NaN "
            "or infinite",
            where=str(path),
            remedy="Nothing was written. Check the weights (-chk, -f) and the source images.",
        )
    image = sitk.GetImageFromArray(_as_type(voxels, np.dtype(dtype)))
    image.SetSpacing([float(s) for s in reversed(geometry.spacing_mm)])
    image.SetOrigin([float(x) for x in geometry.origin_mm])
    columns = np.array(geometry.direction)[::-1].T
    image.SetDirection([float(x) for x in columns.reshape(-1)])
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        reserve(temporary, path)
        sitk.WriteImage(
            image, str(temporary), useCompression=True, compressionLevel=COMPRESSION_LEVEL
        )
        if not _is_whole(temporary, image):
            raise OSError(errno.ENOSPC, "the file is cut off")
        flush_file(temporary)
        temporary.replace(path)
        flush_folder(path.parent)
    except (OSError, RuntimeError):
        limit, written = size_limit(), temporary.stat().st_size if temporary.exists() else 0
        temporary.unlink(missing_ok=True)
        if limit is not None and written >= limit:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), str(path)) from None
        free = shutil.disk_usage(path.parent).free / 2**30
        raise LiftnetError(
            f"The image could not be written; {free:.3f} GiB are free there",
            where=str(path),
            remedy="Check the free space, the permissions and the file ending.",
        ) from None


def _is_whole(path: Path, image: Any) -> bool:
    """Whether a NIfTI file has all its voxels: ITK does not say that a disk was full."""
    if not path.name.lower().endswith((".nii", ".nii.gz")):
        return True  # of others it does
    size = path.stat().st_size
    if path.name.lower().endswith(".gz"):
        with path.open("rb") as file:
            file.seek(max(0, size - 4))
            size = int.from_bytes(file.read(4), "little")  # RFC 1952: of the content, modulo 2^32
    voxels = image.GetNumberOfPixels() * image.GetSizeOfPixelComponent()
    return any(size == (header + voxels) % 2**32 for header in HEADERS)


def _as_type(voxels: np.ndarray, kind: np.dtype) -> np.ndarray:
    """The voxels in the type of the file; integers rounded and limited to their range."""
    if kind.name not in ("float32", "float64") and kind.kind not in "iu":
        raise ValueError(f"expected an integer type, float32 or float64, got {kind.name}")
    if kind.kind in "iu":
        limits = np.iinfo(kind)
        exact = voxels.astype(np.float64)  # float32 cannot hold the limits of int32
        top = float(limits.max)
        top = top if int(top) <= limits.max else float(np.nextafter(top, 0))
        voxels = np.clip(np.rint(exact), float(limits.min), top)
    return np.ascontiguousarray(voxels, dtype=kind)
