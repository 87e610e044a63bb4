"""About how long a training takes on this machine, from a few steps on random images."""

import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from liftnet.core.geometry import AxisOrder, Geometry, Placement
from liftnet.core.plan import Plan
from liftnet.core.recipe import Recipe, Schedule, schedules, with_schedules
from liftnet.core.workspace import Workspace
from liftnet.data.crops import Patch
from liftnet.data.store import Store, StoredCase, write_case
from liftnet.methods.base import Method, Stage, Surveys
from liftnet.networks.blocks import set_recompute
from liftnet.ops.compute.precision import place
from liftnet.pipeline.fingerprint.extract_fingerprint import read_fingerprint
from liftnet.pipeline.models.volumes import Training
from liftnet.pipeline.train.feed import draw_step
from liftnet.pipeline.train.state import Run, make_optimizer
from liftnet.pipeline.train.step import take_step
from liftnet.pipeline.train.validation import score_volumes
from liftnet.tasks import load_task
from liftnet.tasks.base import SynthesisTask

__all__ = ["StageCost", "held_out_cases", "measure_training"]

FOLDS = 5  # nnU-Net; a fold validates with one fifth of the cases
FIRST_SLICES = 4  # ours: of the first, smallest measurement; a CPU needs some seconds for them
LONGEST = 2.5  # ours: seconds; a step or volume that takes longer is worked out from a part of it
TRIED = 4  # ours: steps; other work on the machine slows some of them
CASES = 3  # ours: the least that a bank of real volumes can be made of
AXES = ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0))


