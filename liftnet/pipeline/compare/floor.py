"""The closed form that every comparison is held to, where none is among the methods."""

from collections.abc import Iterable
from pathlib import Path

from liftnet.core.errors import LiftnetError
from liftnet.core.workspace import command_line, find_workspace
from liftnet.host.progress import mention
from liftnet.methods import load_method, method_names
from liftnet.pipeline.compare.checks import first_facts
from liftnet.pipeline.plan import DEFAULT_PLAN, fitting_methods, load_plan

__all__ = ["mention_floor"]


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
        fitting = fitting_methods(load_plan(space, first.dataset, name))
    except LiftnetError:  # the results came from elsewhere
        return
    forms = [form for form in fitting if load_method(form).closed_form]
    if forms:
        words = ["liftnet_train", "--method", forms[0]]
        command = command_line(words, dataset=first.dataset, plan=name, workspace=workspace)
        mention(
            f"\nNo closed form is among them ({', '.join(forms)}). One is fitted in seconds, and "
            f"shows what each voxel gives by itself:\n  {command}"
        )
