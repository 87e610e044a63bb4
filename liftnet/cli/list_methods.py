"""`liftnet_methods`."""

from typing import Annotated

import typer

from liftnet.cli.shell import PlanOption, WorkspaceOption, run


def list_methods(
    dataset: Annotated[
        str | None,
        typer.Option("-d", metavar="ID", help="Those that serve its plan, and their sizes."),
    ] = None,
    plan_name: PlanOption = "default",
    workspace: WorkspaceOption = None,
) -> None:
    """List the methods; with -d those that serve its plan, and their sizes."""
    from liftnet.pipeline.methods import list_methods as step

    step(dataset, plan_name=plan_name, workspace=workspace)


def main() -> None:
    """Run the command."""
    run(list_methods, name="methods")
