"""Prediction in parts that write into one folder at the same time."""

import json
import shutil
import threading
from pathlib import Path

import pytest
from trained_folds import DATASET, add_fold

from liftnet.pipeline.predict.predict import predict

CASES = ("p1", "p2", "p3", "q1")


@pytest.fixture
def trained(workspace: Path) -> Path:
    """A workspace with one fold of random weights, and four new cases in "new"."""
    add_fold(workspace, "0", 0)
    raw = workspace / "raw" / DATASET / "imagesTr"
    (workspace / "new").mkdir()
    for case in CASES:
        for i in range(2):
            name = f"{case.replace('q', 'p')}_000{i}.nii.gz"
            shutil.copy(raw / name, workspace / "new" / f"{case}_000{i}.nii.gz")
    return workspace


def run(workspace: Path, output: str, part: int = 0, parts: int = 1, **options) -> None:
    """Predict one part or all; nothing fails."""
    options = {"workspace": workspace, "device": "cpu", "num_processes": 1, **options}
    assert not predict(
        workspace / "new", workspace / output, num_parts=parts, part_id=part, **options
    )


def written(folder: Path) -> dict[str, object]:
    """All files: images byte for byte, JSON without what it cost."""
    found: dict[str, object] = {}
    for path in sorted(folder.iterdir()):
        found[path.name] = path.read_bytes()
        if path.suffix == ".json":
            found[path.name] = json.loads(path.read_text()) | {"seconds": 0, "peak_memory_gib": 0}
    return found


def test_two_parts_are_one_run(trained, capsys):
    """One after the other into one folder: the files of one run; each part names itself."""
    run(trained, "whole")
    assert "Predicted 4 of 4 cases with" in capsys.readouterr().out
    for part in (1, 0):
        run(trained, "parts", part, 2)
        assert f"Predicted part {part} of 2: 2 of 2 cases with" in capsys.readouterr().out
    assert written(trained / "parts") == written(trained / "whole")


def test_two_parts_at_the_same_time(trained):
    """Both at once, with threads of their own, into one folder: the files of one run."""
    run(trained, "whole")
    start = threading.Barrier(2, timeout=60)
    failed = []

    def work(part: int) -> None:
        start.wait()
        try:
            run(trained, "parts", part, 2, num_processes=2)
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(part,)) for part in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert written(trained / "parts") == written(trained / "whole")


def test_a_part_deletes_only_what_its_own_cases_left(trained):
    """Half-written files of the other part's cases stay: they may be being written."""
    own = {".7.p1_0002.nii.gz", ".p3_0002.json.7.tmp", ".7.p1_0002.mha"}
    others = {".7.p2_0002.nii.gz", ".q1_0002.json.7.tmp", ".7.p1_x_0002.nii.gz", ".nfs01"}
    (trained / "out").mkdir()
    for name in own | others:
        (trained / "out" / name).write_bytes(b"half-written")
    run(trained, "out", 0, 2)
    left = {path.name for path in (trained / "out").iterdir() if path.name.startswith(".")}
    assert left == others
