"""`liftnet_methods`."""

from liftnet.cli.shell import DatasetOption, PlanOption, WorkspaceOption, run


def list_methods(
    dataset: DatasetOption = None,
    plan_name: PlanOption = "default",
    workspace: WorkspaceOption = None,
) -> None:
    """List the methods; with -d those that serve its plan, and their sizes."""
    from liftnet.pipeline.methods import list_methods as step

    step(dataset, plan_name=plan_name, workspace=workspace)


def main() -> None:
    """Run the command."""
    run(list_methods, name="methods")
