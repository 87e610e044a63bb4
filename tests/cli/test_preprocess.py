"""The command liftnet_preprocess: its options reach the step."""

import sys

import pytest

from liftnet.cli import preprocess as command


def call(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    """The exit code of the command."""
    monkeypatch.setattr(sys, "argv", ["liftnet_preprocess", *map(str, arguments)])
    with pytest.raises(SystemExit) as caught:
        command.main()
    return int(caught.value.code or 0)


def test_parts(workspace, capsys, monkeypatch):
    """-num_parts and -part_id do every N-th case; a part that does not exist is refused."""
    options = ("--workspace", workspace, "-np", 1, "--clean", "-num_parts", 4)
    assert call(monkeypatch, *options, "-part_id", 1) == 0
    printed = capsys.readouterr().out
    assert "Preprocessed part 1 of 4, 2 cases: " in printed
    assert "2 of 6 cases of the dataset are complete" in printed
    assert call(monkeypatch, *options, "-part_id", 4) == 1
    assert "Part 4 of 4 does not exist" in capsys.readouterr().err
