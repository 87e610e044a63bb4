"""An evaluation in parts: merged by the last, into the files of one run."""

import os
import re
import threading
from pathlib import Path

import numpy as np
import pytest
from cohort_folders import folders as cohort_folders

from liftnet.core.errors import DatasetError, LiftnetError
from liftnet.core.geometry import Geometry
from liftnet.core.storage.jsonable import read_json, write_json
from liftnet.imageio import write_image
from liftnet.pipeline.evaluate import parts as score_parts
from liftnet.pipeline.evaluate.evaluate import evaluate

SHAPE = (11, 12, 13)
CASES = "abcde"
GRID = Geometry(SHAPE, (3.0, 2.0, 1.0), (4.0, 5.0, 6.0), ((0, 0, 1), (0, 1, 0), (1, 0, 0)))


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """Five cases of two contrasts: one equal to its reference, one empty, one without reference."""
    for number, case in enumerate(CASES):
        for channel in (0, 3):
            rng = np.random.default_rng(10 * number + channel)
            image = rng.random(SHAPE, dtype=np.float32)
            noisy = np.clip(image + rng.normal(0, 0.1, SHAPE), 0, 1).astype(np.float32)
            if (case, channel) == ("b", 3):
                image[0, 0, :5] = 0
                image[1, 0, :5] = 1
                noisy = image
            if (case, channel) == ("d", 0):
                image = image * 0
            name = f"{case}_{channel:04d}"
            write_image(tmp_path / "p" / f"{name}.nii.gz", noisy, GRID, dtype="float32")
            facts = {"intensity": {"low": 0.0, "high": 1.0}, "target": "ac"[channel // 3]}
            write_json(tmp_path / "p" / f"{name}.json", facts)
            if (case, channel) != ("e", 0):
                write_image(tmp_path / "r" / f"{name}.nii.gz", image, GRID, dtype="float32")
    (tmp_path / "p" / "c_0000.json").write_text("{")  # damaged
    return tmp_path


def run(root: Path, output: str, part: int = 0, parts: int = 1, **options):
    """Evaluate, one part or all."""
    options = {"num_processes": 1, "workspace": root / "w", **options}
    return evaluate(
        root / "p", root / "r", output=root / output, num_parts=parts, part_id=part, **options
    )


def written(folder: Path) -> dict[str, bytes]:
    """All files of a folder, without what says when and by which command they were made."""
    made = re.compile(rb'"made": \{.*?\}', re.DOTALL)
    return {path.name: made.sub(b"", path.read_bytes()) for path in sorted(folder.iterdir())}


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_the_last_part_writes_what_one_run_writes(folders, capsys, order):
    """scores.json and scores.csv byte for byte, infinite values, failures and all; no part left."""
    whole = run(folders, "whole")
    assert {f.case for f in whole.failures} == {"c", "d"} and whole.without_reference
    last = capsys.readouterr().out.splitlines()[1:]
    assert any(np.isinf(row.metrics["psnr"]) for row in whole.cases)
    for number, part in enumerate(order[:2]):
        scores = run(folders, "parts", part, 3)
        assert {row.case for row in scores.cases} <= set(CASES[part::3])
        printed = capsys.readouterr().out
        assert f"Scores of part {part} of 3:" in printed
        left = ", ".join(f"part {i}" for i in sorted(order[number + 1 :]))
        assert f"Not merged yet; to be done: {left}" in printed
        assert not (folders / "parts" / "scores.json").exists()
    merged = run(folders, "parts", order[2], 3)
    assert merged == whole
    printed = capsys.readouterr().out.splitlines()
    assert f"Scores of part {order[2]} of 3:" in printed
    start = printed.index("Scores of all 3 parts:") + 1
    assert [line.replace("/parts/", "/whole/") for line in printed[start:]] == last
    assert written(folders / "parts") == written(folders / "whole")


def test_a_part_that_is_there_is_kept_unless_it_failed(folders, capsys, monkeypatch):
    """The same command again scores nothing anew; a part with a failure is tried again."""
    run(folders, "o", 1, 5)
    run(folders, "o", 3, 5)
    before = {path.name: path.stat().st_mtime_ns for path in (folders / "o").iterdir()}
    capsys.readouterr()
    run(folders, "o", 1, 5)
    assert "Scored already: part 1 of 5" in capsys.readouterr().out
    run(folders, "o", 3, 5)
    after = {path.name: path.stat().st_mtime_ns for path in (folders / "o").iterdir()}
    assert [name for name in before if before[name] != after[name]] == ["scores.part_3_of_5.json"]


def test_a_part_whose_merge_is_done_is_not_begun_again(folders, capsys):
    """After a kill before the merge all parts are given again: the first merges, none is left."""
    for path in [*(folders / "p").glob("c_*"), *(folders / "p").glob("d_*")]:
        path.unlink()  # those that fail would be tried again
    for part in (0, 1):
        run(folders, "o", part, 2)
    first = (folders / "o" / "scores.json").read_bytes()
    capsys.readouterr()
    run(folders, "o", 1, 2)
    assert "Scored and merged already" in capsys.readouterr().out
    assert sorted(written(folders / "o")) == ["scores.csv", "scores.json"]
    assert (folders / "o" / "scores.json").read_bytes() == first
    os.utime(folders / "r" / "a_0003.nii.gz", (1, 1))
    run(folders, "o", 1, 2)
    assert "to be done: part 0" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("protocol", "protocol lift, not liftnet"),
        ("version", "liftnet 0.0, not "),
        ("file", "other files"),
        ("damage", "to be done: part 0"),
    ],
)
def test_a_part_of_another_setting_is_not_merged(folders, capsys, change, reason):
    """It is named with the difference; done again, all is merged."""
    options = {"protocol": "lift"} if change == "protocol" else {}
    run(folders, "o", 0, 2, **options)
    path = folders / "o" / "scores.part_0_of_2.json"
    if change == "version":
        content = read_json(path)
        content["setting"]["liftnet"] = "0.0"
        write_json(path, content)
    if change == "file":
        image = np.random.default_rng(5).random(SHAPE, dtype=np.float32)
        write_image(folders / "r" / "a_0003.nii.gz", image, GRID, dtype="float32")
    if change == "damage":
        path.write_text("{")
    capsys.readouterr()
    run(folders, "o", 1, 2)
    assert reason in capsys.readouterr().out
    assert not (folders / "o" / "scores.json").exists()
    run(folders, "o", 0, 2)
    assert sorted(written(folders / "o")) == ["scores.csv", "scores.json"]
    run(folders, "whole")
    assert written(folders / "o") == written(folders / "whole")


