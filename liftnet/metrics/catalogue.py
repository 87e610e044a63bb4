"""Every metric there is, and what reports and tables say of it; writes docs/reference/metrics.md.

python -m liftnet.metrics.catalogue docs/reference/metrics.md
"""

import math
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import MappingProxyType

from liftnet.core.comparison import Direction, better_words
from liftnet.core.dataset import Modality
from liftnet.metrics import coherence, cohort, distribution, sharpness, similarity
from liftnet.metrics.metric import CohortMetric, Metric
from liftnet.metrics.similarity import PLANES

__all__ = [
    "COHORT_METRICS",
    "METRICS",
    "UNKNOWN",
    "cohort_name",
    "digits_of",
    "direction",
    "explain",
    "explain_cohort",
    "full_name",
    "good_of",
    "main_metrics",
    "page",
    "short_name",
    "unit_of",
]

METRICS: tuple[Metric, ...] = (*similarity.METRICS, *coherence.METRICS, *sharpness.METRICS)
COHORT_METRICS: tuple[CohortMetric, ...] = (*distribution.METRICS, *cohort.METRICS)
MODALITIES: tuple[Modality, ...] = ("MR", "CT")
UNKNOWN = "A metric of this name is not described."
FINE_BELOW = 2.0  # ours: similarities and errors of [0, 1] get 4 digits, errors in HU 2
# Of each region: how a heading names it, and what it is. See regions.py and mr_protocols.py.
PLACES = MappingProxyType(
    {
        "brain": ("in the brain", "the brain, the foreground of the case's reference contrasts"),
        "body": ("in the body", "the reference's body, its largest piece above -500 HU, filled"),
        "soft": ("in soft tissue", "soft tissue, -100 to 200 HU of the reference in the body"),
        "bone": ("in bone", "bone, above 300 HU of the reference in the body"),
        "air": ("in air", "air inside the body, below -500 HU of the reference"),
        "boundary": ("at boundaries", "the body within 2 voxels of the reference's bone or air"),
    }
)


def full_name(metric: Metric, place: str) -> str:
    """The name of a metric at a place, as in scores.json: "mae_bone"; at "" its own."""
    return f"{metric.name}_{place}" if place else metric.name


def _by_name() -> dict[str, tuple[Metric, str]]:
    """Full name -> metric and place."""
    found: dict[str, tuple[Metric, str]] = {}
    for metric in METRICS:
        for place in dict.fromkeys(p for places in metric.of.values() for p in places):
            found[full_name(metric, place)] = (metric, place)
    return found


_KNOWN = MappingProxyType(_by_name())
_COHORTS = MappingProxyType({metric.name: metric for metric in COHORT_METRICS})


def direction(name: str) -> Direction:
    """Which value of a metric is better; "unknown" for names of others.

    >>> direction("delta_z_mae_bone"), direction("psnr"), direction("me"), direction("dice")
    ('lower', 'higher', 'nearest 0', 'unknown')
    """
    return _KNOWN[name][0].better if name in _KNOWN else "unknown"


def digits_of(name: str, means: Sequence[float]) -> int:
    """The places after the point of a metric with these means."""
    if name in _KNOWN and (digits := _KNOWN[name][0].digits) is not None:
        return digits
    largest = max((abs(mean) for mean in means if math.isfinite(mean)), default=0)
    return 2 if largest >= FINE_BELOW else 4


def unit_of(name: str, units: Iterable[str]) -> str:
    """The unit of a metric where those of the images are these; "" is that of the range [0, 1]."""
    unit = _KNOWN[name][0].unit if name in _KNOWN else ""
    return " or ".join(sorted(set(units) - {""})) if unit == "image" else unit


def main_metrics(names: Sequence[str]) -> tuple[str, ...]:
    """Those of these metrics that a comparison shows first, in order; all where it has none.

    LiFT Tab. 1, 3 and 4: what the paper concludes from; ours: sharpness.
    """
    ranked = sorted((metric.rank, metric.name) for metric in METRICS if metric.rank)
    return tuple(name for _, name in ranked if name in names) or tuple(names)


def short_name(name: str) -> str:
    """A metric's name for headings; one that is not known stays as it is.

    >>> short_name("ssim_axial"), short_name("delta_z_correlation_body"), short_name("dice")
    ('SSIM (axial)', 'Δz correlation in the body', 'dice')
    """
    if name not in _KNOWN:
        return name
    metric, place = _KNOWN[name]
    where = PLACES[place][0] if place in PLACES else f"({place})"
    return f"{metric.title} {where}" if place else metric.title


