"""`liftnet_probe`."""

from typing import Annotated

import typer

from liftnet.cli.shell import ProcessesOption, WorkspaceOption, run


def probe(
    predicted_folder: Annotated[
        str,
        typer.Option("-i", metavar="DIR", help="Folder of predicted images or generated volumes."),
    ],
    training_folder: Annotated[
        str, typer.Option("-t", metavar="DIR", help="Volumes that the network was trained on.")
    ],
    held_out_folder: Annotated[
        str, typer.Option("-r", metavar="DIR", help="Real volumes that training did not see.")
    ],
    output: Annotated[str, typer.Option("-o", metavar="DIR", help="Folder for the result.")],
    task: Annotated[
        str | None,
        typer.Option(
            "--task",
            metavar="unconditional|missing_modality|translation",
            help="Measure distances as for this task. Default: the one that predicted.",
        ),
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option("-d", metavar="ID", help="Dataset. Default: the one that predicted."),
    ] = None,
    channel: Annotated[
        str | None,
        typer.Option(
            "--channel", metavar="NAME", help="Only this one. Default: all that were predicted."
        ),
    ] = None,
    num_processes: ProcessesOption = None,
    workspace: WorkspaceOption = None,
) -> None:
    """Look for copies of training volumes among predicted or generated ones."""
    from liftnet.pipeline.probe import probe as step

    step.probe(
        predicted_folder,
        training_folder,
        held_out_folder,
        output,
        task=task,
        dataset=dataset,
        channel=channel,
        num_processes=num_processes,
        workspace=workspace,
    )


def main() -> None:
    """Run the command."""
    run(probe)
