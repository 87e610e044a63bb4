"""`liftnet_doctor`."""

import sys
from typing import Annotated

import typer

from liftnet.cli.shell import DeviceOption, WorkspaceOption, run


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
    paths: Annotated[
        bool,
        typer.Option("--paths", help="Whole paths in JSON; else their last part, without people."),
    ] = False,
    no_test: Annotated[
        bool, typer.Option("--no-test", help="Skip the test of training, products and images.")
    ] = False,
    device: DeviceOption = None,
    workspace: WorkspaceOption = None,
) -> None:
    """Say what works on this machine and what to do about the rest; exit code 1 at a problem."""
    from liftnet.pipeline.doctor import doctor as step

    if not step.doctor(
        test=not no_test, as_json=as_json, paths=paths, device=device, workspace=workspace
    ):
        sys.exit(1)


def main() -> None:
    """Run the command."""
    run(doctor)
