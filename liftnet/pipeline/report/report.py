"""A page to look at: one HTML file of an evaluation or a comparison, for reading offline."""

import time
from collections.abc import Sequence
from pathlib import Path

from liftnet.core.arguments import checked
from liftnet.core.errors import DatasetError, LiftnetError
from liftnet.core.scores import AVERAGE
from liftnet.host.progress import progress, say
from liftnet.metrics.catalogue import short_name
from liftnet.pipeline.report.benchmark import benchmark_section, find_benchmark
from liftnet.pipeline.report.charts import (
    difference_section,
    distribution_section,
    profile_section,
    region_section,
    trajectory_section,
)
from liftnet.pipeline.report.choice import Shown, choose
from liftnet.pipeline.report.cohort import find_cohort_file, report_cohort
from liftnet.pipeline.report.order import few_cases, in_order
from liftnet.pipeline.report.origin import find_flags, origin_section, read_all_facts
from liftnet.pipeline.report.pictures import MB, Picture, picture
from liftnet.pipeline.report.results import Results, json_without_folders, read_results
from liftnet.pipeline.report.sections import (
    case_section,
    measure_section,
    metric_line,
    summary_section,
)
from liftnet.pipeline.report.sources import find_methods
from liftnet.pipeline.report.training import trained_on, training_warnings
from liftnet.pipeline.report.verdict import verdict
from liftnet.visual.html import Html, join, tag
from liftnet.visual.page import Page, Section, write_page

__all__ = ["report"]

FILE = "report.html"
PICTURE_WORDS = (
    "Move a slider, or click into a picture; press b to see the reference in the place of the "
    "predicted image."
)


@checked
def report(
    input_folder: Path | str,
    output: Path | str | None = None,
    *,
    cases: Sequence[str] | None = None,
    num_cases: int = 3,
    by: str | None = None,
    sources: Path | str | None = None,
    dataset: int | str | None = None,
    max_mb: float = 40.0,
    viewer: bool = True,
    workspace: Path | str | None = None,
) -> Path:
    """The path of one HTML file with tables, charts and pictures of an evaluation or comparison.

    It needs no network and no other file. Predicted, reference and source images of the cases
    that are shown are inside it.

    Args:
        input_folder: of scores.json, comparison.json or cohort_scores.json, or the file itself.
        output: the HTML file; by default report.html beside that JSON.
        cases: to be shown; by default by their rank.
        num_cases: images shown at even steps from the best to the worst.
        by: metric that ranks; by default the first main one.
        sources: folder of source images, where they are neither beside the references nor in the
            workspace.
        dataset: id or name, as for `evaluate`.
        max_mb: of the volumes in the page; where they are larger, cubes of voxels are averaged.
        viewer: whether the viewer for 3D is put into the page (0.9 MB).
        workspace: the workspace folder.

    Raises:
        LiftnetError: If there is nothing to report on, or an option does not fit.
    """
    start = time.perf_counter()
    if cohort := find_cohort_file(Path(input_folder)):
        return report_cohort(
            cohort,
            _page_file(cohort, output),
            num_cases=num_cases,
            dataset=dataset,
            max_mb=max_mb,
            viewer=viewer,
            workspace=workspace,
            refused={"--cases": cases, "--by": by, "-s": sources},
        )
    results = in_order(read_results(Path(input_folder)), workspace)
    path = _page_file(results.file, output)
    metric = _ranking_metric(results, by)
    shown = choose(results, metric, num_cases, cases)
    pictures, problems = _pictures(
        results,
        shown,
        sources=None if sources is None else Path(sources),
        dataset=dataset,
        max_bytes=max_mb * MB / max(1, len(shown)),
        workspace=workspace,
    )
    page = _page(results, metric, shown, pictures, problems, viewer=viewer, workspace=workspace)
    write_page(page, path)
    for problem in problems:
        say(f"warning: {problem}")
    size, seconds = path.stat().st_size / MB, time.perf_counter() - start
    say(
        f"Report of {len(results.images)} images, {len(pictures)} shown: {path} "
        f"({size:.1f} MB, {seconds:.1f} s)"
    )
    return path


def _page_file(file: Path, output: Path | str | None) -> Path:
    """Where the page goes: what was asked for, else beside the JSON."""
    path = file.with_name(FILE) if output is None else Path(output)
    return path if path.suffix.lower() in (".html", ".htm") and not path.is_dir() else path / FILE


def _ranking_metric(results: Results, by: str | None) -> str:
    """The metric that orders images.

    Raises:
        DatasetError: If no image has it, or there is no image.
    """
    known = list(dict.fromkeys(table.metric for table in results.tables))
    if not known:
        raise DatasetError(
            "The scores hold no image", where=str(results.file), remedy="Evaluate again."
        )
    if by is not None and by not in known:
        raise DatasetError(
            f"No metric is called {by}", where="--by", remedy=f"There are {', '.join(known)}."
        )
    return by or results.main_metrics[0]


