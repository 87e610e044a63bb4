"""The commands and the functions of the same name: same parameters, quick help, all listed."""

import configparser
import inspect
import json
import os
import re
import resource
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import liftnet
from liftnet.cli.main import COMMANDS, function_name
from liftnet.core import errors

NAMES = sorted(map(function_name, COMMANDS))
COMMAND_OF = {function_name(command): command for command in COMMANDS}
INVERTED = {
    "no_test": "test",
    "no_check": "check",
    "no_viewer": "viewer",
}  # flags only switch on
RENAMED = {"explain": "explain_plan"}  # plan.explain is a function
WITHOUT_OPTION = {("demo", "size")}  # for tests
ALSO = {"predict": "generate"}  # with -n
OTHER_DEFAULT = {
    ("convert", "sources"),  # one may follow --target
    ("train", "fold"),  # (0,), which the command line cannot show
    ("predict", "input_folder"),  # -i or -n must be given
    ("predict", "num_volumes"),
}
MAX_HELP_SECONDS = 1.0  # CPU time; measured 0.25, and CI machines are slow
HEAVY = ("torch", "SimpleITK", "scipy", "matplotlib")


def run_python(code: str) -> tuple[str, float]:
    """What a fresh Python prints, and the CPU seconds that it took."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return done.stdout, seconds


@pytest.mark.parametrize("name", NAMES)
def test_command_and_function_take_the_same(name):
    """Names and defaults of a command's parameters are those of its function, or of its two."""
    command = inspect.signature(getattr(import_module(f"liftnet.cli.{name}"), name)).parameters
    function = {
        parameter: facts
        for own in (ALSO.get(name, name), name)
        for parameter, facts in inspect.signature(getattr(liftnet, own)).parameters.items()
    }
    for option, parameter in command.items():
        own = INVERTED.get(option) or RENAMED.get(option, option)
        assert own in function, f"{name}() has no parameter {own}"
        default = function.pop(own).default
        if (name, own) in OTHER_DEFAULT:
            continue
        wanted = not default if option in INVERTED else default
        assert parameter.default == wanted, f"default of {option} in liftnet_{name}"
    assert {(name, left) for left in function} <= WITHOUT_OPTION


def test_public_names():
    """`liftnet` offers each command as a function, and the errors; nothing else."""
    offered = {*NAMES, *ALSO.values(), *errors.__all__}
    assert set(liftnet.__all__) == {"__version__", *offered}
    assert {n for n in dir(liftnet) if not n.startswith("__")} == offered
    assert all(issubclass(getattr(liftnet, n), liftnet.LiftnetError) for n in errors.__all__)
    with pytest.raises(AttributeError, match="'liftnet' has no attribute 'trian'"):
        _ = liftnet.trian


def test_import_is_light():
    """`import liftnet` imports none of the heavy packages."""
    printed, _ = run_python("import liftnet, sys, json; print(json.dumps(list(sys.modules)))")
    assert not set(HEAVY) & set(json.loads(printed))


@pytest.mark.parametrize("name", NAMES)
def test_help_is_quick(name):
    """--help prints the help of a command within a second of CPU time, without torch."""
    code = f"""
import json, sys
from liftnet.cli.{name} import main
sys.argv = ["{COMMAND_OF[name]}", "--help"]
try:
    main()
except SystemExit as end:
    assert not end.code
print(json.dumps(list(sys.modules)))
"""
    printed, seconds = run_python(code)
    text, modules = printed.rsplit("\n", 2)[:2]
    assert not set(HEAVY) & set(json.loads(modules))
    assert f"Usage: {COMMAND_OF[name]}" in text
    assert seconds < MAX_HELP_SECONDS


@pytest.mark.parametrize("name", NAMES)
def test_short_help(name, monkeypatch, capsys):
    """-h is --help."""
    monkeypatch.setattr(sys, "argv", [COMMAND_OF[name], "-h"])
    with pytest.raises(SystemExit) as caught:
        import_module(f"liftnet.cli.{name}").main()
    assert not caught.value.code
    assert f"Usage: {COMMAND_OF[name]}" in capsys.readouterr().out


def test_umbrella_lists_the_commands():
    """`liftnet` prints every command, without torch."""
    printed, seconds = run_python(
        "import sys; from liftnet.cli.main import liftnet; liftnet(); print('torch' in sys.modules)"
    )
    assert all(f"  {command} " in printed for command in COMMANDS)
    assert printed.endswith("False\n")
    assert seconds < MAX_HELP_SECONDS


@pytest.mark.parametrize(
    ("words", "code", "printed"),
    [
        (["--version"], 0, f"liftnet {liftnet.__version__}\n"),
        (["train", "--version"], 0, f"liftnet {liftnet.__version__}\n"),
        (["liftnet_import", "--version"], 0, f"liftnet {liftnet.__version__}\n"),
        (["train", "2", "0"], 2, "  do:    Write liftnet_train -d 2 -f 0.\n"),
        (["plan-and-preproces"], 2, "  do:    Call liftnet_plan_and_preprocess.\n"),
        (["zzz"], 2, "  do:    Call liftnet alone, which lists all.\n"),
    ],
)
def test_umbrella_with_words(words, code, printed):
    """Its version, a command that it runs, and which one somebody meant who misspells it."""
    call = [sys.executable, "-m", "liftnet"]
    done = subprocess.run([*call, *words], capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert (done.stderr if code else done.stdout).endswith(printed)


@pytest.mark.parametrize("name", NAMES)
def test_docstrings_name_parameters_and_errors(name):
    """The docstring of a function has an entry for each parameter, and says what it raises."""
    function = getattr(liftnet, name)
    text = inspect.getdoc(function)
    part = re.search(r"^Args:\n((?:    .*\n?)+)", text, flags=re.MULTILINE)[1]
    assert re.findall(r"^    (\w+): ", part, flags=re.MULTILINE) == list(
        inspect.signature(function).parameters
    )
    raised = re.search(r"^Raises:\n((?:    .*\n?)+)", text, flags=re.MULTILINE)[1]
    kinds = re.findall(r"^    (\w+): ", raised, flags=re.MULTILINE)
    assert kinds and set(kinds) <= set(errors.__all__)


def test_umbrella_into_a_closed_pipe():
    """`liftnet | head -1` ends without a traceback."""
    call = "import time; from liftnet.cli.main import liftnet; time.sleep(0.5); liftnet()"
    with subprocess.Popen(
        [sys.executable, "-c", call], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        process.stdout.close()
        assert process.stderr.read() == b"" and process.wait() == 0


def test_console_scripts_are_listed():
    """Every console script of setup.cfg is in COMMANDS, in a module of its name, and callable."""
    path = Path(__file__).parents[1] / "setup.cfg"
    parser = configparser.ConfigParser()
    parser.read(path, encoding="utf-8")
    lines = parser["options.entry_points"]["console_scripts"].split("\n")
    scripts = dict(line.split(" = ") for line in lines if line)
    assert scripts.pop("liftnet") == "liftnet.cli.main:liftnet"
    assert scripts.keys() == COMMANDS.keys()
    for script, entry in scripts.items():
        module, _, function = entry.partition(":")
        assert module == f"liftnet.cli.{function_name(script)}"
        assert callable(getattr(import_module(module), function))
