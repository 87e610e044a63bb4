"""`liftnet_extract_fingerprint`."""

from typing import Annotated

import typer

from liftnet.cli.following import say_next
from liftnet.cli.shell import DatasetOption, ProcessesOption, WorkspaceOption, run

NoCheckOption = Annotated[
    bool, typer.Option("--no-check", help="Skip the checks of names; images are always checked.")
]
StrictOption = Annotated[
    bool,
    typer.Option("--strict", help="Refuse a dataset with images that look misregistered."),
]


def extract_fingerprint(
    dataset: DatasetOption = None,
    num_processes: ProcessesOption = None,
    no_check: NoCheckOption = False,
    strict: StrictOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Measure a raw dataset, list all problems of its files, write fingerprint.json."""
    from liftnet.pipeline.fingerprint import extract_fingerprint as step

    step.extract_fingerprint(
        dataset,
        num_processes=num_processes,
        check=not no_check,
        strict=strict,
        workspace=workspace,
    )
    say_next("Next:", "liftnet_plan", dataset=dataset, workspace=workspace)


def main() -> None:
    """Run the command."""
    run(extract_fingerprint)
