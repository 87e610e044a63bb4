"""`liftnet_train`."""

from typing import Annotated

import typer

from liftnet.cli.following import say_next
from liftnet.cli.shell import (
    DatasetOption,
    DeviceOption,
    MethodOption,
    PlanOption,
    WorkspaceOption,
    run,
)


def train(
    dataset: DatasetOption = None,
    fold: Annotated[
        list[str] | None,
        typer.Option("-f", metavar="FOLD", help="0 to 4, several, or all. Default: 0."),
    ] = None,
    plan_name: PlanOption = "default",
    method: MethodOption = None,
    device: DeviceOption = None,
    continue_training: Annotated[
        bool, typer.Option("--c", help="Continue, and fail if there is nothing to continue.")
    ] = False,
    restart: Annotated[
        bool, typer.Option("--restart", help="Throw away what was trained before.")
    ] = False,
    pretrained: Annotated[
        str | None,
        typer.Option(
            "--pretrained",
            metavar="FILE",
            help="Begin with the weights of an exported model, a fold's folder or a checkpoint.",
        ),
    ] = None,
    compiled: Annotated[
        bool | None,
        typer.Option(
            "--compile/--no-compile", help="With torch.compile or without. Default: on CUDA."
        ),
    ] = None,
    workspace: WorkspaceOption = None,
) -> None:
    """Train folds. To resume a stopped run, give the same command again."""
    from liftnet.pipeline.plan import read_plan
    from liftnet.pipeline.train import train as step
    from liftnet.tasks import load_task
    from liftnet.tasks.base import GenerationTask

    folders = step.train(
        dataset,
        fold=fold or ["0"],
        plan_name=plan_name,
        method=method,
        device=device,
        continue_training=continue_training,
        restart=restart,
        pretrained=pretrained,
        compiled=compiled,
        workspace=workspace,
    )
    generates = isinstance(load_task(read_plan(folders[0] / "plan.json").task), GenerationTask)
    work = ["-n", "10"] if generates else ["-i", "IMAGES"]
    say_next(
        "Next:" if generates else "Next, for new cases in a folder IMAGES:",
        "liftnet_predict",
        *work,
        "-o",
        "generated" if generates else "predicted",
        *([] if method is None else ["--method", method]),
        dataset=dataset,
        plan_name=plan_name,
        workspace=workspace,
    )


def main() -> None:
    """Run the command."""
    run(train, lists=("-f",))
