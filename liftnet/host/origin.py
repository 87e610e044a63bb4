"""How a result was made, as its JSON file notes it: command, machine, time."""

import os
import shlex
import sys
import time
from pathlib import Path

from liftnet.core.scores import Origin
from liftnet.ops.compute.machine import describe_machine

__all__ = ["origin_since", "shown_command"]


def shown_command() -> str:
    """The command line, its paths without the folders above the last; "" from Python.

    Folders above may name people or patients, and results are passed on.
    """
    name = Path(sys.argv[0]).name
    if not name.startswith("liftnet_"):
        return ""
    return shlex.join([name, *(_last_part(argument) for argument in sys.argv[1:])])


def _last_part(argument: str) -> str:
    """The argument with its path, absolute or not, cut to the last part.

    >>> _last_part("../smith/t1"), _last_part("t1n=/data/smith/t1/"), _last_part("learning_rate=1")
    ('t1', 't1n=t1', 'learning_rate=1')
    """
    if os.sep not in argument:
        return argument
    start = argument.rfind("=", 0, argument.index(os.sep)) + 1
    path = argument[start:]
    return argument[:start] + (Path(path).name or path)


def origin_since(start: float, device: str = "cpu") -> Origin:
    """The origin of a result that was begun at this `time.perf_counter()`."""
    return Origin(
        command=shown_command(),
        hardware=describe_machine(device),
        seconds=round(time.perf_counter() - start, 3),
        date=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    )
