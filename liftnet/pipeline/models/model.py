"""Trained networks, loaded for prediction."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from liftnet.core.errors import CheckpointError, LiftnetError
from liftnet.core.plan import Plan
from liftnet.core.recipe import Recipe
from liftnet.host.progress import say
from liftnet.methods.base import Generates, Method, Stage, Synthesizes, countable
from liftnet.ops.compute.precision import place
from liftnet.pipeline.models.checkpoint import load_checkpoint, load_weights, weights_digest
from liftnet.pipeline.models.plausibility import Known, load_known
from liftnet.pipeline.models.runs import (
    BEST,
    LATEST,
    LOG,
    Folds,
    find_device,
    fold_folder,
    fold_names,
    read_log,
    read_run,
    run_digest,
)
from liftnet.pipeline.models.training_facts import TrainingFacts, load_facts
from liftnet.pipeline.plan import DEFAULT_PLAN
from liftnet.planning.cost import flops_of, synthesis_flops
from liftnet.tasks import load_task
from liftnet.tasks.base import SynthesisTask

__all__ = ["CHECKPOINTS", "Model", "load_model", "trained_folds"]

CHECKPOINTS = {"best": BEST, "latest": LATEST}  # what is asked for with -chk -> its file


@dataclass(frozen=True)
class Model:
    """Trained networks, and the plan and the recipe they belong to."""

    plan: Plan
    method: Method[Any]
    recipe: Recipe
    networks: tuple[nn.Module, ...]
    folders: tuple[Path, ...]
    digest: str
    device: torch.device
    known: Known  # what training images are like; empty where nothing is judged by it
    facts: tuple[TrainingFacts | None, ...] = ()  # what each fold's training cases had
    unimproved: tuple[str, ...] = ()  # folds whose last stage was best before its first step
    seed: int = 0  # of what is random about images of a case

    def flops(self, shape: tuple[int, int, int], targets: int = 1) -> int | None:
        """The floating-point operations of one network for a volume (D, H, W) of the plan's units.

        Of so many targets, and of all samples. Counted once, for the plan's grid, and in proportion
        to it: slices that are smaller than those of the plan are padded. None where it cannot be
        counted on tensors without values.
        """
        if targets not in self._flops_of_grid:
            self._flops_of_grid[targets] = self._count(targets)
        counted = self._flops_of_grid[targets]
        if counted is None:
            return None
        (depth, height, width), grid = shape, self.plan.grid
        rows, columns = grid.in_plane
        share = depth * max(height, rows) * max(width, columns) / (grid.num_slices * rows * columns)
        samples = self.recipe.sampling.samples if self.recipe.sampling else 1
        return round(counted * share) * samples

    @cached_property
    def _flops_of_grid(self) -> dict[int, int | None]:
        return {}

    def _count(self, targets: int) -> int | None:
        plan, method, recipe = self.plan, self.method, self.recipe
        stage = method.stages(plan, recipe)[-1]
        try:
            if isinstance(method, Synthesizes):
                return synthesis_flops(plan, recipe, stage, countable(method), targets)
            assert isinstance(method, Generates)
            latent = method.latent(plan, recipe, 0, 0).to("meta")
            return flops_of(
                stage, lambda own: method.generate(plan, recipe, own, latent, temperature=1.0)
            )
        except Exception:  # it asks for values, which "meta" has not: no count, but an image
            return None


def load_model(
    run: Path,
    method: Method[Any],
    fold: Folds | None,
    *,
    checkpoint: str,
    device: str | None,
) -> Model:
    """The networks of the wanted folds, or of all that are trained.

    Raises:
        CheckpointError: If a fold is not trained, or folds belong to different plans.
    """
    where = find_device(device)
    wanted = [] if fold is None else fold_names(fold)
    if not wanted:
        folders = _one_if_sampled(trained_folds(run, method, checkpoint=checkpoint))
    else:
        folders = [fold_folder(run, method.name, f) for f in wanted]
    file = _file_name(checkpoint)
    networks: list[nn.Module] = []
    weights: list[dict[str, Tensor]] = []
    unimproved: list[str] = []
    found: tuple[Plan, Recipe] | None = None
    for folder in folders:
        if not (folder / "plan.json").is_file():
            raise CheckpointError(
                f"{folder.name} is not trained",
                where=str(folder),
                remedy="Train this fold first (liftnet_train -f), or name another.",
            )
        plan, _, recipe = read_run(folder)
        other, found = found, (plan, recipe)
        if other is not None and run_digest(*other) != run_digest(plan, recipe):
            raise CheckpointError(
                f"{folder.name} was trained with another plan or recipe than {folders[0].name}",
                where=str(folder.parent),
                remedy="Predict with folds of one plan and recipe (-f), or train this fold again.",
            )
        stage = method.stages(plan, recipe)[-1]
        path = folder / stage.name / file
        state = load_checkpoint(path)
        network = stage.build()
        if not state.weights:
            raise CheckpointError(
                "The checkpoint holds no weights of a network",
                where=str(path),
                remedy="Train again (liftnet_train), or import the model again.",
            )
        load_weights(network, state.weights, where=path)
        networks.append(place(network, where).eval())
        if _is_unimproved(folder, stage, state.facts.get("step")):
            unimproved.append(folder.name)
        weights.append(state.weights)
    assert found is not None
    plan, recipe = found
    judged = isinstance(load_task(plan.task), SynthesisTask)
    return Model(
        plan,
        method,
        recipe,
        tuple(networks),
        tuple(folders),
        weights_digest(weights),
        where,
        load_known(folders, plan) if judged else {},
        tuple(load_facts(folders, plan)),
        tuple(unimproved),
    )


def _one_if_sampled(folders: list[Path]) -> list[Path]:
    """The first fold alone where a case has many possible results, whose mean is none of them."""
    _, method, recipe = read_run(folders[0])
    if not recipe.draws or len(folders) == 1:
        return folders
    say(
        f"{method.name} samples: of {len(folders)} folds {folders[0].name} is used; -f names "
        "several, whose mean is smoother than a sample"
    )
    return folders[:1]


def _is_unimproved(folder: Path, stage: Stage[Any], step: object) -> bool:
    """Whether the last stage of a fold was best before its first step; says so, or that it goes on.

    Args:
        folder: of the fold.
        stage: its last.
        step: that of the checkpoint.
    """
    done = _steps_done(folder / stage.name)
    if done is not None and done < stage.schedule.num_steps:
        say(
            f"warning: {folder.name} is not trained to its end: {stage.name} has {done} of "
            f"{stage.schedule.num_steps} steps"
        )
        return False
    if step != 0 or stage.schedule.num_steps == 0:
        return False
    say(
        f"{folder.name}: {stage.name} did not improve on the stage before it, whose images are used"
    )
    return True


def _steps_done(folder: Path) -> int | None:
    """How many steps the log of a stage has; None where there is none, as in imported models."""
    rows = read_log(folder / LOG)
    return max(row["step"] for row in rows) if rows else None


def trained_folds(run: Path, method: Method[Any], *, checkpoint: str) -> list[Path]:
    """The folders of the folds whose last stage has a checkpoint, at least one.

    Raises:
        CheckpointError: If there is none.
    """
    file = _file_name(checkpoint)
    parent = fold_folder(run, method.name, "x").parent
    begun = sorted(path.parent for path in parent.glob("fold_*/plan.json"))
    if not begun:
        raise CheckpointError(
            "Nothing is trained yet",
            where=str(parent),
            remedy=f"Run liftnet_train -d {run.parent.name}"
            + (f" -p {run.name}" if run.name != DEFAULT_PLAN else "")
            + f" --method {method.name}.",
        )
    folders = [folder for folder in begun if _weights(folder, file).is_file()]
    if not folders:
        raise CheckpointError(
            "Training has not come far enough to predict",
            where=str(_weights(begun[0], file)),
            remedy="Give the liftnet_train command again.",
        )
    return folders


def _file_name(checkpoint: str) -> str:
    """The file of the checkpoint asked for with -chk."""
    if checkpoint not in CHECKPOINTS:
        raise LiftnetError(
            f"There is no checkpoint '{checkpoint}'", where="-chk", remedy="Use best or latest."
        )
    return CHECKPOINTS[checkpoint]


def _weights(folder: Path, name: str) -> Path:
    """The checkpoint of the last stage of a fold."""
    plan, method, recipe = read_run(folder)
    return folder / method.stages(plan, recipe)[-1].name / name
