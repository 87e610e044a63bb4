"""Whether images were scored that the networks had learned from."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from liftnet.core.errors import LiftnetError
from liftnet.core.storage.jsonable import read_json
from liftnet.core.workspace import Workspace, find_workspace
from liftnet.data.store import Store
from liftnet.pipeline.report.origin import AllFacts
from liftnet.pipeline.report.results import Results

__all__ = ["trained_on", "training_cases", "training_warnings"]


def trained_on(
    results: Results, facts: AllFacts, workspace: Path | str | None
) -> dict[str, list[str]]:
    """Method -> scored cases that its folds were trained on, as far as the workspace knows them."""
    space = find_workspace(workspace)
    found = {}
    for name, entries in facts.items():
        known: set[str] = set()
        for dataset, plan, fold in sorted(set(_trained(entries))):
            known |= training_cases(space, dataset, plan, fold)
        found[name] = [case for case in results.cases if case in known]
    return found


def training_warnings(results: Results, seen: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """One sentence for all methods that were scored on the same cases of their training."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for name, cases in seen.items():
        if cases:
            groups.setdefault(tuple(cases), []).append(name)
    for cases, names in groups.items():
        what = " and ".join(names)
        verb = "were" if len(names) > 1 else "was"
        yield (
            f"{what} {verb} trained on {len(cases)} of the {len(results.cases)} cases (marked "
            "in the table): what is measured on them does not hold for new cases"
        )


def _trained(entries: Sequence[dict[str, Any]]) -> Iterator[tuple[str, str, str]]:
    """Dataset, plan and fold of every network that made an image."""
    for entry in entries:
        for folder in entry.get("folds") or ():
            fold = str(folder).removeprefix("fold_")
            yield str(entry.get("dataset", "")), str(entry.get("plan", "")), fold


def training_cases(space: Workspace, dataset: str, plan: str, fold: str) -> set[str]:
    """The training cases of a fold, as far as the workspace knows them."""
    if not dataset or not plan:
        return set()
    try:
        if fold == "all":
            return set(Store(space.store(dataset, plan)).identifiers())
        return set(read_json(space.splits_file(dataset))[int(fold)]["train"])
    except (LiftnetError, ValueError, IndexError, KeyError, TypeError):
        return set()
