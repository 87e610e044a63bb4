"""Plan and recipe for a dataset like BraTS, and a preprocessed folder to train on; no patients."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from liftnet.core.dataset import Channel, Dataset, DatasetDescription
from liftnet.core.fingerprint import CaseFingerprint, IntensityRange
from liftnet.core.geometry import AxisOrder, Geometry, Placement
from liftnet.core.plan import Budget, Plan
from liftnet.core.recipe import Recipe, schedules, with_schedules
from liftnet.data.store import Store, StoredCase, write_case
from liftnet.methods import load_method
from liftnet.methods.base import TooLargeError
from liftnet.pipeline.fingerprint.extract_fingerprint import summarize
from liftnet.pipeline.plan import Decided
from liftnet.planning.feeding import plan_feeding
from liftnet.tasks import load_task

__all__ = ["NAMES", "decided", "make_store", "shorter"]

NAMES = ("t1n", "t1c", "t2w", "t2f")
FULL = (155, 240, 240)


def decided(
    gpu_memory: float,
    *,
    method: str = "lift",
    task: str = "missing_modality",
    size: tuple[int, int, int] = FULL,
    cropped: bool = True,
    steps: int | None = None,
    bytes_per_number: int = 2,
) -> Decided:
    """What is decided for four contrasts of `size` (D, H, W) at 1 mm, or for MR and CT.

    With `cropped` the brain fills the box that a typical one fills; without, the whole slice.
    """
    paired = task == "translation"
    names = ("mr",) if paired else NAMES
    channels = {str(i): Channel(name) for i, name in enumerate(names)}
    targets = {"0": Channel("ct", "CT")} if paired else {}
    names += tuple(channel.name for channel in targets.values())
    typical = IntensityRange(400.0, 100.0, 0.0, 400.0, 900.0, 0.0, 1200.0)
    shares = ((0.03, 0.97), (0.14, 0.883), (0.21, 0.79)) if cropped else ((0, 1),) * 3
    start = tuple(round(a * n) for (a, _), n in zip(shares, size, strict=True))
    stop = tuple(round(b * n) for (_, b), n in zip(shares, size, strict=True))
    case = CaseFingerprint(
        size, (1.0, 1.0, 1.0), "SPL", start, stop, 0.18, True, dict.fromkeys(names, typical)
    )  # type: ignore[arg-type]
    description = DatasetDescription("B", task, channels, targets)
    dataset = Dataset(Path("Dataset001_B"), description, ())
    measured = summarize(dataset, {"a": case}, {"a": "a"}, [])
    budget = Budget(gpu_memory, bytes_per_number, steps)
    for plan in map(load_task(task).refresh, load_task(task).plans(dataset, measured, budget, "b")):
        try:
            recipe = load_method(method).decide(plan, measured, squeeze=False)
        except TooLargeError:  # a coarser grid may do
            continue
        return Decided(plan, plan_feeding(plan, recipe, measured))
    raise ValueError(f"expected a memory that holds a step, got {gpu_memory} GiB")


def make_store(folder: Path, plan: Plan, cases: int) -> Store:
    """Preprocessed cases of the plan's grid: random numbers in an ellipsoid, zero outside."""
    shape = (plan.grid.num_slices, *plan.grid.in_plane)
    axes = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij", sparse=True)
    inside = sum(a**2 for a in axes) < 1
    geometry = Geometry(shape, (1.0, 1.0, 1.0), (0, 0, 0), ((0, 0, 1), (0, 1, 0), (1, 0, 0)))
    order = AxisOrder((0, 1, 2), (False, False, False))
    placement = Placement(geometry, order, (0, 0, 0), shape, shape)
    rng = np.random.default_rng(0)
    for i in range(cases):
        voxels = rng.random((len(NAMES), *shape), dtype=np.float32).astype(np.float16) * inside
        ranges = dict.fromkeys(NAMES, (0.0, 1000.0))
        write_case(folder, voxels, StoredCase(f"c{i}", "key", NAMES, shape, ranges, placement))
    return Store(folder)


def shorter(recipe: Recipe, steps: int) -> Recipe:
    """The recipe with so many steps in each stage."""
    return with_schedules(
        recipe, {name: replace(s, num_steps=steps) for name, s in schedules(recipe).items()}
    )
