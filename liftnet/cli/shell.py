"""What every command shares: how it is parsed, and how it ends."""

import sys
from collections.abc import Callable, Sequence
from functools import wraps
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, Any

import typer

from liftnet.core.errors import LiftnetError
from liftnet.core.names import RENAME, is_text

__all__ = [
    "DatasetOption",
    "DeviceOption",
    "MapperOption",
    "PlanOption",
    "ProcessesOption",
    "WorkspaceOption",
    "run",
    "spread_values",
]

WIDTH = 110  # ours: of the help, where the terminal is as wide

DatasetOption = Annotated[
    str | None,
    typer.Option("-d", metavar="ID", help="Dataset id or name; may be left out if there is one."),
]
PlanOption = Annotated[str, typer.Option("-p", metavar="NAME", help="Name of the plan.")]
ProcessesOption = Annotated[
    int | None, typer.Option("-np", metavar="N", help="Files worked on at the same time.")
]
DeviceOption = Annotated[
    str | None, typer.Option("-device", metavar="cpu|cuda|mps", help="Default: the best there is.")
]
MapperOption = Annotated[
    bool, typer.Option("--no-mapper", help="The ablation without through-plane context.")
]
WorkspaceOption = Annotated[
    str | None,
    typer.Option(
        "--workspace", metavar="DIR", help="Default: LIFTNET_WORKSPACE or ./liftnet_workspace."
    ),
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
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # names of files may hold what it cannot print
            stream.reconfigure(errors="backslashreplace")
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    settings = {
        "help_option_names": ["-h", "--help"],
        "token_normalize_func": _spelling,
        "max_content_width": WIDTH,
    }
    app.command(context_settings=settings)(_guard(command))
    app(
        args=spread_values(arrange(sys.argv[1:]), lists),
        prog_name=f"liftnet_{name or command.__name__}",
    )


def _guard(command: Callable[..., Any]) -> Callable[..., None]:
    """The command with its errors printed; inside typer, which swallows an interrupt's message."""

    @wraps(command)
    def guarded(*args: Any, **options: Any) -> None:
        try:
            _check_names(sys.argv[1:])
            command(*args, **options)
        except LiftnetError as error:
            print(f"error: {error}", file=sys.stderr)
            sys.exit(1)
        except KeyboardInterrupt as stopped:
            print(str(stopped) or "Interrupted; the same command continues.", file=sys.stderr)
            sys.exit(130)
        except BrokenPipeError:  # the reader of a pipe went away; typer knows what to do
            raise
        except OSError as error:
            from liftnet.pipeline.failures import file_problem

            print(f"error: {file_problem(error)}", file=sys.stderr)
            sys.exit(1)
        except (MemoryError, RuntimeError, ImportError) as error:
            from liftnet.ops.host_memory import is_out_of_memory
            from liftnet.pipeline.failures import memory_problem

            if not is_out_of_memory(error):
                raise
            print(f"error: {memory_problem()}", file=sys.stderr)
            sys.exit(1)

    return guarded


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
