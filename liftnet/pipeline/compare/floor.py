"""The closed form that every comparison is held to, where none is among the methods."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from liftnet.core.errors import LiftnetError
from liftnet.core.plan import Plan
from liftnet.core.workspace import command_line, find_workspace
from liftnet.host.progress import mention
from liftnet.methods import load_method, method_names
from liftnet.pipeline.compare.checks import first_facts
from liftnet.pipeline.plan import DEFAULT_PLAN, fitting_methods, load_plan

__all__ = ["closed_forms", "mention_floor", "without_floor"]


def closed_forms(plan: Plan) -> list[str]:
    """The methods that are fitted in seconds under a plan."""
    return [name for name in fitting_methods(plan) if load_method(name).closed_form]


def without_floor(forms: Sequence[str], remedy: str) -> str:
    """What to say of a comparison that has none of these."""
    return (
        f"\nNo closed form is among them ({', '.join(forms)}). One is fitted in seconds, and "
        f"shows what each voxel gives by itself:{remedy}"
    )


def mention_floor(folders: Iterable[Path], workspace: Path | str | None) -> None:
    """Name closed forms that could be a row of the comparison, if none of the images is theirs.

    Nothing is said where no JSON file names a method, or the workspace does not have its plan.
    """
    there = [folder for folder in folders if folder.is_dir()]
    made = [facts for folder in there if (facts := first_facts(folder)) is not None]
    known = [facts for facts in made if facts.method in method_names()]
    if not known or any(load_method(facts.method).closed_form for facts in known):
        return
    first = known[0]
    space, name = find_workspace(workspace), first.plan or DEFAULT_PLAN
    try:
        forms = closed_forms(load_plan(space, first.dataset, name))
    except LiftnetError:  # the results came from elsewhere
        return
    if forms:
        words = ["liftnet_train", "--method", forms[0]]
        command = command_line(words, dataset=first.dataset, plan=name, workspace=workspace)
        mention(without_floor(forms, f"\n  {command}"))
