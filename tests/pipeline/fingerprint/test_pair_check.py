"""Which pairs are listed as misregistered, and in which words."""

from pathlib import Path

import numpy as np
import pytest

from liftnet.core.fingerprint import CaseFingerprint, IntensityRange
from liftnet.pipeline.fingerprint.copies import Copy
from liftnet.pipeline.fingerprint.integrity import problem_table
from liftnet.pipeline.fingerprint.pair_check import describe_shift, pair_problems, pair_shifts

RANGE = IntensityRange(1.0, 1.0, 0.0, 1.0, 2.0, 0.0, 3.0)


def measured(
    shift: tuple[float, float, float] | None,
    own: float = 0.1,
    spacing: tuple[float, float, float] = (2.0, 2.0, 2.0),
) -> CaseFingerprint:
    """A case with one pair."""
    return CaseFingerprint(
        (60, 80, 70), spacing, "SPL", (5, 5, 5), (55, 75, 65), 0.5, True,
        {"mr": RANGE, "ct": RANGE}, {} if shift is None else {"mr-ct": shift},
        {"mr-ct": own},
    )  # fmt: skip


def test_the_row(monkeypatch):
    """Case, file, words and remedy as a user reads them."""
    monkeypatch.setenv("COLUMNS", "120")
    files = {"a": {"mr": Path("imagesTr/a_0000.nii.gz"), "ct": Path("targetsTr/a_0000.nii.gz")}}
    (row,) = pair_problems({"a": measured((0.1, 3.8, 0.5))}, files)
    assert (row.case, row.file, row.severity) == ("a", "a_0000.nii.gz", "warning")
    assert row.problem == "ct looks shifted against mr by 3.8 mm (S 0.1, P 3.8, L 0.5)"
    assert row.remedy == "Look at both; register ct to mr, or remove the case."
    assert "ct looks shifted against mr" in problem_table([row])
    assert pair_problems({"a": measured((0.1, 3.8, 0.5))}, {})[0].file == "-"


def test_words_of_a_shift():
    """Each direction has its letter; the end of the search is told as such."""
    assert describe_shift((-0.32, -3.8, -0.5)) == "3.8 mm (I 0.3, A 3.8, R 0.5)"
    assert describe_shift((-0.02, 2.0, 0.0)) == "2.0 mm (S 0.0, P 2.0, L 0.0)"
    assert describe_shift((0.0, 0.0, -12.0)) == "12.0 mm or more (S 0.0, P 0.0, R 12.0)"


@pytest.mark.parametrize(
    ("shift", "spacing", "listed"),
    [
        ((0.0, 0.0, 1.4), (2.0, 2.0, 2.0), False),
        ((0.0, 0.0, -1.6), (2.0, 2.0, 2.0), True),
        ((0.9, 0.9, 0.9), (1.0, 1.0, 1.0), True),  # 1.56 mm, no part above 1.5
        ((2.8, 0.0, 0.0), (4.0, 1.0, 1.0), False),  # thick slices: 3 mm along their axis
        ((3.2, 0.0, 0.0), (4.0, 1.0, 1.0), True),
        ((0.0, 1.6, 0.0), (4.0, 1.0, 1.0), True),
        (None, (2.0, 2.0, 2.0), False),
    ],
)
def test_limit(shift, spacing, listed):
    """1.5 mm, or three quarters of a voxel where voxels are above 2 mm, along each axis."""
    assert bool(pair_problems({"a": measured(shift, spacing=spacing)}, {})) == listed


def test_a_whole_cohort_and_a_single_case():
    """The same shift everywhere hides no case."""
    cases = {name: measured((0.0, 4.0, 0.0)) for name in "abcde"}
    assert [row.case for row in pair_problems(cases, {})] == list("abcde")


def test_information_that_is_shared():
    """Far too little or too much is listed in the same rows; scanners may differ."""
    cases = {name: measured((0, 0, 0), 0.1 + 0.01 * i) for i, name in enumerate("abcde")}
    assert pair_problems(cases, {}) == []
    assert pair_problems({**cases, "x": measured((0, 0, 0), 0.03)}, {}) == []
    (row,) = pair_problems({**cases, "x": measured((0, 0, 0), 0.004)}, {})
    assert row.case == "x"
    words = (
        "share no more than images of two patients (0.004, other cases 0.115; "
        "0: nothing in common, near 1: copies)"
    )
    assert row.problem == f"mr and ct {words}"
    assert row.remedy == (
        "Open both: are they of one patient, and registered? Replace the wrong one."
    )
    (row,) = pair_problems({**cases, "x": measured((0, 0, 9), 0.004)}, {})
    assert "shifted" in row.problem and f"; mr and ct {words}" in row.problem
    (row,) = pair_problems({**cases, "x": measured((0, 0, 0), 0.7)}, {})
    assert row.problem == (
        "mr and ct share as much as one image twice (0.700, other cases 0.125; "
        "0: nothing in common, near 1: copies)"
    )
    copy = Copy(("x", "ct"), ("x", "mr"), "the same voxels as")
    assert pair_problems({**cases, "x": measured((0, 0, 0), 0.7)}, {}, [copy]) == []
    assert pair_problems({"a": measured((0, 0, 0)), "x": measured((0, 0, 0), 0.0)}, {}) == []


def test_a_cohort_that_is_paired_at_random():
    """Where most cases share nothing there is one row, and none for each case."""
    shares = (0.001, -0.002, 0.003, 0.002, -0.004)
    cases = {f"c{i}": measured((0, 0, 0), own) for i, own in enumerate(shares)}
    (row,) = pair_problems(cases, {})
    assert row.problem == (
        "mr and ct share no more than images of two patients in most cases (median 0.001; "
        "0: nothing in common, near 1: copies)"
    )
    always = {f"c{i}": measured((0, 0, 0), 0.7) for i in range(4)}  # one a function of the other
    assert pair_problems(always, {}) == []


def test_every_target_against_every_source():
    """Names of the pairs; none without targets."""
    image = np.random.default_rng(0).random((12, 14, 16), dtype=np.float32)
    images = {"t1": image, "t2": 1 - image, "ct": 5 * image, "pet": image**2}
    everywhere = np.ones(image.shape, dtype=bool)
    found = pair_shifts(images, {"ct", "pet"}, everywhere, (2.0, 2.0, 2.0))
    assert list(found) == ["t1-ct", "t2-ct", "t1-pet", "t2-pet"]
    assert pair_shifts(images, (), everywhere, (2.0, 2.0, 2.0)) == {}
