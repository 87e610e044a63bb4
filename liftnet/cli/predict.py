"""`liftnet_predict`."""

from typing import Annotated

import typer

from liftnet.cli.shell import (
    DatasetOption,
    DeviceOption,
    MapperOption,
    PlanOption,
    ProcessesOption,
    WorkspaceOption,
    run,
)


def predict(
    input_folder: Annotated[
        str,
        typer.Option("-i", metavar="DIR", help="Folder of CASE_0000.nii.gz, CASE_0001... files."),
    ],
    output_folder: Annotated[
        str, typer.Option("-o", metavar="DIR", help="Folder for the synthesized images.")
    ],
    dataset: DatasetOption = None,
    fold: Annotated[
        list[str] | None,
        typer.Option("-f", metavar="FOLD", help="Folds to average. Default: all trained ones."),
    ] = None,
    plan_name: PlanOption = "default",
    no_mapper: MapperOption = False,
    target: Annotated[
        list[str] | None,
        typer.Option("--target", metavar="NAME", help="Synthesize this, present or not."),
    ] = None,
    masks: Annotated[
        str | None,
        typer.Option(
            "-m", "--masks", metavar="DIR", help="Masks CASE.nii.gz. Default: from the sources."
        ),
    ] = None,
    normalized: Annotated[
        bool, typer.Option("--normalized", help="Write the network's units, [0, 1] or [-1, 1].")
    ] = False,
    continue_prediction: Annotated[
        bool, typer.Option("--continue_prediction", help="Keep outputs that are finished.")
    ] = False,
    num_parts: Annotated[
        int, typer.Option("-num_parts", metavar="N", help="Split the cases over N runs ...")
    ] = 1,
    part_id: Annotated[
        int, typer.Option("-part_id", metavar="I", help="... and do part I, from 0.")
    ] = 0,
    checkpoint: Annotated[
        str, typer.Option("-chk", metavar="best|latest", help="Which weights.")
    ] = "best",
    device: DeviceOption = None,
    num_processes: ProcessesOption = None,
    workspace: WorkspaceOption = None,
) -> None:
    """Synthesize, for every case of a folder, what it lacks."""
    from liftnet.pipeline import predict as step

    failures = step.predict(
        input_folder,
        output_folder,
        dataset,
        fold=fold,
        plan_name=plan_name,
        mapper=not no_mapper,
        target=target,
        masks=masks,
        normalized=normalized,
        continue_prediction=continue_prediction,
        num_parts=num_parts,
        part_id=part_id,
        checkpoint=checkpoint,
        device=device,
        num_processes=num_processes,
        workspace=workspace,
    )
    if failures:
        raise typer.Exit(1)


def main() -> None:
    """Run the command."""
    run(predict, lists=("-f", "--target"))
