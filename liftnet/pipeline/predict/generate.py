"""Step 5 of a task that makes volumes from random numbers: generate as many as wanted."""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch

from liftnet.core.arguments import checked
from liftnet.core.errors import LiftnetError
from liftnet.core.workspace import find_workspace
from liftnet.host.failures import explained
from liftnet.host.lock import hold, part_name
from liftnet.host.parallel import part_of, worker_count
from liftnet.host.progress import mention, progress, say
from liftnet.imageio import read_image
from liftnet.methods.base import Generates
from liftnet.ops.compute.cost import Cost, Meter
from liftnet.pipeline.models.model import Model, load_model, trained_folds
from liftnet.pipeline.plan import DEFAULT_PLAN, load_plan, method_of
from liftnet.pipeline.predict.outputs import remove_half_written
from liftnet.pipeline.predict.samples import (
    Sample,
    is_written,
    list_samples,
    sample_latent,
    sample_path,
    write_sample,
)
from liftnet.pipeline.predict.trajectories import (
    Trajectory,
    draw_trajectories,
    has_trajectory,
    remove_half_saved,
    sample_trajectory,
    write_trajectory,
)
from liftnet.tasks import load_generation
from liftnet.visual.figures import sample_sheet

__all__ = ["generate"]

SHOWN = 8  # ours: three planes of each fit on a screen


@checked
def generate(
    num_volumes: int,
    output_folder: Path | str,
    dataset: int | str | None = None,
    *,
    seed: int = 0,
    first: int = 0,
    temperature: float | None = None,
    sigma_z: float | None = None,
    interpolate: tuple[int, int] | None = None,
    fold: int | str | None = None,
    plan_name: str = DEFAULT_PLAN,
    method: str | None = None,
    normalized: bool = False,
    save_trajectory: bool = False,
    continue_prediction: bool = False,
    num_parts: int = 1,
    part_id: int = 0,
    checkpoint: str = "best",
    device: str | None = None,
    num_processes: int | None = None,
    workspace: Path | str | None = None,
) -> list[Path]:
    """Generate volumes; number k of a seed is the same in every run.

    The first volume that cannot be made or written ends the run: the next would fail alike.

    Args:
        num_volumes: how many.
        output_folder: receives sample_0000_0000.nii.gz, sample_0000_0000.json and montage.png.
        dataset: id or name of the trained dataset.
        seed: of all latents.
        first: the number of the first volume.
        temperature: by which latents are multiplied; by default the recipe's.
        sigma_z: slices over which codes are smoothed; by default the recipe's.
        interpolate: numbers of two volumes: generate the way from the one to the other.
        fold: which; by default the first that is trained.
        plan_name: which plan.
        method: which; by default the task's own.
        normalized: write network units instead of typical intensities or HU.
        save_trajectory: write the code of every slice, and draw them.
        continue_prediction: keep finished volumes of the same weights and numbers above.
        num_parts: split the volumes over this many runs ...
        part_id: ... and do this part of them.
        checkpoint: "best" on validation, or "latest".
        device: "cuda", "cpu" or "mps".
        num_processes: files written at the same time.
        workspace: the workspace folder.

    Returns:
        The images of this part, those that were there already included.

    Raises:
        LiftnetError: If the call makes no sense, or a volume cannot be made or written.
    """
    if interpolate is not None:
        _check_way(num_volumes, first, interpolate)
    part = part_of(num_parts, part_id)
    space = find_workspace(workspace)
    name = space.dataset_name(dataset)
    mention(f"{name}: {space.describe()}")
    run, plan = space.run_folder(name, plan_name), load_plan(space, name, plan_name)
    load_generation(plan.task)  # refuses one that needs images
    used = method_of(plan, method)
    if fold is None:
        folder = trained_folds(run, used, checkpoint=checkpoint)[0]
        fold = folder.name.removeprefix("fold_")
        mention(f"Generating with {folder.name}, the first that is trained (-f takes another)")
    model = load_model(run, used, [fold], checkpoint=checkpoint, device=device)
    if temperature is None:
        temperature = getattr(model.recipe, "temperature", 1.0)
    if sigma_z is None:
        sigma_z = getattr(model.recipe, "sigma_z", 0.0)
    samples = list_samples(num_volumes, seed, first, temperature, sigma_z, interpolate)
    mine, output = samples[part], Path(output_folder)

    def is_done(sample: Sample) -> bool:
        if save_trajectory and not has_trajectory(output, sample.name, model, sample.facts):
            return False
        return is_written(sample, model, output, normalized)

    workers = worker_count(num_processes)
    if num_processes is None and model.device.type == "cpu":
        workers = 1  # ours: a volume is written faster than it is made there, and memory counts
    with hold(output, "liftnet_predict", part=part_name(num_parts, part_id)):
        remove_half_written(output, {sample.name for sample in mine})
        remove_half_saved(output, {sample.name for sample in mine})
        todo = [sample for sample in mine if not (continue_prediction and is_done(sample))]
        kept = len(mine) - len(todo)
        seconds = _make(todo, model, output, normalized, save_trajectory, workers, kept=kept)
    _draw(samples, model, output, normalized)
    draw_trajectories(save_trajectory, output, model)
    there = f" ({kept} were there)" if kept else ""
    each = f", {seconds / len(todo):.2f} s each on {model.device.type}" if todo else ""
    say(f"Generated {len(mine)} volumes{there} with {model.folders[0].name}{each}: {output}")
    return [sample_path(sample, model.plan, output) for sample in mine]


