"""Which images a report shows: the best, the typical, the worst, or those asked for."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from liftnet.core.errors import DatasetError
from liftnet.metrics.catalogue import direction
from liftnet.metrics.paired import compared
from liftnet.pipeline.report.results import Image, Results

__all__ = ["Shown", "choose", "gain", "hardest", "identifier", "outliers", "ranked"]

FENCE = 1.5  # Tukey 1977: interquartile ranges beyond a quartile
ENOUGH = 8  # ours: quartiles of fewer images say nothing of outliers
CHOSEN = "chosen"


@dataclass(frozen=True)
class Shown:
    """An image that is shown, and why."""

    image: Image
    role: str


def identifier(image: Image) -> str:
    """The name of an image inside the page."""
    return f"{image.case}/{image.contrast}"


def goodness(results: Results, image: Image, metric: str, position: int) -> float:
    """A method's value of a metric, or its negative distance from the best: more is better."""
    value = results.values(image, metric)[position]
    better = direction(metric)
    (size,) = compared([value], better)
    return float(-abs(size) if better in ("lower", "nearest 0", "nearest 1") else size)


def gain(results: Results, image: Image, metric: str) -> float:
    """How much better the first other method is than the baseline; NaN if one has no value."""
    first, other = (goodness(results, image, metric, position) for position in (0, 1))
    return 0.0 if first == other else other - first  # two infinite values do not differ


def hardest(results: Results, metric: str) -> Image:
    """The image on which the first other method is worst, of those that both have."""
    return min(ranked(results, metric), key=lambda image: goodness(results, image, metric, 1))


def ranked(results: Results, metric: str) -> list[Image]:
    """Images from best to worst by a metric; of several methods, by their gain over the baseline.

    The gain is that of the first other method. Images without the metric are left out.
    """

    def order(image: Image) -> float:
        if results.compared:
            return gain(results, image, metric)
        return goodness(results, image, metric, 0)

    having = [image for image in results.images if not math.isnan(order(image))]
    return sorted(having, key=order, reverse=True)


def choose(results: Results, metric: str, count: int, names: Sequence[str] | None) -> list[Shown]:
    """The images to show: at even steps from best to worst, or all of the cases named.

    Raises:
        DatasetError: If a case is not among them.
    """
    if names:
        known = results.cases
        if absent := [name for name in names if name not in known]:
            raise DatasetError(
                f"No scored case is called {', '.join(absent)}",
                where="--cases",
                remedy=f"There are {', '.join(known[:6])}{', ...' if len(known) > 6 else ''}.",
            )
        return [Shown(image, CHOSEN) for image in results.images if image.case in names]
    order = ranked(results, metric)
    last = len(order) - 1
    count = min(count, len(order))
    if count == 0:
        return []
    places = [round(k * last / (count - 1)) for k in range(count)] if count > 1 else [last]
    marked = (round(last / 2), 0, last)  # of an image that is several the last word counts
    words = ("median", "best", "worst")
    if results.compared:
        loses = [gain(results, order[place], metric) < 0 for place in marked]
        words = (
            "median loss" if loses[0] else "median gain",
            "smallest loss" if loses[1] else "largest gain",
            "largest loss" if loses[2] else "smallest gain",
        )
    roles = dict(zip(marked, words, strict=True))
    shown = [Shown(order[place], roles.get(place, CHOSEN)) for place in reversed(places)]
    if results.compared:
        worst = hardest(results, metric)
        if all(one.image != worst for one in shown):
            shown.append(Shown(worst, f"worst of {results.methods[1].name}"))
    return shown


def outliers(results: Results, metric: str) -> list[Image]:
    """Images on which a method stands out as bad: beyond Tukey's fence, worst first.

    Quartiles are those of the images of one contrast and method.
    """
    found: dict[str, tuple[float, Image]] = {}
    for contrast in dict.fromkeys(image.contrast for image in results.images):
        own = [image for image in results.images if image.contrast == contrast]
        for position in range(len(results.methods)):
            values = [goodness(results, image, metric, position) for image in own]
            finite = [value for value in values if math.isfinite(value)]
            if len(finite) < ENOUGH:
                continue
            low, high = np.quantile(finite, (0.25, 0.75))
            fence = low - FENCE * (high - low)
            for value, image in zip(values, own, strict=True):
                if value < fence:
                    key, depth = identifier(image), value - fence
                    found[key] = min(found.get(key, (depth, image)), (depth, image), key=_depth)
    return [image for _, image in sorted(found.values(), key=_depth)]


def _depth(entry: tuple[float, Image]) -> float:
    return entry[0]
