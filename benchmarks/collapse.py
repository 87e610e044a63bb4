"""Attraction alone makes all volumes alike, and training says so: all stages on ten tiny volumes.

    python benchmarks/collapse.py [--steps 900] [--modes attract attract_repel]

Prints how diversity and trace (generated over real) fall, and how the training ended. The monitor
stops `attract` (LiFT Eq. 5) after some hundred steps; `attract_repel` goes through.
"""

import argparse
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from small_generation import CASES, make_plan, make_recipe, write_volumes

from liftnet.core.errors import LiftnetError
from liftnet.core.recipe import schedules, with_schedules
from liftnet.methods.lift_u.lift_u import METHOD
from liftnet.methods.lift_u.recipe import LiftURecipe
from liftnet.pipeline.models.volumes import Training
from liftnet.pipeline.train.train import train_stage
from liftnet.tasks.unconditional import TASK

RATE = 3e-3
SHORT = {"slice_features": 40, "slice_generation": 20, "code_trajectories": 5}


def recipe_of(mode: str, steps: int) -> LiftURecipe:
    """The tiny recipe of the tests with one form of the drift; the paper's letter has one term."""
    recipe = make_recipe()
    losses = {**recipe.losses, "adversarial": 0.0}
    if mode == "attract":
        losses |= {"energy": 0.0, "trajectory": 0.0}
    stages = {
        name: replace(
            schedule,
            num_steps=SHORT.get(name, steps),
            validate_every=SHORT.get(name, 10),
            learning_rates=dict.fromkeys(schedule.learning_rates, 1e-3 if name in SHORT else RATE),
            final_rate=0.02,
        )
        for name, schedule in schedules(recipe).items()
    }
    drift = replace(recipe.drift, mode=mode)  # type: ignore[arg-type]
    return with_schedules(replace(recipe, drift=drift, losses=losses), stages)


def main() -> None:
    """Train each mode."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=900)
    parser.add_argument("--modes", nargs="*", default=["attract", "attract_repel"])
    options = parser.parse_args()
    torch.set_num_threads(1)
    for mode in options.modes:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            store, network = write_volumes(folder / "cases"), None
            try:
                of = Training(TASK, METHOD, make_plan(), recipe_of(mode, options.steps))
                for stage in METHOD.stages(of.plan, of.recipe):
                    network = train_stage(
                        of, stage, network, store, CASES[:8], CASES[8:],
                        folder / "run" / stage.name, device=torch.device("cpu"),
                    )  # fmt: skip
                print(f"{mode}: trained to the end")
            except LiftnetError as stopped:
                print(f"{mode}: {stopped}")


if __name__ == "__main__":
    main()
