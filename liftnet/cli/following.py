"""What the commands print at their end: the next one, ready to copy."""

import os
from pathlib import Path

from liftnet.core.workspace import command_line

__all__ = ["say_cohort_evaluation", "say_evaluation", "say_next"]


def say_next(
    what: str,
    *words: str,
    dataset: str | int | None = None,
    plan_name: str = "default",
    workspace: Path | str | None = None,
) -> None:
    """Print a command with the dataset, the plan and the workspace that this one was given.

    Args:
        what: the sentence before it.
        words: the command, and options that it alone has. A word in capital letters, such as
            IMAGES, stands for what the user has to put there.
        dataset: as it was given.
        plan_name: the same.
        workspace: the same.
    """
    from liftnet.host.progress import mention

    if os.environ.get("RANK", "0") != "0":
        return  # of several processes that torchrun has started, one says it
    line = command_line(words, dataset=dataset, plan=plan_name, workspace=workspace)
    mention(f"{what}\n  {line}")


def say_evaluation(folder: str, *, num_parts: int, workspace: str | None) -> None:
    """After images were made from others: how to score them."""
    parts = "" if num_parts == 1 else ", and when all parts are done"
    what = f"Next, where the true images are known, in a folder REFERENCES{parts}:"
    _say_evaluate(what, folder, "REFERENCES", workspace)


def say_cohort_evaluation(folder: str, *, num_parts: int, workspace: str | None) -> None:
    """After volumes were generated: how to compare them with real ones."""
    parts = "" if num_parts == 1 else ", when all parts are done"
    what = f"Next, with real volumes that were not trained on in a folder HELD_OUT{parts}:"
    _say_evaluate(what, folder, "HELD_OUT", workspace)


def _say_evaluate(what: str, folder: str, real: str, workspace: str | None) -> None:
    say_next(what, "liftnet_evaluate", "-i", folder, "-r", real, workspace=workspace)
