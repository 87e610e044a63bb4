"""A plan for a dataset like BraTS, and a preprocessed folder to train on, without patients."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from liftnet.core.dataset import Channel, Dataset, DatasetDescription
from liftnet.core.fingerprint import CaseFingerprint, IntensityRange
from liftnet.core.geometry import AxisOrder, Geometry, Placement
from liftnet.core.plan import Budget, Plan
from liftnet.data.store import Store, StoredCase, write_case
from liftnet.pipeline.fingerprint.extract_fingerprint import summarize
from liftnet.planning.feeding import plan_feeding
from liftnet.tasks import load_task

__all__ = ["NAMES", "make_plan", "make_store"]

NAMES = ("t1n", "t1c", "t2w", "t2f")
FULL = (155, 240, 240)


def make_plan(
    gpu_memory: float,
    *,
    task: str = "missing_modality",
    size: tuple[int, int, int] = FULL,
    cropped: bool = True,
    steps: int | None = None,
    bytes_per_number: int = 2,
) -> Plan:
    """What the planner makes of four contrasts of `size` (D, H, W) at 1 mm, or of MR and CT.

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
    return plan_feeding(load_task(task).plan(dataset, measured, budget, "b"), measured)


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


def shorter(plan: Plan, steps: int) -> Plan:
    """The plan with so many steps in each stage."""
    return replace(
        plan, stages={name: replace(s, num_steps=steps) for name, s in plan.stages.items()}
    )
