"""The hardware in words."""

import functools
import os
import platform
from pathlib import Path

import torch

__all__ = ["describe_machine"]


@functools.cache
def describe_machine(device: str = "cpu") -> str:
    """The accelerator, if it is one, and the processor with the threads in use."""
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
        name = next((x.split(":")[1].strip() for x in lines if x.startswith("model name")), name)
    words = [f"{name}, {torch.get_num_threads()} threads of {os.cpu_count()}"]
    if device.startswith("cuda"):
        words.insert(0, torch.cuda.get_device_name(device))
    return "; ".join(words)
