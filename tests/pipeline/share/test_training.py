"""Whether the scores that go along with a model are of cases that it had learned."""

from liftnet.core.storage.jsonable import write_json
from liftnet.core.workspace import find_workspace
from liftnet.pipeline.share.contents import Measured
from liftnet.pipeline.share.export import training_by_fold, training_sentence

NAME = "Dataset001_Heads"


def sentence(cases, training, models=("ab",)):
    """What is said of these scored cases."""
    return training_sentence(Measured(None, (), models, tuple(cases)), training, "ab")


def test_what_the_folds_were_trained_on(tmp_path):
    """From splits.json, or every stored case; nothing where it is not known."""
    space = find_workspace(tmp_path)
    folds = ["0", "1", "all"]
    options = {"imported": False}
    assert training_by_fold(space, NAME, "default", folds, **options) == [set(), set(), set()]
    splits = [{"train": ["p1", "p2"], "validation": ["p3"]}]
    write_json(space.splits_file(NAME), splits)
    for case in ("p1", "p2", "p3"):
        write_json(space.store(NAME, "default") / f"{case}.json", {})
    found = training_by_fold(space, NAME, "default", folds, **options)
    assert found == [{"p1", "p2"}, set(), {"p1", "p2", "p3"}]
    assert training_by_fold(space, NAME, "default", ["0"], imported=True) == [set()]


def test_training_cases_among_the_scored_ones():
    """Their number, and what it means; only as sure as it is known."""
    assert sentence(["p1", "p2", "q"], [{"p1", "p2"}]) == (
        "2 of the 3 scored cases were training cases of this fold: what is measured on them does "
        "not hold for new cases."
    )
    assert sentence(["p1", "q"], [{"p1"}, {"p2"}]).startswith(
        "1 of the 2 scored cases was a training case of these folds: "
    )
    assert sentence(["p1", "q"], [{"p1"}, set()]).startswith("At least 1 of the 2 ")
    assert "unless folds made the image" in sentence(["p1"], [{"p1"}], models=("cd",))


def test_no_training_case_or_not_known():
    """None is said only where every fold is known; without scored cases nothing is."""
    assert sentence(["q", "r"], [{"p1"}, {"p2"}]) == (
        "None of the 2 scored cases was used for training these folds."
    )
    for training in ([set()], [{"p1"}, set()]):
        assert sentence(["q"], training).startswith("It is not known whether any of the 1 scored")
    assert sentence([], [{"p1"}]) is None
    assert training_sentence(None, [{"p1"}], "ab") is None
