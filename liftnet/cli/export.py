"""`liftnet_export`."""

from typing import Annotated

import typer

from liftnet.cli.shell import (
    CheckpointOption,
    DatasetOption,
    MethodOption,
    PlanOption,
    WorkspaceOption,
    run,
)


def export(
    *,
    output_file: Annotated[
        str, typer.Option("-o", metavar="FILE", help="The .safetensors file to write.")
    ],
    dataset: DatasetOption = None,
    plan_name: PlanOption = "default",
    fold: Annotated[
        list[str] | None,
        typer.Option("-f", metavar="FOLD", help="Folds to export. Default: all trained ones."),
    ] = None,
    method: MethodOption = None,
    checkpoint: CheckpointOption = "best",
    scores: Annotated[
        str | None,
        typer.Option(
            "--scores", metavar="DIR", help="Folder of liftnet_evaluate; its summary goes along."
        ),
    ] = None,
    data: Annotated[
        str, typer.Option("--data", metavar="TEXT", help="Where the training data come from.")
    ] = "",
    licence: Annotated[
        str,
        typer.Option("--licence", "--license", metavar="TEXT", help="Licence of the weights."),
    ] = "",
    intended_use: Annotated[
        str, typer.Option("--intended-use", metavar="TEXT", help="What the model is meant for.")
    ] = "",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a file that is there.")
    ] = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Write a trained model and its model card into one file, and list what leaves."""
    from liftnet.pipeline.share import export as step

    step.export(
        output_file,
        dataset,
        plan_name=plan_name,
        fold=fold,
        method=method,
        checkpoint=checkpoint,
        scores=scores,
        data=data,
        licence=licence,
        intended_use=intended_use,
        overwrite=overwrite,
        workspace=workspace,
    )


def main() -> None:
    """Run the command."""
    run(export, lists=("-f",))
