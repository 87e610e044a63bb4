"""Where a report's numbers come from: dataset, plan, networks, commands, hardware, times."""

import statistics
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from liftnet.core.errors import LiftnetError
from liftnet.core.scores import Origin
from liftnet.core.workspace import find_workspace
from liftnet.pipeline.plan import read_plan
from liftnet.pipeline.report.choice import identifier
from liftnet.pipeline.report.results import Results, prediction_facts
from liftnet.version import __version__
from liftnet.visual.html import Html, tag

__all__ = [
    "AllFacts",
    "distinct",
    "find_flags",
    "how_made",
    "origin_list",
    "origin_section",
    "peak_memory",
    "read_all_facts",
]

AllFacts = Mapping[str, list[dict[str, Any]]]


def read_all_facts(results: Results) -> AllFacts:
    """Method -> the JSON that liftnet_predict wrote beside each of its images."""
    return {
        method.name: [facts for _, facts in prediction_facts(method.predicted)]
        for method in results.methods
    }


def find_flags(results: Results, facts: AllFacts) -> dict[str, str]:
    """Image -> why liftnet_predict flagged it or its sources, of those with a number."""
    known = {identifier(image) for image in results.images}
    found: dict[str, str] = {}
    for name, entries in facts.items():
        for entry in entries:
            key = f"{entry['case']}/{entry['target']}"
            flags = [*(entry.get("warnings") or ())]
            flags += (entry.get("plausibility") or {}).get("flags") or ()
            if flags and key in known:
                words = "; ".join(map(str, flags))
                words = f"{name}: {words}" if results.compared else words
                found[key] = f"{found[key]}; {words}" if key in found else words
    return found


def origin_section(results: Results, facts: AllFacts, workspace: Path | str | None) -> Html:
    """Where the numbers of an evaluation or a comparison come from."""
    return origin_list(_entries(results, facts, workspace))


def origin_list(entries: Iterable[tuple[str, str]]) -> Html:
    """A list of names and values, those without a value left out."""
    terms: list[Html] = []
    for title, value in entries:
        if value:
            terms += [tag("dt", title), tag("dd", value)]
    return tag("dl", terms, class_="meta")


def _entries(
    results: Results, facts: AllFacts, workspace: Path | str | None
) -> Iterator[tuple[str, str]]:
    """Names and values; folders are named without those above them."""
    yield "Task", results.task
    yield "Dataset", results.dataset
    yield "References", results.reference.name
    yield "Cases", f"{len(results.cases)} cases, {len(results.images)} images"
    for name, entries in facts.items():
        of = f" of {name}" if results.compared else ""
        yield f"Plan{of}", distinct(entries, "plan")
        yield (
            f"Folds{of}",
            ", ".join(sorted({fold for e in entries for fold in e.get("folds", ())})),
        )
        yield (
            f"Folds{of} whose last stage did not improve, and is not used",
            ", ".join(sorted({fold for e in entries for fold in e.get("unimproved_folds", ())})),
        )
        yield f"Method{of}", distinct(entries, "method")
        yield f"Weights{of} (digest)", distinct(entries, "model")
        yield f"Predicted{of} with", _version(entries)
        yield f"Prediction{of}, command", distinct(entries, "command")
        yield (
            f"Prediction{of}, hardware",
            distinct(entries, "hardware") or distinct(entries, "device"),
        )
        yield f"Prediction{of}, time", _seconds(entries)
        yield f"Prediction{of}, operations", _operations(entries)
        yield f"Prediction{of}, peak memory", peak_memory(entries)
    yield from _plan(facts, workspace)
    what = "Comparison" if results.compared else "Evaluation"
    yield from how_made(what, results.made, results.liftnet)


def how_made(what: str, made: Origin, liftnet: str) -> Iterator[tuple[str, str]]:
    """Names and values of how results were made, by which version of liftnet, and of this page."""
    date = f", {made.date}" if made.date else ""
    yield f"{what} made with", f"liftnet {liftnet}{date}"
    yield f"{what}, command", made.command
    yield f"{what}, hardware", made.hardware
    yield f"{what}, time", f"{made.seconds:.1f} s" if made.seconds else ""
    yield "Report made with", f"liftnet {__version__}"


def distinct(entries: list[dict[str, Any]], key: str) -> str:
    """Every value there is, each once."""
    return ", ".join(dict.fromkeys(str(e[key]) for e in entries if e.get(key)))


def _version(entries: list[dict[str, Any]]) -> str:
    versions = distinct(entries, "liftnet")
    return f"liftnet {versions}" if versions else ""


def _seconds(entries: list[dict[str, Any]]) -> str:
    times = [float(e["seconds"]) for e in entries if isinstance(e.get("seconds"), int | float)]
    if not times:
        return ""
    return (
        f"median {statistics.median(times):.3g} s an image, {min(times):.3g} to {max(times):.3g} "
        f"({len(times)} images)"
    )


def _operations(entries: list[dict[str, Any]]) -> str:
    counts = [float(e["flops"]) / 1e12 for e in entries if isinstance(e.get("flops"), int)]
    return f"median {statistics.median(counts):.3g} TFLOP a volume" if counts else ""


def peak_memory(entries: list[dict[str, Any]]) -> str:
    """The most memory of any image, and whose it is; "" where none is noted."""
    noted = [e for e in entries if isinstance(e.get("peak_memory_gib"), int | float)]
    if not noted:
        return ""
    most = max(noted, key=lambda e: float(e["peak_memory_gib"]))
    return f"{most['peak_memory_gib']:.3g} GiB at most: {most.get('peak_memory_of', '')}"


def _plan(facts: AllFacts, workspace: Path | str | None) -> Iterator[tuple[str, str]]:
    """What the plan decided, where the workspace has it."""
    entries = [entry for own in facts.values() for entry in own]
    plans = sorted({(str(e.get("dataset", "")), str(e.get("plan", ""))) for e in entries})
    for dataset, name in plans:
        try:
            path = find_workspace(workspace).plan_file(dataset, name)
            plan = read_plan(path) if path.is_file() else None
        except LiftnetError:
            continue  # none, or of another version: the names above say which it was
        if plan is None:
            continue
        grid = plan.grid
        spacing = " x ".join(f"{value:.3g}" for value in grid.spacing_mm)
        in_plane = " x ".join(map(str, grid.in_plane))
        yield (
            f"Plan {name}: grid",
            (f"{grid.slice_axis} slices of {in_plane}, about {grid.num_slices}; {spacing} mm"),
        )
        yield (
            f"Plan {name}: sources and targets",
            (f"{', '.join(plan.sources) or 'none'} -> {', '.join(plan.targets)}"),
        )
