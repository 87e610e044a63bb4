"""`liftnet_predict`: images from others, or with -n volumes from nothing."""

from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any

import typer

from liftnet.cli.following import say_cohort_evaluation, say_evaluation
from liftnet.cli.shell import (
    CheckpointOption,
    DatasetOption,
    DeviceOption,
    MethodOption,
    PartOption,
    PartsOption,
    PlanOption,
    ProcessesOption,
    WorkspaceOption,
    run,
)
from liftnet.core.errors import LiftnetError

TargetOption = Annotated[
    list[str] | None,
    typer.Option("--target", metavar="NAME", help="Make this contrast, even if a case has it."),
]


def predict(
    *,
    input_folder: Annotated[
        list[str] | None,
        typer.Option(
            "-i",
            metavar="DIR",
            help="New cases: CASE_0000.nii.gz ..., or as liftnet_convert takes them. Or t1n=DIR "
            "t2w=DIR ...",
        ),
    ] = None,
    num_volumes: Annotated[
        int | None,
        typer.Option("-n", metavar="N", help="Generate N volumes from nothing; in place of -i."),
    ] = None,
    output_folder: Annotated[
        str, typer.Option("-o", metavar="DIR", help="Folder for the synthesized images.")
    ],
    dataset: DatasetOption = None,
    fold: Annotated[
        list[str] | None,
        typer.Option(
            "-f",
            metavar="FOLD",
            help="Folds to average. Default: all trained ones; with -n, the first of them.",
        ),
    ] = None,
    plan_name: PlanOption = "default",
    method: MethodOption = None,
    target: TargetOption = None,
    masks: Annotated[
        str | None,
        typer.Option(
            "-m",
            "--masks",
            metavar="DIR",
            help="Folder of masks CASE.nii.gz. Default: found in the sources.",
        ),
    ] = None,
    seed: Annotated[
        int,
        typer.Option(
            "--seed",
            metavar="SEED",
            help="Another one draws other results, of methods that sample and with -n.",
        ),
    ] = 0,
    samples: Annotated[
        int | None,
        typer.Option("--samples", metavar="N", help="Draw N results of a case; write their mean."),
    ] = None,
    sampler: Annotated[
        str | None,
        typer.Option(
            "--sampler",
            metavar="ancestral|ddim|euler|heun",
            help="How a method that samples does so. Default: the recipe's.",
        ),
    ] = None,
    sampler_steps: Annotated[
        int | None,
        typer.Option("--sampler-steps", metavar="N", help="In N steps. Default: the recipe's."),
    ] = None,
    first: Annotated[
        int,
        typer.Option(
            "--first",
            metavar="K",
            help="-n: begin with volume K of the seed, to add to earlier ones.",
        ),
    ] = 0,
    temperature: Annotated[
        float | None,
        typer.Option(
            "--temperature",
            metavar="T",
            help="-n: how much volumes differ; below 1 less. Default: the recipe's, 1.",
        ),
    ] = None,
    sigma_z: Annotated[
        float | None,
        typer.Option(
            "--sigma-z",
            metavar="S",
            help="-n: slices to smooth over, along the slice axis. Default: the recipe's, 0.",
        ),
    ] = None,
    interpolate: Annotated[
        tuple[int, int] | None,
        typer.Option(
            "--interpolate",
            metavar="A B",
            help="-n: volumes on the way from A to B, in equal steps.",
        ),
    ] = None,
    normalized: Annotated[
        bool,
        typer.Option(
            "--normalized", help="Write values as the network has them, [0, 1] or [-1, 1]."
        ),
    ] = False,
    save_trajectory: Annotated[
        bool,
        typer.Option(
            "--save-trajectory",
            help="Also write the context or code of every slice, and draw them.",
        ),
    ] = False,
    continue_prediction: Annotated[
        bool,
        typer.Option("--continue-prediction", "--resume", help="Keep outputs that are finished."),
    ] = False,
    num_parts: PartsOption = 1,
    part_id: PartOption = 0,
    checkpoint: CheckpointOption = "best",
    device: DeviceOption = None,
    num_processes: ProcessesOption = None,
    workspace: WorkspaceOption = None,
) -> None:
    """Synthesize, for every case of a folder, what it lacks; or, with -n, generate volumes."""
    sampling: dict[str, Any] = {
        "samples": samples,
        "sampler": sampler,
        "sampler_steps": sampler_steps,
    }
    from_images: dict[str, object] = {"-i": input_folder, "--target": target, "-m": masks}
    from_images |= {f"--{name.replace('_', '-')}": value for name, value in sampling.items()}
    from_nothing = {
        "--first": first,
        "--temperature": temperature is not None,
        "--sigma-z": sigma_z is not None,
        "--interpolate": interpolate,
    }
    if num_volumes is None:
        _refuse(from_nothing, "-i", "they are for generating volumes with -n")
    else:
        _refuse(from_images, "-n", "they are for images made from others")
    make, say = (
        (partial(_synthesize, input_folder, target=target, masks=masks), say_evaluation)
        if num_volumes is None
        else (
            partial(
                _generate,
                num_volumes,
                first=first,
                temperature=temperature,
                sigma_z=sigma_z,
                interpolate=interpolate,
            ),
            say_cohort_evaluation,
        )
    )
    make(
        output_folder,
        dataset,
        fold=fold,
        method=method,
        plan_name=plan_name,
        seed=seed,
        normalized=normalized,
        save_trajectory=save_trajectory,
        continue_prediction=continue_prediction,
        num_parts=num_parts,
        part_id=part_id,
        checkpoint=checkpoint,
        device=device,
        num_processes=num_processes,
        workspace=workspace,
        **(sampling if num_volumes is None else {}),
    )
    say(output_folder, num_parts=num_parts, workspace=workspace)


def _synthesize(
    input_folder: list[str] | None, output: str, dataset: str | None, **options: Any
) -> None:
    """Make images of others.

    Raises:
        LiftnetError: If there is no folder.
        typer.Exit: If a case failed.
    """
    from liftnet.pipeline.predict.predict import predict as synthesize

    if input_folder is None:
        raise LiftnetError(
            "There is nothing to make images of: neither -i nor -n is given",
            where="liftnet_predict",
            remedy="Give a folder of images with -i, or a number of new volumes with -n.",
        )
    if synthesize(input_folder, output, dataset, **options):
        raise typer.Exit(1)


def _generate(
    num_volumes: int, output: str, dataset: str | None, *, fold: list[str] | None, **options: Any
) -> None:
    """Make volumes of nothing.

    Raises:
        LiftnetError: If there are several folds.
    """
    from liftnet.pipeline.predict.generate import generate

    if fold and len(fold) > 1:
        raise LiftnetError(
            f"Volumes are generated with one fold, not with {len(fold)}",
            where="-f",
            remedy="Name one fold: the mean of what several networks make would be a blur.",
        )
    generate(num_volumes, output, dataset, fold=fold[0] if fold else None, **options)


def _refuse(options: Mapping[str, object], mode: str, purpose: str) -> None:
    """Refuse options that have no meaning beside -i or -n.

    Raises:
        LiftnetError: If one is given.
    """
    given = [option for option, value in options.items() if value not in (None, False)]
    if given:
        raise LiftnetError(
            f"{', '.join(given)} cannot be used with {mode}",
            where="liftnet_predict",
            remedy=f"Leave out {' and '.join(given)}, or {mode}: {purpose}.",
        )


def main() -> None:
    """Run the command."""
    run(predict, lists=("-i", "-f", "--target"))
