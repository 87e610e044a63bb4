"""Python code run by two processes that know of each other, as torchrun starts them."""

import os
import socket
import subprocess
import sys


def run_together(code: str, *arguments: str, processes: int = 2) -> list[str]:
    """What each process prints.

    Raises:
        AssertionError: If one fails.
    """
    started = start_together(code, *arguments, processes=processes)
    printed = [process.communicate(timeout=120)[0] for process in started]
    for process, text in zip(started, printed, strict=True):
        assert process.returncode == 0, text
    return printed


def start_together(
    code: str, *arguments: str, processes: int = 2, port: int = 0
) -> list[subprocess.Popen[str]]:
    """The processes, started; what they print can be read. They meet at a free port, by default."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = port or free.getsockname()[1]
    return [
        subprocess.Popen(
            [sys.executable, "-c", code, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=os.environ
            | {
                "RANK": str(rank),
                "LOCAL_RANK": str(rank),
                "WORLD_SIZE": str(processes),
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(port),
                "OMP_NUM_THREADS": "1",
            },
        )
        for rank in range(processes)
    ]
