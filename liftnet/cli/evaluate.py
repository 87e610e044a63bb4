"""`liftnet_evaluate`."""

from typing import Annotated

import typer

from liftnet.cli.following import say_next
from liftnet.cli.shell import (
    DeviceOption,
    PartOption,
    PartsOption,
    ProcessesOption,
    WorkspaceOption,
    run,
)


def evaluate(
    predicted_folder: Annotated[
        str,
        typer.Option("-i", metavar="DIR", help="Folder of predicted images or generated volumes."),
    ],
    reference_folder: Annotated[
        str,
        typer.Option(
            "-r",
            metavar="DIR",
            help="References: named alike, or in a layout of liftnet_convert. Or real volumes.",
        ),
    ],
    output: Annotated[
        str | None,
        typer.Option("-o", metavar="DIR", help="Folder for the scores. Default: that of -i."),
    ] = None,
    protocol: Annotated[
        str,
        typer.Option(
            "--protocol",
            metavar="liftnet|lift|cwdm|brasyn|synthrad2023|synthrad2025|wdm",
            help="How images are compared; each prints what it does.",
        ),
    ] = "liftnet",
    sources: Annotated[
        str | None,
        typer.Option(
            "-s", metavar="DIR", help="Source images, for cwdm. Default: -r, or imagesTs beside it."
        ),
    ] = None,
    masks: Annotated[
        str | None,
        typer.Option(
            "-m",
            "--masks",
            metavar="DIR",
            help="Masks CASE.nii.gz, for CT by lift, synthrad. Default: masksTs beside -r.",
        ),
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option("-d", metavar="ID", help="Dataset. Default: the one that predicted."),
    ] = None,
    training: Annotated[
        str | None,
        typer.Option(
            "--training", metavar="DIR", help="Generated: training volumes, if -r has others."
        ),
    ] = None,
    medicalnet: Annotated[
        str | None,
        typer.Option(
            "--medicalnet", metavar="FILE", help="Generated: weights of MedicalNet's ResNet-50."
        ),
    ] = None,
    pairs: Annotated[
        int | None,
        typer.Option(
            "--pairs", metavar="N", help="Generated: pairs of volumes for MS-SSIM. Default: 200."
        ),
    ] = None,
    plan_name: Annotated[
        str | None,
        typer.Option(
            "-p", metavar="NAME", help="Generated: the plan. Default: the one that generated."
        ),
    ] = None,
    fold: Annotated[
        str | None,
        typer.Option(
            "-f",
            metavar="FOLD",
            help="Generated: fold whose network measures images. Default: the first trained.",
        ),
    ] = None,
    num_parts: PartsOption = 1,
    part_id: PartOption = 0,
    device: DeviceOption = None,
    num_processes: ProcessesOption = None,
    workspace: WorkspaceOption = None,
) -> None:
    """Score predicted images against references, or generated volumes against real ones."""
    from liftnet.core.scores import Scores
    from liftnet.pipeline.evaluate import evaluate as step

    scores = step.evaluate(
        predicted_folder,
        reference_folder,
        protocol=protocol,
        dataset=dataset,
        output=output,
        sources=sources,
        masks=masks,
        training=training,
        medicalnet=medicalnet,
        pairs=pairs,
        plan_name=plan_name,
        fold=fold,
        num_parts=num_parts,
        part_id=part_id,
        device=device,
        num_processes=num_processes,
        workspace=workspace,
    )
    if isinstance(scores, Scores) and scores.failures:
        raise typer.Exit(1)
    if num_parts == 1:
        folder = output or predicted_folder
        say_next("Next, a page to look at:", "liftnet_report", "-i", folder, workspace=workspace)


def main() -> None:
    """Run the command."""
    run(evaluate)
