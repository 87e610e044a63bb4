"""`liftnet_plan_and_preprocess`."""

from liftnet.cli.extract_fingerprint import NoCheckOption, StrictOption
from liftnet.cli.following import say_next
from liftnet.cli.plan import (
    ExplainOption,
    FeaturesOption,
    GpuMemoryOption,
    NameOption,
    PublishedOption,
    SetOption,
    StepsOption,
)
from liftnet.cli.preprocess import CleanOption
from liftnet.cli.shell import DatasetOption, MethodOption, ProcessesOption, WorkspaceOption, run


def plan_and_preprocess(
    dataset: DatasetOption = None,
    method: MethodOption = None,
    gpu_memory: GpuMemoryOption = None,
    steps: StepsOption = None,
    features: FeaturesOption = None,
    plan_name: NameOption = "default",
    settings: SetOption = None,
    published: PublishedOption = False,
    explain: ExplainOption = False,
    num_processes: ProcessesOption = None,
    no_check: NoCheckOption = False,
    strict: StrictOption = False,
    clean: CleanOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Measure and check a raw dataset, plan for it, and preprocess its cases."""
    from liftnet.pipeline.plan import Asked
    from liftnet.pipeline.preprocess import plan_and_preprocess as steps_1_to_3
    from liftnet.pipeline.train.trial import say_training_time

    steps_1_to_3.plan_and_preprocess(
        dataset,
        method=method,
        gpu_memory=gpu_memory,
        steps=steps,
        features=features,
        plan_name=plan_name,
        settings=settings,
        published=published,
        explain_plan=explain,
        num_processes=num_processes,
        check=not no_check,
        strict=strict,
        clean=clean,
        workspace=workspace,
    )
    given = tuple(settings or ())
    asked = Asked(method, gpu_memory, steps, features, plan_name, given, published=published)
    say_training_time("liftnet_plan_and_preprocess", dataset, asked, workspace=workspace)
    say_next(
        "Next, with the plan as it is now:",
        "liftnet_train",
        "-f",
        "0",
        dataset=dataset,
        plan_name=plan_name,
        workspace=workspace,
    )


def main() -> None:
    """Run the command."""
    run(plan_and_preprocess, lists=("--set",))
