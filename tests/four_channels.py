"""A case of two MR sources, a CT and an MR target, whose values of air all differ."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from liftnet.core.geometry import AxisOrder, Geometry, Placement
from liftnet.core.plan import ChannelPlan, ClipAndScale, PercentileScale, Plan, ZScore
from liftnet.core.recipe import AugmentationSpec
from liftnet.data.store import Store, StoredCase, write_case
from liftnet.pipeline.plan import read_plan
from liftnet.planning.augmentation import plan_augmentation

NAMES = ("t1", "t2", "ct", "t3")
AIR = (-2.5, -1.8, -1.0, 0.0)
SHAPE = (9, 21, 17)
RANGES = {"t1": (300.0, 420.0), "t2": (90.0, 140.0), "ct": (500.0, 2000.0), "t3": (0.0, 700.0)}
CHANCES = {
    k: (1.0, 1.0, 1.0) if isinstance(v, tuple) else 1.0
    for k, v in vars(plan_augmentation("axial")).items()
    if k.endswith("probability")
}


def still() -> AugmentationSpec:
    """No augmentation."""
    never = {k: (0.0, 0.0, 0.0) if isinstance(v, tuple) else 0.0 for k, v in CHANCES.items()}
    return replace(plan_augmentation("axial"), **never)


def always(*names: str) -> AugmentationSpec:
    """These changes happen to every item, or all."""
    chosen = {f"{name}_probability": CHANCES[f"{name}_probability"] for name in names}
    return replace(still(), **(chosen or CHANCES))


def four_channels(workspace: Path) -> Plan:
    """The plan of the heads, changed to these channels on slices of 16 x 24."""
    decided = read_plan(workspace / "preprocessed" / "Dataset009_Heads" / "default" / "plan.json")
    rules = {
        "t1": ZScore("foreground", 0.0, 1.0),
        "t2": ZScore("foreground", 0.0, 1.0),
        "ct": ClipAndScale(-1000.0, 2000.0, (-1.0, 1.0)),
        "t3": PercentileScale("grid", 0.001, 0.999, 0.0, 800.0),
    }
    channels = tuple(ChannelPlan(n, "CT" if n == "ct" else "MR", r) for n, r in rules.items())
    return replace(
        decided,
        channels=channels,
        sources=NAMES[:2],
        targets=NAMES[2:],
        source_dropout=0.5,
        grid=replace(decided.grid, in_plane=(16, 24)),
    )


def store_case(folder: Path, present: tuple[str, ...] = NAMES, air_rows: int = 3) -> Store:
    """The case "x", whose first rows are air, and whose mask is all but these."""
    rng = np.random.default_rng(0)
    voxels = np.zeros((4, *SHAPE), dtype=np.float32)
    for i, name in enumerate(NAMES):
        if name in present:
            voxels[i] = rng.uniform(0.1, 0.9, SHAPE)
            voxels[i, :, :air_rows] = AIR[i]
    mask = np.ones(SHAPE, dtype=bool)
    mask[:, :air_rows] = False
    grid = Geometry(SHAPE, (2.5, 1.0, 1.0), (0, 0, 0), ((0, 0, 1), (0, 1, 0), (1, 0, 0)))
    order = AxisOrder((0, 1, 2), (False, False, False))
    ranges = {name: RANGES[name] for name in present}
    case = StoredCase(
        "x", "key", present, SHAPE, ranges, Placement(grid, order, (0, 0, 0), SHAPE, SHAPE)
    )
    write_case(folder, voxels, case, mask=mask)
    return Store(folder)
