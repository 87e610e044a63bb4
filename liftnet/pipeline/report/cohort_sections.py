"""The words and tables of a report on generated volumes."""

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from liftnet.core.errors import PlanError
from liftnet.core.scores import CohortRow, CohortScores
from liftnet.core.storage.jsonable import read_json
from liftnet.host.text_table import number_or_dash
from liftnet.metrics.catalogue import cohort_name, explain_cohort
from liftnet.pipeline.evaluate.cohort_measures import VOXELS
from liftnet.pipeline.report.cohort_pairs import PairPicture, pair_identifier
from liftnet.pipeline.report.origin import distinct, how_made, origin_list, peak_memory
from liftnet.visual.html import Html, join, tag

__all__ = [
    "measure_section",
    "notes_section",
    "numbers_section",
    "origin_section",
    "pair_section",
    "verdict",
]

DISTANCE = "mean absolute difference in [-1, 1]"
NUMBERS = ("generated", "real", DISTANCE)  # columns of them
HEAD = ("metric", "generated", "real", "what is good")


def verdict(scores: CohortScores) -> list[str]:
    """What the evaluation finds, in sentences: each main number against that of real volumes."""
    rows = {(row.group, row.metric): row for row in scores.rows}
    said: list[str] = []
    for group in dict.fromkeys(row.group for row in scores.rows if row.group != VOXELS):
        said += _of_features(group, {m: row for (g, m), row in rows.items() if g == group})
    voxels = {metric: row for (group, metric), row in rows.items() if group == VOXELS}
    return [*said, *_of_voxels(voxels), *_of_nearness(scores, voxels)]


def _of_features(group: str, rows: dict[str, CohortRow]) -> Iterator[str]:
    if row := rows.get("kernel_distance"):
        sentence = (
            f"The kernel distance of generated volumes to real ones is {_short(row.generated)}, "
            f"{_real(row, 'real volumes score')} (as low as real is good)"
        )
        if other := rows.get("frechet_distance"):
            sentence += (
                f"; the Fréchet distance is {_short(other.generated)}, {_real(other, 'real')}"
            )
        yield f"{sentence}. Features: {group}."
    precision, coverage = rows.get("precision"), rows.get("coverage")
    if precision and coverage:
        yield (
            f"{_percent(precision.generated)} of generated volumes lie among the real ones "
            f"(precision; real volumes {_percent(precision.real)}), and they come close to "
            f"{_percent(coverage.generated)} of the real ones (coverage; real volumes "
            f"{_percent(coverage.real)}), where as real is good."
        )


def _of_voxels(rows: dict[str, CohortRow]) -> Iterator[str]:
    if row := rows.get("diversity_ratio"):
        yield (
            f"Two generated volumes differ {_short(row.generated)} times as much as two real ones, "
            f"voxel by voxel; {_real(row, 'real volumes score')} (1 is good, 0 is a collapse)."
        )
    if row := rows.get("ms_ssim"):
        yield (
            f"Two generated volumes have an MS-SSIM of {_short(row.generated)} on average, "
            f"{_real(row, 'two real ones')} (as real is good; lower is not better)."
        )
    if row := rows.get("delta_z_ratio"):
        yield (
            f"From slice to slice, generated volumes change {_short(row.generated)} times as much "
            f"as real ones; {_real(row, 'real volumes score')} (1 is good; below it volumes are "
            "too smooth along the slice axis)."
        )
    if row := rows.get("depth_order"):
        yield (
            f"The order of slices agrees with that of real ones to {_short(row.generated)} (depth "
            f"order, a correlation), {_real(row, 'real volumes')} (as real is good)."
        )


def _of_nearness(scores: CohortScores, rows: dict[str, CohortRow]) -> Iterator[str]:
    least, copied = rows.get("nearest_min"), rows.get("copied_fraction")
    if least is None or copied is None or copied.generated is None:
        return
    unit = "in mean absolute difference, in units of [-1, 1]"
    if scores.training_folder:
        found = (
            f"The generated volume closest to a training volume is {_short(least.generated)} from "
            f"it {unit}; the closest held-out real volume is {_short(least.real)} from one"
        )
        known, than = "a training volume", "any held-out real volume is"
    else:
        found = (
            f"The generated volume closest to a real one is {_short(least.generated)} from it "
            f"{unit}; the closest two real volumes are {_short(least.real)} apart"
        )
        known, than = "a real volume", "any two real volumes are to each other"
    count = round(copied.generated * scores.num_generated)
    if not count:
        yield f"{found}. No generated volume is closer to {known} than {than}."
        return
    verb = "is" if count == 1 else "are"
    yield (
        f"{found}. {count} of {scores.num_generated} generated volumes "
        f"({_percent(copied.generated)}) {verb} closer to {known} than {than}: look at the closest "
        "pairs."
    )


