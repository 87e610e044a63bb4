"""The only place that builds paths: raw, preprocessed and results folders of a workspace."""

import os
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from liftnet.core.errors import DatasetError, LiftnetError
from liftnet.core.names import check_folder_name, check_text

__all__ = ["Workspace", "command_line", "find_workspace"]

FINGERPRINT, SPLITS = "fingerprint.json", "splits.json"


@dataclass(frozen=True)
class Workspace:
    """Three folders, each with one sub-folder per dataset (`Dataset001_Name`)."""

    raw: Path
    preprocessed: Path
    results: Path

    def describe(self) -> str:
        """One line that names the folders in use."""
        root = self.raw.parent
        if (self.raw, self.preprocessed, self.results) == _parts(root):
            return f"workspace {root}"
        return f"raw {self.raw}, preprocessed {self.preprocessed}, results {self.results}"

    def dataset_name(self, dataset: int | str | None = None) -> str:
        """The full name `Dataset001_Name` for an id, a name, or the only dataset there is.

        Raises:
            DatasetError: If there is none, or more than one would fit.
        """
        names = sorted(
            {
                path.name
                for root in (self.raw, self.preprocessed, self.results)
                if root.is_dir()
                for path in root.iterdir()
                if path.is_dir() and re.fullmatch(r"Dataset\d{3}_.+", path.name)
            }
        )
        wanted = names
        if dataset is not None:
            text = str(dataset)
            prefix = f"Dataset{int(text):03d}_" if re.fullmatch("[0-9]{1,9}", text) else None
            wanted = [n for n in names if (n.startswith(prefix) if prefix else n == text)]
        if len(wanted) == 1:
            return wanted[0]
        problem = (
            "The workspace holds no dataset"
            if not names
            else f"No dataset '{dataset}'"
            if not wanted
            else f"Several datasets: {', '.join(wanted)}"
        )
        raise DatasetError(
            problem,
            where=self.describe(),
            remedy="Make one with liftnet_convert or liftnet_demo, or name another --workspace."
            if not names
            else f"Choose one with -d: {', '.join(names)}."
            if not wanted or dataset is None
            else "Rename one of them: ids must differ.",
        )

    def plan_file(self, dataset_name: str, plan_name: str) -> Path:
        """plan.json of a dataset; each plan name has its own file and store."""
        return _plan_folder(self.preprocessed, dataset_name, plan_name) / "plan.json"

    def recipe_file(self, dataset_name: str, plan_name: str, method: str) -> Path:
        """The file of what a method decides under a plan."""
        folder = _plan_folder(self.preprocessed, dataset_name, plan_name)
        return folder / "recipes" / f"{method}.json"

    def store(self, dataset_name: str, plan_name: str) -> Path:
        """The folder of preprocessed cases."""
        return _plan_folder(self.preprocessed, dataset_name, plan_name) / "cases"

    def fingerprint_file(self, dataset_name: str) -> Path:
        """fingerprint.json of a dataset."""
        return _dataset_folder(self.preprocessed, dataset_name) / FINGERPRINT

    def splits_file(self, dataset_name: str) -> Path:
        """splits.json of a dataset."""
        return _dataset_folder(self.preprocessed, dataset_name) / SPLITS

    def run_folder(self, dataset_name: str, plan_name: str) -> Path:
        """The folder of everything trained under one plan."""
        return _plan_folder(self.results, dataset_name, plan_name)

    def command(self, name: str, dataset_name: str, plan_name: str = "default") -> str:
        """A command line that does something for a dataset of this workspace.

        >>> space = find_workspace()
        >>> space.command("liftnet_train", "Dataset012_Brains", "soft")
        'liftnet_train -d 12 -p soft'
        """
        root = self.raw.parent
        named = self != find_workspace() and self == Workspace(*_parts(root))
        number, where = int(dataset_name[7:10]), root if named else None
        return command_line([name], dataset=number, plan=plan_name, workspace=where)


def command_line(
    words: Sequence[object],
    *,
    dataset: int | str | None = None,
    plan: str = "default",
    workspace: Path | str | None = None,
) -> str:
    """A command, ready to copy, with options of its own and what it shares with the others.

    >>> command_line(["liftnet_train", "-f", 0], dataset=12, plan="soft")
    'liftnet_train -d 12 -p soft -f 0'
    """
    name, *own = words
    shared = [] if dataset is None else ["-d", dataset]
    shared += [] if plan == "default" else ["-p", plan]
    where = [] if workspace is None else ["--workspace", workspace]
    return shlex.join(map(str, (name, *shared, *own, *where)))


def _dataset_folder(root: Path, dataset_name: str) -> Path:
    """The folder of a dataset in a part of the workspace.

    Raises:
        LiftnetError: If the name is not that of a dataset, but leads elsewhere.
    """
    check_folder_name(dataset_name, "dataset")
    return root / dataset_name


def _plan_folder(root: Path, dataset_name: str, plan_name: str) -> Path:
    """The folder of a plan, beside the files of its dataset.

    Raises:
        LiftnetError: If a name is not that of a folder, or is that of one of these files.
    """
    if plan_name in (FINGERPRINT, SPLITS):
        raise LiftnetError(
            f"'{plan_name}' is a file of the dataset, and cannot be the name of a plan",
            remedy="Name another with -p.",
        )
    check_folder_name(plan_name, "plan", where="-p")
    return _dataset_folder(root, dataset_name) / plan_name


def _parts(root: Path) -> tuple[Path, Path, Path]:
    return root / "raw", root / "preprocessed", root / "results"


def find_workspace(workspace: Path | str | None = None) -> Workspace:
    """The workspace named, or LIFTNET_WORKSPACE, or ./liftnet_workspace.

    The variables liftnet_raw, liftnet_preprocessed and liftnet_results place a part elsewhere;
    a workspace that is named outright wins over all of them.

    Raises:
        LiftnetError: If an empty text is named.
    """
    if workspace is not None:
        check_text(str(workspace), "--workspace")
    root = Path(workspace or os.environ.get("LIFTNET_WORKSPACE") or "liftnet_workspace")
    parts = []
    for part in ("raw", "preprocessed", "results"):
        elsewhere = None if workspace else os.environ.get(f"liftnet_{part}")
        parts.append(Path(elsewhere) if elsewhere else root / part)
    return Workspace(*(part.absolute() for part in parts))
