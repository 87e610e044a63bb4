"""How a result was made, as its JSON file notes it: command, machine, time."""

import os
import shlex
import sys
import time
from pathlib import Path

from liftnet.core.scores import Origin
from liftnet.ops.machine import describe_machine

__all__ = ["origin_since", "shown_command"]


def shown_command() -> str:
    """The command line, its paths without the folders above the last; "" from Python.

    Folders above may name people or patients, and results are passed on.
    """
    name = Path(sys.argv[0]).name
    if not name.startswith("liftnet_"):
        return ""
    return shlex.join([name, *(_shortened(argument) for argument in sys.argv[1:])])


def _shortened(argument: str) -> str:
    parts = argument.rstrip(os.sep).rsplit(os.sep, 1)
    return parts[-1] if len(parts) > 1 else argument


def origin_since(start: float, device: str = "cpu") -> Origin:
    """The origin of a result that was begun at this `time.perf_counter()`."""
    return Origin(
        command=shown_command(),
        hardware=describe_machine(device),
        seconds=round(time.perf_counter() - start, 3),
        date=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    )