def numbers_section(scores: CohortScores, shown: Collection[str]) -> Html:
    """Every number of both cohorts by group, and the closest pairs; those shown are links.

    Cells hold their number at full precision as data-value.
    """
    tables = []
    for group in dict.fromkeys(row.group for row in scores.rows):
        length = f" ({scores.features[group]} numbers each)" if group in scores.features else ""
        title = "Computed from voxels" if group == VOXELS else f"Features: {group}{length}"
        rows = [_row(row) for row in scores.rows if row.group == group]
        tables.append(_table(title, HEAD, rows))
    pairs = []
    for pair in scores.closest:
        key = pair_identifier(pair)
        name: str = pair.volume
        if key in shown:
            name = tag("a", pair.volume, href="#pictures", data_show=key)
        distance = tag(
            "td", number_or_dash(pair.distance), class_="number", data_value=repr(pair.distance)
        )
        cells = (tag("td", pair.cohort), tag("td", name), tag("td", pair.neighbour), distance)
        pairs.append(tag("tr", *cells))
    if pairs:
        neighbour = "nearest training volume" if scores.training_folder else "nearest real volume"
        heads = ("cohort", "volume", neighbour, DISTANCE)
        tables.append(_table("The closest pair of each cohort", heads, pairs))
    return join(*tables)


def _row(row: CohortRow) -> Html:
    cells = [
        tag(
            "td",
            number_or_dash(value),
            class_="number",
            data_value=None if value is None else repr(value),
            data_metric=row.metric,
            data_group=row.group,
            data_cohort=cohort,
        )
        for cohort, value in (("generated", row.generated), ("real", row.real))
    ]
    name = tag("td", cohort_name(row.metric), title=row.metric)
    return tag("tr", name, cells, tag("td", row.good))


def _table(title: str, head: tuple[str, ...], rows: list[Html]) -> Html:
    heads = [
        tag("th", name, scope="col", class_="number" if name in NUMBERS else None) for name in head
    ]
    parts = (tag("thead", tag("tr", heads)), tag("tbody", rows))
    table = tag("table", *parts, aria_label=title)
    return join(tag("h3", title), tag("div", table, class_="table"))


def pair_section(scores: CohortScores, pairs: Sequence[PairPicture]) -> Html:
    """Where the viewer goes, and what is shown."""
    known, other = ("training", "training") if scores.training_folder else ("real", "other real")
    words = (
        f"The generated volume that is nearest to any of the {known} volumes, and the real volume "
        f"that is nearest to any of the {other} volumes, each beside its neighbour. A copy has the "
        "same folds in the same places; its error map is dark."
    )
    notes = [tag("p", pair.note, class_="note") for pair in pairs if pair.note]
    return join(tag("div", id="viewer"), tag("p", words, class_="note"), notes)


def measure_section(scores: CohortScores) -> Html:
    """The protocol, and each metric in a sentence."""
    terms = []
    for metric in dict.fromkeys(row.metric for row in scores.rows):
        terms += [
            tag("dt", cohort_name(metric), " ", tag("code", metric)),
            tag("dd", explain_cohort(metric)),
        ]
    words = (
        "The column real is the same number with real volumes in the place of generated ones: what "
        "a perfect generator would score, if there are as many of them. Numbers of different "
        "features do not compare."
    )
    if not scores.training_folder:
        words += (
            " No training volumes were given: the real ones are taken for them, each compared with "
            "the others."
        )
    return join(
        tag("p", tag("strong", f"Protocol {scores.protocol.name}: "), scores.protocol.description),
        tag("p", words),
        tag("dl", terms, class_="meta"),
    )


def notes_section(scores: CohortScores) -> Html | None:
    """How many volumes there are, and what stands in the column real."""
    if not scores.notes:
        return None
    return tag("ul", [tag("li", note) for note in scores.notes])


def origin_section(scores: CohortScores) -> Html:
    """Where the numbers of an evaluation of a cohort come from."""
    return origin_list(_entries(scores))


def _entries(scores: CohortScores) -> Iterator[tuple[str, str]]:
    """Names and values; folders are named without those above them."""
    facts = _facts(Path(scores.generated_folder))
    yield "Task", scores.task
    yield "Dataset", scores.dataset
    yield "Plan", scores.plan
    yield "Channel", scores.channel
    yield "Generated volumes", f"{scores.num_generated}, in {Path(scores.generated_folder).name}"
    yield "Real volumes", f"{scores.num_real}, in {Path(scores.real_folder).name}"
    if scores.training_folder:
        yield "Training volumes", f"{scores.num_training}, in {Path(scores.training_folder).name}"
    yield "Size when compared", " x ".join(map(str, scores.shape)) + " voxels"
    features = (f"{name} ({length} numbers)" for name, length in scores.features.items())
    yield "Features", "; ".join(features)
    yield (
        "Folds",
        ", ".join(sorted({str(fold) for fact in facts for fold in fact.get("folds", ())})),
    )
    yield "Weights (digest)", distinct(facts, "model")
    yield "Generation, command", distinct(facts, "command")
    yield "Generation, hardware", distinct(facts, "hardware") or distinct(facts, "device")
    times = [float(f["seconds"]) for f in facts if isinstance(f.get("seconds"), int | float)]
    yield "Generation, time", f"median {median(times):.3g} s a volume" if times else ""
    yield "Generation, peak memory", peak_memory(facts)
    yield from how_made("Evaluation", scores.made, scores.liftnet)


def _facts(folder: Path) -> list[dict[str, Any]]:
    """What generation wrote beside its volumes; files of other programs are left out."""
    found = []
    for path in sorted(folder.glob("*_[0-9][0-9][0-9][0-9].json")):
        try:
            data = read_json(path)
        except PlanError:
            continue  # damaged: the evaluation goes without it too
        if isinstance(data, dict) and "target" in data:
            found.append(data)
    return found


def _real(row: CohortRow, words: str) -> str:
    if row.real is None:
        return "of real volumes there are too few to say what they score"
    return f"{words} {_short(row.real)}"


def _short(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.3g} %"
