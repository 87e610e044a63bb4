"""Step 5: synthesize absent images for a folder of new files."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

from liftnet.core.arguments import checked
from liftnet.core.dataset import Case
from liftnet.core.errors import LiftnetError
from liftnet.core.workspace import find_workspace
from liftnet.host.failures import explained
from liftnet.host.lock import hold, part_name
from liftnet.host.parallel import part_of, worker_count
from liftnet.host.progress import mention, progress, say
from liftnet.host.text_table import counted
from liftnet.ops.chunks import Chunk
from liftnet.ops.compute.cost import Cost, Meter
from liftnet.ops.compute.host_memory import keep_freed_memory
from liftnet.pipeline.convert.recognise import Inputs, input_root
from liftnet.pipeline.models.model import Model, load_model
from liftnet.pipeline.models.plausibility import report_flags
from liftnet.pipeline.models.runs import Folds
from liftnet.pipeline.models.training_facts import say_unlearned, shares
from liftnet.pipeline.models.volumes import Training, chunk_of, make_volumes
from liftnet.pipeline.plan import DEFAULT_PLAN, load_plan, method_of
from liftnet.pipeline.predict.case import Asked, prepare_case, with_something_to_make
from liftnet.pipeline.predict.case_check import report_warnings
from liftnet.pipeline.predict.inputs import check_targets, find_inputs, refuse_one_folder
from liftnet.pipeline.predict.outputs import Prepared, remove_half_written, write_case
from liftnet.pipeline.predict.sampling import with_sampling
from liftnet.pipeline.predict.trajectories import (
    Trajectory,
    case_trajectory,
    check_trajectory,
    draw_trajectories,
    example_of,
    remove_half_saved,
    write_trajectory,
)
from liftnet.tasks import load_synthesis, load_task

__all__ = ["Failure", "predict"]

Result = TypeVar("Result")


@dataclass(frozen=True)
class Failure:
    """A case that could not be synthesized, and why."""

    case: str
    error: LiftnetError


@checked
def predict(
    input_folder: Inputs,
    output_folder: Path | str,
    dataset: int | str | None = None,
    *,
    fold: Folds | None = None,
    plan_name: str = DEFAULT_PLAN,
    method: str | None = None,
    target: Sequence[str] | None = None,
    masks: Path | str | None = None,
    normalized: bool = False,
    seed: int = 0,
    samples: int | None = None,
    sampler: str | None = None,
    sampler_steps: int | None = None,
    save_trajectory: bool = False,
    continue_prediction: bool = False,
    num_parts: int = 1,
    part_id: int = 0,
    checkpoint: str = "best",
    device: str | None = None,
    num_processes: int | None = None,
    workspace: Path | str | None = None,
) -> list[Failure]:
    """Synthesize what the cases of a folder lack, each on its own grid.

    Args:
        input_folder: of new cases: files named CASE_0000.nii.gz, numbered as in dataset.json, or
            another layout that `liftnet_convert` knows. Or the folder of each source, as a
            mapping {"t1n": folder} or texts "t1n=folder".
        output_folder: receives CASE_0003.nii.gz (the absent channel) and CASE_0003.json.
        dataset: id or name of the trained dataset.
        fold: folds to average; by default all that are trained, and the first of them where a case
            has many possible results.
        plan_name: which plan.
        method: which; by default the task's own.
        target: contrasts to synthesize even where they are present (they are not used then).
        masks: folder of CASE.nii.gz masks, for plans that use them; by default found from the
            sources.
        normalized: write network units instead of typical intensities or HU.
        seed: another one draws another of the results that a case may have.
        samples: draw so many and write their mean; by default as the recipe has it, one.
        sampler: "ancestral", "ddim", "euler" or "heun"; by default the recipe's.
        sampler_steps: from noise to image; by default the recipe's.
        save_trajectory: write the context vectors of every case, and draw them.
        continue_prediction: keep finished outputs that these weights made from these files.
        num_parts: split the cases over this many runs ...
        part_id: ... and do this part of them.
        checkpoint: "best" on validation, or "latest".
        device: "cuda", "cpu" or "mps".
        num_processes: files read and written at the same time.
        workspace: the workspace folder.

    Returns:
        The cases that failed; the others are done all the same.

    Raises:
        CheckpointError: If nothing is trained that could predict.
        DatasetError: If the input folder holds no case.
        LiftnetError: If the call makes no sense, or another run works in the output folder.
    """
    keep_freed_memory()
    space = find_workspace(workspace)
    name = space.dataset_name(dataset)
    mention(f"{name}: {space.describe()}")
    root, output = input_root(input_folder), Path(output_folder)
    refuse_one_folder(input_folder, output)
    part = part_of(num_parts, part_id)
    plan = load_plan(space, name, plan_name)
    load_synthesis(plan.task)  # refuses one that needs no images
    used = method_of(plan, method)
    check_trajectory(save_trajectory, used)
    run = space.run_folder(name, plan_name)
    model = load_model(run, used, fold, checkpoint=checkpoint, device=device)
    asked_sampling = {"samples": samples, "sampler": sampler, "num_steps": sampler_steps}
    model = with_sampling(model, seed, asked_sampling)
    say_unlearned(model.facts, model.plan)
    mask_folder = None if masks is None else Path(masks)
    found = find_inputs(input_folder, model.plan, mask_folder)
    refuse_one_folder([p.parent for case in found for p in case.images.values()], output)
    wanted = check_targets(target, model.plan)
    lacking = with_something_to_make(found, model, wanted)
    cases = [case for case in found[part] if case in lacking]
    asked = Asked(
        targets=wanted,
        root=root,
        output=output,
        normalized=normalized,
        keep_finished=continue_prediction,
        save_trajectory=save_trajectory,
        alone=len(found) == 1,
    )
    identifiers = {case.identifier for case in cases}
    with hold(output, "liftnet_predict", part=part_name(num_parts, part_id)):
        remove_half_written(output, identifiers)
        remove_half_saved(output, identifiers)
        failures, made = _make_all(cases, model, asked, worker_count(num_processes))
    what = "Predicted" if num_parts == 1 else f"Predicted part {part_id} of {num_parts}:"
    _report(what, failures, made, len(cases), output, model)
    draw_trajectories(save_trajectory, output, model)
    report_flags(output, identifiers, model.digest)
    report_warnings(output, identifiers, model.digest)
    return failures


def _make_all(
    cases: Sequence[Case], model: Model, asked: Asked, workers: int
) -> tuple[list[Failure], dict[str, float]]:
    """The cases that failed, and the seconds that each of the others took.

    Cases are read ahead and written behind while one is synthesized; at most `workers` of each are
    held in memory.
    """
    failures: list[Failure] = []
    made: dict[str, float] = {}
    chunk = chunk_of(model.recipe)
    chunk.notice = _say_less
    with (
        progress("Predict", len(cases)) as advance,
        ThreadPoolExecutor(workers) as readers,
        ThreadPoolExecutor(workers) as writers,
    ):
        ahead: list[tuple[Case, Future[Prepared | None]]] = []
        behind: list[tuple[Case, Future[None]]] = []
        waiting = iter(cases)

        def collect(limit: int) -> None:
            while len(behind) > limit:
                case, future = behind.pop(0)
                _result(failures, case, future.result)
                advance()

        while True:
            while len(ahead) < workers + 1 and (case := next(waiting, None)) is not None:
                ahead.append((case, readers.submit(prepare_case, case, model, asked)))
            if not ahead:
                break
            case, ready = ahead.pop(0)
            prepared = _result(failures, case, ready.result)
            meter, result = Meter(model.device), None
            chunk.watch = partial(_say_share, advance, case.identifier)
            if prepared is not None:
                work = partial(_synthesize, model, prepared, chunk, asked.save_trajectory)
                result = _result(failures, case, work)
            if prepared is None or result is None:
                advance()
                continue
            cost = meter.read()
            made[case.identifier] = cost.seconds
            job = writers.submit(_write, prepared, *result, model, asked, cost)
            behind.append((case, job))
            collect(workers)
        collect(0)
    return failures, made


def _say_share(advance: Callable[..., None], case: str, share: float) -> None:
    advance(0, f"{case}: {share:.0%}")


def _say_less(less: Chunk) -> None:
    say(
        f"warning: memory ran out; from here on {less.size} slices at a time in "
        f"{less.passes} pass{'es' if less.passes == 'two' else ''}"
    )


def _result(failures: list[Failure], case: Case, work: Callable[[], Result]) -> Result | None:
    """What the work returns, or None if it failed, which is noted."""
    try:
        with explained("case", case.identifier):
            return work()
    except LiftnetError as error:
        failures.append(Failure(case.identifier, error))
    return None


def _synthesize(
    model: Model, prepared: Prepared, chunk: Chunk, save_trajectory: bool
) -> tuple[np.ndarray, Trajectory | None]:
    """Targets (T, D, H, W) of a case, and its trajectory if that is wanted.

    Each target is the mean over the folds that have learned it.
    """
    of = Training(load_task(model.plan.task), model.method, model.plan, model.recipe)
    request, each = prepared.request, shares(model.facts, prepared.request)
    made: dict[str, list[torch.Tensor]] = {target: [] for target in request.made}
    for network, share in zip(model.networks, each, strict=True):
        if share.made:
            volumes = make_volumes(of, [network], example_of(model, prepared, share), chunk)
            for target in share.made:
                made[target].append(volumes[model.plan.targets.index(target)])
    means = [torch.stack(made[target]).sum(dim=0) / len(made[target]) for target in request.made]
    images = torch.stack(means).cpu().numpy()
    trajectory = case_trajectory(model, prepared, chunk) if save_trajectory else None
    return images, trajectory


def _write(
    prepared: Prepared,
    volumes: np.ndarray,
    trajectory: Trajectory | None,
    model: Model,
    asked: Asked,
    cost: Cost,
) -> None:
    """Write a case's files; those that mark it as done come last."""
    if trajectory is not None:
        write_trajectory(trajectory, model, asked.output)
    write_case(prepared, volumes, model, asked.output, asked.normalized, cost)


def _report(
    what: str,
    failures: list[Failure],
    made: dict[str, float],
    total: int,
    output: Path,
    model: Model,
) -> None:
    for failure in failures:
        say(f"failed: {failure.case}: {failure.error}")
    mean = sum(made.values()) / max(len(made), 1)
    seconds = f", {mean:.2f} s each on {model.device.type}" if made else ""
    kept = total - len(set(made) | {failure.case for failure in failures})
    there = f" ({kept} were there)" if kept else ""
    say(
        f"{what} {total - len(failures)} of {total} cases{there} with "
        f"{counted(len(model.networks), 'fold')}{seconds}: {output}"
    )
