"""Scores that an earlier comparison made: used as long as they fit, else made again, and why."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from liftnet.core.errors import DatasetError
from liftnet.core.geometry import Geometry
from liftnet.core.scores import read_scores
from liftnet.core.storage.jsonable import write_json
from liftnet.imageio import write_image
from liftnet.pipeline.compare import compare as step
from liftnet.pipeline.compare.compare import compare
from liftnet.pipeline.evaluate.evaluate import evaluate

FACTS = {"target": "0000", "modality": "MR", "intensity": {"low": 0.0, "high": 1.0}}


def image(path: Path, seed: int, noise: float) -> None:
    """Write an image in [0, 1]: that of the seed, with noise."""
    shape = (11, 12, 13)
    grid = Geometry(shape, (3, 2, 1), (0, 0, 0), ((0, 0, 1), (0, 1, 0), (1, 0, 0)))
    voxels = np.random.default_rng(seed).random(shape)
    voxels = voxels + noise * np.random.default_rng(seed + 100).normal(size=shape)
    write_image(path, np.clip(voxels, 0, 1).astype(np.float32), grid, dtype="float32")


@pytest.fixture
def space(tmp_path: Path) -> Path:
    """References and two methods of three cases, one image of "b" without a reference; compared."""
    for number in range(3):
        for folder, noise in (("ref", 0), ("a", 0.3), ("b", 0.1)):
            image(tmp_path / folder / f"c{number}_0000.nii.gz", number, noise)
    image(tmp_path / "b" / "alone_0000.nii.gz", 9, 0)
    write_json(tmp_path / "b" / "c1_0000.json", FACTS)
    again(tmp_path)
    return tmp_path


def again(space: Path, **options: Any) -> None:
    """Compare "a" and "b"."""
    options = {"reference_folder": space / "ref", "num_processes": 1} | options
    folders = options.pop("folders", [space / "a", space / "b"])
    options |= {"names": ["a", "b"], "workspace": space / "w"}
    compare(folders, space / "out", **options)


def touch(path: Path) -> None:
    """Make a file newer than all others."""
    later = path.stat().st_mtime + 1000
    os.utime(path, (later, later))


def edit(space: Path, **changes: Any) -> None:
    """Change what the scores made of "b" say."""
    path = space / "out" / "b" / "scores.json"
    data = json.loads(path.read_text())
    for key, value in changes.items():
        data[key] = data[key] | value if isinstance(value, dict) else value
    path.write_text(json.dumps(data))


def test_scores_are_used_again(space, monkeypatch, capsys):
    """Nothing is evaluated the second time, and the comparison is the same."""
    first = (space / "out" / "comparison.csv").read_bytes()
    before = (space / "out" / "b" / "scores.json").stat().st_mtime_ns
    capsys.readouterr()
    monkeypatch.setattr(step, "evaluate_pairs", None)  # a call would fail
    again(space)
    printed = capsys.readouterr().out
    for name in "ab":
        path = space / "out" / name / "scores.json"
        assert f"{name}: the scores made of it earlier are used: {path}" in printed
    assert "Evaluate" not in printed
    assert (space / "out" / "b" / "scores.json").stat().st_mtime_ns == before
    assert (space / "out" / "comparison.csv").read_bytes() == first


def moved(space: Path, folder: str) -> Path:
    """A copy of a folder."""
    return Path(shutil.copytree(space / folder, space / f"{folder}_copy"))


def described(space: Path, channel: str = "0000") -> None:
    """A raw dataset with a channel of this name."""
    facts = {"name": "X", "task": "missing_modality", "file_ending": ".nii.gz", "licence": ""}
    facts |= {"channels": {"0": {"name": channel, "modality": "MR"}}, "reference": ""}
    write_json(space / "w" / "raw" / "Dataset003_X" / "dataset.json", facts)


def masked_ct(space: Path) -> None:
    """Scores of a protocol that needs masks, one row of them a CT's."""
    rows = json.loads((space / "out" / "b" / "scores.json").read_text())["cases"]
    rows[0]["notes"]["unit"] = "HU"
    edit(space, protocol={"needs_mask": True}, cases=rows)


