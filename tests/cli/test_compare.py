"""The command liftnet_compare: options, exit codes, what it prints."""

import sys
from pathlib import Path

import numpy as np
import pytest

from liftnet.cli import compare as command
from liftnet.core.comparison import read_comparison
from liftnet.core.geometry import Geometry
from liftnet.imageio import write_image


def save(path: Path, seed: int, noise: float) -> None:
    """Write a random image in [0, 1], with noise."""
    shape = (11, 12, 13)
    grid = Geometry(shape, (1, 2, 3), (0, 0, 0), ((0, 0, 1), (0, 1, 0), (1, 0, 0)))
    voxels = np.random.default_rng(seed).random(shape)
    voxels = voxels + noise * np.random.default_rng(seed + 50).normal(size=shape)
    write_image(path, np.clip(voxels, 0, 1).astype(np.float32), grid, dtype="float32")


def call(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    """The exit code of the command."""
    monkeypatch.setattr(sys, "argv", ["liftnet_compare", *map(str, arguments)])
    with pytest.raises(SystemExit) as caught:
        command.main()
    return int(caught.value.code or 0)


def test_compare_from_predictions_to_a_sentence(tmp_path, capsys, monkeypatch):
    """Several values after one option; exit code 0 when compared, 1 for a problem, 2 for a call."""
    for number in range(6):
        for folder, noise in (("ref", 0.0), ("plain", 0.3), ("fine", 0.1), ("coarse", 0.5)):
            save(tmp_path / folder / f"c{number}_0003.nii.gz", number, noise)
    folders = [tmp_path / name for name in ("plain", "fine", "coarse")]
    options = ("-i", *folders, "-o", tmp_path / "o", "--workspace", tmp_path / "w", "-np", 1)
    assert call(monkeypatch, *options) == 1
    assert "error: The folder has no scores.json" in capsys.readouterr().err
    more = ("--names", "base", "good", "bad", "--metrics", "psnr", "ssim", "-r", tmp_path / "ref")
    assert call(monkeypatch, *options, *more, "--protocol", "lift") == 0
    found = read_comparison(tmp_path / "o" / "comparison.json")
    assert [method.name for method in found.methods] == ["base", "good", "bad"]
    assert found.main_metrics == ("psnr", "ssim")
    assert {result.metric for result in found.results} == {"psnr", "ssim"}
    assert (tmp_path / "o" / "comparison.csv").is_file()
    printed = capsys.readouterr().out
    assert "Protocol lift: " in printed and "uses the target's zeros" in printed
    assert "warning: n = 6 cases" in printed
    assert "2 tests of one metric: no corrected p can be below 0.0625" in " ".join(printed.split())
    # Six of six cases have p = 2 / 64; Holm doubles it for two methods.
    (psnr,) = [result for result in found.results if result.metric == "psnr"]
    assert [d.p for d in psnr.differences.values()] == pytest.approx([2 / 64] * 2)
    assert [d.p_holm for d in psnr.differences.values()] == pytest.approx([4 / 64] * 2)
    assert [(d.wins, d.losses) for d in psnr.differences.values()] == [(6, 0), (0, 6)]
    assert "no difference is shown between good and base in psnr" in printed
    assert call(monkeypatch, "-i", *folders) == 2
