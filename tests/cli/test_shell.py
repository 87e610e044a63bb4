"""How commands end: messages, exit codes, options with several values."""

import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated

import pytest
import typer

from liftnet.cli import extract_fingerprint, plan, plan_and_preprocess, predict, preprocess, train
from liftnet.cli.shell import run, spread_values
from liftnet.core.errors import PlanError

DATASET = "Dataset007_Phantom"


def call(monkeypatch, command, *arguments: object) -> int:
    """The exit code of a command."""
    monkeypatch.setattr(sys, "argv", ["liftnet", *map(str, arguments)])
    with pytest.raises(SystemExit) as caught:
        command.main()
    return int(caught.value.code or 0)


@pytest.mark.parametrize(
    ("command", "arguments", "problem"),
    [
        (train, ("--workspace", "none"), "The workspace holds no dataset"),
        (train, ("-d", "3"), "No dataset '3'"),
        (plan, ("--set", "grid.colour=1"), "No setting 'grid.colour'"),
        (plan, ("--set", "losses.l1=1"), "The plan has no setting 'losses"),
        (plan, ("--method", "lift_c"), "No method 'lift_c'"),
        (plan, ("--method", "lift_u"), "Method lift_u cannot serve this plan"),
        (plan, ("--set", "seed"), "'seed' is not key=value"),
        (plan, ("--set", "seed=1", "grid.in_plane=[3,4]"), "The recipe contradicts itself"),
        (plan, ("--set", "seed=x"), 'Expected a whole number, got "x"'),
        (plan, ("--set", "lift.losses.l1=NaN"), 'Expected a number, got "NaN"'),
        (plan, ("--gpu-memory", "0"), "--gpu-memory is 0"),
        (plan, ("--steps", "0"), "--steps is 0"),
        (preprocess, ("-p", "other"), "No plan 'other' for Dataset007_Phantom"),
        (train, ("-p", "other"), "No plan 'other' for Dataset007_Phantom"),
        (train, ("-f", "0", "9"), "There is no fold '9'"),
        (train, ("-device", "abacus"), "expected one of the devices cpu"),
        (train, ("--c", "-device", "cpu"), "There is no training run to continue"),
        (predict, ("-i", ".", "-o", "out"), "Nothing is trained yet"),
    ],
)
def test_errors(workspace, monkeypatch, capsys, command, arguments, problem):
    """A problem is printed as error, where and do, without a traceback; the exit code is 1."""
    monkeypatch.chdir(workspace)
    if "--workspace" not in arguments:
        arguments = (*arguments, "--workspace", workspace)
    assert call(monkeypatch, command, *arguments) == 1
    printed = capsys.readouterr()
    assert printed.err.startswith(f"error: {problem}")
    assert "\n  do:    " in printed.err
    assert "Traceback" not in printed.err


def test_steps_in_the_wrong_order(workspace, monkeypatch, capsys):
    """Without a fingerprint there is no plan, without preprocessed cases no training."""
    shutil.rmtree(workspace / "preprocessed")
    monkeypatch.setenv("LIFTNET_WORKSPACE", str(workspace))
    assert call(monkeypatch, plan, "-p", "soft") == 1
    printed = capsys.readouterr().err
    assert printed.startswith("error: The dataset has no fingerprint")
    assert "do:    Run liftnet_plan_and_preprocess -d 7 -p soft, with the same" in printed
    monkeypatch.delenv("LIFTNET_WORKSPACE")
    assert call(monkeypatch, extract_fingerprint, "--workspace", workspace, "-np", 1) == 0
    assert call(monkeypatch, preprocess, "--workspace", workspace) == 1
    wanted = f"do:    Run liftnet_plan_and_preprocess -d 7 --workspace {workspace}\n"
    assert capsys.readouterr().err.endswith(wanted)
    options = ("--steps", 5, "--gpu-memory", 0.03, "--set", "seed=2", "lift.inference.passes=two")
    assert call(monkeypatch, plan, "--workspace", workspace, *options, "--explain") == 0
    printed = capsys.readouterr().out
    assert "seed = 2\n    set by hand" in printed
    assert 'lift.inference.passes = "two"\n    set by hand' in printed
    assert call(monkeypatch, train, "--workspace", workspace) == 1
    assert "error: There is no preprocessed case" in capsys.readouterr().err
    both = ("--workspace", workspace, "-np", 2, "--steps", 5, "--gpu-memory", 0.03)
    assert call(monkeypatch, plan_and_preprocess, *both) == 0
    assert f"{DATASET}: workspace {workspace}\n" in capsys.readouterr().out


