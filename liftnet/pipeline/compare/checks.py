"""What must be alike, and what must not be, for methods to be compared."""

import filecmp
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path

from liftnet.core.errors import DatasetError, LiftnetError, PlanError
from liftnet.core.scores import CaseScore, Scores
from liftnet.core.storage.jsonable import did_you_mean
from liftnet.core.workspace import find_workspace
from liftnet.pipeline.evaluate.files import find_images
from liftnet.pipeline.evaluate.setting import Facts, read_facts
from liftnet.pipeline.evaluate.table import metric_names
from liftnet.pipeline.plan import DEFAULT_PLAN

__all__ = [
    "first_facts",
    "refuse_different",
    "refuse_same",
    "refuse_unknown",
    "same_files",
    "shared_dataset",
    "version_warnings",
]


def refuse_same(places: Mapping[str, Path], what: str) -> None:
    """Refuse a comparison of a method with itself.

    Raises:
        DatasetError: If two of the folders are one.
    """
    for (one, first), (other, second) in combinations(places.items(), 2):
        if first == second:
            raise DatasetError(
                f"The {what} of {one} and {other} are the same",
                where=str(first),
                remedy="Compare the predictions of different methods.",
            )


def refuse_different(scores: Mapping[str, Scores]) -> None:
    """Refuse scores that do not compare.

    Raises:
        PlanError: If convention, references or slice axis differ.
    """
    (first, one), *others = scores.items()
    for name, other in others:
        sides = {
            "protocols": (one.protocol.name, other.protocol.name),
            "sentences of one protocol": (one.protocol.description, other.protocol.description),
            "references": tuple(str(Path(s.reference_folder).resolve()) for s in (one, other)),
            "slice axes": (one.slice_axis, other.slice_axis),
            "score versions": (str(one.version), str(other.version)),
        }
        for what, (left, right) in sides.items():
            if left != right:
                raise PlanError(
                    f"{first} and {name} are scored with different {what}",
                    where=f"{first}: {left}; {name}: {right}",
                    remedy="Evaluate both alike: the same --protocol, -r and -d.",
                )


def refuse_unknown(metrics: Sequence[str] | None, rows: Sequence[CaseScore]) -> None:
    """Refuse metrics that no row has.

    Raises:
        LiftnetError: If there is one.
    """
    known = metric_names(rows) if rows else []
    for metric in metrics or ():
        if metric not in known:
            raise LiftnetError(
                f"The scores have no metric '{metric}'",
                where="--metrics",
                remedy=did_you_mean(metric, known),
            )


def version_warnings(scores: Mapping[str, Scores]) -> Iterator[str]:
    """A warning if not one version of liftnet made the scores."""
    versions = {name: found.liftnet for name, found in scores.items()}
    if len(set(versions.values())) > 1:
        yield "scored by different versions of liftnet: " + ", ".join(
            f"{name} {version}" for name, version in versions.items()
        )


def same_files(folders: Mapping[str, Path]) -> Iterator[str]:
    """A warning for each two methods that share predicted files, byte for byte."""
    images = {
        name: {
            (case, digits): path
            for case, channels in find_images(folder, "predicted")[0].items()
            for digits, path in channels.items()
        }
        for name, folder in folders.items()
        if folder.is_dir()
    }
    for (one, first), (other, second) in combinations(images.items(), 2):
        shared = sorted(first.keys() & second.keys())
        same = sum(filecmp.cmp(first[key], second[key], shallow=False) for key in shared)
        if same:
            yield f"{same} of {len(shared)} predicted files of {one} and {other} are the same"


def shared_dataset(
    folders: Iterable[Path], scores: Iterable[Scores], workspace: Path | str | None
) -> str | None:
    """The only dataset that JSON files or scores of the methods name, if the workspace has it.

    It names the channels of those images too that another program made, without JSON files.
    """
    named = [facts.dataset for folder in folders if (facts := first_facts(folder))]
    names = {*named, *(found.dataset for found in scores)} - {""}
    if len(names) != 1:
        return None
    (name,) = names
    space = find_workspace(workspace)
    files = (space.plan_file(name, DEFAULT_PLAN), space.raw / name / "dataset.json")
    return name if any(path.is_file() for path in files) else None


def first_facts(folder: Path) -> Facts | None:
    """What the first JSON file of a folder says that can be read."""
    for images in find_images(folder, "predicted")[0].values():
        for path in images.values():
            try:
                if (facts := read_facts(path)) is not None:
                    return facts
            except PlanError:
                continue  # evaluation tells of it
    return None
