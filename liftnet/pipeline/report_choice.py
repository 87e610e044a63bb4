"""Which images a report shows: the best, the typical, the worst, or those asked for."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from liftnet.core.errors import DatasetError
from liftnet.metrics.paired import direction
from liftnet.pipeline.report_results import Image, Results

__all__ = ["Shown", "choose", "identifier", "outliers", "ranked"]

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


def ranked(results: Results, metric: str) -> list[Image]:
    """Images from best to worst by a metric; of several methods, by their gain over the baseline.

    The gain is that of the first other method. Images without the metric are left out.
    """
    sign = -1.0 if direction(metric) == "lower" else 1.0

    def goodness(image: Image) -> float:
        values = results.values(image, metric)
        if not results.compared:
            return sign * values[0]
        return 0.0 if values[1] == values[0] else sign * (values[1] - values[0])

    having = [image for image in results.images if not math.isnan(goodness(image))]
    return sorted(having, key=goodness, reverse=True)


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
    places = [round(k * last / max(1, count - 1)) for k in range(count)] if count > 1 else [last]
    words = ("best", "median", "worst")
    if results.compared and order:
        values = results.values(order[-1], metric)
        loses = values[1] < values[0] if direction(metric) != "lower" else values[1] > values[0]
        words = ("largest gain", "median gain", "largest loss" if loses else "smallest gain")
    roles = dict(zip((round(last / 2), 0, last), (words[1], words[0], words[2]), strict=True))
    shown = [Shown(order[place], roles.get(place, CHOSEN)) for place in reversed(places)]
    if results.compared and shown:
        sign = -1.0 if direction(metric) == "lower" else 1.0
        hardest = min(order, key=lambda image: sign * results.values(image, metric)[1])
        if all(one.image != hardest for one in shown):
            shown.append(Shown(hardest, f"worst of {results.methods[1].name}"))
    return shown


def outliers(results: Results, metric: str) -> list[Image]:
    """Images on which a method stands out as bad: beyond Tukey's fence, worst first.

    Quartiles are those of the images of one contrast and method.
    """
    sign = -1.0 if direction(metric) == "lower" else 1.0
    found: dict[str, tuple[float, Image]] = {}
    for contrast in dict.fromkeys(image.contrast for image in results.images):
        own = [image for image in results.images if image.contrast == contrast]
        for position in range(len(results.methods)):
            values = [sign * results.values(image, metric)[position] for image in own]
            finite = sorted(value for value in values if math.isfinite(value))
            if len(finite) < ENOUGH:
                continue
            low, high = (_quantile(finite, part) for part in (0.25, 0.75))
            fence = low - FENCE * (high - low)
            for value, image in zip(values, own, strict=True):
                if value < fence:
                    key, depth = identifier(image), value - fence
                    found[key] = min(found.get(key, (depth, image)), (depth, image), key=_depth)
    return [image for _, image in sorted(found.values(), key=_depth)]


def _depth(entry: tuple[float, Image]) -> float:
    return entry[0]


def _quantile(ordered: Sequence[float], part: float) -> float:
    """A quantile of sorted values, linear between them."""
    place = part * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])
