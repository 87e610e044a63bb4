"""Steps 1 to 3 in one call."""

from pathlib import Path

from liftnet.core.arguments import checked
from liftnet.core.workspace import find_workspace
from liftnet.host.lock import refuse_busy
from liftnet.pipeline.fingerprint.extract_fingerprint import extract_fingerprint
from liftnet.pipeline.plan import DEFAULT_PLAN, plan
from liftnet.pipeline.preprocess.preprocess import preprocess

__all__ = ["plan_and_preprocess"]


@checked
def plan_and_preprocess(
    dataset: int | str | None = None,
    *,
    method: str | None = None,
    gpu_memory: float | None = None,
    steps: int | None = None,
    features: Path | str | None = None,
    plan_name: str = DEFAULT_PLAN,
    settings: list[str] | None = None,
    published: bool = False,
    explain_plan: bool = False,
    num_processes: int | None = None,
    check: bool = True,
    strict: bool = False,
    clean: bool = False,
    workspace: Path | str | None = None,
) -> Path:
    """Measure, plan and preprocess a raw dataset: three steps in one.

    Args:
        dataset: id or name; may be left out where the workspace holds one dataset.
        method: whose recipe; by default the task's own.
        gpu_memory: GiB that training may use; by default that of the GPU present, else 8.
        steps: length of training; by default the method's own.
        features: a file of weights of a feature network trained elsewhere, for generation.
        plan_name: several plans of one dataset live side by side.
        settings: `key=value` pairs that override decisions, such as `seed=1` or
            `lift.losses.delta_z=1`.
        published: train as those who published the method do, in place of ours.
        explain_plan: print each decision with its reason.
        num_processes: files worked on at the same time.
        check: False skips the checks of names; images are always checked.
        strict: refuse a dataset with images that look misregistered.
        clean: do every case anew.
        workspace: the workspace folder.

    Returns:
        The folder of stored cases.

    Raises:
        LiftnetError: If the dataset has problems, a setting does not fit, or a training that uses
            the plan is going on.
    """
    space = find_workspace(workspace)
    refuse_busy(space.run_folder(space.dataset_name(dataset), plan_name))  # before it is measured
    extract_fingerprint(
        dataset, num_processes=num_processes, check=check, strict=strict, workspace=workspace
    )
    plan(
        dataset,
        method=method,
        gpu_memory=gpu_memory,
        steps=steps,
        features=features,
        plan_name=plan_name,
        settings=settings,
        published=published,
        explain_plan=explain_plan,
        workspace=workspace,
    )
    return preprocess(
        dataset, plan_name=plan_name, num_processes=num_processes, clean=clean, workspace=workspace
    )
