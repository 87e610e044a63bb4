"""What every command shares: how it is parsed, and how it ends."""

import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

from liftnet.cli.streams import open_streams
from liftnet.core.errors import LiftnetError
from liftnet.core.names import RENAME, is_text, legible
from liftnet.host.failures import file_problem, memory_problem
from liftnet.host.progress import results_only
from liftnet.ops.compute.host_memory import (
    is_out_of_memory,  # here: there may be no memory to import it
)
from liftnet.pipeline.train.stopping import Stopped, stopped_at_once
from liftnet.version import __version__

__all__ = [
    "CheckpointOption",
    "DatasetOption",
    "DeviceOption",
    "MethodOption",
    "PartOption",
    "PartsOption",
    "PlanOption",
    "ProcessesOption",
    "WorkspaceOption",
    "run",
    "spread_values",
]

# What the parser says of a wrong call: click's UsageError, which newer typers carry inside them.
WrongCall: type[Any] = typer.BadParameter.__bases__[0]

AGAIN = "the same command continues"
WIDTH = 110  # ours: of the help, where the terminal is as wide

DatasetOption = Annotated[
    str | None,
    typer.Option("-d", metavar="ID", help="Dataset id or name; may be left out if there is one."),
]
PlanOption = Annotated[str, typer.Option("-p", metavar="NAME", help="Name of the plan.")]
ProcessesOption = Annotated[
    int | None, typer.Option("-np", metavar="N", help="Files worked on at the same time.")
]
PartsOption = Annotated[
    int, typer.Option("-num_parts", metavar="N", help="Split the work over N runs ...")
]
PartOption = Annotated[
    int, typer.Option("-part_id", metavar="I", help="... and do part I, from 0.")
]
CheckpointOption = Annotated[
    str,
    typer.Option(
        "-chk", metavar="best|latest", help="Weights of the best validation, or the latest."
    ),
]
DeviceOption = Annotated[
    str | None, typer.Option("-device", metavar="cpu|cuda|mps", help="Default: the best there is.")
]
MethodOption = Annotated[
    str | None,
    typer.Option(
        "--method", metavar="NAME", help="Default: the task's own. liftnet_methods lists them."
    ),
]
WorkspaceOption = Annotated[
    str | None,
    typer.Option(
        "--workspace", metavar="DIR", help="Default: LIFTNET_WORKSPACE or ./liftnet_workspace."
    ),
]
QuietOption = Annotated[
    bool, typer.Option("--quiet", help="Print results, warnings and errors only.")
]


def run(
    command: Callable[..., Any],
    *,
    lists: tuple[str, ...] = (),
    name: str | None = None,
    arrange: Callable[[list[str]], list[str]] = list,
) -> None:
    """Parse the command line, call the command, print an error without a traceback.

    Args:
        command: a function with typer annotations.
        lists: options that take several values (`-f 0 1 2`).
        name: of the command after `liftnet_`; by default that of the function.
        arrange: puts the words into another order before they are parsed.
    """
    open_streams()
    program = f"liftnet_{name or command.__name__}"
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    settings = {
        "help_option_names": ["-h", "--help"],
        "token_normalize_func": _spelling,
        "max_content_width": WIDTH,
    }
    app.command(context_settings=settings)(_guard(command))
    words = spread_values(arrange(sys.argv[1:]), lists)
    try:
        code = typer.main.get_command(app).main(words, program, standalone_mode=False)
    except WrongCall as wrong:
        from liftnet.cli.wrong_call import explained_call

        explained = explained_call(wrong, program, words)
        if explained is None:
            wrong.show()
        else:
            print(f"error: {explained}", file=sys.stderr)
        sys.exit(2)
    sys.exit(code or 0)


