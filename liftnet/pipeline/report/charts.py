"""The charts of a report: distributions, differences, regions of a CT, profiles along slices."""

import base64
import math
from collections.abc import Sequence

import numpy as np

from liftnet.core.comparison import MetricComparison
from liftnet.metrics import regions
from liftnet.metrics.catalogue import digits_of, short_name
from liftnet.metrics.paired import better_sign
from liftnet.pipeline.compare.table import change_digits, change_unit, encode_p
from liftnet.pipeline.report.choice import identifier
from liftnet.pipeline.report.pictures import Picture
from liftnet.pipeline.report.results import Results
from liftnet.visual.charts_bars import Bar, Category, bars
from liftnet.visual.charts_distribution import Group, distribution
from liftnet.visual.charts_forest import Row, forest
from liftnet.visual.charts_profile import Line, profile
from liftnet.visual.html import Html, join, tag

__all__ = [
    "difference_section",
    "distribution_section",
    "profile_section",
    "region_section",
    "trajectory_section",
]

DISTRIBUTION_WORDS = (
    "Dots: cases, with their names under the mouse. Box: quartiles and median. Diamond and bar: "
    "mean and its 95 % interval."
)
TRAJECTORY_WORDS = (
    "Context vectors of the slices, in the principal components of all slices of all cases; a "
    "smooth path means that neighbouring slices are made from similar context (LiFT Fig. 6, 7)."
)
NUM_STYLES = 6  # m0 to m5 in page.css
REGION_METRICS = ("mae", "delta_z_mae")  # LiFT App. B.5: reported per region


def distribution_section(results: Results) -> Html | None:
    """One chart per main metric and contrast of several cases: dots, mean with interval."""
    figures = []
    order = {metric: place for place, metric in enumerate(results.main_metrics)}
    tables = [t for t in results.tables if t.metric in order and t.contrast != "average"]
    for table in sorted(tables, key=lambda table: order[table.metric]):
        groups = []
        for position, method in enumerate(results.methods):
            points = tuple(
                (image.case, results.values(image, table.metric)[position])
                for image in results.images
                if image.contrast == table.contrast
            )
            points = tuple(point for point in points if not math.isnan(point[1]))
            found = table.means[method.name]
            groups.append(Group(method.name, points, found.mean, found.low, found.high))
        if not all(len(group.points) > 1 for group in groups):
            continue  # of one case there is no distribution
        name = short_name(table.metric)
        title = f"{name}, {table.contrast}" if len(_contrasts(results)) > 1 else name
        digits = digits_of(table.metric, [found.mean for found in table.means.values()])
        drawn = distribution(
            groups, label=name, unit=table.unit, better=table.better, digits=digits
        )
        figures.append(_figure(title, drawn))
    if not figures:
        return None
    return join(tag("div", figures, class_="charts"), tag("p", DISTRIBUTION_WORDS, class_="note"))


def _classes(results: Results) -> dict[str, str]:
    """The style of each method."""
    return {method.name: f"m{k % NUM_STYLES}" for k, method in enumerate(results.methods)}


def _contrasts(results: Results) -> list[str]:
    return list(dict.fromkeys(image.contrast for image in results.images))


def difference_section(results: Results) -> Html | None:
    """One chart per main metric: mean gains over the baseline with their intervals."""
    figures = []
    several = len(results.methods) > 2
    classes = _classes(results)
    for metric in results.main_metrics:
        tables = [t for t in results.tables if t.metric == metric and t.differences]
        rows = [
            Row(
                ", ".join([table.contrast, *([name] if several else [])]),
                found.mean,
                found.low,
                found.high,
                f"p = {encode_p(found.p_holm)}".replace("= <", "< "),
                classes[name],
            )
            for table in tables
            for name, found in table.differences.items()
            if found.n > 1
        ]
        if rows:
            unit, name = change_unit(tables[0]), short_name(metric)
            known = better_sign(tables[0].better) != 0
            digits = max(
                change_digits(t, found) for t in tables for found in t.differences.values()
            )
            drawn = forest(
                rows,
                label=f"{'gain' if known else 'difference'} in {name}",
                unit=unit,
                better="higher" if known else "unknown",  # of a gain
                digits=digits,
            )
            figures.append(_figure(f"{name}: gain over {results.methods[0].name}", drawn))
    return tag("div", figures, class_="charts") if figures else None


def region_section(results: Results) -> Html | None:
    """Errors per region of the reference CT; None if there are no regions."""
    figures = []
    for metric in REGION_METRICS:
        categories = []
        for region in regions.NAMES:
            tables = [t for t in results.tables if t.metric == f"{metric}_{region}"]
            for table in (t for t in tables if max(m.n for m in t.means.values()) > 1):
                label = region if len(_contrasts(results)) == 1 else f"{region}, {table.contrast}"
                categories.append(Category(label, _bars(results, table)))
        if categories:
            name = short_name(metric)
            drawn = bars(categories, label=name, unit="HU", better="lower")
            figures.append(_figure(f"{name} per region of the reference", drawn))
    return tag("div", figures, class_="charts") if figures else None


def _bars(results: Results, table: MetricComparison) -> tuple[Bar, ...]:
    found = [(method.name, table.means[method.name]) for method in results.methods]
    return tuple(Bar(name, one.mean, one.low, one.high) for name, one in found)


def profile_section(results: Results, pictures: Sequence[Picture]) -> Html:
    """Error, step between slices and its error along the slice axis, for every case shown."""
    figures = []
    for picture in pictures:
        classes = _classes(results) | {"reference": "ref"}
        for title, values in (
            ("Mean absolute error of each slice", picture.profile.error),
            ("Mean step to the next slice, |Δz|", picture.profile.step),
            ("Error of the step, |Δz predicted - Δz reference|", picture.profile.step_error),
        ):
            lines = [Line(n, classes[n], tuple(v.tolist())) for n, v in values.items()]
            if not any(np.isfinite(line).any() for line in values.values()):
                continue  # no two neighbouring slices hold anything
            drawn = profile(
                lines,
                label=title.split(",")[0],
                unit=picture.unit,
                x_label=f"slice ({results.slice_axis})",
                case=identifier(picture.shown.image),
                axis=picture.data["sliceAxis"],
                cursor_first=picture.first,
                cursor_last=picture.last,
            )
            figures.append(_figure(title, drawn, case=identifier(picture.shown.image)))
    note = "Means over voxels of the reference above 5 % of its range, on the whole grid."
    return join(tag("div", figures, class_="charts"), tag("p", note, class_="note"))


def trajectory_section(results: Results) -> Html | None:
    """The figures that --save-trajectory wrote beside predicted images; None without any."""
    figures = []
    for method in results.methods:
        for path in sorted(method.predicted.glob("trajectories*.png")):
            text = base64.b64encode(path.read_bytes()).decode()
            target = path.stem.partition("_")[2]
            words = f"Trajectories of {method.name}" + (f": {target}" if target else "")
            source = f"data:image/png;base64,{text}"
            figures.append(
                tag("figure", tag("figcaption", words), tag("img", src=source, alt=words))
            )
    return join(figures, tag("p", TRAJECTORY_WORDS, class_="note")) if figures else None


def _figure(title: str, drawn: str, *, case: str | None = None) -> Html:
    return tag("figure", tag("figcaption", title), Html(drawn), data_case=case)
