"""The host's memory: keep what was freed or give it back, and tell when there is no more."""

import ctypes
import gc
import platform
import sys
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

__all__ = ["forget_freed_memory", "is_of_device", "is_out_of_memory", "keep_freed_memory"]

PEAK = Path("/proc/self/clear_refs")  # Linux; source: proc(5), 5 sets back the peak

# <malloc.h> of glibc
M_MMAP_MAX = -4
M_TRIM_THRESHOLD = -1
M_ARENA_MAX = -8


@lru_cache(maxsize=1)
def keep_freed_memory() -> bool:
    """Whether this process now reuses large buffers, which else go back to the system.

    glibc maps every buffer over 32 MiB anew and unmaps it when it is freed, so that the system
    clears each of its pages again at first use. Measured on a CPU (paper-size network, 32 slices
    of 192x160): a third of the CPU time of synthesis was spent there. Kept, the freed memory stays
    with the process until it ends.

    Only on Linux with glibc; False elsewhere, where nothing is changed.
    """
    if not sys.platform.startswith("linux") or platform.libc_ver()[0] != "glibc":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    # One arena: what one thread has freed another may use.
    settings = {M_MMAP_MAX: 0, M_TRIM_THRESHOLD: -1, M_ARENA_MAX: 1}
    return all(mallopt(number, value) for number, value in settings.items())


def forget_freed_memory() -> None:
    """Give what was freed back to the system, and let the peak of this process begin anew.

    So what comes next is measured by itself, whatever the process has done before. Only on Linux
    with glibc; elsewhere the peak stays what it was.
    """
    gc.collect()
    if not sys.platform.startswith("linux") or platform.libc_ver()[0] != "glibc":
        return
    ctypes.CDLL(None).malloc_trim(0)
    with suppress(OSError):  # a container may forbid it
        PEAK.write_text("5", encoding="ascii")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that the device's or the host's memory does not suffice.

    Without torch: too little memory to import it is such an error too.
    """
    if isinstance(error, MemoryError) or is_of_device(error):
        return True
    # Of the host (torch, threads, C++, files, libraries); of a device, such as mps.
    words = (
        *("DefaultCPUAllocator", "could not create a primitive", "can't start new thread"),
        *("bad_alloc", "out of memory", "Cannot allocate memory", "failed to map segment"),
        *("error return without exception set", "without setting an exception"),  # of Python itself
    )
    return isinstance(error, RuntimeError | ImportError | SystemError) and any(
        word in str(error) for word in words
    )


def is_of_device(error: BaseException) -> bool:
    """Whether it is torch.OutOfMemoryError."""
    return type(error).__name__ == "OutOfMemoryError"
