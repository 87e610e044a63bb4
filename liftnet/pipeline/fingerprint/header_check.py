"""What the header of one readable image says twice and differently, or cannot mean."""

from collections.abc import Iterator
from pathlib import Path

from liftnet.core.geometry import Geometry
from liftnet.imageio import header_doubt

__all__ = ["header_faults"]

SIDES_MM = (0.02, 20.0)  # ours: no voxel of a scan of a body is smaller or larger


def header_faults(path: Path, geometry: Geometry) -> Iterator[tuple[str, str]]:
    """What is wrong with the header of an image that lies on this grid, and what to do."""
    if (doubt := header_doubt(path)) is not None:
        yield doubt, "Find out which is right, and write it into the header in both places."
    sides = geometry.spacing_mm
    if not all(SIDES_MM[0] <= side <= SIDES_MM[1] for side in sides):
        shown = " x ".join(f"{side:.4g}" for side in sides[::-1])
        yield f"Voxels of {shown} mm", "Correct the spacing, or its unit, in the header."
