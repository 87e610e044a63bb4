"""Seconds and peak memory of work, on the CPU and on a GPU if there is one."""

import resource
import subprocess
import sys

import pytest
import torch

from liftnet.ops.compute import cost
from liftnet.ops.compute.cost import Meter, process_peak_bytes

MIB = 2**20


WORK = """
import time
import numpy as np, torch
from liftnet.ops.compute.cost import Meter
first = Meter(torch.device("cpu")).read()
meter = Meter(torch.device("cpu"))
np.ones(400 * 2**20, dtype=np.uint8)
time.sleep(0.05)
second = meter.read()
print(first.peak_memory_gib, second.peak_memory_gib, second.seconds, second.peak_memory_of)
"""


def test_the_meter_sees_time_and_memory():
    """What a process of its own takes and gives back raises its peak, and it stays."""
    done = subprocess.run(
        [sys.executable, "-c", WORK], capture_output=True, text=True, check=True
    )  # fmt: skip
    first, second, seconds, whose = done.stdout.strip().split(" ", 3)
    assert 0.03 < float(first) < 2
    assert 0.3 < float(second) - float(first) < 0.45
    assert 0.05 <= float(seconds) < 60
    assert whose == "the whole process until this was made"


def test_the_unit_is_bytes(monkeypatch, tmp_path):
    """Both sources agree; ru_maxrss counts KiB, on macOS bytes; Windows has neither."""
    own = process_peak_bytes()
    monkeypatch.setattr(cost, "STATUS", tmp_path / "none")
    other = process_peak_bytes()
    assert other >= 0.9 * own > 30 * MIB  # Python and torch
    usage = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    monkeypatch.setattr(sys, "platform", "darwin")
    assert process_peak_bytes() == usage
    monkeypatch.setitem(sys.modules, "resource", None)
    assert process_peak_bytes() is None
    assert Meter(torch.device("cpu")).read().peak_memory_gib is None


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_counts_from_the_meter_on():
    """Tensors that are there, and the most beside them; not what was before."""
    device = torch.device("cuda")
    kept = torch.ones(64 * MIB, dtype=torch.uint8, device=device)
    del_me = torch.ones(512 * MIB, dtype=torch.uint8, device=device)
    del del_me
    meter = Meter(device)
    torch.ones(128 * MIB, dtype=torch.uint8, device=device)
    found = meter.read()
    assert 192 / 1024 - 1e-3 <= found.peak_memory_gib < 0.4
    assert found.peak_memory_of.startswith("tensors on the GPU") and len(kept)
