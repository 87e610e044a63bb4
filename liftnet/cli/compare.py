"""`liftnet_compare`."""

from typing import Annotated

import typer

from liftnet.cli.following import say_next
from liftnet.cli.shell import ProcessesOption, WorkspaceOption, run


def compare(
    folders: Annotated[
        list[str],
        typer.Option(
            "-i", metavar="DIR", help="Folders with scores.json or predictions, baseline first."
        ),
    ],
    output: Annotated[str, typer.Option("-o", metavar="DIR", help="Folder for the comparison.")],
    names: Annotated[
        list[str] | None,
        typer.Option(
            "--names", metavar="NAME", help="One per folder. Default: the folders' names."
        ),
    ] = None,
    metrics: Annotated[
        list[str] | None,
        typer.Option(
            "--metrics",
            metavar="NAME",
            help="Metrics to compare. Default: all; the main ones are printed.",
        ),
    ] = None,
    protocol: Annotated[
        str | None,
        typer.Option(
            "--protocol",
            metavar="liftnet|lift|cwdm|brasyn|synthrad2023|synthrad2025",
            help="How images are compared. Default: as in the first scores.",
        ),
    ] = None,
    reference_folder: Annotated[
        str | None,
        typer.Option("-r", metavar="DIR", help="References, to evaluate folders without scores."),
    ] = None,
    sources: Annotated[
        str | None,
        typer.Option("-s", metavar="DIR", help="To evaluate with cwdm: source images."),
    ] = None,
    masks: Annotated[
        str | None,
        typer.Option(
            "-m",
            "--masks",
            metavar="DIR",
            help="To evaluate CT by lift, synthrad: masks CASE.nii.gz.",
        ),
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option(
            "-d", metavar="ID", help="To evaluate: dataset. Default: the one that predicted."
        ),
    ] = None,
    num_processes: ProcessesOption = None,
    workspace: WorkspaceOption = None,
) -> None:
    """Compare two or more methods on the same images: paired differences, intervals, tests."""
    from liftnet.pipeline.compare import compare as step

    step.compare(
        folders,
        output,
        names=names,
        metrics=metrics,
        protocol=protocol,
        reference_folder=reference_folder,
        sources=sources,
        masks=masks,
        dataset=dataset,
        num_processes=num_processes,
        workspace=workspace,
    )
    say_next("Next, a page to look at:", "liftnet_report", "-i", output, workspace=workspace)


def main() -> None:
    """Run the command."""
    run(compare, lists=("-i", "--names", "--metrics"))
