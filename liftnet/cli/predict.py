"""`liftnet_predict`: images from others, or with -n volumes from nothing."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from liftnet.cli.following import say_cohort_evaluation, say_evaluation
from liftnet.cli.generate import (
    CheckpointOption,
    ContinueOption,
    FirstOption,
    InterpolateOption,
    NormalizedOption,
    PartOption,
    PartsOption,
    SeedOption,
    SigmaOption,
    TemperatureOption,
    TrajectoryOption,
)
from liftnet.cli.shell import (
    DatasetOption,
    DeviceOption,
    MethodOption,
    PlanOption,
    ProcessesOption,
    WorkspaceOption,
    run,
)
from liftnet.core.errors import LiftnetError


def predict(
    *,
    input_folder: Annotated[
        list[str] | None,
        typer.Option(
            "-i",
            metavar="DIR",
            help="New cases: CASE_0000.nii.gz ..., or as liftnet_convert takes them. Or t1n=DIR "
            "t2w=DIR ...",
        ),
    ] = None,
    num_volumes: Annotated[
        int | None,
        typer.Option("-n", metavar="N", help="Generate N volumes from nothing; in place of -i."),
    ] = None,
    output_folder: Annotated[
        str, typer.Option("-o", metavar="DIR", help="Folder for the synthesized images.")
    ],
    dataset: DatasetOption = None,
    fold: Annotated[
        list[str] | None,
        typer.Option(
            "-f",
            metavar="FOLD",
            help="Folds to average. Default: all trained ones; with -n, the first of them.",
        ),
    ] = None,
    plan_name: PlanOption = "default",
    method: MethodOption = None,
    target: Annotated[
        list[str] | None,
        typer.Option("--target", metavar="NAME", help="Make this contrast, even if a case has it."),
    ] = None,
    masks: Annotated[
        str | None,
        typer.Option(
            "-m",
            "--masks",
            metavar="DIR",
            help="Folder of masks CASE.nii.gz. Default: found in the sources.",
        ),
    ] = None,
    seed: SeedOption = 0,
    first: FirstOption = 0,
    temperature: TemperatureOption = None,
    sigma_z: SigmaOption = None,
    interpolate: InterpolateOption = None,
    normalized: NormalizedOption = False,
    save_trajectory: TrajectoryOption = False,
    continue_prediction: ContinueOption = False,
    num_parts: PartsOption = 1,
    part_id: PartOption = 0,
    checkpoint: CheckpointOption = "best",
    device: DeviceOption = None,
    num_processes: ProcessesOption = None,
    workspace: WorkspaceOption = None,
) -> None:
    """Synthesize, for every case of a folder, what it lacks; or, with -n, generate volumes."""
    from_images = {"--target": target, "-m": masks}
    from_nothing = {
        "--seed": seed,
        "--first": first,
        "--temperature": temperature is not None,
        "--sigma-z": sigma_z is not None,
        "--interpolate": interpolate,
    }
    shared: dict[str, Any] = {
        "method": method,
        "plan_name": plan_name,
        "normalized": normalized,
        "save_trajectory": save_trajectory,
        "continue_prediction": continue_prediction,
        "num_parts": num_parts,
        "part_id": part_id,
        "checkpoint": checkpoint,
        "device": device,
        "num_processes": num_processes,
        "workspace": workspace,
    }
    if num_volumes is None:
        if input_folder is None:
            raise LiftnetError(
                "There is nothing to make images of: neither -i nor -n is given",
                where="liftnet_predict",
                remedy="Give a folder of images with -i, or a number of new volumes with -n.",
            )
        _refuse(from_nothing, "-i", "they are for generating volumes with -n")
        from liftnet.pipeline.predict import predict as synthesis

        failures = synthesis.predict(
            input_folder,
            output_folder,
            dataset,
            fold=fold,
            target=target,
            masks=masks,
            **shared,
        )
        if failures:
            raise typer.Exit(1)
        say_evaluation(output_folder, num_parts=num_parts, workspace=workspace)
        return
    _refuse({"-i": input_folder, **from_images}, "-n", "they are for images made from others")
    if fold and len(fold) > 1:
        raise LiftnetError(
            f"Volumes are generated with one fold, not with {len(fold)}",
            where="-f",
            remedy="Name one fold: the mean of what several networks make would be a blur.",
        )
    from liftnet.pipeline.predict import generate as generation

    generation.generate(
        num_volumes,
        output_folder,
        dataset,
        seed=seed,
        first=first,
        temperature=temperature,
        sigma_z=sigma_z,
        interpolate=interpolate,
        fold=fold[0] if fold else None,
        **shared,
    )
    say_cohort_evaluation(output_folder, num_parts=num_parts, workspace=workspace)


def _refuse(options: Mapping[str, object], mode: str, purpose: str) -> None:
    """Refuse options that have no meaning beside -i or -n.

    Raises:
        LiftnetError: If one is given.
    """
    given = [option for option, value in options.items() if value not in (None, False)]
    if given:
        raise LiftnetError(
            f"{', '.join(given)} cannot be used with {mode}",
            where="liftnet_predict",
            remedy=f"Leave out {' and '.join(given)}, or {mode}: {purpose}.",
        )


def main() -> None:
    """Run the command."""
    run(predict, lists=("-i", "-f", "--target"))
