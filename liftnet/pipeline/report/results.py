"""What a report is about: an evaluation or a comparison, read into one form."""

import csv
import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from liftnet.core.comparison import (
    MethodComparison,
    MetricComparison,
    PairedDifference,
    read_comparison,
)
from liftnet.core.errors import DatasetError, PlanError
from liftnet.core.geometry import SliceAxis
from liftnet.core.names import without_folders
from liftnet.core.scores import AVERAGE, Origin, Protocol, Scores, read_scores
from liftnet.core.storage.jsonable import read_json
from liftnet.host.spreadsheet import read_csv
from liftnet.imageio.formats import FILE_ENDINGS
from liftnet.methods import load_method, method_names
from liftnet.metrics.catalogue import direction, main_metrics, unit_of
from liftnet.metrics.paired import better_sign
from liftnet.pipeline.evaluate.table import metric_names, units_of

__all__ = [
    "Image",
    "MethodFiles",
    "Results",
    "as_gains",
    "json_without_folders",
    "prediction_facts",
    "read_results",
]

PREDICTED = "predicted"  # the only method of an evaluation, where no JSON file names it


@dataclass(frozen=True)
class Image:
    """One contrast of one case: method -> metric -> value."""

    case: str
    contrast: str
    metrics: Mapping[str, Mapping[str, float]]

    @property
    def title(self) -> str:
        """Case and contrast in words."""
        return f"{self.case}, {self.contrast}"


@dataclass(frozen=True)
class MethodFiles:
    """A method and where its images lie."""

    name: str
    predicted: Path


@dataclass(frozen=True)
class Results:
    """An evaluation of one method, or a comparison of several."""

    file: Path
    protocol: Protocol
    task: str
    dataset: str
    slice_axis: SliceAxis
    methods: tuple[MethodFiles, ...]  # the baseline comes first
    reference: Path
    sources: Path | None
    images: tuple[Image, ...]
    tables: tuple[MetricComparison, ...]  # differences as gains; none for an evaluation
    main_metrics: tuple[str, ...]
    conclusions: tuple[str, ...]
    warnings: tuple[str, ...]
    failures: tuple[str, ...]  # images that are not among the numbers, and why
    notes: tuple[str, ...]  # on how the images came to be compared
    made: Origin
    liftnet: str

    @property
    def compared(self) -> bool:
        """Whether there are several methods."""
        return len(self.methods) > 1

    @property
    def cases(self) -> list[str]:
        """The cases with a number."""
        return list(dict.fromkeys(image.case for image in self.images))

    def unit(self, metric: str) -> str:
        """The unit of a metric, "" if it has none."""
        return next((table.unit for table in self.tables if table.metric == metric), "")

    def values(self, image: Image, metric: str) -> list[float]:
        """One number of the image per method; NaN where there is none."""
        return [image.metrics[m.name].get(metric, math.nan) for m in self.methods]


def read_results(place: Path) -> Results:
    """The comparison or evaluation of a folder, or of its JSON file.

    Raises:
        LiftnetError: If there is none, or it is damaged.
    """
    if place.is_file():
        file = place
    else:
        found = [place / name for name in ("comparison.json", "scores.json")]
        file = next((path for path in found if path.is_file()), place)
    if file.name == "comparison.json":
        return _of_comparison(file, read_comparison(file))
    if file.name == "scores.json":
        return _of_scores(file, read_scores(file))
    if not place.exists():
        raise DatasetError("The folder does not exist", where=str(place), remedy="Check -i.")
    raise DatasetError(
        "There is no comparison.json, scores.json or cohort_scores.json to report on",
        where=str(place),
        remedy="Run liftnet_evaluate or liftnet_compare first, and name the folder of its JSON.",
    )


def _of_scores(file: Path, scores: Scores) -> Results:
    names = metric_names(scores.cases) if scores.cases else []
    method = _method_name(Path(scores.predicted_folder))
    summary = {c: s for c, s in scores.summary.items() if c != AVERAGE or len(scores.summary) > 2}
    tables = [
        MetricComparison(
            metric=metric,
            contrast=contrast,
            better=direction(metric),
            unit=unit_of(metric, units_of(scores.cases)),
            means={method: found[metric]},
            differences={},
        )
        for metric in names
        for contrast, found in summary.items()
        if metric in found
    ]
    failures = [f"{failure.case}: {failure.problem}" for failure in scores.failures]
    failures += [f"{name}: has no reference" for name in scores.without_reference]
    return Results(
        file=file,
        protocol=scores.protocol,
        task=scores.task,
        dataset=scores.dataset,
        slice_axis=scores.slice_axis,
        methods=(MethodFiles(method, Path(scores.predicted_folder)),),
        reference=Path(scores.reference_folder),
        sources=Path(scores.sources_folder) if scores.sources_folder else None,
        images=tuple(Image(row.case, row.contrast, {method: row.metrics}) for row in scores.cases),
        tables=tuple(tables),
        main_metrics=main_metrics(names),
        conclusions=(),
        warnings=(),
        failures=tuple(map(without_folders, failures)),
        notes=tuple(_origins(scores)),
        made=scores.made,
        liftnet=scores.liftnet,
    )


