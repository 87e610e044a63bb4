"""Which cases an exported model was trained on, as far as the workspace knows, and who saw them."""

from collections.abc import Sequence

from liftnet.core.workspace import Workspace
from liftnet.pipeline.report.training import training_cases
from liftnet.pipeline.share.contents import Measured

__all__ = ["training_by_fold", "training_sentence"]


def training_by_fold(
    space: Workspace, dataset: str, plan: str, folds: Sequence[str], *, imported: bool
) -> list[set[str]]:
    """The training cases of each fold; empty where they are not known.

    Nothing is known of an imported model: a dataset of its name may be here and be another.
    """
    return [set() if imported else training_cases(space, dataset, plan, fold) for fold in folds]


def training_sentence(
    measured: Measured | None, training: Sequence[set[str]], model: str
) -> str | None:
    """How many of the scored cases a fold was trained on; None where no case was scored.

    Args:
        measured: the scores.
        training: the training cases of each fold.
        model: digest of the weights.
    """
    if measured is None or not measured.cases:
        return None
    count = len(measured.cases)
    seen = len(set(measured.cases) & set().union(*training))
    known = bool(training) and all(training)
    if seen:
        least = "" if known else "At least "
        verb = "was a training case" if seen == 1 else "were training cases"
        folds = "this fold" if len(training) == 1 else "these folds"
        end = "" if set(measured.models) == {model} else (
            ", unless folds made the image that were not trained on it"
        )  # fmt: skip
        return (
            f"{least}{seen} of the {count} scored cases {verb} of {folds}: what is measured on "
            f"them does not hold for new cases{end}."
        )
    if not known:
        return (
            f"It is not known whether any of the {count} scored cases was used for training: "
            "what is measured on training cases does not hold for new cases."
        )
    return f"None of the {count} scored cases was used for training these folds."