REASONS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "image": (lambda s: touch(s / "b" / "c2_0000.nii.gz"), "c2_0000.nii.gz is newer"),
    "json": (lambda s: touch(s / "b" / "c1_0000.json"), "c1_0000.json is newer than its scores"),
    "reference": (lambda s: touch(s / "ref" / "c0_0000.nii.gz"), "c0_0000.nii.gz is newer"),
    "added": (lambda s: image(s / "b" / "c8_0000.nii.gz", 8, 0), "5 images are there, 4 were"),
    "gone": (lambda s: (s / "b" / "c0_0000.nii.gz").unlink(), "3 images are there, 4 were scored"),
    "renamed": (
        lambda s: (s / "b" / "c0_0000.nii.gz").rename(s / "b" / "z_0000.nii.gz"),
        "other images are there than were scored",
    ),
    "json gone": (
        lambda s: (s / "b" / "c1_0000.json").unlink(),
        "the JSON file of c1, 0000, is gone",
    ),
    "damaged": (
        lambda s: write_json(s / "b" / "c1_0000.json", FACTS | {"intensity": {}}),
        "expected a number, got null",
    ),
    "version": (lambda s: edit(s, version=99), "The scores have version 99"),
    "unreadable": (
        lambda s: (s / "out" / "b" / "scores.json").write_text("{"),
        "Not a JSON file",
    ),
    "liftnet": (lambda s: edit(s, liftnet="0.0.1"), "liftnet 0.0.1 made the scores there"),
    "axis": (lambda s: edit(s, slice_axis="coronal"), "the slice axis was coronal, and is axial"),
    "meaning": (lambda s: edit(s, protocol={"description": "x"}), "liftnet had another meaning"),
    "masks": (masked_ct, "do not note which masks"),
    "sources": (
        lambda s: edit(s, protocol={"needs_source": True}, sources_folder="/elsewhere"),
        "masked with images in /elsewhere",
    ),
    "failures": (
        lambda s: edit(s, failures=[{"kind": "ScoreFailure", "case": "c", "problem": "p"}]),
        "1 of its images could not be scored the last time",
    ),
}  # fmt: skip


@pytest.mark.parametrize("reason", REASONS)
def test_scores_that_do_not_fit_are_made_again(space, capsys, reason):
    """One line says why; what is made is as without the earlier scores; the other method's stay."""
    change, said = REASONS[reason]
    change(space)
    capsys.readouterr()
    again(space)
    lines = [x for x in capsys.readouterr().out.splitlines() if x.startswith("Evaluate b")]
    assert len(lines) == 1
    assert lines[0].startswith(f"Evaluate b: {space / 'b'} (again: ") and said in lines[0]
    found = read_scores(space / "out" / "b" / "scores.json")
    new = evaluate(
        space / "b", space / "ref", output=space / "x", workspace=space / "w", num_processes=1
    )
    assert (found.cases, found.failures) == (new.cases, new.failures)
    if reason not in ("reference", "damaged"):
        capsys.readouterr()
        again(space)
        printed = capsys.readouterr().out
        assert "a: the scores made of it earlier are used" in printed
        if reason not in ("image", "json"):  # those stay in the future
            assert "b: the scores made of it earlier are used" in printed


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (lambda s: {"protocol": "lift"}, "the scores there are of protocol liftnet"),
        (lambda s: {"reference_folder": moved(s, "ref")}, "the scores there are of references in"),
        (
            lambda s: {"folders": [s / "a", moved(s, "b")]},
            "the scores there are of predictions in",
        ),
        (
            lambda s: described(s) or {"dataset": 3},
            "the dataset was not known, and is Dataset003_X",
        ),
    ],
)  # fmt: skip
def test_what_is_asked_for_may_differ(space, capsys, options, said):
    """Another protocol, reference or predicted folder, or dataset."""
    with pytest.raises(DatasetError, match=r"folder of references does not exist(.|\n)*with -r"):
        again(space, reference_folder=space / "nowhere")
    asked = options(space)
    capsys.readouterr()
    again(space, **asked)
    printed = capsys.readouterr().out
    assert f"(again: {said}" in printed
    again(space, **asked)
    assert "Evaluate" not in capsys.readouterr().out


def test_own_scores_that_are_older_than_files(space, capsys):
    """Without references a warning; with them they are made in -o, and the old ones stay."""
    for name in "ab":
        evaluate(space / name, space / "ref", workspace=space / "w", num_processes=1)
    old = (space / "b" / "scores.json").read_bytes()
    shutil.rmtree(space / "out")
    again(space)
    assert not (space / "out" / "b").exists()
    touch(space / "b" / "c2_0000.nii.gz")
    capsys.readouterr()
    again(space, reference_folder=None)
    printed = " ".join(capsys.readouterr().out.split())
    assert "warning: c2_0000.nii.gz is newer than the scores of b: evaluate it again" in printed
    again(space)
    assert f"Evaluate b: {space / 'b'} (again: c2_0000.nii.gz is" in capsys.readouterr().out
    assert (space / "out" / "b" / "scores.json").is_file()
    assert not (space / "out" / "a").exists()
    assert (space / "b" / "scores.json").read_bytes() == old


def test_channels_of_other_programs_get_their_names(space):
    """A method without JSON files takes the dataset that another one names."""
    facts = FACTS | {"target": "pd", "task": "missing_modality", "dataset": "Dataset003_X"}
    for number in range(3):
        write_json(space / "b" / f"c{number}_0000.json", facts)
    with pytest.raises(DatasetError, match=r"no image in common(.|\n)*a: c0 0000(.|\n)*b: c0 pd"):
        again(space)  # the workspace has no such dataset
    described(space, "pd")
    again(space)
    for name in "ab":
        found = read_scores(space / "out" / name / "scores.json")
        assert found.dataset == "Dataset003_X"
        assert {row.contrast for row in found.cases} == {"pd"}
