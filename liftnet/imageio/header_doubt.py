"""What a header says in two ways that do not agree, though each can be read."""

from pathlib import Path

from liftnet.imageio.mha import field_contradiction
from liftnet.imageio.nifti_header import HEADER_BYTES, form_contradiction
from liftnet.imageio.nrrd import spacing_contradiction
from liftnet.imageio.read import stored_bytes

__all__ = ["header_doubt"]


def header_doubt(path: Path) -> str | None:
    """How the header of a readable image contradicts itself, and what of it is used; or None."""
    name = path.name.lower()
    if name.endswith((".nii", ".nii.gz")):
        return form_contradiction(stored_bytes(path, HEADER_BYTES), path)
    return field_contradiction(path) if name.endswith(".mha") else spacing_contradiction(path)
