"""What the doctor finds on the machine: device, memory, processors, disks."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from liftnet.pipeline.doctor.programs import Finding, Level

__all__ = [
    "ELSEWHERE",
    "check_device",
    "check_disk",
    "check_memory",
    "check_processors",
    "try_folder",
]

GIB = 2**30
LEAST_FREE_GIB = 1.0  # ours: the two checkpoints of a large network
ENOUGH_FREE_GIB = 10.0  # ours: a preprocessed dataset of some hundred heads
LEAST_MEMORY_GIB = 2.0  # ours: torch with its libraries, and one volume
ENOUGH_MEMORY_GIB = 4.0
ELSEWHERE = "Choose another folder, or ask for the right to write there."
NVIDIA_SECONDS = 5  # ours: the driver answers in one, if it does


def check_device(wanted: str | None = None) -> Iterator[Finding]:
    """What torch computes on, whether it is what is wanted, and whether it overlooks a GPU."""
    driver = _nvidia_driver()
    try:
        import torch
    except (ImportError, OSError) as error:
        yield Finding("device", "problem", f"unknown without torch ({type(error).__name__})",
                      "Install torch.")  # fmt: skip
        return
    if wanted is not None and not _has_device(wanted):
        yield Finding("device", "problem", f"there is no device '{wanted}' that torch sees",
                      "Leave -device out, or name one that is there.")  # fmt: skip
    if not torch.cuda.is_available():
        yield _without_cuda(torch.version.cuda, driver)
        if torch.backends.mps.is_available():
            yield Finding("device", "ok", "mps: Apple's GPU")
        return
    from liftnet.ops.compute.precision import supports_bfloat16

    versions = f"CUDA {torch.version.cuda}, driver {driver or 'unknown'}"
    for number in range(torch.cuda.device_count()):
        device = torch.device("cuda", number)
        try:
            free, total = torch.cuda.mem_get_info(device)
        except RuntimeError as error:
            yield Finding("device", "problem", f"cuda:{number} does not answer: {error}"[:160],
                          "See nvidia-smi; another process may hold the GPU.")  # fmt: skip
            continue
        native = "bfloat16" if supports_bfloat16(device) else "float32 only, which is slower"
        text = (
            f"cuda:{number} {torch.cuda.get_device_name(device)}, {free / GIB:.1f} of "
            f"{total / GIB:.1f} GiB free, {native}; {versions}"
        )
        if free < total / 2:
            yield Finding("device", "warning", text, "Another process uses it: see nvidia-smi.")
        else:
            yield Finding("device", "ok", text)


def _has_device(name: str) -> bool:
    """Whether torch sees a device of this name."""
    import torch

    from liftnet.ops.compute.precision import pick_device

    try:
        device = pick_device(name)
    except (ValueError, RuntimeError):  # not there; no name of a device
        return False
    return device.type != "cuda" or (device.index or 0) < torch.cuda.device_count()


def _without_cuda(built_for: str | None, driver: str | None) -> Finding:
    """What to say where torch sees no CUDA device."""
    if driver is None:
        return Finding("device", "ok", "the CPU; there is no NVIDIA GPU here")
    if built_for is None:
        return Finding(
            "device", "problem",
            f"there is an NVIDIA GPU (driver {driver}), but this torch is built for the CPU alone",
            "Install a torch for CUDA: pytorch.org/get-started/locally has the command.",
        )  # fmt: skip
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    if hidden is not None and hidden.strip() in ("", "-1"):
        return Finding("device", "warning", "CUDA_VISIBLE_DEVICES hides the GPU from torch",
                       "unset CUDA_VISIBLE_DEVICES, unless that is wanted.")  # fmt: skip
    return Finding(
        "device", "problem",
        f"there is an NVIDIA GPU (driver {driver}), but torch for CUDA {built_for} does not see it",
        "Update the driver, or install a torch for an older CUDA: pytorch.org/get-started/locally.",
    )  # fmt: skip


def _nvidia_driver() -> str | None:
    """The version of the NVIDIA driver, "unknown" if it does not say, None if there is no GPU."""
    if shutil.which("nvidia-smi"):
        query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        try:
            answer = subprocess.run(
                query, capture_output=True, text=True, timeout=NVIDIA_SECONDS, check=True
            ).stdout.split()
            return answer[0] if answer else None
        except (subprocess.SubprocessError, OSError):
            pass  # asked in another way
    cards = Path("/proc/driver/nvidia/gpus")
    return "unknown" if cards.is_dir() and any(cards.iterdir()) else None


def check_memory() -> Iterator[Finding]:
    """Free memory of the machine, and what a container allows."""
    available = _available_memory()
    if available is None:
        yield Finding("memory", "ok", "this system does not say how much is free")
        return
    limit = _container_memory()
    least = available if limit is None else min(available, limit)
    text = f"{available / GIB:.1f} GiB free"
    text += "" if limit is None else f", {limit / GIB:.1f} GiB left within the container's limit"
    remedy = "Close other programs, raise the container's limit, or work with -np 1."
    level: Level = "ok" if least >= ENOUGH_MEMORY_GIB * GIB else "warning"
    level = "problem" if least < LEAST_MEMORY_GIB * GIB else level
    yield Finding("memory", level, text, "" if level == "ok" else remedy)


def _available_memory() -> int | None:
    path = Path("/proc/meminfo")
    if path.is_file():
        match = re.search(r"^MemAvailable:\s+(\d+) kB", path.read_text(), re.MULTILINE)
        if match:
            return int(match[1]) * 1024
    names = os.sysconf_names if hasattr(os, "sysconf_names") else {}
    if "SC_AVPHYS_PAGES" in names:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None


def _container_memory() -> int | None:
    """Bytes that the control group still allows, cached files not counted; None without a limit."""
    for limit, used, cached in (
        ("memory.max", "memory.current", r"^inactive_file (\d+)"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", ""),
    ):
        most, now = _group_number(limit), _group_number(used)
        if most is None or now is None or most > 2**60:  # a limit of no limit
            continue
        found = re.search(cached, _group_text("memory.stat"), re.MULTILINE) if cached else None
        return max(0, most - now + (int(found[1]) if found else 0))
    return None


def _group_text(name: str) -> str:
    try:
        return (Path("/sys/fs/cgroup") / name).read_text()
    except OSError:
        return ""


def _group_number(name: str) -> int | None:
    text = _group_text(name).strip()
    return int(text) if text.isdigit() else None


def check_processors() -> Iterator[Finding]:
    """How many processors may be used, and whether torch starts more threads than that."""
    there = os.cpu_count() or 1
    usable = float(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else there)
    quota = _group_text("cpu.max").split()
    if len(quota) == 2 and quota[0].isdigit():
        usable = min(usable, int(quota[0]) / int(quota[1]))
    text = f"{usable:g} of {there} may be used"
    threads = 0
    if "torch" in sys.modules:
        threads = sys.modules["torch"].get_num_threads()
        text += f"; torch uses {threads} threads"
    if threads > max(1, round(usable)):
        remedy = f"export OMP_NUM_THREADS={max(1, round(usable))}: more threads are slower."
        yield Finding("processors", "warning", text, remedy)
    else:
        yield Finding("processors", "ok", text)


def check_disk(area: str, folder: Path) -> Iterator[Finding]:
    """Free space at a folder, and whether files can be written, renamed and locked there.

    A folder that is not there yet is looked for above.
    """
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(there).free / GIB
    text = f"{free:.1f} GiB free at {there}"
    why, lock = try_folder(there)
    if why:
        yield Finding(area, "problem", why, ELSEWHERE)
        return
    if free < ENOUGH_FREE_GIB:
        level: Level = "problem" if free < LEAST_FREE_GIB else "warning"
        yield Finding(area, level, text, "Make room, or choose a folder on another disk.")
    elif not lock:
        yield Finding(area, "warning", f"{text}; its file system has no locks",
                      "Start no two runs on one folder there.")  # fmt: skip
    else:
        yield Finding(area, "ok", f"{text}; writing, renaming and locking work")


def try_folder(folder: Path) -> tuple[str, bool]:
    """Why nothing can be written ("" if it can), and whether files can be locked.

    A folder that is not there yet is looked for above.
    """
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not there.is_dir():
        return f"{there}: this is a file, not a folder", False
    try:
        return "", _try_files(there)
    except OSError as error:
        return f"cannot write at {there}: {error.strerror or error}", False


def _try_files(folder: Path) -> bool:
    """Whether files can be locked in a folder.

    Raises:
        OSError: If they cannot be written or renamed.
    """
    with tempfile.TemporaryDirectory(dir=folder, prefix=".liftnet_doctor_") as name:
        first, second = Path(name) / "a", Path(name) / "b"
        first.write_bytes(b"liftnet")
        second.write_bytes(b"")
        first.replace(second)
        if second.read_bytes() != b"liftnet":
            raise OSError("a renamed file has another content")
        return _locks(second)


def _locks(path: Path) -> bool:
    if sys.platform == "win32":
        return False
    import fcntl

    with path.open("rb") as one, path.open("rb") as two:
        try:
            fcntl.flock(one, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        try:
            fcntl.flock(two, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
        return False
