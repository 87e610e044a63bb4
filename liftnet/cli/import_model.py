"""`liftnet_import`; `import` alone cannot be the name of a function."""

from typing import Annotated

import typer

from liftnet.cli.shell import WorkspaceOption, run


def import_model(
    *,
    input_file: Annotated[
        str, typer.Option("-i", metavar="FILE|URL", help="The model, or its https address.")
    ],
    dataset: Annotated[
        str | None,
        typer.Option("-d", metavar="ID", help="Another dataset number than the model's own."),
    ] = None,
    plan_name: Annotated[
        str | None,
        typer.Option("-p", metavar="NAME", help="Another name of the plan than the model's own."),
    ] = None,
    sha256: Annotated[
        str | None,
        typer.Option("--sha256", metavar="HEX", help="What liftnet_export printed for the file."),
    ] = None,
    show: Annotated[
        bool, typer.Option("--show", help="Print the model card; import nothing.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a model of the same dataset and plan.")
    ] = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Check a model of liftnet_export, and bring it into a workspace."""
    from liftnet.pipeline.share import import_model as step

    step.import_model(
        input_file,
        dataset,
        plan_name=plan_name,
        sha256=sha256,
        show=show,
        overwrite=overwrite,
        workspace=workspace,
    )


def main() -> None:
    """Run the command."""
    run(import_model, name="import")
