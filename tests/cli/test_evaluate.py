"""The command liftnet_evaluate: options, exit codes, what it prints."""

import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny_generation import DATASET, SHAPE, add_fold, installed, tiny_plan
from tiny_generation import NAME as TINY

from liftnet.cli import evaluate as command
from liftnet.core.geometry import Geometry
from liftnet.core.scores import read_cohort_scores, read_scores
from liftnet.core.storage.jsonable import write_json
from liftnet.imageio import write_image


def save(path: Path, shape: tuple[int, int, int], seed: int) -> None:
    """Write a random image in [0, 1]."""
    grid = Geometry(shape, (1, 1, 1), (0, 0, 0), ((0, 0, 1), (0, 1, 0), (1, 0, 0)))
    voxels = np.random.default_rng(seed).random(shape).astype(np.float32)
    write_image(path, voxels, grid, dtype="float32")


def call(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    """The exit code of the command."""
    monkeypatch.setattr(sys, "argv", ["liftnet_evaluate", *map(str, arguments)])
    with pytest.raises(SystemExit) as caught:
        command.main()
    return int(caught.value.code or 0)


def test_exit_codes(tmp_path, capsys, monkeypatch):
    """0 when all is scored, 1 when a case failed or nothing can be done, 2 for a wrong call."""
    predicted, reference = tmp_path / "p", tmp_path / "r"
    for number, case in enumerate("ab"):
        save(predicted / f"{case}_0003.nii.gz", (11, 12, 13), number)
        save(reference / f"{case}_0003.nii.gz", (11, 12, 13), number + 5)
    options = ("-i", predicted, "-r", reference, "--workspace", tmp_path / "w", "-np", 1)
    assert call(monkeypatch, *options, "--protocol", "lift", "-o", tmp_path / "o") == 0
    printed = capsys.readouterr().out
    assert "Protocol lift: [0, 1] between" in printed
    assert "uses the target's zeros, as the paper does" in printed
    assert "delta_z_correlation" in printed
    assert read_scores(tmp_path / "o" / "scores.json").protocol.name == "lift"
    assert (tmp_path / "o" / "scores.csv").is_file()
    assert not (predicted / "scores.json").exists()
    assert call(monkeypatch, *options, "--protocol", "none") == 1
    assert "error: Task missing_modality has no protocol 'none'" in capsys.readouterr().err
    save(reference / "b_0003.nii.gz", (11, 12, 14), 0)
    assert call(monkeypatch, *options) == 1
    assert "failed: b: Predicted and reference lie on different grids" in capsys.readouterr().out
    assert [row.case for row in read_scores(predicted / "scores.json").cases] == ["a"]
    assert call(monkeypatch, "-i", predicted) == 2


def test_parts(tmp_path, capsys, monkeypatch):
    """-num_parts and -part_id reach the evaluation; the last part merges, as one run."""
    predicted, reference = tmp_path / "p", tmp_path / "r"
    for number, case in enumerate("abc"):
        save(predicted / f"{case}_0003.nii.gz", (11, 12, 13), number)
        save(reference / f"{case}_0003.nii.gz", (11, 12, 13), number + 5)
    options = ("-i", predicted, "-r", reference, "--workspace", tmp_path / "w", "-np", 1)
    assert call(monkeypatch, *options, "-o", tmp_path / "one") == 0
    for part in (1, 0):
        parts = ("-num_parts", 2, "-part_id", part)
        assert call(monkeypatch, *options, "-o", tmp_path / "two", *parts) == 0
    files = [{p.name: p.read_text() for p in (tmp_path / f).iterdir()} for f in ("one", "two")]
    one, two = ({n: re.sub(r'"made": \{[^}]*\}', "", t) for n, t in f.items()} for f in files)
    assert one == two and sorted(one) == ["scores.csv", "scores.json"]
    capsys.readouterr()
    assert call(monkeypatch, *options, "-num_parts", 2, "-part_id", 2) == 1
    assert "error: Part 2 of 2 does not exist" in capsys.readouterr().err


def test_generated_volumes_are_scored_as_a_cohort(tmp_path, capsys, monkeypatch):
    """The command dispatches by what is beside the files; each kind refuses the other's options."""
    for folder, count in (("made", 3), ("real", 4), ("training", 5)):
        for number in range(count):
            save(tmp_path / folder / f"{folder}{number}_0000.nii.gz", SHAPE, number + 10 * count)
            if folder == "made":
                facts = {"task": TINY, "dataset": DATASET, "plan": "default", "target": "t1n"}
                written = facts | {"intensity": {"low": 0, "high": 1}}
                write_json(tmp_path / folder / f"{folder}{number}_0000.json", written)
    plan = tiny_plan()
    options = ("-i", tmp_path / "made", "-r", tmp_path / "real", "--workspace", tmp_path / "w")
    with installed():
        grid = replace(plan.grid, box=None, pad_to_box=False, spacing_mm=(1.0, 1.0, 1.0))
        add_fold(tmp_path / "w", "0", 1, plan=replace(plan, grid=grid))
        more = ("--training", tmp_path / "training", "--pairs", 2, "-f", 0, "-device", "cpu")
        assert call(monkeypatch, *options, *more, "-np", 1, "-o", tmp_path / "o") == 0
        printed = capsys.readouterr().out
        assert "what is good" in printed
        assert "ms_ssim: 2 pairs of generated, 2 of real volumes" in printed
        found = read_cohort_scores(tmp_path / "o" / "cohort_scores.json")
        assert (found.num_generated, found.num_real, found.num_training) == (3, 4, 5)
        assert call(monkeypatch, *options, "-m", tmp_path) == 1
        assert "error: -m is only for images that have a ref" in capsys.readouterr().err
    assert call(monkeypatch, "-i", tmp_path / "real", "-r", tmp_path / "real", "--pairs", 2) == 1
    assert "error: --pairs is only for volumes that are generated" in capsys.readouterr().err
