"""The order of contrasts on a page, and the warning where there are few cases."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from liftnet.core.errors import LiftnetError
from liftnet.core.scores import AVERAGE, CohortScores
from liftnet.core.workspace import find_workspace
from liftnet.host.text_table import counted
from liftnet.imageio.formats import split_ending
from liftnet.pipeline.compare.results import FEW_CASES
from liftnet.pipeline.plan import DEFAULT_PLAN, read_plan
from liftnet.pipeline.report.results import Results, prediction_facts

__all__ = ["few_cases", "few_volumes", "in_order"]

LAST = 10_000  # above every number of a file


def in_order(results: Results, workspace: Path | str | None) -> Results:
    """The results with contrasts as the dataset numbers them, where that is known.

    Their numbers are those of the predicted files; else the plan in the workspace has them.
    """
    numbers = _numbers(results) or _planned(results, workspace)

    def place(contrast: str) -> tuple[int, str]:
        return (LAST + 1 if contrast == AVERAGE else numbers.get(contrast, LAST)), contrast

    cases = {case: number for number, case in enumerate(results.cases)}
    metrics = {m: k for k, m in enumerate(dict.fromkeys(t.metric for t in results.tables))}
    images = sorted(results.images, key=lambda i: (cases[i.case], place(i.contrast)))
    tables = sorted(results.tables, key=lambda t: (metrics[t.metric], place(t.contrast)))
    return replace(results, images=tuple(images), tables=tuple(tables))


def _numbers(results: Results) -> dict[str, int]:
    """Contrast -> the number in the names of its files."""
    found = {}
    for method in results.methods:
        for path, facts in prediction_facts(method.predicted):
            digits = split_ending(path.with_suffix(".nii"))[0][-4:]
            if digits.isdecimal():
                found[str(facts["target"])] = int(digits)
    return found


def _planned(results: Results, workspace: Path | str | None) -> dict[str, int]:
    """Contrast -> its place in the dataset's plan; nothing where there is none."""
    try:
        path = find_workspace(workspace).plan_file(results.dataset, DEFAULT_PLAN)
        if not path.is_file():
            return {}
        return {name: number for number, name in enumerate(read_plan(path).channel_names)}
    except LiftnetError:
        return {}  # of no dataset, or of another version


def few_cases(results: Results) -> Iterator[str]:
    """A warning where some numbers are of fewer cases than statistics need."""
    counts: dict[int, dict[str, None]] = {}
    for table in results.tables:
        count = max(found.n for found in table.means.values())
        counts.setdefault(count, {})[table.contrast] = None
    if len(results.cases) == 1:
        yield "n = 1 case: nothing here says what holds for others; there are no intervals or tests"
        return
    least = min(counts, default=FEW_CASES)
    if least >= FEW_CASES or any(w.startswith(f"n = {least} case") for w in results.warnings):
        return
    few = [c for n, contrasts in sorted(counts.items()) if n < FEW_CASES for c in contrasts]
    names = ", ".join(name for name in dict.fromkeys(few) if name != AVERAGE)
    of = f" of {names}" if len({image.contrast for image in results.images}) > 1 else ""
    yield (
        f"n = {counted(least, 'case')}{of}: with fewer than {FEW_CASES}, intervals are too narrow"
        + (" and tests find large differences only" if results.compared else "")
    )


def few_volumes(scores: CohortScores) -> Iterator[str]:
    """A warning where a cohort is smaller than statistics need."""
    counts = {"generated": scores.num_generated, "real": scores.num_real}
    few = [f"{count} {what}" for what, count in counts.items() if count < FEW_CASES]
    if few:
        yield (
            f"n = {' and '.join(few)} volumes: with fewer than {FEW_CASES}, all numbers of a "
            "cohort are uncertain"
        )
