"""What LiFT-U loses without its parts: train controls on the slice generator of a finished run.

    python benchmarks/lift_u_controls.py -d 7 -p main -f all -n 50 --steps 100 [--workspace DIR]
        [--rate 2e-3] [--controls attract pooled matched random]

Each control is a plan of its own beside the given one, with the same features and slice generator:

- attract: attraction alone (LiFT Eq. 5), from the same start; the collapse monitor may stop it.
- pooled: real slices of any index (LiFT Eq. 4), from a random mapper.
- matched: as the default, from a random mapper, for as many steps as pooled.
- random: a mapper that was never trained.

Prints the cohort metrics of all, of the given plan, and of the real reference against the training
volumes, under the features of the given plan.
"""

import argparse
import shutil
from dataclasses import replace
from pathlib import Path

from liftnet.core.errors import LiftnetError
from liftnet.core.plan import Plan
from liftnet.core.scores import CohortScores
from liftnet.core.storage.jsonable import write_json
from liftnet.core.workspace import Workspace, find_workspace
from liftnet.methods.lift_u.depth_mapping import CODE_STAGE
from liftnet.methods.lift_u.lift_u import METHOD
from liftnet.methods.lift_u.recipe import LiftURecipe
from liftnet.pipeline.evaluate.cohorts import evaluate_cohort
from liftnet.pipeline.models.runs import fold_folder
from liftnet.pipeline.plan import load_plan, load_recipe
from liftnet.pipeline.predict.generate import generate
from liftnet.pipeline.train.train import train

CONTROLS = ("attract", "pooled", "matched", "random")


def control_recipe(recipe: LiftURecipe, name: str, steps: int, rate: float) -> LiftURecipe:
    """The recipe of one control."""
    drift, losses = recipe.drift, dict(recipe.losses)
    if name == "attract":
        drift = replace(drift, mode="attract")
        losses |= {"energy": 0.0, "trajectory": 0.0}
    else:
        drift = replace(drift, start="random")
    if name == "pooled":
        drift = replace(drift, bank="pooled")
        losses |= {"trajectory": 0.0}
    codes, last = recipe.code_trajectories, 1 if name == "random" else steps
    start = 1 if drift.start == "random" else codes.num_steps
    return replace(
        recipe,
        drift=drift,
        losses=losses,
        code_trajectories=replace(codes, num_steps=start, validate_every=max(start, 1)),
        depth_mapping=replace(
            recipe.depth_mapping,
            num_steps=last,
            validate_every=max(1, last // 8),
            learning_rates={"mapper": rate if last > 1 else 0.0},
            warmup_steps=1,
        ),
    )


def prepare(
    space: Workspace, plan: Plan, name: str, recipe: LiftURecipe, control: LiftURecipe, fold: str
) -> None:
    """Give the control the plan's preprocessed cases and what its frozen stages have trained."""
    dataset, own = plan.dataset, replace(plan, name=name)
    write_json(space.plan_file(dataset, name), own)
    write_json(space.recipe_file(dataset, name, METHOD.name), control)
    store = space.store(dataset, name)
    if not store.exists():
        store.symlink_to(space.store(dataset, plan.name))
    old, new = (
        fold_folder(space.run_folder(dataset, each.name), METHOD.name, fold) for each in (plan, own)
    )
    if (new / "plan.json").is_file():
        return
    frozen = [stage.name for stage in METHOD.stages(plan, recipe)][:-2]
    for part in [*frozen, "bank"] + ([CODE_STAGE] if control.drift == recipe.drift else []):
        shutil.copytree(old / part, new / part, dirs_exist_ok=True)
    write_json(new / "plan.json", own)
    write_json(new / "recipe.json", control)


def report(rows: dict[str, CohortScores]) -> None:
    """One line per metric, one column per cohort."""
    names = list(rows)
    print(("{:<30}" + "{:>16}" * (len(names) + 1)).format("metric", *names, "real"))
    first = rows[names[0]]
    for i, row in enumerate(first.rows):
        values = [scores.rows[i].generated for scores in rows.values()]
        shown = ["-" if v is None else f"{v:.4g}" for v in [*values, row.real]]
        print(("{:<30}" + "{:>16}" * len(shown)).format(row.metric, *shown))


def main() -> None:
    """Train, generate and evaluate."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-d", dest="dataset", default=None)
    parser.add_argument("-p", dest="plan", default="default")
    parser.add_argument("-f", dest="fold", default="all")
    parser.add_argument("-n", dest="count", type=int, default=50)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--rate", type=float, default=2e-3, help="ten times the recipe's")
    parser.add_argument("--pairs", type=int, default=50)
    parser.add_argument("--workspace", default=None)
    parser.add_argument("--output", type=Path, default=Path("lift_u_controls"))
    parser.add_argument("--controls", nargs="*", default=list(CONTROLS))
    options = parser.parse_args()
    space = find_workspace(options.workspace)
    dataset = space.dataset_name(options.dataset)
    plan = load_plan(space, dataset, options.plan)
    recipe = load_recipe(space, plan, METHOD)
    assert isinstance(recipe, LiftURecipe)
    raw = space.raw / dataset
    shared = {"dataset": dataset, "fold": options.fold, "workspace": options.workspace}
    for name in options.controls:
        control = control_recipe(recipe, name, options.steps, options.rate)
        prepare(space, plan, name, recipe, control, options.fold)
        try:
            train(dataset, fold=(options.fold,), plan_name=name, workspace=options.workspace)
        except LiftnetError as stopped:
            print(f"{name}: {stopped}")
    rows = {}
    for name in (options.plan, *options.controls):
        folder = options.output / name
        checkpoint = "best" if name == options.plan else "latest"
        generate(options.count, folder, plan_name=name, checkpoint=checkpoint, **shared)
        rows[name] = evaluate_cohort(
            folder,
            raw / "imagesTs",
            plan.task,
            training_folder=raw / "imagesTr",
            plan_name=options.plan,
            pairs=options.pairs,
            **shared,
        )
    report(rows)


if __name__ == "__main__":
    main()
