"""Images that are not what a protocol compares are refused before they are scored."""

from liftnet.core.errors import DatasetError
from liftnet.core.scores import Comparison
from liftnet.ops.intensities import check_intensities

__all__ = ["refuse_wrong_intensities"]


def refuse_wrong_intensities(comparison: Comparison, *, ct: bool) -> dict[str, str]:
    """A note on what is strange about the intensities of both images; none if nothing is.

    A predicted CT is never refused: outside the mask in which it is scored it may be anything.

    Raises:
        DatasetError: If one cannot be MR from 0 upwards, or the reference CT in Hounsfield units.
    """
    strange = []
    pair = {"reference": comparison.reference}
    if ct or comparison.written_range is None:  # else it is clipped to what liftnet wrote
        pair["predicted image"] = comparison.predicted
    for what, image in pair.items():
        for finding in check_intensities(image, ct=ct):
            if finding.severity == "error" and not (ct and what == "predicted image"):
                raise DatasetError(f"The {what}: {finding.text}", remedy=finding.remedy)
            strange.append(f"{what}: {finding.text}")
    return {"intensities": "; ".join(strange)} if strange else {}
