"""`liftnet_evaluate`."""

from typing import Annotated

import typer

from liftnet.cli.shell import ProcessesOption, WorkspaceOption, run


def evaluate(
    predicted_folder: Annotated[
        str, typer.Option("-i", metavar="DIR", help="Folder of predicted CASE_0003.nii.gz files.")
    ],
    reference_folder: Annotated[
        str, typer.Option("-r", metavar="DIR", help="Folder of references with the same names.")
    ],
    output: Annotated[
        str | None,
        typer.Option("-o", metavar="DIR", help="Folder for the scores. Default: that of -i."),
    ] = None,
    protocol: Annotated[
        str,
        typer.Option(
            "--protocol",
            metavar="liftnet|lift|cwdm|brasyn|synthrad2023|synthrad2025",
            help="Range, grid and mask; each prints what it does.",
        ),
    ] = "liftnet",
    sources: Annotated[
        str | None,
        typer.Option(
            "-s", metavar="DIR", help="Source images, for cwdm. Default: -r, or imagesTs beside it."
        ),
    ] = None,
    masks: Annotated[
        str | None,
        typer.Option(
            "-m",
            "--masks",
            metavar="DIR",
            help="Masks CASE.nii.gz, for synthrad. Default: masksTs beside -r.",
        ),
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option("-d", metavar="ID", help="Dataset. Default: the one that predicted."),
    ] = None,
    num_processes: ProcessesOption = None,
    workspace: WorkspaceOption = None,
) -> None:
    """Score predicted images against references: a table, scores.json and scores.csv."""
    from liftnet.pipeline import evaluate as step

    scores = step.evaluate(
        predicted_folder,
        reference_folder,
        protocol=protocol,
        dataset=dataset,
        output=output,
        sources=sources,
        masks=masks,
        num_processes=num_processes,
        workspace=workspace,
    )
    if scores.failures:
        raise typer.Exit(1)


def main() -> None:
    """Run the command."""
    run(evaluate)
