"""A comparison without a closed form names those that could be a row of it."""

import json
from pathlib import Path

import pytest

from liftnet.pipeline.compare.floor import mention_floor

DATASET = "Dataset007_Phantom"


def folder_of(place: Path, **facts: str) -> Path:
    """A folder with an image, and the JSON beside it."""
    place.mkdir()
    (place / "p1_0002.nii.gz").touch()
    named = {"target": "c", "dataset": DATASET, "plan": "default", **facts}
    text = json.dumps({"intensity": {"low": 0.0, "high": 1.0}, **named})
    (place / "p1_0002.json").write_text(text)
    return place


def test_closed_forms_are_named(workspace, tmp_path, capsys):
    """With the command that fits one; it is a row already, or is not known, and nothing is said."""
    lift = folder_of(tmp_path / "lift", method="lift")
    ablation = folder_of(tmp_path / "ablation", method="no_mapper")
    mention_floor([lift, ablation], workspace)
    said = capsys.readouterr().out
    assert "No closed form is among them (regression_linear, regression_quadratic)" in said
    command = f"liftnet_train -d {DATASET} --method regression_linear --workspace {workspace}"
    assert said.endswith(f"  {command}\n")
    linear = folder_of(tmp_path / "linear", method="regression_linear")
    mention_floor([lift, linear], workspace)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "facts", [{}, {"method": "of_another_version"}, {"method": "lift", "plan": "gone"}]
)
def test_nothing_is_said_of_what_is_not_known(workspace, tmp_path, capsys, facts):
    """Images of other programs, methods or workspaces."""
    mention_floor([folder_of(tmp_path / "made", **facts), tmp_path / "gone"], workspace)
    assert capsys.readouterr().out == ""
