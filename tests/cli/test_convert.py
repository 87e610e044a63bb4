"""The command liftnet_convert: arguments, what it prints, errors."""

import sys
from pathlib import Path

import pytest

from liftnet.cli import convert as command


def call(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    """The exit code of the command."""
    monkeypatch.setattr(sys, "argv", ["liftnet_convert", *map(str, arguments)])
    with pytest.raises(SystemExit) as caught:
        command.main()
    return int(caught.value.code or 0)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Two cases in BraTS layout, the second without t2f, and in one folder per contrast."""
    for case in ("head-1", "head-2"):
        for contrast in ("t1n", "t2w", "t2f"):
            if (case, contrast) == ("head-2", "t2f"):
                continue
            for path in (
                tmp_path / "brats" / case / f"{case}-{contrast}.nii.gz",
                tmp_path / contrast / f"{case}.nii.gz",
            ):
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(b"image")
    return tmp_path


def test_brats(source, monkeypatch, capsys):
    """The dataset is made; its notes and the next command are printed."""
    space = source / "my space"
    options = ("-d", 3, "--name", "Heads", "--copy", "--workspace", space)
    assert call(monkeypatch, "brats", source / "brats", *options) == 0
    folder = space / "raw" / "Dataset003_Heads"
    assert not (folder / "imagesTr" / "head-1_0000.nii.gz").is_symlink()
    printed = capsys.readouterr().out
    assert f"Made {folder}" in printed
    assert "2 training cases, 0 test cases; channels t1n, t2w, t2f." in printed
    assert "1 training cases lack t2f: head-2." in printed
    assert f"  liftnet_plan_and_preprocess -d 3 --workspace '{space}'" in printed
    assert call(monkeypatch, "brats", source / "brats", *options) == 0
    assert f"Converted already: {folder}" in capsys.readouterr().out
    options = ("-d", 3, "--name", "Others", "--workspace", space)
    assert call(monkeypatch, "brats", source / "brats", *options) == 1
    assert "error: Dataset number 3 is taken" in capsys.readouterr().err


def test_folders(source, monkeypatch, capsys):
    """Sources are positional, options may stand anywhere; without --workspace none is printed."""
    monkeypatch.chdir(source)
    monkeypatch.delenv("LIFTNET_WORKSPACE", raising=False)
    assert call(monkeypatch, "folders", "-d", 2, "t1n=t1n", "t2w=t2w") == 0
    folder = source / "liftnet_workspace" / "raw" / "Dataset002_t1n-t2w"
    assert (folder / "imagesTr" / "head-2_0001.nii.gz").is_symlink()
    assert capsys.readouterr().out.endswith("  liftnet_plan_and_preprocess -d 2\n")


def test_a_source_after_the_target(source, monkeypatch, capsys):
    """One word more than the target is the source, in any order; of several it is not clear."""
    monkeypatch.chdir(source)
    target, other, pet = "t2w=t2w", "t1n=t1n", "t2f=t2f"
    for number, words in enumerate(
        [
            (other, "--target", target),
            ("--target", target, other),
            ("--copy", "--target", target, "--name", "X", other),
            ("--name=X", "--target", target, other),
        ],
        start=1,
    ):
        assert call(monkeypatch, "folders", *words, "-d", number) == 0
        assert "from t1n to t2w" in capsys.readouterr().out
    assert call(monkeypatch, "folders", other, "--target", target, pet, "-d", 5) == 0
    assert "from t1n to t2w, t2f" in capsys.readouterr().out
    assert call(monkeypatch, "folders", "--target", target, "--target", pet, other, "-d", 6) == 0
    assert "from t1n to t2w, t2f" in capsys.readouterr().out
    for words in (("--target", target, other, pet), ("--target", target, "--target", other)):
        assert call(monkeypatch, "folders", *words, "-d", 7) == 2
        assert "Sources stand before --target" in " ".join(capsys.readouterr().err.split())


def test_wrong_calls(source, monkeypatch, capsys):
    """An unknown layout is an error with a suggestion; a missing number is a wrong call."""
    assert call(monkeypatch, "brat", source / "brats", "-d", 1) == 1
    assert "brats" in capsys.readouterr().err
    assert call(monkeypatch, "brats", source / "brats") == 2
    assert call(monkeypatch, "brats", "-d", 1) == 2


def test_long_notes_are_shortened(source, monkeypatch, capsys):
    """A line with many case names ends with the name of the file that holds it whole."""
    for number in range(40):
        case = f"head-{number:03d}"
        path = source / "brats" / case / f"{case}-t1n.nii.gz"
        path.parent.mkdir()
        path.write_bytes(b"image")
    assert call(monkeypatch, "brats", source / "brats", "-d", 1, "--workspace", source / "w") == 0
    printed = capsys.readouterr().out
    (line,) = (line for line in printed.splitlines() if "lack t2w" in line)
    assert len(line) <= command.NOTE_WIDTH + 2
    assert line.endswith("... (conversion.txt)")


def test_the_layout_is_asked_for(tmp_path, monkeypatch, capsys):
    """Where the folder stands in its place."""
    assert call(monkeypatch, tmp_path, "-d", 1) == 2
    assert "Write one of brats, folders, synthrad2023, synthrad2025" in capsys.readouterr().err