def _check_way(num_volumes: int, first: int, interpolate: tuple[int, int]) -> None:
    """Refuse a way that is none, before anything is loaded."""
    if interpolate[0] == interpolate[1]:
        raise LiftnetError(
            f"There is no way from volume {interpolate[0]} to volume {interpolate[1]}",
            where="--interpolate",
            remedy="Use the numbers of two different volumes, from 0.",
        )
    if num_volumes < 2 or first:
        raise LiftnetError(
            "Interpolation makes two volumes or more, from the one end to the other",
            where="--interpolate",
            remedy="Use -n 2 or more, and no --first.",
        )


def _make(
    samples: Sequence[Sample],
    model: Model,
    output: Path,
    normalized: bool,
    save_trajectory: bool,
    workers: int,
    *,
    kept: int,
) -> float:
    """Generate and write; the seconds that generating took.

    Volumes are written behind while the next is made; at most `workers` wait in memory.
    """

    def write(sample: Sample, made: np.ndarray, trajectory: Trajectory | None, cost: Cost) -> None:
        with explained("volume", sample.name):
            if trajectory is not None:
                write_trajectory(trajectory, model, output)
            write_sample(sample, made, model, output, normalized, cost)

    total = 0.0
    with (
        progress("Generate", kept + len(samples), done=kept, unit="volume") as advance,
        ThreadPoolExecutor(workers) as writers,
    ):
        behind: list[Future[None]] = []

        def collect(limit: int) -> None:
            while len(behind) > limit:
                behind.pop(0).result()
                advance()

        for sample in samples:
            meter = Meter(model.device)
            with explained("volume", sample.name):
                made = _volume(sample, model)
                trajectory = sample_trajectory(model, sample) if save_trajectory else None
            cost = meter.read()
            total += cost.seconds
            collect(workers - 1)
            behind.append(writers.submit(write, sample, made, trajectory, cost))
        collect(0)
    return total


@torch.no_grad()
def _volume(sample: Sample, model: Model) -> np.ndarray:
    """A volume (D, H, W) in network units."""
    assert isinstance(model.method, Generates)
    made = model.method.generate(
        model.plan,
        model.recipe,
        model.networks[0],
        sample_latent(sample, model).to(model.device),
        temperature=sample.temperature,
        sigma_z=sample.sigma_z,
    )
    if not torch.isfinite(made).all():
        raise LiftnetError(
            "The network made values that are not finite",
            where=f"volume {sample.name}",
            remedy="Use another checkpoint (-chk) or fold (-f), or train again.",
        )
    return made.float().cpu().numpy()


def _draw(samples: Sequence[Sample], model: Model, output: Path, normalized: bool) -> None:
    """Draw the first volumes, or some along the way, when all of these are there.

    Of several parts, the last one finds them all.
    """
    picked, name = list(samples[:SHOWN]), "montage.png"
    if samples[0].interpolation is not None:
        places = np.linspace(0, len(samples) - 1, min(SHOWN, len(samples))).round()
        picked = [samples[int(place)] for place in places]
        name = f"{samples[0].name.rpartition('_')[0]}.png"
    if not all(is_written(sample, model, output, normalized) for sample in picked):
        return
    plan, shown, spacing = model.plan, [], (1.0, 1.0, 1.0)
    for sample in picked:
        voxels, info = read_image(sample_path(sample, plan, output))
        shown.append((sample.name, voxels))
        spacing = info.geometry.spacing_mm
    title = (
        f"{plan.dataset}, plan {plan.name}, {model.folders[0].name}: {plan.targets[0]}, "
        f"seed {samples[0].seed}, temperature {samples[0].temperature:g}"
        + (f", sigma_z {samples[0].sigma_z:g}" if samples[0].sigma_z else "")
    )
    with explained("picture", name):
        sample_sheet(shown, output / name, spacing_mm=spacing, title=title)
