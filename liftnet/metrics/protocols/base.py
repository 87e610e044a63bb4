"""The abstract class of a protocol that scores images by their references, and its common steps."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from liftnet.core.errors import DatasetError, GeometryError
from liftnet.core.scores import CaseScore, Compared, Comparison, Protocol
from liftnet.metrics.catalogue import METRICS, full_name
from liftnet.metrics.metric import Pair
from liftnet.ops.intensities import check_intensities
from liftnet.ops.ssim import SMALLEST_WINDOW, WINDOW_SIZE, fit_window

__all__ = ["PairProtocol", "find_window", "measure", "refuse_wrong_intensities"]


class PairProtocol(ABC):
    """A convention of scoring an image by its reference: range, grid, mask, metrics."""

    stated: Protocol  # its name and sentence, as scores.json holds them

    @abstractmethod
    def as_compared(self, comparison: Comparison) -> Compared:
        """Both images on the whole grid as they are compared, for pictures and profiles, too.

        Raises:
            DatasetError: If one of them cannot be scored.
        """

    @abstractmethod
    def score_case(self, comparison: Comparison) -> CaseScore:
        """The metrics of a predicted image.

        Raises:
            DatasetError: If it or its reference cannot be scored.
            GeometryError: If the grid is not the protocol's, or too small for SSIM.
        """


def measure(pair: Pair) -> tuple[dict[str, float], dict[str, str]]:
    """All metrics that the catalogue has for a pair, by their names, and a note on those left out.

    A region that is empty has none.
    """
    found: dict[str, float] = {}
    absent = []
    for metric in METRICS:
        if metric.measure is None:
            continue
        for place in metric.of.get(pair.modality, ()):
            if (region := pair.inside(place)) is not None and not region.any():
                continue
            value = metric.measure(pair, place)
            if value is not None:
                found[full_name(metric, place)] = value
            elif not place:
                absent.append(metric.name)
    text = f"{', '.join(absent)}: the reference is constant there"
    return found, {"left_out": text} if absent else {}


def find_window(shape: Sequence[int]) -> tuple[int, dict[str, str]]:
    """The size of the windows of 3D SSIM on a grid, and a note where it is not the usual one.

    Raises:
        GeometryError: If none fits.
    """
    if min(shape) < SMALLEST_WINDOW:
        raise GeometryError(
            f"SSIM needs at least {SMALLEST_WINDOW} voxels per axis, got {tuple(shape)}",
            remedy="Score whole volumes, not single slices.",
        )
    window = fit_window(shape, WINDOW_SIZE)
    note = f"{window} instead of {WINDOW_SIZE}: the volume is small"
    return window, {"ssim_window": note} if window < WINDOW_SIZE else {}


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
