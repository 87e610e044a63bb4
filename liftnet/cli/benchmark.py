"""`liftnet_benchmark`."""

from typing import Annotated

import typer

from liftnet.cli.following import say_next
from liftnet.cli.predict import TargetOption
from liftnet.cli.shell import (
    DatasetOption,
    DeviceOption,
    PartOption,
    PartsOption,
    PlanOption,
    ProcessesOption,
    WorkspaceOption,
    run,
)


def benchmark(
    methods: Annotated[
        list[str],
        typer.Option("--methods", metavar="NAME", help="Two or more; liftnet_methods lists them."),
    ],
    input_folder: Annotated[
        list[str],
        typer.Option("-i", metavar="DIR", help="New cases, as liftnet_predict takes them."),
    ],
    reference_folder: Annotated[
        str, typer.Option("-r", metavar="DIR", help="Their true images: CASE_0003.nii.gz.")
    ],
    output: Annotated[
        str, typer.Option("-o", metavar="DIR", help="Folder for predictions, scores and the table.")
    ],
    dataset: DatasetOption = None,
    like: Annotated[
        str | None,
        typer.Option(
            "--like",
            metavar="METHOD",
            help="Train all with as many operations as this one. Default: the task's own.",
        ),
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option(
            "--minutes", metavar="M", help="In place of --like: train each for so long here."
        ),
    ] = None,
    baseline: Annotated[
        str | None,
        typer.Option(
            "--baseline",
            metavar="METHOD",
            help="Compare the others with this one. Default: that of --like, or the first.",
        ),
    ] = None,
    fold: Annotated[
        str, typer.Option("-f", metavar="FOLD", help="The fold to train: 0 to 4, or all.")
    ] = "0",
    plan_name: PlanOption = "default",
    target: TargetOption = None,
    masks: Annotated[
        str | None,
        typer.Option(
            "-m", "--masks", metavar="DIR", help="Masks CASE.nii.gz, to predict and to score."
        ),
    ] = None,
    sources: Annotated[
        str | None,
        typer.Option("-s", metavar="DIR", help="To score with cwdm: source images."),
    ] = None,
    protocol: Annotated[
        str,
        typer.Option(
            "--protocol",
            metavar="liftnet|lift|cwdm|brasyn|synthrad2023|synthrad2025",
            help="How images are scored.",
        ),
    ] = "liftnet",
    samples: Annotated[
        int,
        typer.Option(
            "--samples", metavar="N", help="Of methods that sample, also the mean of N; 1: not."
        ),
    ] = 5,
    num_parts: PartsOption = 1,
    part_id: PartOption = 0,
    device: DeviceOption = None,
    num_processes: ProcessesOption = None,
    workspace: WorkspaceOption = None,
) -> None:
    """Train methods at an equal budget, compare them on new cases, and say which to choose."""
    from liftnet.pipeline.benchmark import benchmark as step

    found = step.benchmark(
        methods,
        input_folder,
        reference_folder,
        output,
        dataset,
        like=like,
        minutes=minutes,
        baseline=baseline,
        fold=fold,
        plan_name=plan_name,
        target=target,
        masks=masks,
        sources=sources,
        protocol=protocol,
        samples=samples,
        num_parts=num_parts,
        part_id=part_id,
        device=device,
        num_processes=num_processes,
        workspace=workspace,
    )
    if found.rows:
        say_next("Next, a page to look at:", "liftnet_report", "-i", output, workspace=workspace)
    if found.failures:
        raise typer.Exit(1)


def main() -> None:
    """Run the command."""
    run(benchmark, lists=("--methods", "-i", "--target"))
