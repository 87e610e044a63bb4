"""The demo in miniature: all steps, what is printed, and the same command again."""

import re
import shlex
import socket
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import typer

from liftnet.cli.shell import spread_values
from liftnet.core.errors import LiftnetError
from liftnet.imageio import read_image
from liftnet.pipeline.demo import CONTRASTS, Size, demo, make_dataset

SMALL = Size(training_cases=3, test_cases=4, spacing_mm=(13.0, 8.0, 9.0), gpu_memory=0.05, steps=2)


def files(root: Path) -> dict[str, bytes]:
    """Relative path -> content of every image and weight file."""
    found = sorted([*root.rglob("*.nii.gz"), *root.rglob("*.safetensors")])
    return {str(path.relative_to(root)): path.read_bytes() for path in found}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished demo, all of whose steps ran without a network."""
    root = tmp_path_factory.mktemp("demo") / "a folder"

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a step tried to reach the network")

    with pytest.MonkeyPatch.context() as offline:
        offline.setattr(socket.socket, "connect", refuse)
        offline.setattr(socket, "getaddrinfo", refuse)
        demo(root, device="cpu", size=SMALL)
    return root


def test_the_same_call_again(finished, capsys):
    """All files stay; each contrast is scored once; table and picture; real commands are shown."""
    before = files(finished)
    ours, trivial = demo(finished, device="cpu", size=SMALL)
    assert files(finished) == before
    for scores in (ours, trivial):
        assert sorted(row.contrast for row in scores.cases) == sorted(CONTRASTS)
        assert not scores.failures
    printed = capsys.readouterr().out
    assert "[1/7]" in printed and "[7/7]" in printed and "[8/" not in printed
    assert re.search(r"^PSNR \[dB\] +LiFT-C +\d", printed, flags=re.MULTILINE)
    assert re.search(r"^ +regression +\d", printed, flags=re.MULTILINE)
    assert str(finished / "montage.png") in printed
    assert (finished / "montage.png").stat().st_size > 20_000
    assert "Already trained" in printed
    lines = [shlex.split(x[2:]) for x in printed.splitlines() if x.startswith("$ ")]
    names = [line[0].removeprefix("liftnet_") for line in lines]
    steps = ["plan_and_preprocess", "train", "predict", "evaluate"]
    steps += ["train", "predict", "compare", "report"]  # of the regression
    assert names == steps
    page = (finished / "comparison" / "report.html").read_text(encoding="utf-8")
    assert "Comparison of regression and LiFT-C" in page and '"role": "source"' in page
    for name, line in zip(names, lines, strict=True):
        app = typer.Typer(add_completion=False)
        app.command()(getattr(import_module(f"liftnet.cli.{name}"), name))
        typer.main.get_command(app).make_context(
            name, spread_values(line[1:], ("--set", "-i", "--names"))
        )


def test_dataset(tmp_path):
    """Training heads lack contrasts in turn, each test head another one; a lost file comes back."""
    size = Size(training_cases=4, test_cases=4, spacing_mm=SMALL.spacing_mm)
    make_dataset(tmp_path / "raw", tmp_path / "references", size)
    present = {
        folder: sorted(p.name[:-7] for p in (tmp_path / folder).iterdir())
        for folder in ("raw/imagesTr", "raw/imagesTs", "references")
    }
    assert len(present["raw/imagesTr"]) == 4 * 4 - 2
    assert {"head-01_0000", "head-03_0001"}.isdisjoint(present["raw/imagesTr"])
    assert present["references"] == [f"head-{4 + i:02d}_{i:04d}" for i in range(4)]
    assert not set(present["references"]) & set(present["raw/imagesTs"])
    path = tmp_path / "raw/imagesTs/head-05_0002.nii.gz"
    voxels, info = read_image(path)
    path.unlink()
    make_dataset(tmp_path / "raw", tmp_path / "references", size)
    again, _ = read_image(path)
    np.testing.assert_array_equal(voxels, again)
    assert info.geometry.spacing_mm == pytest.approx(SMALL.spacing_mm)


def test_a_demo_of_another_plan_is_refused(finished):
    """The error says to remove the folder, not to use an option that the demo does not have."""
    other = Size(3, 4, SMALL.spacing_mm, SMALL.gpu_memory, steps=3)
    with pytest.raises(LiftnetError, match="plan or its recipe has changed") as caught:
        demo(finished, device="cpu", size=other)
    assert f"Remove {finished}, or name another folder with -o." in str(caught.value)
