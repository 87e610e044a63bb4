"""Damaged JSON files: refused with a message, or taken for what they say."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest
from fuzz.mutations import damage_json
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from liftnet.core.comparison import read_comparison
from liftnet.core.errors import LiftnetError, PlanError
from liftnet.core.scores import read_scores
from liftnet.core.storage.jsonable import from_json, read_json, replace_path, to_json
from liftnet.core.storage.strict_json import parse_json
from liftnet.data.store import Store
from liftnet.imageio.raw_dataset import load_description
from liftnet.methods import load_method
from liftnet.pipeline.evaluate.setting import read_facts
from liftnet.pipeline.fingerprint.extract_fingerprint import read_fingerprint
from liftnet.pipeline.plan import read_plan, read_recipe
from liftnet.pipeline.train.splits import load_splits, pick_fold

FEW = settings(
    max_examples=80,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
SEEDS = st.integers(0, 2**32)
DATASET = {
    "name": "X",
    "task": "translation",
    "channels": {"0": {"name": "mr", "modality": "MR"}},
    "targets": {"0": {"name": "ct", "modality": "CT"}},
    "file_ending": ".mha",
    "licence": "none",
    "reference": "",
}
FACTS = {
    "target": "ct",
    "sources": ["mr"],
    "intensity": {"low": 0.0, "high": 9.5, "rule": "x"},
    "task": "translation",
    "dataset": "Dataset001_X",
    "plan": "default",
    "modality": "CT",
}
PROTOCOL = {"name": "liftnet", "description": "d", "needs_source": False, "needs_mask": False}
SUMMARY = {"mean": None, "std": None, "low": 1.0, "high": 2.0, "n": 3}
SCORES = {
    "version": 1,
    "protocol": PROTOCOL,
    "task": "translation",
    "dataset": "",
    "slice_axis": "axial",
    "predicted_folder": "p",
    "reference_folder": "r",
    "sources_folder": "",
    "summary": {"ct": {"psnr": SUMMARY}},
    "cases": [{"case": "a", "contrast": "ct", "metrics": {"psnr": None}, "notes": {}}],
    "without_reference": [],
    "failures": [],
    "liftnet": "0",
}
COMPARISON = {
    "version": 1,
    "protocol": PROTOCOL,
    "task": "translation",
    "dataset": "",
    "slice_axis": "axial",
    "reference_folder": "r",
    "baseline": "a",
    "methods": [],
    "main_metrics": ["psnr"],
    "results": [
        {
            "metric": "psnr",
            "contrast": "ct",
            "better": "higher",
            "unit": "dB",
            "means": {"a": SUMMARY},
            "differences": {},
        }
    ],
    "cases": ["a"],
    "left_out": [],
    "warnings": [],
    "conclusions": [],
    "liftnet": "0",
}


def finite(node: object) -> bool:
    """Whether no number in a plain value is NaN or infinite."""
    if isinstance(node, dict | list):
        return all(map(finite, node.values() if isinstance(node, dict) else node))
    return not isinstance(node, float) or math.isfinite(node)


@FEW
@given(SEEDS)
def test_small_files(tmp_path, seed):
    """dataset.json, scores, comparisons, facts and splits: a value or a LiftnetError."""
    rng = Random(seed)
    (tmp_path / "x.nii.gz").touch()
    readers = [
        ("dataset.json", DATASET, lambda p: load_description(p.parent)),
        ("scores.json", SCORES, read_scores),
        ("comparison.json", COMPARISON, read_comparison),
        ("x.json", FACTS, lambda p: read_facts(p.with_suffix(".nii.gz"))),
        (
            "splits.json",
            [{"train": ["a"], "validation": ["b"]}],
            lambda p: pick_fold(load_splits(p, ["a", "b"], {}), "0", ["a", "b"], p),
        ),
    ]
    for name, data, read in readers:
        path = tmp_path / name
        path.write_bytes(damage_json(rng, data))
        try:
            taken = read(path)
        except LiftnetError as error:
            assert len(str(error)) < 3000
            continue
        assert finite(to_json(taken))  # to_json writes null for what is infinite
        json.dumps(to_json(taken), ensure_ascii=False).encode()


@settings(FEW, max_examples=40)
@given(SEEDS)
def test_files_of_a_workspace(_prepared, tmp_path, seed):
    """Fingerprint, plan, recipe and stored case of a real workspace, damaged: as above."""
    rng = Random(seed)
    folder = _prepared / "preprocessed" / "Dataset007_Phantom"
    plan, lift = read_plan(folder / "default" / "plan.json"), load_method("lift")
    readers = [
        (folder / "fingerprint.json", read_fingerprint),
        (folder / "default" / "plan.json", read_plan),
        (folder / "default" / "recipes" / "lift.json", lambda p: read_recipe(p, plan, lift)),
        (folder / "default" / "cases" / "p1.json", lambda p: Store(p.parent).describe(p.stem)),
    ]
    for source, read in readers:
        path = tmp_path / source.name
        path.write_bytes(damage_json(rng, json.loads(source.read_text())))
        try:
            assert finite(to_json(read(path)))
        except LiftnetError:
            continue


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[" * 100_000, "nested more than 64 deep"),
        ("[" * 65 + "]" * 65, "nested more than 64 deep"),
        ('{"a": ' + "9" * 5000 + "}", "the number 9{20}... has 5000 digits"),
        ('{"a": 1, "a": 2}', "the key 'a' occurs twice"),
        ("[1e999]", "1e999 is no finite number"),
        ("[NaN]", "NaN is no finite number"),
        ("[-Infinity]", "-Infinity is no finite number"),
        ('["\\ud800"]', "half of a character"),
        ('{"\\udfff": 1}', "half of a character"),
        ('["a\\u0000"]', "NUL"),
        ("{} {}", "Extra data"),
    ],
)
def test_what_is_no_strict_json(tmp_path, text, problem):
    """Each kind is refused with its reason, its place and a remedy."""
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(PlanError, match=problem) as caught:
        read_json(path)
    assert caught.value.where == str(path) and caught.value.remedy


def test_what_is_strict_json(tmp_path):
    """A byte order mark, escaped pairs and backslashes, large numbers and 64 levels are taken."""
    path = tmp_path / "x.json"
    path.write_bytes(b'\xef\xbb\xbf{"a": "\\ud83d\\ude00 \\\\u0000", "b": 1e300}')
    assert read_json(path) == {"a": "\U0001f600 \\u0000", "b": 1e300}
    deepest = parse_json("[" * 64 + "]" * 64)
    assert json.dumps(deepest) == "[" * 64 + "]" * 64
    assert parse_json("-" + "9" * 400) == -int("9" * 400)


def test_what_is_no_file(tmp_path):
    """A folder, UTF-16 and too much of it are refused."""
    (tmp_path / "x.json").mkdir()
    with pytest.raises(PlanError, match="Is a directory"):
        read_json(tmp_path / "x.json")
    path = tmp_path / "y.json"
    path.write_text("{}", encoding="utf-16")
    with pytest.raises(PlanError, match="Not a JSON file: 'utf-8'"):
        read_json(path)
    with path.open("wb") as file:
        file.truncate(2**27 + 1)
    with pytest.raises(PlanError, match="more than 128 MiB"):
        read_json(path)


@dataclass(frozen=True)
class Inner:
    """One of two kinds."""

    size: float


@dataclass(frozen=True)
class Other:
    """The other kind."""

    size: int


@dataclass(frozen=True)
class Outer:
    """Holds either."""

    inner: Inner | Other
    numbers: dict[str, int]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"inner": {"kind": {"a": 1}, "size": 1}}, "Expected one of Inner, Other"),
        ({"inner": {"kind": "Inner", "size": 10**400}}, "Expected a number, got 10"),
        ({"inner": {"kind": "Other", "size": 2**63}}, "whole number of 64 bits"),
        ({"x" * 5000: 1}, "Unknown key 'x{57}...'"),
        ({"a\x1b[2J": 1}, r"Unknown key 'a\?\[2J'"),
        ({"numbers": {"y" * 5000: "z" * 5000}}, 'got "z{56}...'),
    ],
)
def test_odd_values(change, problem):
    """What Python cannot hash, compute or show is refused, in a short message."""
    good = {"inner": {"kind": "Inner", "size": 1.0}, "numbers": {}}
    with pytest.raises(PlanError, match=problem) as caught:
        from_json(Outer, {**good, **change}, where="x")
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("key", ["numbers.²", "inner.", "", ".", "x" * 9999, "inner.size.0"])
def test_odd_settings(key):
    """A key that is no place is refused; a digit that is no number is no index."""
    with pytest.raises(PlanError, match="No setting"):
        replace_path(Outer(Inner(1.0), {"a": 1}), key, 1)


@pytest.mark.parametrize(
    "change",
    [
        {"intensity": {"low": "-inf", "high": "inf"}},
        {"intensity": {"low": 1, "high": 10**400}},
        {"intensity": [0, 1]},
        {"sources": 5},
        {"sources": None},
        {"dataset": "../../etc"},
        {"plan": ".."},
        {"modality": "PET"},
    ],
)
def test_facts_of_no_use(tmp_path, change):
    """Ranges that are none, and names that lead to other folders, are refused with the place."""
    (tmp_path / "x.json").write_text(json.dumps({**FACTS, **change}))
    with pytest.raises(PlanError) as caught:
        read_facts(tmp_path / "x.nii.gz")
    assert str(tmp_path / "x.json") in str(caught.value.where) and caught.value.remedy


@pytest.mark.parametrize(
    ("place", "value", "problem"),
    [
        ("spacing_mm", [0.0, 1.0, 1.0], "a number from 1e-06 to 1e"),
        ("shape", [10**6, -1, 3], "a number from 1 to"),
        ("foreground_fraction", 0.0, "foreground_fraction is 0"),
        ("box_stop", [0, 0, 0], "is not one in"),
    ],
)
def test_impossible_fingerprints(_prepared, tmp_path, place, value, problem):
    """What planning would divide by is refused when it is read."""
    source = _prepared / "preprocessed" / "Dataset007_Phantom" / "fingerprint.json"
    data = json.loads(source.read_text())
    del data["checksum"]  # as who edits it does
    data["cases"]["p1"][place] = value
    path: Path = tmp_path / "fingerprint.json"
    path.write_text(json.dumps(data))
    with pytest.raises(PlanError, match=problem):
        read_fingerprint(path)