def _guard(command: Callable[..., Any]) -> Callable[..., None]:
    """The command with its errors printed; inside typer, which swallows an interrupt's message.

    It has two options more than the command itself, which all have: --quiet and --version.
    """
    signature = inspect.signature(command)
    labels = {name: _label(parameter) for name, parameter in signature.parameters.items()}

    @wraps(command)
    def guarded(*args: Any, quiet: bool = False, version: bool = False, **options: Any) -> None:
        try:
            _check_names(sys.argv[1:])
            with results_only(quiet), stopped_at_once():
                command(*args, **options)
        except LiftnetError as error:
            print(f"error: {legible(str(_for_options(error, labels)))}", file=sys.stderr)
            sys.exit(1)
        except KeyboardInterrupt as stopped:
            text = str(stopped)
            if not text or isinstance(stopped, Stopped):  # a training says where it goes on
                kept = labels.get("continue_prediction")
                again = f"with {kept} the same command goes on" if kept else AGAIN
                text = f"{text or 'Interrupted'}; {again}."
            print(text, file=sys.stderr)
            sys.exit(130)
        except BrokenPipeError:  # the reader of a pipe went away; typer knows what to do
            raise
        except OSError as error:
            print(f"error: {legible(str(file_problem(error)))}", file=sys.stderr)
            sys.exit(1)
        except (MemoryError, RuntimeError, ImportError, SystemError) as error:
            if not is_out_of_memory(error):
                raise
            error.__traceback__ = None  # what it holds is needed to say so
            print(f"error: {memory_problem()}", file=sys.stderr)
            sys.exit(1)

    shared = {"quiet": QuietOption, "version": VersionOption}
    more = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=kind)
        for name, kind in shared.items()
    ]
    own = [*signature.parameters.values(), *more]
    guarded.__signature__ = signature.replace(parameters=own)  # type: ignore[attr-defined]
    guarded.__annotations__ = {**command.__annotations__, **shared}
    return guarded


def _for_options(error: LiftnetError, labels: Mapping[str, str]) -> LiftnetError:
    """An error about a parameter of a function as one about the option that has set it."""
    name = error.where or ""
    if name in labels:
        error.where = labels[name]
        error.problem = error.problem.replace(f"{name} ", f"{labels[name]} ", 1)
    return error


def _label(parameter: inspect.Parameter) -> str:
    """How a parameter is written on the command line."""
    for facts in getattr(parameter.annotation, "__metadata__", ()):
        words = getattr(facts, "param_decls", None) or (facts.metavar,)
        return next((word for word in (facts.default, *words) if isinstance(word, str)), "")
    return parameter.name


def _say_version(wanted: bool) -> None:
    if wanted:
        print(f"liftnet {__version__}")
        raise typer.Exit


VersionOption = Annotated[
    bool,
    typer.Option("--version", is_eager=True, callback=_say_version, help="Print the version."),
]


def _spelling(option: str) -> str:
    """Long options are written with hyphens, those of nnU-Net with underscores; both are taken."""
    return option.replace("_", "-")


def _check_names(words: Sequence[str]) -> None:
    """Refuse words and a working folder that are not UTF-8: as paths none could be written down."""
    try:
        folder = str(Path.cwd())
    except FileNotFoundError:
        raise LiftnetError(
            "The working folder was deleted", remedy="Change to another, or to a new one."
        ) from None
    for word in (*words, folder):
        if not is_text(word):
            raise LiftnetError("A name is not UTF-8 text", where=word, remedy=RENAME)


def spread_values(arguments: list[str], lists: tuple[str, ...]) -> list[str]:
    """`-f 0 1 2` as `-f 0 -f 1 -f 2`, for the options named in `lists`.

    >>> spread_values(["-d", "1", "-f", "0", "1", "--c"], ("-f",))
    ['-d', '1', '-f', '0', '-f', '1', '--c']
    """
    spread: list[str] = []
    option = None
    count = 0
    for argument in arguments:
        if argument.startswith("-") and len(argument) > 1:
            option = argument if argument in lists else None
            count = 0
            spread.append(argument)
            continue
        if option is not None:
            count += 1
            if count > 1:
                spread.append(option)
        spread.append(argument)
    return spread
