"""`liftnet_download`."""

from typing import Annotated

import typer

from liftnet.cli.shell import WorkspaceOption, run


def download(
    name: Annotated[str, typer.Argument(metavar="resnet18", help="Which weights.")],
    output: Annotated[
        str | None,
        typer.Option("-o", metavar="DIR", help="Folder. Default: weights in the workspace."),
    ] = None,
    workspace: WorkspaceOption = None,
) -> None:
    """Fetch weights of a network that was trained elsewhere, and check their SHA-256."""
    from liftnet.pipeline.share import download as step

    step.download(name, output=output, workspace=workspace)


def main() -> None:
    """Run the command."""
    run(download)
