"""Standard streams that are always there, and print every name."""

import os
import sys
from io import TextIOWrapper

__all__ = ["open_streams"]

STREAMS = ("stdin", "stdout", "stderr")


def open_streams() -> None:
    """Let closed streams (`2>&-`) lead nowhere, and others print what they cannot as numbers.

    Without this the first file that is opened would get the number of a closed stream, and what
    a library prints would be written into it.
    """
    for number, name in enumerate(STREAMS):
        if getattr(sys, name) is None:
            _occupy(number)
            mode = "w" if number else "r"
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115, PTH123
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # names of files may hold what it cannot print
            stream.reconfigure(errors="backslashreplace")


def _occupy(number: int) -> None:
    """Open nothing under the number of a stream, unless a file has it already."""
    try:
        os.fstat(number)
    except OSError:
        descriptor = os.open(os.devnull, os.O_RDWR)
        if descriptor != number:
            os.dup2(descriptor, number)
            os.close(descriptor)
