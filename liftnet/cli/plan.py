"""`liftnet_plan`."""

from typing import Annotated

import typer

from liftnet.cli.following import say_next
from liftnet.cli.shell import DatasetOption, MethodOption, WorkspaceOption, run

GpuMemoryOption = Annotated[
    float | None,
    typer.Option(
        "--gpu-memory",
        metavar="GIB",
        help="Memory to plan for. Default: that of the GPU here, else 8.",
    ),
]
StepsOption = Annotated[
    int | None,
    typer.Option(
        "--steps",
        metavar="N",
        help="Training steps in all; fewer take less time. Default: the method's own.",
    ),
]
FeaturesOption = Annotated[
    str | None,
    typer.Option(
        "--features",
        metavar="FILE",
        help="Weights of ImageNet's ResNet-18 (.pth, .safetensors), for task unconditional. "
        "Default: features learned from the dataset.",
    ),
]
NameOption = Annotated[
    str, typer.Option("-p", metavar="NAME", help="Name of the plan; several live side by side.")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Override a decision, e.g. seed=1 or lift.losses.delta_z=1.",
    ),
]
LikeOption = Annotated[
    str | None,
    typer.Option(
        "--like",
        metavar="METHOD",
        help="As many steps as make the training's operations those of this method.",
    ),
]
PublishedOption = Annotated[
    bool,
    typer.Option(
        "--published", help="Train as those who published the method do, in place of ours."
    ),
]
ExplainOption = Annotated[
    bool, typer.Option("--explain", help="Print each decision with its reason.")
]


def plan(
    dataset: DatasetOption = None,
    method: MethodOption = None,
    gpu_memory: GpuMemoryOption = None,
    steps: StepsOption = None,
    features: FeaturesOption = None,
    plan_name: NameOption = "default",
    settings: SetOption = None,
    like: LikeOption = None,
    published: PublishedOption = False,
    explain: ExplainOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Decide everything from the fingerprint and the GPU memory; write plan.json and a recipe."""
    from liftnet.pipeline import plan as step
    from liftnet.pipeline.plan import Asked
    from liftnet.pipeline.train.trial import say_training_time

    step.plan(
        dataset,
        method=method,
        gpu_memory=gpu_memory,
        steps=steps,
        features=features,
        plan_name=plan_name,
        settings=settings,
        like=like,
        published=published,
        explain_plan=explain,
        workspace=workspace,
    )
    given = tuple(settings or ())
    asked = Asked(method, gpu_memory, steps, features, plan_name, given, published=published)
    say_training_time("liftnet_plan", dataset, asked, workspace=workspace)
    say_next(
        "Next, with the plan as it is now:",
        "liftnet_preprocess",
        dataset=dataset,
        plan_name=plan_name,
        workspace=workspace,
    )


def main() -> None:
    """Run the command."""
    run(plan, lists=("--set",))