def test_another_number_of_parts_is_named_and_left(folders, capsys):
    """Files of another split are neither used nor deleted."""
    run(folders, "o", 0, 3)
    for part in range(2):
        run(folders, "o", part, 2)
    assert "scores.part_0_of_3.json is of another number of parts" in capsys.readouterr().out
    assert sorted(written(folders / "o")) == [
        "scores.csv", "scores.json", "scores.part_0_of_3.json",
    ]  # fmt: skip


def test_parts_that_finish_at_the_same_instant(folders, monkeypatch):
    """Both find all parts, both merge; the files are those of one run, and neither fails."""
    run(folders, "whole")
    both = threading.Barrier(2, timeout=60)
    find = score_parts._find_parts

    def wait_and_find(*arguments):
        both.wait()
        found = find(*arguments)
        both.wait()
        return found

    monkeypatch.setattr(score_parts, "_find_parts", wait_and_find)
    results = []
    threads = [
        threading.Thread(target=lambda part=part: results.append(run(folders, "o", part, 2)))
        for part in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 2 and results[0] == results[1]
    assert written(folders / "o") == written(folders / "whole")


def test_the_other_merged_first(folders, capsys, monkeypatch):
    """A part whose file or whose neighbours' are gone, because all is merged, says so."""
    find, calls = score_parts._find_parts, []

    def merge_first(*arguments):
        if not calls:
            calls.append(1)
            run(folders, "o", 1, 2)  # finds both, merges, removes
        return find(*arguments)

    monkeypatch.setattr(score_parts, "_find_parts", merge_first)
    run(folders, "o", 0, 2)
    assert "Another part merged all 2: " in capsys.readouterr().out
    run(folders, "whole")
    assert written(folders / "o") == written(folders / "whole")


def test_wrong_calls(folders, tmp_path):
    """A part that does not exist, parts of a cohort, and nothing scored at all."""
    with pytest.raises(LiftnetError, match="Part 2 of 2 does not exist"):
        run(folders, "o", 2, 2)
    for path in (folders / "r").glob("*.nii.gz"):
        write_image(path, np.zeros(SHAPE, np.float32), GRID, dtype="float32")
    run(folders, "o", 1, 2)
    with pytest.raises(DatasetError, match="None of the predicted images could be scored"):
        run(folders, "o", 0, 2)
    with cohort_folders(tmp_path) as root, pytest.raises(LiftnetError) as caught:
        evaluate(root / "made", root / "real", num_parts=2, part_id=1, workspace=root / "w")
    assert "-num_parts, -part_id are only for images that have a reference each" in str(
        caught.value
    )