def test_wrong_options(monkeypatch, capsys):
    """An unknown option or a missing one is the caller's mistake: exit code 2."""
    assert call(monkeypatch, train, "--fold", "1") == 2
    assert call(monkeypatch, predict, "-i", "x") == 2
    assert call(monkeypatch, train, "-h") == 0


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (PlanError("P", where="W", remedy="R"), 1, "error: P\n  where: W\n  do:    R\n"),
        (KeyboardInterrupt("Stopped at step 3"), 130, "Stopped at step 3\n"),
        (KeyboardInterrupt(), 130, "Interrupted; the same command continues.\n"),
        (
            OSError(errno.EACCES, "Permission denied", "/disk/x"),
            1,
            "error: Permission denied\n  where: /disk/x\n"
            "  do:    Check the path, its permissions and the free space.\n",
        ),
    ],
)
def test_how_a_command_ends(monkeypatch, capsys, error, code, text):
    """Each kind of end has its message and its exit code."""

    def command() -> None:
        """Fail."""
        raise error

    monkeypatch.setattr(sys, "argv", ["liftnet"])
    with pytest.raises(SystemExit) as caught:
        run(command)
    assert (caught.value.code, capsys.readouterr().err) == (code, text)


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGUSR1"])
def test_a_signal_ends_a_command_as_ctrl_c_does(monkeypatch, capsys, name):
    """It is told, and what the command has opened is closed."""
    closed = []

    def command() -> None:
        """Wait."""
        try:
            os.kill(os.getpid(), getattr(signal, name))
            time.sleep(10)
        finally:
            closed.append(True)

    monkeypatch.setattr(sys, "argv", ["liftnet"])
    with pytest.raises(SystemExit) as caught:
        run(command)
    text = f"Stopped by {name}; the same command continues.\n"
    assert (caught.value.code, capsys.readouterr().err, closed) == (130, text, [True])


def test_what_keeps_finished_images_is_named(monkeypatch, capsys):
    """An interrupted prediction names the option without which they are made again."""

    def command(
        *, continue_prediction: Annotated[bool, typer.Option("--continue-prediction")] = False
    ) -> None:
        """Stop."""
        raise KeyboardInterrupt

    monkeypatch.setattr(sys, "argv", ["liftnet"])
    with pytest.raises(SystemExit):
        run(command)
    text = "Interrupted; with --continue-prediction the same command goes on.\n"
    assert capsys.readouterr().err == text


def test_an_error_of_our_own_keeps_its_traceback(monkeypatch):
    """What is no user's problem is not hidden."""

    def command() -> None:
        """Fail."""
        raise ZeroDivisionError

    monkeypatch.setattr(sys, "argv", ["liftnet"])
    with pytest.raises(ZeroDivisionError):
        run(command)


def test_names_that_are_no_text(tmp_path):
    """A Latin-1 path, or a working folder of that name, is refused; other output is printable."""
    here = tmp_path / os.fsdecode(b"\xfc")
    try:
        here.mkdir()
    except OSError:
        pytest.skip("This file system has UTF-8 names only.")
    (here / "gone").mkdir()
    call = "import sys; from liftnet.cli.plan import main; main()"
    for folder, words in ((tmp_path, ["-p", b"\xfc"]), (here, []), (here / "gone", [])):
        text = f"import os; os.rmdir('../gone'); {call}" if folder.name == "gone" else call
        done = subprocess.run(
            [sys.executable, "-c", text, *words],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        problem = "The working folder was deleted" if folder.name == "gone" else "A name is not"
        assert (done.returncode, done.stderr.startswith(f"error: {problem}")) == (1, True)


def test_every_terminal_can_print_what_is_said():
    """An old terminal shows letters that it lacks as their numbers."""
    code = (
        "from liftnet.cli.shell import run\n"
        "def show() -> None:\n    'Show.'\n    print('\\u00bd \\udcff')\n"
        "run(show)"
    )
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.returncode) == ("\\xbd \\udcff\n", 0)


@pytest.mark.parametrize(
    "option", ["--save-trajectory", "--save_trajectory", "--continue_prediction"]
)
def test_hyphens_and_underscores_are_one(monkeypatch, capsys, tmp_path, option):
    """Nobody needs to remember which."""
    words = ["-i", tmp_path, "-o", "out", "-num-parts", 1, "-part_id", 0, option]
    assert call(monkeypatch, predict, *words, "--workspace", tmp_path / "none") == 1
    assert "error: The workspace holds no dataset" in capsys.readouterr().err


def test_spread_values():
    """Only the options named take several values."""
    got = spread_values(
        ["-f", "0", "1", "-i", "a", "--target", "b", "c", "--c"], ("-f", "--target")
    )
    assert got == ["-f", "0", "-f", "1", "-i", "a", "--target", "b", "--target", "c", "--c"]
    assert spread_values(["-f", "-1", "x"], ("-f",)) == ["-f", "-1", "x"]


def test_help_does_not_import_torch():
    """--help of every command is quick because nothing heavy is imported."""
    commands = sorted(
        path.stem
        for path in (Path(__file__).parents[2] / "liftnet" / "cli").glob("*.py")
        if path.stem not in ("__init__", "main", "shell")
    )
    code = (
        "import sys, importlib\n"
        f"for name in {commands!r}: importlib.import_module(f'liftnet.cli.{{name}}')\n"
        "print([m for m in ('torch', 'numpy', 'SimpleITK', 'matplotlib') if m in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"
