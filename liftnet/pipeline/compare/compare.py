"""Methods beside each other: the scores of each on the same images, and paired differences."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from liftnet.core.arguments import checked
from liftnet.core.comparison import COMPARISON_VERSION, Method, MethodComparison
from liftnet.core.errors import DatasetError, LiftnetError, PlanError
from liftnet.core.names import check_folder_name
from liftnet.core.scores import CaseScore, Scores, read_scores
from liftnet.core.storage.files import write_together
from liftnet.core.storage.jsonable import json_text
from liftnet.host.lock import hold
from liftnet.host.origin import origin_since
from liftnet.host.progress import mention, say
from liftnet.metrics.catalogue import main_metrics
from liftnet.pipeline.compare.checks import (
    refuse_different,
    refuse_same,
    refuse_unknown,
    same_files,
    shared_dataset,
    version_warnings,
)
from liftnet.pipeline.compare.floor import mention_floor
from liftnet.pipeline.compare.results import (
    common_rows,
    compare_rows,
    row_warnings,
)
from liftnet.pipeline.compare.reuse import Asked, earlier_scores, newer_file, stale_warnings
from liftnet.pipeline.compare.table import as_csv, conclude, report
from liftnet.pipeline.convert.folder_kinds import existing_folder
from liftnet.pipeline.evaluate.evaluate import DEFAULT_PROTOCOL, evaluate_pairs
from liftnet.pipeline.evaluate.files import find_images
from liftnet.pipeline.evaluate.table import metric_names
from liftnet.version import __version__

__all__ = ["compare"]

# Names of methods that mean something else: heads of comparison.csv, files beside the scores made
# of a method, and the image that all are compared with.
METHOD_WORDS = (
    *("case", "contrast", "metric", "better"),
    *("comparison.csv", "comparison.json", "reference"),
)


@checked
def compare(
    folders: Sequence[Path | str],
    output: Path | str,
    *,
    names: Sequence[str] | None = None,
    metrics: Sequence[str] | None = None,
    protocol: str | None = None,
    reference_folder: Path | str | None = None,
    sources: Path | str | None = None,
    masks: Path | str | None = None,
    dataset: int | str | None = None,
    num_processes: int | None = None,
    workspace: Path | str | None = None,
) -> MethodComparison:
    """Two or more methods compared on the images that all have; the first is the baseline.

    Also written as comparison.json and comparison.csv. A folder whose scores.json is missing,
    older than its files, or of another protocol or reference, is evaluated first if a reference
    folder is given. What an earlier comparison made of it under `output` is used if it still fits.

    Args:
        folders: of predictions or of scores, one per method.
        output: folder for the comparison, and for scores that are made.
        names: one per folder; by default the folders' own.
        metrics: to compare; by default all, of which the main ones are shown.
        protocol: by default that of the first scores there are, else "liftnet".
        reference_folder: for folders that are to be evaluated.
        sources: as for `evaluate`.
        masks: as for `evaluate`.
        dataset: as for `evaluate`; by default the one that the JSON files of any method name.
        num_processes: cases worked on at the same time.
        workspace: the workspace folder.

    Raises:
        LiftnetError: If folders or names are the same, scores are missing or of different
            conventions, or the methods have no image in common.
    """
    start = time.perf_counter()
    places, output = [Path(folder) for folder in folders], Path(output)
    methods = dict(zip(_names(places, names), places, strict=True))
    refuse_same({name: place.resolve() for name, place in methods.items()}, "folders")
    scores = _find_scores(
        methods,
        output,
        protocol=protocol,
        reference=None if reference_folder is None else Path(reference_folder),
        sources=sources,
        masks=masks,
        dataset=dataset,
        num_processes=num_processes,
        workspace=workspace,
    )
    refuse_different(scores)
    images = {name: Path(found.predicted_folder) for name, found in scores.items()}
    refuse_same({name: place.resolve() for name, place in images.items()}, "predicted folders")
    refuse_unknown(metrics, [row for found in scores.values() for row in found.cases])
    rows, left_out = common_rows({n: found.cases for n, found in scores.items()}, metrics)
    comparison = _compared(methods, scores, rows, metrics)
    comparison = replace(comparison, left_out=tuple(left_out), made=origin_since(start))
    table = output / "comparison.csv", as_csv(rows)
    with hold(output, "liftnet_compare"):
        write_together(dict([table, (output / "comparison.json", json_text(comparison))]))
    report(comparison, output / "comparison.json")
    mention_floor(images.values(), workspace)
    return comparison


def _compared(
    methods: Mapping[str, Path],
    scores: Mapping[str, Scores],
    rows: Mapping[str, Sequence[CaseScore]],
    metrics: Sequence[str] | None,
) -> MethodComparison:
    """The comparison of methods on the rows that all have.

    Raises:
        DatasetError: If none of the metrics asked for is among them.
    """
    baseline, found = next(iter(scores.items()))
    first = rows[baseline]
    shown = tuple(dict.fromkeys(metrics or main_metrics(metric_names(first))))
    results = compare_rows(rows)
    main = [result for metric in shown for result in results if result.metric == metric]
    if not main:
        raise DatasetError(
            f"No image has {' or '.join(shown)} in all methods",
            where="--metrics",
            remedy=f"There are {', '.join(metric_names(first))}.",
        )
    warnings = [
        *stale_warnings(methods, scores),
        *version_warnings(scores),
        *same_files({name: Path(own.predicted_folder) for name, own in scores.items()}),
        *row_warnings(rows, main),
    ]
    return MethodComparison(
        version=COMPARISON_VERSION,
        protocol=found.protocol,
        task=found.task,
        dataset=found.dataset,
        slice_axis=found.slice_axis,
        reference_folder=found.reference_folder,
        baseline=baseline,
        methods=tuple(
            Method(name, str(methods[name].absolute()), own.predicted_folder, own.liftnet)
            for name, own in scores.items()
        ),
        main_metrics=shown,
        results=results,
        cases=tuple(sorted({row.case for row in first})),
        left_out=(),
        warnings=tuple(warnings),
        conclusions=tuple(conclude(main, baseline)),
        liftnet=__version__,
    )


def _find_scores(
    methods: dict[str, Path],
    output: Path,
    *,
    protocol: str | None,
    reference: Path | None,
    **options: Any,
) -> dict[str, Scores]:
    """The scores of each method, made under `output` where they are not there as asked for.

    `methods` then names the folders of those that were made, now or by an earlier comparison.

    Raises:
        LiftnetError: If scores do not fit and cannot be made, or would be written over.
    """
    evaluating = {"-s": "sources", "-m": "masks", "-d": "dataset"}
    _refuse_ignored(reference, {option: options[name] for option, name in evaluating.items()})
    if reference is not None:
        existing_folder(reference, "folder of references", "-r")
    present = {name: _read(place, reference) for name, place in methods.items()}
    if reference is not None and options["dataset"] is None:
        found_scores = [found for found in present.values() if found is not None]
        options["dataset"] = shared_dataset(methods.values(), found_scores, options["workspace"])
    taken = {(place / "scores.json").resolve() for place in methods.values()}
    own = [found.protocol.name for found in present.values() if found is not None]
    wanted = protocol or next(iter(own), DEFAULT_PROTOCOL)
    scores: dict[str, Scores] = {}
    for name, found in present.items():
        stale = None
        if found is not None and _fits(found, wanted, reference):
            # Without references nothing better can be made; a warning tells of it.
            stale = reference and newer_file(methods[name] / "scores.json", found)
            if stale is None:
                scores[name] = found
                continue
        if reference is None:
            raise _other_protocol(name, methods[name], found, wanted)
        path = output / name / "scores.json"
        if path.is_file() and path.resolve() in taken:
            raise LiftnetError(
                f"The scores made of {name} would take the place of others that are compared",
                where=str(path),
                remedy="Name another folder with -o, or another name with --names.",
            )
        predicted, methods[name] = _predicted(methods[name], found), output / name
        asked = Asked(
            wanted, reference, options["sources"], options["dataset"], options["workspace"]
        )
        earlier, reason = earlier_scores(path, predicted, asked)
        if earlier is not None:
            mention(f"{name}: the scores made of it earlier are used: {path}")
            scores[name] = earlier
            continue
        if stale is not None:
            reason = reason or f"{stale.name} is newer than its scores"
        mention(f"Evaluate {name}: {predicted}" + (f" (again: {reason})" if reason else ""))
        scores[name] = evaluate_pairs(
            predicted, reference, protocol=wanted, output=methods[name], **options
        )
    return scores


def _refuse_ignored(reference: Path | None, options: Mapping[str, object]) -> None:
    """Refuse what only an evaluation uses, where none is made.

    Raises:
        LiftnetError: If there are no references, and such an option is given.
    """
    given = [option for option, value in options.items() if value is not None]
    if reference is None and given:
        raise LiftnetError(
            f"{' and '.join(given)} {'is' if len(given) == 1 else 'are'} for evaluating, which "
            "needs references",
            where=given[0],
            remedy=f"Name their folder with -r, or leave out {' and '.join(given)}.",
        )


def _names(places: Sequence[Path], names: Sequence[str] | None) -> list[str]:
    """One name per folder: those given, or the ends of the paths, as long as they must be.

    Raises:
        LiftnetError: If there are fewer than two folders, or names do not fit.
    """
    if len(places) < 2:
        raise LiftnetError(
            f"A comparison is of two or more folders, got {len(places)}",
            where="-i",
            remedy="Name the baseline first, then the others: -i BASELINE OTHER.",
        )
    if names is None:
        parts = [(p.resolve() if ".." in p.parts else p.absolute()).parts for p in places]
        ends = ["_".join(own[-k:]) for k in (1, 2, 3) for own in parts]
        count = len(places)
        tries = [ends[start : start + count] for start in range(0, len(ends), count)]
        names = next((own for own in tries if _are_good(own)), _numbered(tries[0]))
    for name in names:
        check_folder_name(name, "method", where="--names")
    if len(names) != len(places) or not _are_good(names):
        raise LiftnetError(
            f"{len(places)} folders need as many different names, got {', '.join(names)}",
            where="--names",
            remedy="Give one name per folder; results have other uses for "
            f"{', '.join(METHOD_WORDS)}.",
        )
    return list(names)


def _are_good(names: Sequence[str]) -> bool:
    """Whether names differ, and none means something else in the results."""
    return len(set(names)) == len(names) and not set(names) & set(METHOD_WORDS)


def _numbered(names: Sequence[str]) -> list[str]:
    return [f"{name}_{number}" for number, name in enumerate(names, start=1)]


def _read(folder: Path, reference: Path | None) -> Scores | None:
    """The scores that lie in a folder; None if they are to be made.

    Raises:
        LiftnetError: If there are none that can be read, and no reference to make them with.
    """
    existing_folder(folder, "folder", "-i")
    path = folder / "scores.json"
    if path.is_file():
        try:
            return read_scores(path)
        except PlanError as error:
            if reference is None:
                raise
            say(f"{path} is not used: {error.problem}")
    if reference is not None:
        return None
    remedy = "Run liftnet_evaluate on it first, or name the references with -r."
    if (folder / "cohort_scores.json").is_file():
        remedy = "Generated cohorts have no cases to pair; compare their tables."
    raise DatasetError("The folder has no scores.json", where=str(folder), remedy=remedy)


def _fits(scores: Scores, protocol: str, reference: Path | None) -> bool:
    """Whether scores are of this protocol and, if one is given, reference folder."""
    if scores.protocol.name != protocol:
        return False
    return reference is None or Path(scores.reference_folder).resolve() == reference.resolve()


def _other_protocol(name: str, folder: Path, found: Scores | None, wanted: str) -> PlanError:
    own = "none" if found is None else found.protocol.name
    return PlanError(
        f"The scores of {name} are of protocol {own}, not {wanted}",
        where=str(folder / "scores.json"),
        remedy="Name the references with -r to have it evaluated here under one protocol.",
    )


def _predicted(folder: Path, found: Scores | None) -> Path:
    """Where the predictions lie: in the folder, or where its scores say."""
    images, _ = find_images(folder, "predicted")
    return folder if images or found is None else Path(found.predicted_folder)