def explain(name: str, unit: str = "") -> str:
    """One sentence on a metric: what is computed, in which unit, where, and what is better.

    Ranges, masks and grids differ between protocols; the protocol's own sentence names them.

    Args:
        name: in scores.json, as "mae_bone".
        unit: Of the images that were compared: "HU" for CT, "" for MR in [0, 1].

    Raises:
        ValueError: `unit` is another.

    >>> explain("rmse").rpartition(", over")[0]
    'Root mean squared error: the root of the mean squared error, in units of the range [0, 1]'
    """
    if unit not in ("", "HU"):
        raise ValueError(f'expected the unit of the images, "HU" or "", got "{unit}"')
    if name not in _KNOWN:
        return UNKNOWN
    metric, place = _KNOWN[name]
    where = PLACES[place][1] if place in PLACES else ""
    sentence = metric.sentence.format(
        place=place,
        in_unit="in HU" if unit else "in units of the range [0, 1]",
        over=f"over {where or 'all voxels that the protocol scores'}",
        window=f"centred in {where}" if where else "wherever the protocol scores",
        images=" (HU shifted to start at 0)" if unit else "",
        peak="the width of the protocol's HU window" if unit else "1",
        steps=f", over steps of which both voxels lie in {where}" if where else "",
        subject=PLACES["body" if unit else "brain"][1],
    )
    return f"{sentence}; {better_words(metric.better)}."


def cohort_name(name: str) -> str:
    """A metric of cohorts for headings; one that is not known stays as it is.

    >>> cohort_name("delta_z_ratio"), cohort_name("dice")
    ('Δz ratio', 'dice')
    """
    return _COHORTS[name].title if name in _COHORTS else name


def explain_cohort(name: str) -> str:
    """One sentence on a metric of generated volumes as a cohort, with what is good.

    >>> explain_cohort("dice") == UNKNOWN
    True
    """
    return _COHORTS[name].sentence if name in _COHORTS else UNKNOWN


def good_of(name: str) -> str:
    """Which value of a metric of cohorts is good, in a few words."""
    return _COHORTS[name].good


def page(text: str) -> str:
    """A page with its tables of metrics made anew; the rest of it is kept.

    Raises:
        ValueError: the page has no place for a table.
    """
    for key, table in (("metrics", _image_table()), ("cohort metrics", _cohort_table())):
        head, start, rest = text.partition(f"<!-- {key}: python -m liftnet.metrics.catalogue -->\n")
        _, end, tail = rest.partition("<!-- end -->\n")
        if not end:
            raise ValueError(f"expected a page with a place for its {key}, found none")
        text = head + start + "\n".join(table) + "\n" + end + tail
    return text


def _image_table() -> list[str]:
    lines = _header("name", "definition", "unit", "better", "of MR", "of CT", "source", "function")
    for metric in METRICS:
        sentence = metric.sentence.format(
            place=" or ".join(PLANES),
            in_unit="in the unit of the images",
            over="over the voxels of the place",
            window="centred in the place",
            images="",
            peak="1, for CT the width of the protocol's HU window",
            steps=", in a region over steps of which both voxels lie in it",
            subject="the brain or body",
        )
        unit = "HU, or of [0, 1]" if metric.unit == "image" else metric.unit
        names = [
            ", ".join(f"`{full_name(metric, place)}`" for place in metric.of.get(modality, ()))
            for modality in MODALITIES
        ]
        function = _function(metric.measure) if metric.measure else "that of the protocol"
        lines.append(
            _row(metric.title, sentence, unit, metric.better, *names, metric.source, function)
        )
    return lines


def _cohort_table() -> list[str]:
    lines = _header("name", "of", "definition", "good", "source", "function")
    for own in COHORT_METRICS:
        function = _function(own.function)
        lines.append(_row(f"`{own.name}`", own.of, own.sentence, own.good, own.source, function))
    return lines


def _header(*names: str) -> list[str]:
    return [_row(*names), "|---" * len(names) + "|"]


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _function(function: Callable[..., object]) -> str:
    """Module and name of a function."""
    return f"`{function.__module__.removeprefix('liftnet.metrics.')}.{function.__name__}`"


if __name__ == "__main__":
    for path in map(Path, sys.argv[1:]):
        path.write_text(page(path.read_text(encoding="utf-8")), encoding="utf-8")