@dataclass(frozen=True)
class StageCost:
    """What a stage costs, in seconds."""

    schedule: Schedule
    step: float
    case: float  # one volume of a validation

    def seconds(self, cases: int) -> float:
        """All steps and validations, where so many cases are there to validate with."""
        steps, every = self.schedule.num_steps, self.schedule.validate_every
        checked = min(cases, self.schedule.validation_cases) * -(-steps // every)
        return steps * self.step + checked * self.case


def held_out_cases(space: Workspace, dataset_name: str) -> int:
    """About how many cases a fold has to validate with."""
    return max(1, len(read_fingerprint(space.fingerprint_file(dataset_name)).cases) // FOLDS)


def measure_training(
    method: Method[Any], plan: Plan, recipe: Recipe, device: torch.device
) -> list[StageCost]:
    """The cost of every stage, measured by steps of its networks on random volumes.

    A step of a part of the slices and volumes comes first. The whole step is measured only where
    that promises to be quick; else its time follows from that of the part, since all that is
    costly is done slice by slice, or box by box. What torch.compile gains on CUDA is left out.

    Raises:
        RuntimeError: If the memory of the device is too small.
    """
    costs = []
    stages = method.stages(plan, recipe)
    network = None
    with torch.random.fork_rng(), tempfile.TemporaryDirectory(prefix="liftnet_time_") as folder:
        torch.manual_seed(plan.seed)
        for number, stage in enumerate(stages):
            network = place(stage.build(network), device)
            set_recompute(network, recipe.recompute)
            of = Training(load_task(plan.task), method, plan, recipe)
            costs.append(_measure_stage(of, number, network, Path(folder) / stage.name))
    return costs


def _measure_stage(of: Training, number: int, network: nn.Module, folder: Path) -> StageCost:
    """The cost of a stage, with a network that makes some of its steps."""
    schedule = of.method.stages(of.plan, of.recipe)[number].schedule
    step = case = 0.0
    boxes = isinstance(of.method.stages(of.plan, of.recipe)[number].crop, Patch)
    for part, share, depth_share in _parts(of, schedule, whole=boxes):
        if max(step, case) > LONGEST:
            break
        stage = part.method.stages(part.plan, part.recipe)[number]
        store = _random_cases(part.plan, folder / str(part.plan.grid.num_slices))
        memory = None
        if isinstance(stage, Surveys):
            place = folder / f"{share:g}" / stage.name
            memory = stage.survey(network, store, store.identifiers(), place)
        if schedule.num_steps:
            step = _step_seconds(part, stage, memory, network, store) / share
        if isinstance(part.task, SynthesisTask):
            started = time.perf_counter()
            score_volumes(part, network, store, store.identifiers()[:1])
            case = (time.perf_counter() - started) / depth_share
    return StageCost(schedule, step, case)


def _parts(
    of: Training, schedule: Schedule, *, whole: bool
) -> Iterator[tuple[Training, float, float]]:
    """Trainings of ever more of a step: few slices, all slices of a volume, all volumes.

    Boxes are not smaller where a volume has fewer slices: of these, one is the least.

    Yields:
        The training, its share of a step's work, and its share of the slices of a volume.
    """
    depth, volumes = of.plan.grid.num_slices, schedule.volumes_per_step
    few = max(FIRST_SLICES, -(-depth // schedule.decoded_slices))  # at least one is decoded
    two = min(2, volumes)  # generated volumes are compared with each other
    sliced = [(min(few, depth), two), (depth, two), (depth, volumes)]
    sizes = [(depth, 1), (depth, volumes)] if whole else sliced
    for slices, count in dict.fromkeys(sizes):
        share = slices / depth
        yield _part(of, slices, count), share * count / volumes, share


def _part(of: Training, slices: int, volumes: int) -> Training:
    """The training with fewer slices in a volume, and fewer volumes in a step."""
    plan, recipe = of.plan, of.recipe
    share = slices / plan.grid.num_slices
    box = plan.grid.box and (slices, *plan.grid.box[1:])
    stages = {
        name: replace(
            schedule,
            volumes_per_step=min(volumes, schedule.volumes_per_step),
            decoded_slices=max(1, round(share * schedule.decoded_slices)),
        )
        for name, schedule in schedules(recipe).items()
    }
    inference = replace(recipe.inference, slice_batch=min(recipe.inference.slice_batch, slices))
    return of._replace(
        plan=replace(plan, grid=replace(plan.grid, num_slices=slices, box=box)),
        recipe=replace(with_schedules(recipe, stages), inference=inference),
    )


def _step_seconds(
    of: Training, stage: Stage[Any], memory: Any, network: nn.Module, store: Store
) -> float:
    """How long a step takes, the quickest of some after one that finds its ways of computing."""
    device = next(network.parameters()).device
    optimizer = make_optimizer(network, stage.schedule)
    run = Run(network, network, optimizer, recent=[])  # its own average: nothing is kept
    generator = torch.Generator(device)
    seconds: list[float] = []
    for step in range(TRIED):
        started = time.perf_counter()
        drawn = draw_step(of.task, of.plan, stage, store, store.identifiers(), step)
        batch = [example.to(device) for example in drawn]
        done = take_step(run, of.plan, of.recipe, stage, memory, batch, generator)
        done.values.tolist()  # waits for the device
        seconds.append(time.perf_counter() - started)
        if step > 0 and sum(seconds) > LONGEST:
            break
    return min(seconds[1:])


def _random_cases(plan: Plan, folder: Path) -> Store:
    """A store of random volumes of the plan's grid."""
    shape = (plan.grid.num_slices, *plan.grid.in_plane)
    placement = Placement(
        Geometry(shape, plan.grid.spacing_mm, (0.0, 0.0, 0.0), AXES),
        AxisOrder((0, 1, 2), (False, False, False)),
        (0, 0, 0),
        shape,
        shape,
    )
    for number in range(CASES):
        rng = np.random.default_rng(number)
        voxels = rng.random((len(plan.channels), *shape), np.float32)
        case = StoredCase(
            f"random_{number}",
            "random",
            plan.channel_names,
            shape,
            dict.fromkeys(plan.channel_names, (0.0, 1.0)),
            placement,
        )
        write_case(folder, voxels, case, mask=np.ones(shape, bool))
    return Store(folder)
