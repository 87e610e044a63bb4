"""Three cohorts of small volumes, and a trained method whose features are a random projection."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from tiny_generation import DATASET, NAME, SHAPE, SPACING, TinyMethod, add_fold, installed
from tiny_generation import tiny_plan as boxed_plan
from torch import nn

from liftnet.core.geometry import Geometry
from liftnet.core.jsonable import write_json
from liftnet.core.plan import Plan
from liftnet.core.recipe import Recipe
from liftnet.core.scores import CohortScores
from liftnet.imageio import write_image
from liftnet.pipeline.evaluate.evaluate import evaluate

LENGTH = 12  # of the features
OWN = "a projection"
CANONICAL = ((0, 0, 1), (0, 1, 0), (1, 0, 0))
PROJECTION = torch.randn(
    LENGTH, SHAPE[0] * SHAPE[1] * SHAPE[2], generator=torch.Generator().manual_seed(0)
)


def tiny_plan() -> Plan:
    """The plan of the tiny task, with whatever field of view a file has."""
    plan = boxed_plan()
    return replace(plan, grid=replace(plan.grid, box=None, pad_to_box=False))


def brain(seed: int, shape: tuple[int, int, int] = SHAPE) -> np.ndarray:
    """An ellipsoid of its own size, slope and brightness; each slice shows where it lies."""
    rng = np.random.default_rng(seed)
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    sizes = rng.uniform(0.8, 1.1, 3)
    inside = (z / sizes[0]) ** 2 + (y / sizes[1]) ** 2 + (x / sizes[2]) ** 2 < 1.2
    tissue = 100 * (1 + 0.4 * z + 0.3 * y * z + rng.uniform(0, 0.3) * x) + 8 * rng.random(shape)
    return np.where(inside, rng.uniform(0.5, 2) * tissue, 0).astype(np.float32)


def save(
    folder: Path, case: str, voxels: np.ndarray, digits: str = "0000", **facts: object
) -> Path:
    """Write a volume, with a JSON file beside it if there are facts."""
    path = folder / f"{case}_{digits}.nii.gz"
    grid = Geometry(voxels.shape, SPACING, (0, 0, 0), CANONICAL)
    write_image(path, voxels, grid, dtype="float32")
    if facts:
        made = {"intensity": {"low": 0.0, "high": 900.0}, "target": "t1n", "modality": "MR"}
        write_json(folder / f"{case}_{digits}.json", made | facts)
    return path


@contextmanager
def folders(root: Path) -> Iterator[Path]:
    """A context with a workspace "w" in which the tiny method is trained, and three cohorts.

    7 volumes "made" with their JSON files, the last a copy of a training volume in other units; 9
    "real", 11 "training".
    """
    facts = {"task": NAME, "dataset": DATASET, "plan": "default"}
    for folder, first, count in (("real", 20, 9), ("training", 40, 11)):
        for i in range(count):
            save(root / folder, f"{folder}-{i:02d}", brain(first + i))
    for i in range(7):
        voxels = brain(i) if i < 6 else 3 * brain(44)
        save(root / "made", f"sample_{i:04d}", voxels, **facts)

    def describe(
        method: object, plan: Plan, recipe: Recipe, network: nn.Module, volume: torch.Tensor
    ) -> torch.Tensor:
        assert volume.min() == -1  # network units
        assert volume.max() == 1
        return PROJECTION @ volume.flatten()

    with (
        installed(),
        mock.patch.object(TinyMethod, "describe", describe),
        mock.patch.object(TinyMethod, "feature_name", lambda method, plan, recipe: OWN),
    ):
        add_fold(root / "w", "0", 1, plan=tiny_plan())
        yield root


def score(space: Path, *, training: bool = False, **options: object) -> CohortScores:
    """The scores of the generated volumes."""
    options = {"num_processes": 2, "workspace": space / "w"} | options
    known = {"training": space / "training"} if training else {}
    found = evaluate(space / "made", space / "real", **known, **options)
    assert isinstance(found, CohortScores)
    return found


def table(scores: CohortScores) -> dict[str, tuple[float | None, float | None]]:
    """Metric -> generated and real value; those of features begin with "f:"."""
    own = {True: "", False: "f:"}
    return {
        own[row.group == "voxels"] + row.metric: (row.generated, row.real) for row in scores.rows
    }
