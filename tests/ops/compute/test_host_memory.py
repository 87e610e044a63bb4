"""Freed memory stays with the process where glibc can be told so."""

import platform
import subprocess
import sys

import pytest
import torch

from liftnet.ops.compute import host_memory

GLIBC = sys.platform.startswith("linux") and platform.libc_ver()[0] == "glibc"

# Page faults of 20 buffers of 64 MiB, one after the other, in a process of its own.
FAULTS = """
import resource, sys
import numpy as np
from liftnet.ops.compute.host_memory import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
np.ones(2**23)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    np.ones(2**23)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.fixture(autouse=True)
def forgotten():
    """Each test starts as a process that was told nothing."""
    host_memory.keep_freed_memory.cache_clear()
    yield
    host_memory.keep_freed_memory.cache_clear()


def faults(mode: str) -> int:
    """How often the system had to provide a page."""
    done = subprocess.run(
        [sys.executable, "-c", FAULTS, mode], capture_output=True, text=True, check=True
    )
    return int(done.stdout)


@pytest.mark.skipif(not GLIBC, reason="only glibc has mallopt")
def test_freed_memory_is_used_again():
    """Buffers of one size cost hardly a page fault each, where they cost all of them before."""
    kept, given_back = faults("keep"), faults("none")
    assert kept < 0.2 * given_back


@pytest.mark.parametrize(("system", "libc"), [("darwin", ""), ("win32", ""), ("linux", "musl")])
def test_other_systems_are_left_alone(monkeypatch, system, libc):
    """Without glibc nothing is loaded, and the answer is no."""
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(platform, "libc_ver", lambda: (libc, ""))
    monkeypatch.setattr(host_memory.ctypes, "CDLL", None)  # a call would fail
    assert host_memory.keep_freed_memory() is False


def test_once_per_process(monkeypatch):
    """The allocator is told once, however often the pipeline asks; a refusal is reported."""
    told = []
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(platform, "libc_ver", lambda: ("glibc", "2.36"))

    class Library:
        @staticmethod
        def mallopt(parameter, value):
            told.append((parameter, value))
            return 0

    monkeypatch.setattr(host_memory.ctypes, "CDLL", lambda _: Library)
    assert not host_memory.keep_freed_memory() and not host_memory.keep_freed_memory()
    assert told == [(-4, 0)]


def test_the_host_has_no_more():
    """What torch raises for a buffer that no machine has is recognized."""
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    assert host_memory.is_out_of_memory(caught.value)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), True),
        (MemoryError(), True),
        (SystemError("error return without exception set"), True),
        (SystemError("bad argument to internal function"), False),
        (RuntimeError("MPS backend out of memory"), True),
        (RuntimeError("expected 4 channels"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_what_is_out_of_memory(error, expected):
    """Errors of devices and of the host, and none that have another cause."""
    assert host_memory.is_out_of_memory(error) is expected


PEAKS = """
import numpy as np
from liftnet.ops.compute.cost import process_peak_bytes
from liftnet.ops.compute.host_memory import forget_freed_memory, keep_freed_memory
keep_freed_memory()
buffers = [np.ones(2**19) for _ in range(100)]
before = process_peak_bytes()
del buffers
print(before - process_peak_bytes())
forget_freed_memory()
print(before - process_peak_bytes())
"""


@pytest.mark.skipif(not GLIBC, reason="only glibc has malloc_trim")
def test_a_peak_begins_anew():
    """400 MiB that were freed, and kept, count no longer afterwards."""
    done = subprocess.run([sys.executable, "-c", PEAKS], capture_output=True, text=True, check=True)
    kept, forgotten = map(int, done.stdout.split())
    assert kept == 0 and forgotten > 300 * 2**20
