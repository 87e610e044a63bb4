"""scores.json: strict, and infinite values survive it."""

import json
import math
from dataclasses import replace

import pytest

from liftnet.core.errors import PlanError
from liftnet.core.scores import (
    SCORES_VERSION,
    CaseScore,
    MetricSummary,
    Protocol,
    ScoreFailure,
    Scores,
    read_scores,
)
from liftnet.core.storage.jsonable import write_json

SCORES = Scores(
    version=SCORES_VERSION,
    protocol=Protocol("lift", "As published.", needs_source=True),
    task="missing_modality",
    dataset="",
    slice_axis="coronal",
    predicted_folder="p",
    reference_folder="r",
    sources_folder="",
    summary={"t2f": {"psnr": MetricSummary(27.5, 0.5, 27.0, 28.0, 2)}},
    cases=(CaseScore("a", "t2f", {"psnr": 27.5, "mae": 0.0}, {"mask": "none"}),),
    without_reference=("b_0003.nii.gz",),
    failures=(ScoreFailure("c", "broken"),),
    liftnet="0.1",
)


def test_scores_come_back_equal(tmp_path):
    """Every field is written and read."""
    write_json(tmp_path / "scores.json", SCORES)
    assert read_scores(tmp_path / "scores.json") == SCORES


def test_infinite_psnr_survives_the_file(tmp_path):
    """It is null in strict JSON and infinite again when read; a spread around it is NaN."""
    endless = MetricSummary(math.inf, math.nan, 30.0, math.inf, 2)
    scores = replace(
        SCORES,
        summary={"t2f": {"psnr": endless}},
        cases=(CaseScore("a", "t2f", {"psnr": math.inf}, {}),),
    )
    path = tmp_path / "scores.json"
    write_json(path, scores)
    json.loads(path.read_text(), parse_constant=pytest.fail)
    again = read_scores(path)
    assert again.cases == scores.cases
    found = again.summary["t2f"]["psnr"]
    assert (found.mean, found.low, found.high, found.n) == (math.inf, 30.0, math.inf, 2)
    assert math.isnan(found.std)


def test_wrong_files_are_refused(tmp_path):
    """Another version is named with its remedy; an unknown key with its place."""
    path = tmp_path / "scores.json"
    write_json(path, replace(SCORES, version=0))
    with pytest.raises(PlanError, match="version 0") as caught:
        read_scores(path)
    assert "liftnet_evaluate" in str(caught.value)
    write_json(path, {"version": SCORES_VERSION, "protokol": 1})
    with pytest.raises(PlanError, match="Unknown key 'protokol'"):
        read_scores(path)
