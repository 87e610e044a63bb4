"""What a piece of work costs: wall-clock seconds and peak memory."""

import re
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch

__all__ = ["Cost", "Meter", "process_peak_bytes"]

STATUS = Path("/proc/self/status")  # Linux
GIB = 2**30


@dataclass(frozen=True)
class Cost:
    """Seconds of one piece of work, and the peak memory measured with it, in GiB.

    The memory is None where the system does not tell.
    """

    seconds: float
    peak_memory_gib: float | None
    peak_memory_of: str


class Meter:
    """Measures work on a device, from its making to its reading.

    On CUDA memory is that of all tensors at their peak in between, weights included; elsewhere
    what the whole process had resident at its peak, which is never set back.

    Source: LiFT App. B.6.
    """

    def __init__(self, device: torch.device):
        self.device = device
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        self.started = time.monotonic()

    def read(self) -> Cost:
        """What it cost until now."""
        seconds = round(time.monotonic() - self.started, 3)
        if self.device.type == "cuda":
            peak: int | None = torch.cuda.max_memory_allocated(self.device)
            whose = "tensors on the GPU while this was made"
        else:
            peak, whose = process_peak_bytes(), "the whole process until this was made"
        return Cost(seconds, None if peak is None else round(peak / GIB, 3), whose)


def process_peak_bytes() -> int | None:
    """The most memory that this process has had resident, or None where the system has no answer.

    On Linux VmHWM comes first: ru_maxrss also counts the program that this one was started from.
    """
    if STATUS.is_file() and (found := re.search(r"VmHWM:\s*(\d+) kB", STATUS.read_text())):
        return int(found[1]) * 1024
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # macOS counts bytes, others KiB