def _pictures(
    results: Results,
    shown: Sequence[Shown],
    *,
    sources: Path | None,
    dataset: int | str | None,
    max_bytes: float,
    workspace: Path | str | None,
) -> tuple[list[Picture], list[str]]:
    """The images that could be read, and why others could not."""
    pictures, problems = [], []
    try:
        found = (
            find_methods(results, sources=sources, dataset=dataset, workspace=workspace)
            if shown
            else {}
        )
    except LiftnetError as error:
        return [], [f"{one.image.title} is not shown: {error.problem}" for one in shown]
    with progress("Report", len(shown)) as advance:
        for number, one in enumerate(shown):
            try:
                pictures.append(
                    picture(
                        results,
                        one,
                        found,
                        sources=sources,
                        workspace=workspace,
                        number=number,
                        max_bytes=max_bytes,
                    )
                )
            except LiftnetError as error:
                problems.append(f"{one.image.title} is not shown: {error.problem}")
            advance()
    return pictures, problems


def _page(
    results: Results,
    metric: str,
    shown: Sequence[Shown],
    pictures: Sequence[Picture],
    problems: Sequence[str],
    *,
    viewer: bool,
    workspace: Path | str | None,
) -> Page:
    facts = read_all_facts(results)
    seen = trained_on(results, facts, workspace)
    trained = {case for cases in seen.values() for case in cases}
    flags = find_flags(results, facts)
    words = [f"liftnet_predict flagged {len(flags)} of the images: see below the table of cases."]
    drawn = [one for one in shown if any(p.shown == one for p in pictures)]
    benchmark, doubts = find_benchmark(results)
    found: list[tuple[str, str, Html | None]] = [
        ("benchmark", "Benchmark", benchmark_section(benchmark, results) if benchmark else None),
        ("pictures", "Images", _picture_section(results, metric, pictures) if pictures else None),
        (
            "profiles",
            "Along the slice axis",
            profile_section(results, pictures) if pictures else None,
        ),
        ("summary", "Numbers", summary_section(results)),
        ("distributions", "Distribution over cases", distribution_section(results)),
        ("differences", "Gains", difference_section(results) if results.compared else None),
        ("regions", "Regions of the CT", region_section(results)),
        ("images", "Cases", case_section(results, drawn, flags, trained)),
        ("trajectories", "Trajectories of slices", trajectory_section(results)),
        ("measure", "How it was measured", measure_section(results)),
        ("origin", "How it was made", origin_section(results, facts, workspace)),
    ]
    names = " and ".join(method.name for method in results.methods)
    what = f"Comparison of {names}" if results.compared else "Evaluation"
    what = f"Benchmark of {len(results.methods)} methods" if benchmark else what
    name = f": {results.dataset}" if results.dataset else ""
    contrasts = ", ".join(
        dict.fromkeys(t.contrast for t in results.tables if t.contrast != AVERAGE)
    )
    errors = [0.0, max((p.data["errorWindow"][1] for p in pictures), default=0.0)]  # one scale
    data = [
        p.data | {"metrics": metric_line(results, p.shown.image), "errorWindow": errors}
        for p in pictures
    ]
    return Page(
        title=what + name,
        subtitle=f"{results.task}, {len(results.cases)} cases ({contrasts}), protocol "
        f"{results.protocol.name}; liftnet {results.liftnet}",
        verdict=[*benchmark.verdict, *(words if flags else ())]
        if benchmark
        else verdict(results, metric, flags=words if flags else (), trained=trained),
        warnings=[
            *doubts,
            *results.warnings,
            *few_cases(results),
            *training_warnings(results, seen),
            *problems,
        ],
        sections=[Section(key, title, content) for key, title, content in found if content],
        cases=data,
        volumes={key: text for p in pictures for key, text in p.texts.items()},
        results=json_without_folders(results.file),
        viewer_3d=viewer,
    )


def _picture_section(results: Results, metric: str, pictures: Sequence[Picture]) -> Html:
    """Where the viewer goes, and what is shown."""
    order = f"Worst, median and best images by {short_name(metric)}"
    if results.compared:
        first, other = (method.name for method in results.methods[:2])
        order = (
            f"Images with the least, the median and the largest gain of {other} over {first} in "
            f"{short_name(metric)}"
        )
    notes = {f"{p.shown.image.title}: {note}" for p in pictures for note in p.notes}
    return join(
        tag("div", id="viewer"),
        tag("p", f"{order}, unless cases were asked for. {PICTURE_WORDS}", class_="note"),
        [tag("p", note, class_="note") for note in sorted(notes)],
    )
