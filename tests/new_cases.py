"""Folders of empty files, and a plan of BraTS's contrasts, for tests that look at names only."""

from dataclasses import replace
from pathlib import Path

from trained_folds import DATASET

from liftnet.core.plan import Plan
from liftnet.pipeline.plan import read_plan


def four_contrasts(workspace: Path) -> Plan:
    """The plan of a workspace, as if its channels were the four of BraTS."""
    plan = read_plan(workspace / "preprocessed" / DATASET / "default" / "plan.json")
    names = ("t1n", "t1c", "t2w", "t2f")
    channels = tuple(replace(plan.channels[0], name=name) for name in names)
    return replace(plan, channels=channels, sources=names, targets=names)


def fill(folder: Path, *names: str) -> Path:
    """A folder of empty files; without an ending they are images."""
    for name in names:
        path = folder / (name if "." in Path(name).name else f"{name}.nii.gz")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder
