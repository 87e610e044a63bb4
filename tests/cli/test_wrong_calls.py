"""What commands say of calls that cannot be meant, and how they do with closed streams."""

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from liftnet.cli.main import COMMANDS, function_name

REQUIRED = {  # what a command must be given besides the option that is looked at
    "liftnet_predict": {"-i": "i", "-o": "o"},
    "liftnet_evaluate": {"-i": "i", "-r": "r"},
    "liftnet_compare": {"-i": "i", "-o": "o"},
    "liftnet_benchmark": {"--methods": "m", "-i": "i", "-r": "r", "-o": "o"},
    "liftnet_report": {"-i": "i"},
    "liftnet_export": {"-o": "o"},
    "liftnet_import": {"-i": "i"},
    "liftnet_probe": {"-i": "i", "-t": "t", "-r": "r", "-o": "o"},
    "liftnet_convert": {"-d": "1"},
    "liftnet_download": {},
}
WORDS = {"liftnet_convert": ["brats", "x"], "liftnet_download": ["resnet18"]}


@pytest.fixture(autouse=True)
def somewhere(tmp_path, monkeypatch):
    """An empty current folder, and a workspace that is not there."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("LIFTNET_WORKSPACE", str(tmp_path / "here" / "space"))


def call(monkeypatch: pytest.MonkeyPatch, command: str, *words: str) -> int:
    """The exit code of a command."""
    monkeypatch.setattr(sys, "argv", [command, *words])
    with pytest.raises(SystemExit) as caught:
        import_module(f"liftnet.cli.{function_name(command)}").main()
    return int(caught.value.code or 0)


def with_option(command: str, option: str, value: str) -> list[str]:
    """The words of a call that is complete, with this option among them."""
    given = {**REQUIRED.get(command, {}), option: value}
    return [*WORDS.get(command, []), *(word for pair in given.items() for word in pair)]


@pytest.mark.parametrize(
    ("command", "option"),
    [
        *((command, "--workspace") for command in COMMANDS if command != "liftnet_demo"),
        *((c, option) for c, given in REQUIRED.items() for option in given if option not in "-d-n"),
        *(("liftnet_evaluate", o) for o in ("-o", "-s", "-m", "--training", "--medicalnet")),
        *(("liftnet_compare", o) for o in ("-r", "-s", "-m")),
        *(("liftnet_report", o) for o in ("-o", "-s")),
        *(("liftnet_convert", o) for o in ("--test", "--masks", "--name", "--task")),
        ("liftnet_predict", "-m"),
        ("liftnet_train", "--pretrained"),
        ("liftnet_plan", "--features"),
        ("liftnet_plan_and_preprocess", "--features"),
        ("liftnet_export", "--scores"),
        ("liftnet_download", "-o"),
        ("liftnet_demo", "-o"),
    ],
)
def test_an_empty_value_is_refused(monkeypatch, capsys, tmp_path, command, option):
    """`-r "$UNSET"` is not the current folder; the option is named, and nothing is made."""
    assert call(monkeypatch, command, *with_option(command, option, "")) == 1
    printed = capsys.readouterr()
    assert printed.err.startswith(f"error: {option} is empty\n  where: {option}\n  do:    Give it")
    assert not list((tmp_path / "here").iterdir())


@pytest.mark.parametrize(
    ("command", "option", "value", "problem"),
    [
        ("liftnet_preprocess", "-np", "0", "-np is 0\n  where: -np\n  do:    Use 1 to 1024."),
        ("liftnet_predict", "-np", "-1", "-np is -1\n"),
        ("liftnet_evaluate", "-np", "1000000", "-np is 1000000\n"),
        ("liftnet_report", "--max-mb", "nan", "--max-mb is nan\n  where: --max-mb\n  do:    Use m"),
        ("liftnet_report", "--max-mb", "inf", "--max-mb is inf\n"),
        ("liftnet_report", "--num-cases", "-3", "--num-cases is -3\n"),
        ("liftnet_plan", "--gpu-memory", "nan", "--gpu-memory is nan\n"),
        ("liftnet_plan", "--steps", "0", "--steps is 0\n"),
        ("liftnet_train", "-p", "/tmp/x", "'/tmp/x' cannot be the name of a plan\n  where: -p\n"),
        ("liftnet_train", "-p", "a\x1bb", "'a\\x1bb' cannot be the name of a plan\n  where: -p\n"),
        ("liftnet_preprocess", "-p", "..", "'..' cannot be the name of a plan\n  where: -p\n"),
        ("liftnet_train", "-p", "", "-p is empty\n"),
        ("liftnet_import", "-i", "", "-i is empty\n"),
        ("liftnet_doctor", "--paths", "--no-test", "--paths is for --json"),
        ("liftnet_evaluate", "-r", "i/../i", "-i and -r are the same folder"),
    ],
)
def test_one_clear_error(monkeypatch, capsys, tmp_path, command, option, value, problem):
    """Numbers, names and folders that cannot be meant are refused under their option's name."""
    (tmp_path / "here" / "i").mkdir()
    assert call(monkeypatch, command, *with_option(command, option, value)) == 1
    assert capsys.readouterr().err.startswith(f"error: {problem}")


