"""`liftnet_preprocess`."""

from typing import Annotated

import typer

from liftnet.cli.following import say_next
from liftnet.cli.shell import (
    DatasetOption,
    PartOption,
    PartsOption,
    PlanOption,
    ProcessesOption,
    WorkspaceOption,
    run,
)

CleanOption = Annotated[
    bool, typer.Option("--clean", help="Do every case anew, also those that are done.")
]


def preprocess(
    dataset: DatasetOption = None,
    plan_name: PlanOption = "default",
    num_parts: PartsOption = 1,
    part_id: PartOption = 0,
    num_processes: ProcessesOption = None,
    clean: CleanOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Crop, normalize, resample and store the training cases; finished cases are kept."""
    from liftnet.pipeline.preprocess import preprocess as step

    step.preprocess(
        dataset,
        plan_name=plan_name,
        num_parts=num_parts,
        part_id=part_id,
        num_processes=num_processes,
        clean=clean,
        workspace=workspace,
    )
    say_next(
        "Next:" if num_parts == 1 else "When all parts are done:",
        "liftnet_train",
        "-f",
        "0",
        dataset=dataset,
        plan_name=plan_name,
        workspace=workspace,
    )


def main() -> None:
    """Run the command."""
    run(preprocess)
