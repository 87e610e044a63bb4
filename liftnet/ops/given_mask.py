"""Masks that somebody has drawn or computed: what of them is inside, and what is odd about them."""

import numpy as np

__all__ = ["inside_of", "mask_doubt"]

LARGEST_SHARE = 0.999  # ours: a mask of so much of the grid bounds nothing
SMALLEST_SHARE = 1e-4  # ours: 40 voxels of 74 along each side; no body is so small


def inside_of(mask: np.ndarray) -> np.ndarray:
    """Where a mask (D, H, W) is inside: bool.

    Not zero, for whole numbers: 1, 255, labels. A mask with fractions is a probability, or was
    interpolated, and is inside above half of its largest value.
    """
    if _is_soft(mask):
        return np.asarray(mask > 0.5 * mask.max())
    return np.asarray(mask != 0)


def mask_doubt(mask: np.ndarray) -> tuple[str, str] | None:
    """What a user should know of a mask (D, H, W) that is not empty, and what to do, or None."""
    share = float(inside_of(mask).mean())
    if share > LARGEST_SHARE:
        return "The mask covers the whole image: it bounds nothing", "Check it, or remove it."
    if share < SMALLEST_SHARE:
        count = int(inside_of(mask).sum())
        return f"The mask has {count} of {mask.size} voxels inside", "Check it, or remove it."
    if _is_soft(mask):
        half = f"{0.5 * float(mask.max()):g}"
        return f"The mask has fractions: above {half} counts as inside", "Save it as 0 and 1."
    return None


def _is_soft(mask: np.ndarray) -> bool:
    return bool(mask.min() >= 0 and (mask != np.rint(mask)).any())
