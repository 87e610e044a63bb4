"""Coherence along the slice axis: the error and the correlation of steps between slices."""

from collections.abc import Callable

from liftnet.metrics import regions
from liftnet.metrics.metric import Metric, Pair
from liftnet.metrics.similarity import mae, ncc

__all__ = ["METRICS", "delta_z_correlation", "delta_z_mae"]


def delta_z_mae(pair: Pair, place: str) -> float | None:
    """The mean absolute error of the differences between slices, in the images' unit.

    In a region those count of which both voxels lie in it; without one it is None.

    Source: LiFT App. B.2.
    """
    return _of_steps(mae, pair, place)


def delta_z_correlation(pair: Pair, place: str) -> float | None:
    """The Pearson correlation of the differences between slices; 0 if one image has none.

    In a region those count of which both voxels lie in it; without one it is None.

    Source: LiFT App. B.2.
    """
    return _of_steps(ncc, pair, place)


def _of_steps(function: Callable[..., float], pair: Pair, place: str) -> float | None:
    inside = pair.steps_inside(place)
    return function(*pair.steps, inside) if inside is None or inside.any() else None


METRICS = (
    Metric(
        "delta_z_mae",
        "Δz MAE",
        "Through-plane error: the mean absolute error of the differences between neighbouring "
        "slices along the slice axis, {in_unit}{steps}",
        better="lower",
        unit="image",
        source="LiFT App. B.2",
        of={"MR": ("",), "CT": ("", *regions.NAMES)},
        measure=delta_z_mae,
        rank=5,
    ),
    Metric(
        "delta_z_correlation",
        "Δz correlation",
        "Through-plane coherence: the Pearson correlation of the differences between neighbouring "
        "slices along the slice axis with those of the reference, 1 if they agree up to scale and "
        "0 if one image has none{steps}",
        better="higher",
        source="LiFT App. B.2, of CT in the body",
        of={"MR": ("",), "CT": ("", "body")},
        measure=delta_z_correlation,
    ),
)
