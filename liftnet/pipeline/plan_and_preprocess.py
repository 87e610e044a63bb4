"""Steps 1 to 3 in one call."""

from pathlib import Path

from liftnet.core.arguments import checked
from liftnet.pipeline.extract_fingerprint import extract_fingerprint
from liftnet.pipeline.plan import DEFAULT_PLAN, plan
from liftnet.pipeline.preprocess import preprocess

__all__ = ["plan_and_preprocess"]


@checked
def plan_and_preprocess(
    dataset: int | str | None = None,
    *,
    gpu_memory: float | None = None,
    steps: int | None = None,
    features: Path | str | None = None,
    plan_name: str = DEFAULT_PLAN,
    settings: list[str] | None = None,
    explain_plan: bool = False,
    num_processes: int | None = None,
    check: bool = True,
    strict: bool = False,
    clean: bool = False,
    workspace: Path | str | None = None,
) -> Path:
    """Measure, plan and preprocess a raw dataset; returns the folder of stored cases."""
    extract_fingerprint(
        dataset, num_processes=num_processes, check=check, strict=strict, workspace=workspace
    )
    plan(
        dataset,
        gpu_memory=gpu_memory,
        steps=steps,
        features=features,
        plan_name=plan_name,
        settings=settings,
        explain_plan=explain_plan,
        workspace=workspace,
    )
    return preprocess(
        dataset, plan_name=plan_name, num_processes=num_processes, clean=clean, workspace=workspace
    )
