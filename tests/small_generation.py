"""A tiny plan of unconditional generation, and real volumes for it: ellipsoids with a bright core.

The volumes differ in size and brightness; every slice shows where along the slice axis it lies.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np

from liftnet.core.geometry import AxisOrder, Geometry, Placement
from liftnet.core.network_specs import CriticSpec, DriftSpec, FeatureSpec, GeneratorSpec, MapperSpec
from liftnet.core.plan import PLAN_VERSION, Budget, ChannelPlan, Grid, PercentileScale, Plan
from liftnet.core.recipe import Inference, MemoryEstimate, Schedule
from liftnet.data.store import Store, StoredCase, write_case
from liftnet.methods.lift_u.recipe import LiftURecipe
from liftnet.planning.augmentation import plan_augmentation

SHAPE = (12, 16, 24)
CASES = tuple(f"v{i}" for i in range(10))


def make_plan(**settings: object) -> Plan:
    """Volumes of 12 slices of 16x24."""
    plan = Plan(
        version=PLAN_VERSION,
        task="unconditional",
        dataset="Dataset001_Small",
        name="default",
        channels=(
            ChannelPlan(
                "t1n", "MR", PercentileScale("foreground", 0.001, 0.999, 0.0, 900.0, (-1.0, 1.0))
            ),
        ),
        sources=(),
        targets=("t1n",),
        source_dropout=0.0,
        grid=Grid(
            "axial", (2.0, 2.0, 2.0), SHAPE[1:], SHAPE[0], "nonzero", False, True, True, "none",
            SHAPE, True,
        ),
        seed=0,
        reasons={},
        budget=Budget(1.0, 4, None),
    )  # fmt: skip
    return replace(plan, **settings)  # type: ignore[arg-type]


def make_recipe(**settings: object) -> LiftURecipe:
    """Networks of a few thousand parameters, without augmentation."""
    still = {
        k: (0.0, 0.0, 0.0) if isinstance(v, tuple) else 0.0
        for k, v in vars(plan_augmentation("axial")).items()
        if k.endswith("probability")
    }

    def schedule(rates: dict[str, float], volumes: int, windows: int) -> Schedule:
        return Schedule(
            num_steps=4,
            volumes_per_step=volumes,
            windows_per_volume=windows,
            decoded_slices=1,
            learning_rates=rates,
            weight_decay=0.0,
            betas=(0.9, 0.95),
            warmup_steps=1,
            final_rate=1.0,
            gradient_clip=1.0,
            ema_half_life=2,
            validate_every=100,
            validation_cases=2,
            checkpoint_minutes=1.0,
            loader_workers=0,
        )

    recipe = LiftURecipe(
        features=FeatureSpec((8, 16), 4, 0.5),
        generator=GeneratorSpec(SHAPE[1:], 8, (8, 16, 16)),
        critic=CriticSpec((8, 16)),
        mapper=MapperSpec(16, 8, 24, 2, 4, 8),
        losses={
            "l1": 1.0, "features": 0.1, "adversarial": 0.3,
            "drift": 1.0, "energy": 0.3, "trajectory": 1.0,
        },
        augmentation=replace(plan_augmentation("axial"), **still),
        slice_features=schedule({"features": 1e-3}, 4, 6),
        slice_generation=schedule({"generator": 1e-3, "critic": 1e-3}, 4, 6),
        code_trajectories=schedule({"mapper": 1e-3}, 6, 1),
        depth_mapping=schedule({"mapper": 1e-3}, 6, 1),
        inference=Inference(5, "one"),
        memory=MemoryEstimate(1.0, 4, 0.0, 0.0),
        reasons={},
        drift=DriftSpec("attract_repel", "matched", "real", 6, 3, (0.35, 0.7, 1.5), 0.2, 8),
    )  # fmt: skip
    return replace(recipe, **settings)  # type: ignore[arg-type]


def make_volume(seed: int) -> np.ndarray:
    """One volume (D, H, W) in [-1, 1]; -1 is air."""
    rng = np.random.default_rng(seed)
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij")
    size = rng.uniform(0.6, 0.95, size=3)
    radius = (z / size[0]) ** 2 + (y / size[1]) ** 2 + (x / size[2]) ** 2
    core = ((z - 0.3) ** 2 + y**2 + x**2 < 0.15) * rng.uniform(0.4, 0.8)
    inside = 0.5 + 0.3 * z + core + 0.1 * rng.standard_normal(SHAPE)
    return np.where(radius < 1, np.clip(inside, 0.05, 1.0), 0.0) * 2 - 1


def write_volumes(folder: Path) -> Store:
    """A store of all cases."""
    geometry = Geometry(SHAPE, (2.0, 2.0, 2.0), (0.0, 0.0, 0.0), ((0, 0, 1), (0, 1, 0), (1, 0, 0)))
    axes = AxisOrder((0, 1, 2), (False, False, False))
    placement = Placement(geometry, axes, (0, 0, 0), SHAPE, SHAPE)
    for i, case in enumerate(CASES):
        stored = StoredCase(case, "key", ("t1n",), SHAPE, {"t1n": (450.0, 900.0)}, placement)
        write_case(folder, make_volume(i)[None].astype(np.float32), stored)
    return Store(folder)
