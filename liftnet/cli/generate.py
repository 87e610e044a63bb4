"""`liftnet_generate`, and the options that it shares with `liftnet_predict -n`."""

from typing import Annotated

import typer

from liftnet.cli.following import say_cohort_evaluation
from liftnet.cli.shell import (
    DatasetOption,
    DeviceOption,
    MethodOption,
    PlanOption,
    ProcessesOption,
    WorkspaceOption,
    run,
)

__all__ = [
    "CheckpointOption",
    "ContinueOption",
    "FirstOption",
    "InterpolateOption",
    "NormalizedOption",
    "PartOption",
    "PartsOption",
    "SeedOption",
    "SigmaOption",
    "TemperatureOption",
    "TrajectoryOption",
]

SeedOption = Annotated[
    int, typer.Option("--seed", metavar="SEED", help="Another seed makes other volumes.")
]
FirstOption = Annotated[
    int,
    typer.Option(
        "--first", metavar="K", help="Begin with volume K of the seed, to add to earlier ones."
    ),
]
TemperatureOption = Annotated[
    float | None,
    typer.Option(
        "--temperature",
        metavar="T",
        help="How much volumes differ: below 1 less. Default: the recipe's, 1.",
    ),
]
SigmaOption = Annotated[
    float | None,
    typer.Option(
        "--sigma-z",
        metavar="S",
        help="Slices to smooth over, along the slice axis. Default: the recipe's, 0.",
    ),
]
InterpolateOption = Annotated[
    tuple[int, int] | None,
    typer.Option(
        "--interpolate", metavar="A B", help="Volumes on the way from A to B, in equal steps."
    ),
]
NormalizedOption = Annotated[
    bool,
    typer.Option("--normalized", help="Write values as the network has them, [0, 1] or [-1, 1]."),
]
TrajectoryOption = Annotated[
    bool,
    typer.Option(
        "--save-trajectory", help="Also write the context or code of every slice, and draw them."
    ),
]
ContinueOption = Annotated[
    bool,
    typer.Option("--continue-prediction", "--resume", help="Keep outputs that are finished."),
]
PartsOption = Annotated[
    int, typer.Option("-num_parts", metavar="N", help="Split the work over N runs ...")
]
PartOption = Annotated[
    int, typer.Option("-part_id", metavar="I", help="... and do part I, from 0.")
]
CheckpointOption = Annotated[
    str,
    typer.Option(
        "-chk", metavar="best|latest", help="Weights of the best validation, or the latest."
    ),
]


def generate(
    num_volumes: Annotated[int, typer.Option("-n", metavar="N", help="How many volumes.")],
    output_folder: Annotated[
        str, typer.Option("-o", metavar="DIR", help="Folder for the generated volumes.")
    ],
    dataset: DatasetOption = None,
    seed: SeedOption = 0,
    first: FirstOption = 0,
    temperature: TemperatureOption = None,
    sigma_z: SigmaOption = None,
    interpolate: InterpolateOption = None,
    fold: Annotated[
        str | None,
        typer.Option("-f", metavar="FOLD", help="Default: the first that is trained."),
    ] = None,
    method: MethodOption = None,
    plan_name: PlanOption = "default",
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
    """Generate volumes from random numbers; the same as liftnet_predict -n."""
    from liftnet.pipeline.predict import generate as step

    step.generate(
        num_volumes,
        output_folder,
        dataset,
        seed=seed,
        first=first,
        temperature=temperature,
        sigma_z=sigma_z,
        interpolate=interpolate,
        fold=fold,
        method=method,
        plan_name=plan_name,
        normalized=normalized,
        save_trajectory=save_trajectory,
        continue_prediction=continue_prediction,
        num_parts=num_parts,
        part_id=part_id,
        checkpoint=checkpoint,
        device=device,
        num_processes=num_processes,
        workspace=workspace,
    )
    say_cohort_evaluation(output_folder, num_parts=num_parts, workspace=workspace)


def main() -> None:
    """Run the command."""
    run(generate)