@pytest.mark.parametrize(
    ("command", "words", "problem", "remedy"),
    [
        (
            *("train", "--steps 100", "liftnet_train has no option --steps"),
            "--steps is an option of liftnet_plan and liftnet_plan_and_preprocess.",
        ),
        (
            *("train", "--gpu_memory=8", "liftnet_train has no option --gpu-memory"),
            "--gpu-memory is an option of liftnet_plan and liftnet_plan_and_preprocess.",
        ),
        ("train", "--restrat", "liftnet_train has no option --restrat", "Did you mean --restart?"),
        (
            *("train", "--step 9", "liftnet_train has no option --step"),
            "Did you mean --steps, an option of liftnet_plan and liftnet_plan_and_preprocess?",
        ),
        (
            *("download", "resnet18 -num_parts 2", "liftnet_download has no option -num_parts"),
            "-num_parts is an option of liftnet_benchmark, liftnet_evaluate, liftnet_predict and "
            "liftnet_preprocess.",
        ),
        (
            *("train", "2 0", "liftnet_train takes options only, got 2 0"),
            "Write liftnet_train -d 2 -f 0.",
        ),
        (
            *("train", "2 3d all", "liftnet_train takes options only, got 2 3d all"),
            "Write liftnet_train -d 2 -f all.",
        ),
        ("plan", "7", "liftnet_plan takes options only, got 7", "Write liftnet_plan -d 7."),
        (
            *("report", "scores", "liftnet_report takes options only, got scores"),
            "Write liftnet_report -i scores.",
        ),
        (
            *("predict", "new out", "liftnet_predict takes options only, got new out"),
            "Write liftnet_predict -i new -o out.",
        ),
        (
            *("evaluate", "out truth", "liftnet_evaluate takes options only, got out truth"),
            "Write liftnet_evaluate -i out -r truth.",
        ),
        ("predict", "--input new", "liftnet_predict has no option --input", "It is -i here."),
        (
            *("train", "--epochs 5", "liftnet_train has no option --epochs"),
            "--steps is an option of liftnet_plan and liftnet_plan_and_preprocess.",
        ),
    ],
)  # fmt: skip
def test_habits_of_other_commands(monkeypatch, capsys, command, words, problem, remedy):
    """An option of another command, or nnU-Net's words without options, are answered with it."""
    if command == "report":
        words = f"-i x {words}"
    assert call(monkeypatch, f"liftnet_{command}", *words.split()) == 2
    assert capsys.readouterr().err == f"error: {problem}\n  do:    {remedy}\n"


def test_what_nobody_knows(monkeypatch, capsys):
    """An option that is like none is left to the parser."""
    assert call(monkeypatch, "liftnet_train", "--zzzz") == 2
    assert "No such option: --zzzz" in capsys.readouterr().err


@pytest.mark.parametrize("command", COMMANDS)
def test_version(monkeypatch, capsys, command):
    """Every command says it."""
    assert call(monkeypatch, command, "--version") == 0
    assert capsys.readouterr().out.startswith("liftnet 0.")


def test_quiet_leaves_results_warnings_and_errors(workspace, monkeypatch, capsys):
    """The line of the workspace and the bars go; what was made is still said, and what is wrong."""
    words = ("--workspace", str(workspace), "-np", "1", "--quiet")
    assert call(monkeypatch, "liftnet_preprocess", *words) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith("Preprocessed 6 cases") and printed.out.count("\n") == 1
    assert printed.err == ""
    assert call(monkeypatch, "liftnet_preprocess", *words, "-p", "none") == 1
    assert capsys.readouterr().err.startswith("error: No plan 'none'")
    assert call(monkeypatch, "liftnet_preprocess", *words[:-1]) == 0
    assert capsys.readouterr().out.startswith("Dataset007_Phantom: workspace")  # no longer quiet


WORK = """
import os
from liftnet.cli.shell import run
from liftnet.host.progress import progress, say

def work() -> None:
    "Make a file."
    with progress("Work", 2) as advance, open("made", "w") as file:
        say("done")
        os.write(2, b"from a library")
        advance(2)
        file.write("content")

run(work)
"""


@pytest.mark.parametrize("closed", ["", "2>&-", ">&-", "<&- >&- 2>&-"])
def test_closed_streams(closed):
    """The work is done whatever is closed, and nothing is printed into a file that is made."""
    call = ["sh", "-c", f'exec "$0" -c "$1" {closed}', sys.executable, WORK]
    done = subprocess.run(call, capture_output=True, check=False)
    assert (done.returncode, Path("made").read_text()) == (0, "content")
    assert done.stdout == (b"" if ">&-" in closed.replace("2>&-", "") else b"done\n")
    assert (b"from a library" in done.stderr) == ("2>&-" not in closed)


def test_a_wrong_call_with_closed_streams():
    """The exit code is all that is left to tell."""
    line = 'exec "$0" -m liftnet train --steps 3 2>&-'
    done = subprocess.run(["sh", "-c", line, sys.executable], capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (2, b"")
