"""What a benchmark concludes: the best, what no test tells from it, the cheapest of these."""

import numpy as np
import pytest

from liftnet.core.benchmark import BenchmarkRow, PredictionCost, TrainingCost
from liftnet.core.scores import CaseScore
from liftnet.pipeline.benchmark.verdict import Verdict, find_verdict

MAIN = ("psnr", "delta_z_mae", "sharpness_in_plane")


def row(
    name: str, *, trains: float = 100.0, makes: float = 1.0, closed_form: bool = False
) -> BenchmarkRow:
    """A row with these seconds of training and of a volume."""
    training = TrainingCost(1000, 10, 10**15, trains, 1.0, "cpu")
    prediction = PredictionCost(1e12, makes, 1.0, "cpu", None)
    return BenchmarkRow(name, name.partition(",")[0], closed_form, training, prediction, {})


def scores(
    psnr: float, number: int, *, noise: float = 0.1, sharp: float = 0.8, z: float = 0.01
) -> tuple[CaseScore, ...]:
    """Scores around a PSNR, the same cases for every method; the noise alternates."""
    cases = np.random.default_rng(1).normal(0, 2, number)
    return tuple(
        CaseScore(
            f"c{k:02d}",
            "t2f",
            {
                "psnr": psnr + cases[k] + noise * (-1) ** k,
                "delta_z_mae": z * (1 + 0.01 * cases[k]),
                "sharpness_in_plane": sharp * (1 + 0.01 * cases[k]),
            },
            {},
        )
        for k in range(number)
    )


def concluded(
    rows: list[BenchmarkRow], values: dict[str, tuple[CaseScore, ...]]
) -> tuple[Verdict, str]:
    """The verdict, and its sentences in one."""
    found = find_verdict(rows, values, MAIN)
    return found, " ".join(found.sentences)


def test_one_is_better_than_all():
    """It is to be chosen, whatever it costs."""
    values = {"a": scores(27, 20), "b": scores(28, 20, noise=0.2), "c": scores(26, 20, noise=0.0)}
    found, text = concluded([row("a"), row("b", trains=900, makes=90), row("c")], values)
    assert (found.best, found.alike) == ("b", ())
    assert text.startswith("b is best in PSNR of t2f: 28.")
    assert " dB on 20 cases. It is better than each of the 2 others (paired tests" in text
    assert "n = 20, p = 0.000108 at most)." in text
    assert text.endswith("Choose b.")


CHOICES = [
    # trains, makes of the best; of the one like it; what is said
    ((100, 1), (50, 1), "Of these, choose like, which trains in the least time (50 s)."),
    ((100, 1), (100, 0.1), "choose like, which makes a volume in the least time (0.1 s)."),
    (
        (100, 1),
        (50, 0.1),
        "choose like, which trains in the least time (50 s) and makes a volume in the least time",
    ),
    ((100, 1), (95, 0.9), "They cost about the same: choose best."),
    (
        (100, 0.1),
        (50, 1),
        "Of these, best makes a volume in the least time (0.1 s), and like trains in the least "
        "time (50 s): choose the first where there is much to predict, the second where there is "
        "much to train.",
    ),
    ((100, 1), (7300, 0.01), "best trains in the least time (100 s)"),
]


@pytest.mark.parametrize(("best", "like", "sentence"), CHOICES)
def test_the_cheapest_of_those_that_no_test_tells_apart(best, like, sentence):
    """A clearly worse method is never among them, however cheap."""
    values = {
        "worse": scores(25, 20),
        "best": scores(28.01, 20, noise=0.5),
        "like": scores(28, 20, noise=-0.5),
    }
    rows = [
        row("worse", trains=1, makes=0.001),
        row("best", trains=best[0], makes=best[1]),
        row("like", trains=like[0], makes=like[1]),
    ]
    found, text = concluded(rows, values)
    assert (found.best, found.alike) == ("best", ("like",))
    assert "like is not distinguishable from it (paired tests, Holm-corrected, n = 20, p > " in text
    assert "small differences" not in text
    assert sentence in text


