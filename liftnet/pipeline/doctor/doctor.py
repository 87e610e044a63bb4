"""Is this machine ready? Programs, device, memory, disk, workspace, and a short test of all."""

import json
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from liftnet.core.arguments import checked
from liftnet.core.errors import LiftnetError
from liftnet.core.names import without_folders
from liftnet.core.workspace import find_workspace
from liftnet.host.progress import mention, say
from liftnet.pipeline.doctor.machine import (
    check_device,
    check_disk,
    check_memory,
    check_processors,
)
from liftnet.pipeline.doctor.programs import Finding, check_programs
from liftnet.pipeline.doctor.trial import self_test
from liftnet.pipeline.doctor.workspace import check_workspace

__all__ = ["doctor"]

DOCTOR_VERSION = 1  # of --json
OFFLINE = (
    "nothing is downloaded and nothing is sent; only liftnet_download and liftnet_import of an "
    "address fetch what they are asked for"
)


@checked
def doctor(
    *,
    test: bool = True,
    as_json: bool = False,
    paths: bool = False,
    device: str | None = None,
    workspace: Path | str | None = None,
) -> bool:
    """Say what works here and what does not, and what to do; True if there is no problem.

    Args:
        test: also train a tiny network, write and read an image, and multiply matrices.
        as_json: print JSON for programs in place of lines.
        paths: show whole paths in JSON; else their last part, since others may name people.
        device: "cuda", "cpu" or "mps" for the test; by default the best there is.
        workspace: the workspace folder.

    Returns:
        Whether there is no problem.

    Raises:
        LiftnetError: If there is no such device, or an option has no use.
    """
    if paths and not as_json:
        raise LiftnetError(
            "--paths is for --json; lines for people have whole paths",
            where="--paths",
            remedy="Leave it out, or add --json.",
        )
    start = time.perf_counter()
    findings: list[Finding] = []

    def note(found: Finding) -> None:
        findings.append(found)
        if not as_json:
            _print(found)

    root = find_workspace(workspace).raw.parent
    disks = [("disk of workspace", root), ("disk for temporary files", _temporary())]
    parts: dict[str, Iterator[Finding]] = {
        "programs": check_programs(),
        "device": check_device(device),
        "memory": check_memory(),
        "processors": check_processors(),
        **{area: check_disk(area, folder) for area, folder in disks},
        "workspace": check_workspace(workspace),
        "offline": iter([Finding("offline", "ok", OFFLINE)]),
        "self-test": self_test(device) if test else iter(()),
    }
    for area, part in parts.items():
        try:
            for found in part:
                note(found)
        except OSError as error:  # such as a folder that may not be looked into
            text = f"cannot be looked at: {error.strerror or error}: {error.filename or ''}"
            note(Finding(area, "problem", text, "Ask for the right to read it, or name another."))
    problems = [found for found in findings if found.level == "problem"]
    warnings = [found for found in findings if found.level == "warning"]
    seconds = round(time.perf_counter() - start, 1)
    if as_json:
        shown = str if paths else without_folders
        rows = [{k: shown(v) for k, v in found._asdict().items() if v} for found in findings]
        facts = {"version": DOCTOR_VERSION, "ok": not problems, "seconds": seconds}
        say(json.dumps({**facts, "findings": rows}, indent=1))
    else:
        say(
            f"\n{_count(problems, 'problem')}, {_count(warnings, 'warning')}, in {seconds} s"
            + ("" if not problems else ": " + ", ".join(found.area for found in problems))
        )
    return not problems


def _temporary() -> Path:
    """The folder for temporary files, which may not be there."""
    try:
        return Path(tempfile.gettempdir())
    except OSError:
        return Path(os.environ.get("TMPDIR") or ".")


def _print(found: Finding) -> None:
    tell = mention if found.level == "ok" else say
    tell(f"{found.level:<8} {found.area}: {found.text}")
    if found.remedy:
        tell(f"{'':<8}   do: {found.remedy}")


def _count(some: list[Finding], word: str) -> str:
    return f"{len(some) or 'no'} {word}{'' if len(some) == 1 else 's'}"
