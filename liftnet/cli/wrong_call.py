"""What to say of a call that a command does not understand, where another one would."""

import re
import shlex
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module
from typing import Any

import typer

from liftnet.cli.main import COMMANDS, function_name
from liftnet.core.errors import LiftnetError

__all__ = ["explained_call"]

# Options that other programs have, and ours for the same.
ELSEWHERE = {"--input": "-i", "--output": "-o", "--epochs": "--steps"}
# What words without options are taken for.
IN_ORDER = {
    "liftnet_evaluate": ("-i", "-r"),
    "liftnet_predict": ("-i", "-o"),
    "liftnet_report": ("-i",),
    "liftnet_export": ("-o",),
    "liftnet_import": ("-i",),
}
EXTRA = re.compile(r"unexpected extra arguments?(?:\(s\))? \((.+)\)")


def explained_call(error: Any, program: str, words: Sequence[str]) -> LiftnetError | None:
    """What is wrong with a call and what to write; None where the parser's words are enough.

    Args:
        error: of the parser, a usage error of click.
        program: the command.
        words: what it was called with.
    """
    if option := getattr(error, "option_name", None):
        return _option(option, program, words)
    if match := EXTRA.search(error.format_message()):
        return _words(program, match[1].split())
    bare = [word for word in words if not word.startswith("-")]
    if hasattr(error, "param") and len(bare) == len(words) > 0 and program in IN_ORDER:
        return _words(program, bare)
    return None


def _option(option: str, program: str, words: Sequence[str]) -> LiftnetError | None:
    """An option that other commands have, or one that is spelled like it."""
    owners: dict[str, list[str]] = {}
    for command in sorted(COMMANDS):
        for own in sorted(_options(command)):
            owners.setdefault(own, []).append(command)
    # The parser names the first letter of an option with one hyphen that it does not know.
    spelled = {one.replace("_", "-"): one for one in owners}
    written = [word.partition("=")[0].replace("_", "-") for word in words]
    asked = next((spelled[w] for w in written if w.startswith(option) and w in spelled), option)
    problem = f"{program} has no option {asked}"
    same = ELSEWHERE.get(asked, "")
    if same in owners and program in owners[same]:
        return LiftnetError(problem, remedy=f"It is {same} here.")
    asked = same or asked
    if asked in owners and program not in owners[asked]:
        return LiftnetError(problem, remedy=f"{asked} is an option of {_listed(owners[asked])}.")
    mine = get_close_matches(asked, [o for o in owners if program in owners[o]], n=1)
    near = mine or get_close_matches(asked, owners, n=1, cutoff=0.8)
    if not near or not asked.startswith("--"):
        return None
    whose = "" if mine else f", an option of {_listed(owners[near[0]])}"
    return LiftnetError(problem, remedy=f"Did you mean {near[0]}{whose}?")


def _words(program: str, extra: Sequence[str]) -> LiftnetError:
    """Words without an option, as nnU-Net takes them: dataset, configuration, fold."""
    own, call = _options(program), [program]
    if len(extra) == len(IN_ORDER.get(program, ())):
        call += [part for pair in zip(IN_ORDER[program], extra, strict=True) for part in pair]
        own = set()
    if "-d" in own and re.fullmatch(r"[0-9]{1,3}|Dataset[0-9]{3}_.+", extra[0]):
        call += ["-d", extra[0]]
        if "-f" in own and len(extra) > 1 and re.fullmatch("[0-9]|all", extra[-1]):
            call += ["-f", extra[-1]]
    remedy = f"Write {shlex.join(call)}" if len(call) > 1 else f"{program} --help lists the options"
    return LiftnetError(f"{program} takes options only, got {' '.join(extra)}", remedy=f"{remedy}.")


def _options(command: str) -> set[str]:
    """Every option of a command, as it is written."""
    app = typer.Typer(add_completion=False)
    name = function_name(command)
    app.command()(getattr(import_module(f"liftnet.cli.{name}"), name))
    parameters = typer.main.get_command(app).params
    return {word for p in parameters for word in (*p.opts, *p.secondary_opts) if word[0] == "-"}


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