def _method_name(folder: Path) -> str:
    """What the JSON files beside predicted images call the method that made them all."""
    found = {str(facts["method"]) for _, facts in prediction_facts(folder) if facts.get("method")}
    name = found.pop() if len(found) == 1 else PREDICTED
    return load_method(name).label if name in method_names() else name


def prediction_facts(folder: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """The JSON files that liftnet_predict wrote beside images, and what they hold."""
    for path in sorted(folder.glob("*.json")) if folder.is_dir() else ():
        if not any(path.with_suffix(ending).is_file() for ending in FILE_ENDINGS):
            continue
        try:
            data = read_json(path)
        except PlanError:
            continue  # another program's, or damaged: the evaluation has said so
        if isinstance(data, dict) and "target" in data and "case" in data:
            yield path, data


def as_gains(table: MetricComparison) -> MetricComparison:
    """The table with its differences turned where lower is better, or nearest 1: + is better."""
    if better_sign(table.better) >= 0:
        return table
    turned = {name: _turned(found) for name, found in table.differences.items()}
    return replace(table, differences=turned)


def _turned(found: PairedDifference) -> PairedDifference:
    mean, low, high, effect = (
        None if value is None else -value
        for value in (found.mean, found.high, found.low, found.cohens_dz)
    )
    return replace(
        found,
        mean=mean,
        low=low,
        high=high,
        cohens_dz=effect,
        rank_biserial=-found.rank_biserial,
    )


def _origins(scores: Scores) -> Iterator[str]:
    """How predicted images came to their range, and what masked them, with counts."""
    for note, words in (("predicted_range", "Range of the predicted images"), ("mask", "Mask")):
        found = Counter(r.notes[note].split(":")[0] for r in scores.cases if note in r.notes)
        for text, count in sorted(found.items()):
            yield f"{words}: {text} ({count} of {len(scores.cases)} images)."


def _of_comparison(file: Path, comparison: MethodComparison) -> Results:
    names = [method.name for method in comparison.methods]
    images: dict[tuple[str, str], dict[str, dict[str, float]]] = {}
    table = file.with_name("comparison.csv")
    try:
        with table.open(encoding="utf-8", newline="") as lines:
            for line in read_csv(lines):
                image = images.setdefault((line["case"], line["contrast"]), {n: {} for n in names})
                for name in names:
                    image[name][line["metric"]] = float(line[name])
    except (OSError, csv.Error, KeyError, ValueError) as error:
        raise PlanError(
            f"The values of the cases cannot be read ({error})",
            where=str(table),
            remedy="Run liftnet_compare again: it writes comparison.csv beside comparison.json.",
        ) from None
    left_out = [
        f"{entry.case}, {entry.contrast}{', ' + entry.metric if entry.metric else ''}: not in "
        f"{', '.join(entry.absent_in)}"
        for entry in comparison.left_out
    ]
    return Results(
        file=file,
        protocol=comparison.protocol,
        task=comparison.task,
        dataset=comparison.dataset,
        slice_axis=comparison.slice_axis,
        methods=tuple(MethodFiles(m.name, Path(m.predicted_folder)) for m in comparison.methods),
        reference=Path(comparison.reference_folder),
        sources=None,
        images=tuple(Image(case, contrast, own) for (case, contrast), own in images.items()),
        tables=tuple(map(as_gains, comparison.results)),
        main_metrics=comparison.main_metrics,
        conclusions=comparison.conclusions,
        warnings=comparison.warnings,
        failures=tuple(left_out),
        notes=(),
        made=comparison.made,
        liftnet=comparison.liftnet,
    )


def json_without_folders(file: Path) -> str:
    """The JSON of results, in which files and folders are named without those above them."""
    return json.dumps(_cut(read_json(file)))


def _cut(node: Any, key: str = "") -> Any:
    """JSON whose texts hold no path but its last part."""
    if isinstance(node, dict):
        return {name: _cut(value, name) for name, value in node.items()}
    if isinstance(node, list):
        return [_cut(value, key) for value in node]
    if isinstance(node, str):
        return Path(node).name if key.endswith("folder") else without_folders(node)
    return node
