"""`liftnet_report`."""

from typing import Annotated

import typer

from liftnet.cli.shell import DatasetOption, WorkspaceOption, run


def report(
    input_folder: Annotated[
        str,
        typer.Option("-i", metavar="DIR", help="Folder of liftnet_evaluate or liftnet_compare."),
    ],
    output: Annotated[
        str | None,
        typer.Option("-o", metavar="FILE", help="The HTML file. Default: report.html in -i."),
    ] = None,
    cases: Annotated[
        list[str] | None,
        typer.Option(
            "--cases", metavar="NAME", help="Cases to show. Default: some from best to worst."
        ),
    ] = None,
    num_cases: Annotated[
        int,
        typer.Option("--num-cases", metavar="N", help="Images shown, from best to worst."),
    ] = 3,
    by: Annotated[
        str | None,
        typer.Option(
            "--by",
            metavar="METRIC",
            help="Metric that orders the cases. Default: psnr, or the first.",
        ),
    ] = None,
    sources: Annotated[
        str | None,
        typer.Option("-s", metavar="DIR", help="Source images, where they are not found."),
    ] = None,
    dataset: DatasetOption = None,
    max_mb: Annotated[
        float,
        typer.Option(
            "--max-mb", metavar="MB", help="Most MB of images in the page; more are made coarser."
        ),
    ] = 40.0,
    no_viewer: Annotated[
        bool, typer.Option("--no-viewer", help="Leave out the 3D viewer (0.9 MB).")
    ] = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Make one HTML page of an evaluation or comparison: tables, charts, images, for offline."""
    from liftnet.pipeline.report import report as step

    step.report(
        input_folder,
        output,
        cases=cases,
        num_cases=num_cases,
        by=by,
        sources=sources,
        dataset=dataset,
        max_mb=max_mb,
        viewer=not no_viewer,
        workspace=workspace,
    )


def main() -> None:
    """Run the command."""
    run(report, lists=("--cases",))