def test_few_cases_show_large_differences_only():
    """With nine, that is said where two are not told apart; and names with a comma stay clear."""
    values = {
        name: scores(28, 9, noise=noise)
        for name, noise in (("a", 0.5), ("b, mean of 5", -0.5), ("c", 0.2))
    }
    found, text = concluded([row(name) for name in values], values)
    assert found.best == "a"
    assert "b, mean of 5; and c are not distinguishable from it" in text
    assert "9 cases cannot show small differences." in text


def test_too_few_cases_show_nothing():
    """Neither a test nor a cheapest: the mean alone speaks, and it is said how many are needed."""
    values = {"a": scores(27, 5), "b": scores(30, 5, noise=0.2), "c": scores(20, 5)}
    found, text = concluded([row("a", makes=0.001), row("b"), row("c")], values)
    assert (found.best, found.alike) == ("b", ())
    assert "5 cases cannot show a difference between methods: with 2 tests, 7 or more are" in text
    assert text.endswith("By the means alone, choose b; with more cases a cheaper one may turn out "
                         "to be as good.")  # fmt: skip
    one, text = concluded([row("a"), row("b")], {name: values[name][:1] for name in "ab"})
    assert "1 case cannot show a difference between methods: with 1 test, 6 or more" in text
    assert one.best == "b"


def test_contrasts_are_averaged():
    """The average ranks, and its tests are corrected for those of all contrasts."""
    values = {}
    for name, shift in (("a", 0.0), ("b", 1.0)):
        first = scores(27 + shift, 14, noise=0.1 + shift)
        second = [CaseScore(s.case, "t1n", s.metrics, {}) for s in first]
        values[name] = (*first, *second)
    found, text = concluded([row("a"), row("b")], values)
    assert found.best == "b" and "b is best in PSNR, averaged over contrasts: 28." in text


def test_the_closed_form_comes_first():
    """Where no training has gained anything over it, that is the first thing to know."""
    form = row("form", trains=0, makes=0.01, closed_form=True)
    values = {"form": scores(30, 20, noise=0.2), "net": scores(28, 20)}
    found, text = concluded([row("net"), form], values)
    assert text.startswith("No trained method is better than form, a closed form that is fitted")
    assert "the budget is too small to compare methods. form is best in" in text
    values["net"] = scores(30.01, 20, noise=-0.2)
    found, text = concluded([row("net"), form], values)
    assert found.alike == ("form",)
    assert text.startswith("No method is shown to be better than form, a closed form")
    assert "choose form, which takes no training steps and makes a volume in the least" in text
    values["net"] = scores(31, 20)
    _, text = concluded([row("net"), form], values)
    assert "closed form" not in text and text.endswith("Choose net.")
    _, text = concluded([form, form.__class__(**{**form.__dict__, "name": "net"})], values)
    assert "No trained method" not in text  # there is none


@pytest.mark.parametrize(
    ("number", "sharp", "z", "sentences"),
    [
        (20, 0.95, 0.01, ["But plain is better than best in sharpness in plane: 0.9"]),
        (20, 1.1, 0.009, ["in sharpness in plane", "But plain is better than best in Δz MAE: 0.0"]),
        (5, 0.95, 0.01, ["But by the means plain is better than best in sharpness in plane"]),
        (20, 0.3, 0.02, []),  # worse in these, too
        (20, 2.0, 0.01, []),  # rougher than the other is smooth
    ],
)
def test_what_the_main_metric_does_not_see(number, sharp, z, sentences):
    """Another method that is sharper, or steadier from slice to slice, is named."""
    values = {"best": scores(30, number, noise=0.3), "plain": scores(28, number, sharp=sharp, z=z)}
    _, text = concluded([row("best"), row("plain")], values)
    assert all(sentence in text for sentence in sentences)
    assert text.count("But") == len(sentences)
    assert text.count("where 1 is the detail of the reference") == any(
        "plane" in s for s in sentences
    )
